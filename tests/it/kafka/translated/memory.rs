//! What the mirror remembers of translated offsets is lost, is that of another mode, or stands against a target that was compacted.
//! Nothing is appended twice then: it goes on where it was, or says why it cannot and what to do.

use std::collections::BTreeSet;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::expect_appended;
use crate::support::cluster::{Cluster, Options, Version, shared, unique};
use crate::support::failure::Context;
use crate::support::ledger::{Isolation, Ledger};
use crate::support::mirroring::Mirroring;
use crate::support::records::{Generator, Record, Writing, produce};
use crate::support::{Outcome, fail, wait_for};

const LIMIT: Duration = Duration::from_secs(60);

const DAY: i64 = 86_400_000;

fn now_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as i64
}

/// Writes records of today: a broker forgets who wrote older ones.
fn write(cluster: &Cluster, topic: &str, seed: u64, count: usize) -> Outcome {
    let now = now_ms();
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

fn delete_memory(cluster: &Cluster, mirror: &str) -> Outcome {
    let topic = format!("kmirror.{mirror}.internal");
    cluster.client().delete_topic(&topic)?;
    wait_for("the internal topic is gone", LIMIT, || Ok(cluster.leader_of(&topic, 0).is_err().then_some(())))
}

/// What a mirror remembered is gone: its own copies tell it that there was one, and those of another one of the same source do so too.
#[test]
fn a_mirror_that_remembers_nothing_of_its_copies_does_not_copy_them_again() -> Outcome {
    let pair = shared()?;
    let topic = unique("lost-memory");
    pair.source.create_topic(&topic, 1, &[])?;
    write(&pair.source, &topic, 1, 50)?;
    let mirroring = Mirroring::pair(pair, &topic).set("offsets=translate");
    mirroring.catch_up()?;
    let words = ["holds records", "nothing is remembered of them", "Restore the internal topic"];
    let other = Mirroring::of(&pair.source, &pair.target, &format!("{topic}-other"), &topic).set("offsets=translate");
    expect_refusal(&other, 5, &words)?;
    delete_memory(&pair.target, &topic)?;
    let plan = mirroring.plan()?.to_string();
    assert!(plan.contains("nothing is remembered of them"), "{plan}");
    // The second start finds the claim of the first one, and still no map.
    for _ in 0..2 {
        expect_refusal(&mirroring, 5, &words)?;
        assert_eq!(records(&pair.target, &topic)?, 50);
    }
    Ok(())
}

/// What a running mirror would copy on could not be found again.
#[test]
fn a_mirror_whose_memory_is_deleted_while_it_runs_stops() -> Outcome {
    let pair = shared()?;
    let topic = unique("memory-gone");
    pair.source.create_topic(&topic, 1, &[])?;
    write(&pair.source, &topic, 1, 20)?;
    let mut mirror = Mirroring::pair(pair, &topic).set("offsets=translate").start()?;
    let end = || pair.target.client().offset_at(&topic, 0, -1);
    wait_for("it is copied", LIMIT, || Ok(end().is_ok_and(|end| end == 20).then_some(())))?;
    delete_memory(&pair.target, &topic)?;
    write(&pair.source, &topic, 2, 10)?;
    wait_for("the mirror stops", LIMIT, || {
        let said = mirror.stderr();
        let words = ["partition parked", "was deleted on the target while the mirror runs"];
        Ok(said.lines().any(|line| words.iter().all(|word| line.contains(word))).then_some(()))
    })
    .context(mirror.stderr())?;
    let before = end()?;
    write(&pair.source, &topic, 3, 10)?;
    std::thread::sleep(Duration::from_secs(2));
    assert_eq!(end()?, before, "{}", mirror.stderr());
    assert!(before <= 30, "each once");
    mirror.kill9()
}

/// Who has written the batches that are in the segments of a partition's log, also those that the cleaner has emptied.
fn producers_in_log(cluster: &Cluster, topic: &str) -> Outcome<BTreeSet<i64>> {
    let mut producers = BTreeSet::new();
    let folder = cluster.data_directory(1).join(format!("{topic}-0"));
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.extension().is_none_or(|extension| extension != "log") {
            continue;
        }
        let bytes = match std::fs::read(&path) {
            Ok(bytes) => bytes,
            // The cleaner has put another one in its place meanwhile.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error.into()),
        };
        let mut rest = &bytes[..];
        while let (Some(length), Some(producer_id)) = (rest.get(8..12), rest.get(43..51)) {
            producers.insert(i64::from_be_bytes(producer_id.try_into()?));
            let length = usize::try_from(i32::from_be_bytes(length.try_into()?))?;
            if length == 0 {
                break;
            }
            rest = rest.get(12 + length..).unwrap_or_default();
        }
    }
    Ok(producers)
}

