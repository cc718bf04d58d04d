//! What the mirror remembers of translated offsets is lost, is that of another mode, or stands against a target that was compacted.
//! Nothing is appended twice then: it goes on where it was, or says why it cannot and what to do.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::expect_appended;
use crate::support::cluster::{Cluster, Options, Version, shared, unique};
use crate::support::ledger::{Isolation, Ledger};
use crate::support::mirroring::Mirroring;
use crate::support::records::{Generator, Record, Writing, produce};
use crate::support::{Outcome, fail, wait_for};

const LIMIT: Duration = Duration::from_secs(60);

/// Writes records of today: a broker forgets who wrote older ones.
fn write(cluster: &Cluster, topic: &str, seed: u64, count: usize) -> Outcome {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as i64;
    let records = Generator::new(seed).take(count).map(|record| Record { timestamp: now, ..record });
    produce(&cluster.bootstrap(), topic, 0, records, &Writing::default()).map(drop)
}

fn records(cluster: &Cluster, topic: &str) -> Outcome<usize> {
    Ok(Ledger::read(&cluster.direct(), topic, Isolation::ReadUncommitted)?.count())
}

/// Runs a mirror that has to refuse, with these words.
fn expect_refusal(mirroring: &Mirroring, code: i32, words: &[&str]) -> Outcome {
    let (kmirror, got) = mirroring.finish()?;
    let said = kmirror.stderr();
    match got == code && words.iter().all(|word| said.contains(word)) {
        true => Ok(()),
        false => fail(format!("exit code {code} and {words:?} expected, but it is {got}:\n{said}")),
    }
}

#[test]
fn a_mirror_whose_offsets_are_to_be_others_does_not_start() -> Outcome {
    let pair = shared()?;
    for (before, after) in [("preserve", "translate"), ("translate", "preserve")] {
        let topic = unique("changed-mode");
        pair.source.create_topic(&topic, 1, &[])?;
        write(&pair.source, &topic, 1, 50)?;
        let mirroring = |offsets| Mirroring::pair(pair, &topic).set(&format!("offsets={offsets}"));
        mirroring(before).catch_up()?;
        let words = [format!("has run with offsets={before}"), "set another 'name'".to_owned()];
        expect_refusal(&mirroring(after), 2, &[&words[0], &words[1]])?;
        assert_eq!(records(&pair.target, &topic)?, 50, "{before} then {after}");
        mirroring(before).catch_up()?;
        assert_eq!(records(&pair.target, &topic)?, 50);
    }
    Ok(())
}

/// Brokers take the producer ids that mirrors make for themselves, remember them and find them again after a kill.
#[test]
fn brokers_take_the_producer_ids_that_say_where_records_come_from() -> Outcome {
    let versions = [Version::Latest, Version::Latest, Version::Previous, Version::Old];
    let [source, targets @ ..] = Cluster::start_all(versions.map(|version| Options::default().version(version)))?;
    for (target, version) in targets.into_iter().zip(&versions[1..]) {
        let topic = unique("tagged");
        source.create_topic(&topic, 1, &[])?;
        write(&source, &topic, 1, 40)?;
        let mirroring = Mirroring::of(&source, &target, &topic, &topic).set("offsets=translate");
        mirroring.catch_up()?;
        let last_of_copies = || -> Outcome<Option<(i64, i32)>> {
            let states = target.client().producers(&topic, 0)?;
            let ours = states.iter().map(|state| (state.producer_id.0, state.last_sequence));
            Ok(ours.into_iter().find(|(producer_id, _)| producer_id >> 60 == 1))
        };
        let before = last_of_copies()?;
        assert_eq!(before.map(|(_, last)| last), Some(39));
        // ZooKeeper does not let a broker in again that was killed a moment ago.
        if *version == Version::Old {
            target.terminate(1)?;
        }
        target.restart(1)?;
        let after = wait_for("the broker leads again", LIMIT, || Ok(last_of_copies().ok()))?;
        assert_eq!(after, before);
        write(&source, &topic, 2, 20)?;
        mirroring.catch_up()?;
        assert_eq!(last_of_copies()?, before.map(|(producer_id, _)| (producer_id, 59)));
        expect_appended((&source, &topic), (&target, &topic), &Default::default())?;
    }
    Ok(())
}
