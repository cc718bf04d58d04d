//! Releases of brokers as source and as target: the oldest that are taken in every run, one of each line in the nightly one.
//! Each is a real broker; what is copied is compared by the ledger, and what came with a release is not used where it is missing.

use crate::support::cluster::{Cluster, Options, Version, shared, unique};
use crate::support::mirroring::Mirroring;
use crate::support::records::{Generator, Writing, produce};
use crate::support::{Failure, Outcome, groups, ledger};

const OLDEST_SOURCE: &str = "2.1.1";
const OLDEST_TARGET: &str = "2.4.1";
/// The lines before those that have tests of their own, from the oldest source on; the rest are targets too.
const BEFORE_TARGETS: [&str; 3] = ["2.1.1", "2.2.2", "2.3.1"];
const LINES: [&str; 18] = [
    "2.4.1", "2.5.1", "2.6.3", "2.7.2", "2.8.2", "3.0.2", "3.1.2", "3.2.0", "3.3.2", "3.4.1", "3.5.1", "3.6.2",
    "3.7.2", "3.8.1", "3.9.2", "4.0.2", "4.1.2", "4.2.0",
];

fn start(release: &'static str) -> Outcome<Cluster> {
    Cluster::start(Options::default().version(Version::Line(release)))
}

/// Copies, goes on after a restart, follows a setting and a group, and says so.
fn mirrors(source: &Cluster, target: &Cluster) -> Outcome {
    let topic = unique("release");
    source.create_topic(&topic, 2, &[("retention.bytes", "123456789")])?;
    let write = |partition, records, codec| {
        let some = Generator::new(5).take(records);
        produce(&source.bootstrap(), &topic, partition, some, &Writing::codec(codec)).map(drop)
    };
    write(0, 150, "lz4")?;
    write(1, 50, "none")?;
    groups::commit(source, &topic, &[(&topic, 0, 120)])?;
    let mirroring = Mirroring::of(source, target, &topic, &topic);
    for command in ["check", "plan"] {
        let (code, document) = mirroring.document(command, &[])?;
        assert_eq!(code, 0, "{command}: {document}");
    }
    mirroring.catch_up()?;
    write(0, 40, "gzip")?;
    mirroring.catch_up()?;
    ledger::expect_identical(&source.bootstrap(), &target.bootstrap(), &topic, 240)?;
    assert_eq!(groups::offset(target, &topic, &topic, 0)?, Some(120));
    let settings = super::mirror::configs_of(target, &topic)?;
    assert_eq!(settings.get("retention.bytes").map(String::as_str), Some("123456789"));
    let (code, report) = mirroring.document("verify", &[])?;
    assert_eq!(code, 0, "{report}");
    Ok(())
}

/// All lines, or those that `KMIRROR_RELEASES` names, separated by commas.
fn lines() -> Vec<&'static str> {
    match std::env::var("KMIRROR_RELEASES") {
        Ok(some) => some.leak().split(',').collect(),
        Err(_) => BEFORE_TARGETS.iter().chain(&LINES).copied().collect(),
    }
}

/// Whether something went wrong, with the release in front.
fn noted(troubles: &mut Vec<String>, what: &str, outcome: Outcome) {
    eprintln!("{what}: {}", outcome.as_ref().map_or_else(|error| error.to_string(), |()| "as it should be".to_owned()));
    troubles.extend(outcome.err().map(|error| format!("{what}: {error}")));
}

#[test]
fn the_oldest_source_and_the_oldest_target() -> Outcome {
    let pair = shared()?;
    mirrors(&start(OLDEST_SOURCE)?, &pair.target)?;
    mirrors(&pair.source, &start(OLDEST_TARGET)?)
}

#[test]
#[ignore = "nightly: a broker of every line, most of them with a ZooKeeper, takes many minutes"]
fn every_line_as_source_and_as_target() -> Outcome {
    let pair = shared()?;
    let mut troubles = Vec::new();
    for release in lines() {
        let one = match start(release) {
            Ok(one) => one,
            Err(error) => {
                noted(&mut troubles, release, Err(error));
                continue;
            }
        };
        noted(&mut troubles, &format!("{release} as source"), mirrors(&one, &pair.target));
        if !BEFORE_TARGETS.contains(&release) {
            noted(&mut troubles, &format!("{release} as target"), mirrors(&pair.source, &one));
        }
    }
    match troubles.is_empty() {
        true => Ok(()),
        false => Err(Failure(troubles.join("\n"))),
    }
}

#[test]
#[ignore = "nightly: brokers that are too old, each with a ZooKeeper"]
fn what_is_too_old_is_named_by_every_command() -> Outcome {
    let pair = shared()?;
    let (old_source, old_target) = (start("2.0.1")?, start("2.3.1")?);
    let source = Mirroring::of(&old_source, &pair.target, "old", "old");
    let target = Mirroring::of(&pair.source, &old_target, "old", "old");
    let said = [
        (source, "of the source is Kafka 2.0, by what it offers: the oldest source that is taken is Kafka 2.1"),
        (target, "of the target is Kafka 2.3, by what it offers: the oldest target that is taken is Kafka 2.4"),
    ];
    for (mirroring, words) in said {
        for command in ["check", "plan", "run"] {
            let mut kmirror = mirroring.command(command, &[])?;
            let code = kmirror.wait(std::time::Duration::from_secs(60))?.code();
            let (out, err) = (kmirror.stdout(), kmirror.stderr());
            assert!(code == Some(2) && format!("{out}{err}").contains(words), "{command}: {code:?}\n{out}\n{err}");
        }
    }
    Ok(())
}