/// A compacted topic that others write to as well: what the mirror had written is replaced and removed, and its broker has forgotten it.
#[test]
fn a_target_that_was_compacted_takes_nothing_twice() -> Outcome {
    let [source, target] = Cluster::start_all([Options::default(), Options::default()])?;
    let topic = unique("compacted-target");
    let record = |key: usize, timestamp: i64, value: String| Record {
        key: Some(format!("k{key}").into_bytes()),
        value: Some(value.into_bytes()),
        headers: Vec::new(),
        timestamp,
    };
    let compacted = [
        ("cleanup.policy", "compact"),
        ("segment.ms", "500"),
        ("min.cleanable.dirty.ratio", "0.001"),
        ("delete.retention.ms", "0"),
    ];
    source.create_topic(&topic, 1, &[])?;
    target.create_topic(&topic, 1, &compacted)?;
    let put = |cluster: &Cluster, values: std::ops::Range<usize>, timestamp: i64, what: &str| -> Outcome {
        let records = values.map(|number| record(number % 10, timestamp, format!("{what}{number}")));
        produce(&cluster.bootstrap(), &topic, 0, records, &Writing { idempotent: false, ..Writing::default() })
            .map(drop)
    };
    let three_days_ago = now_ms() - 3 * DAY;
    let old: BTreeSet<u64> =
        (0..35).map(|number| record(number % 10, three_days_ago, format!("old{number}")).fingerprint().hash).collect();
    let of_mirror = || -> Outcome<(usize, i64)> {
        let ledger = Ledger::read(&target.direct(), &topic, Isolation::ReadUncommitted)?;
        let partition = &ledger.partitions[&0];
        let found = partition.records.iter().filter(|(_, record)| old.contains(&record.hash));
        Ok((found.count(), partition.bounds.end))
    };
    put(&source, 0..30, three_days_ago, "old")?;
    let mirroring = Mirroring::of(&source, &target, &topic, &topic).set("offsets=translate");
    mirroring.catch_up()?;
    assert_eq!(of_mirror()?.0, 30);
    wait_for("the cleaner has taken what the mirror wrote", LIMIT, || {
        put(&target, 100..120, now_ms(), "new")?;
        std::thread::sleep(Duration::from_millis(700));
        Ok((of_mirror()?.0 == 0).then_some(()))
    })?;
    target.restart(1)?;
    let forgotten = target.client().producers(&topic, 0)?;
    assert!(forgotten.iter().all(|state| state.producer_id.0 >> 60 != 1), "{forgotten:?}");
    // The cleaner keeps the header of a producer's last batch until the broker has forgotten it.
    wait_for("nothing of the mirror is in the log", LIMIT, || {
        put(&target, 120..130, now_ms(), "new")?;
        std::thread::sleep(Duration::from_millis(700));
        Ok((!producers_in_log(&target, &topic)?.iter().any(|producer_id| producer_id >> 60 == 1)).then_some(()))
    })?;
    let before = of_mirror()?;
    mirroring.catch_up()?;
    assert_eq!(of_mirror()?, before, "nothing of what was copied is appended once more");
    put(&source, 30..35, three_days_ago, "old")?;
    mirroring.catch_up()?;
    assert_eq!(of_mirror()?, (5, before.1 + 5));
    // Nobody but the log knows of the copies now, and who wrote last is somebody else.
    put(&target, 130..140, now_ms(), "new")?;
    target.restart(1)?;
    delete_memory(&target, &topic)?;
    let before = of_mirror()?;
    expect_refusal(&mirroring, 5, &["holds records", "nothing is remembered of them"])?;
    assert_eq!(of_mirror()?, before);
    Ok(())
}
