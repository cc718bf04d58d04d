//! What a mirror makes of logs that it cannot read at the moment, and of those of somebody else that look like its own: what is not
//! known is asked for again, and nothing is appended meanwhile.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crate::support::cluster::{Cluster, Options, Pair, shared, unique};
use crate::support::everything::COMPACTED;
use crate::support::failure::Context;
use crate::support::hand_made::{self, Batch};
use crate::support::ledger::{self, Isolation, Ledger};
use crate::support::mirroring::Mirroring;
use crate::support::process::Kmirror;
use crate::support::records::{Generator, Record, Writing, produce};
use crate::support::transactions::{End, Transactions};
use crate::support::{Outcome, tampering, wait_for};

/// A hang limit, not a measure.
const LIMIT: Duration = Duration::from_secs(90);

fn write(cluster: &Cluster, topic: &str, seed: u64, count: usize) -> Outcome {
    produce(&cluster.bootstrap(), topic, 0, Generator::new(seed).take(count), &Writing::default()).map(drop)
}

fn end_of(cluster: &Cluster, topic: &str) -> Outcome<i64> {
    cluster.client().offset_at(topic, 0, -1)
}

fn wait_until_said(mirror: &mut Kmirror, words: &[&str]) -> Outcome {
    let what = format!("the mirror says {words:?}");
    let waited = wait_for(&what, LIMIT, || {
        let said = mirror.stderr();
        Ok(said.lines().any(|line| words.iter().all(|word| line.contains(word))).then_some(()))
    });
    waited.context(mirror.stderr())
}

/// Large ones, so that a quota is passed by one batch of them.
fn large(seed: u64) -> Vec<Record> {
    Generator::new(seed).value_size(5_000..5_001).take(20).collect()
}

/// Writes a target log of 100 records under the mirror's own producer id, which are nobody's: as what was copied before the source
/// was restored from an older copy.
fn write_as_mirror(pair: &Pair, mirror: &str, topic: &str) -> Outcome {
    let first = format!("{mirror}.first");
    pair.source.create_topic(&first, 1, &[])?;
    write(&pair.source, &first, 1, 10)?;
    Mirroring::of(&pair.source, &pair.target, mirror, &first).catch_up()?;
    let producers = pair.target.client().producers(&first, 0)?;
    let producer_id = producers.first().map(|state| state.producer_id.0).unwrap_or_default();
    pair.target.create_topic(topic, 1, &[])?;
    for (seed, sequence) in (100..105).zip((0..).step_by(20)) {
        let batch = Batch { producer: (producer_id, 0, sequence), ..Batch::of(large(seed)) };
        hand_made::produce(&pair.target.client(), topic, 0, batch.encode())?;
    }
    Ok(())
}

#[test]
fn logs_that_differ_are_not_appended_to_while_a_quota_of_the_source_answers_the_comparison() -> Outcome {
    let pair = shared()?;
    let name = unique("quota");
    let topic = format!("{name}.differs");
    write_as_mirror(pair, &name, &topic)?;
    pair.source.create_topic(&topic, 1, &[])?;
    for seed in 0..6 {
        produce(&pair.source.bootstrap(), &topic, 0, large(seed), &Writing::default())?;
    }
    let client = pair.source.client();
    // One look at a batch is more than is allowed in ten seconds: every answer comes without a record.
    client.limit_reader(&name, Some(9_000.0))?;
    let mirroring = Mirroring::of(&pair.source, &pair.target, &name, &topic).set(&format!("source.client.id={name}"));
    let mut mirror = mirroring.command("run", &["--until-caught-up"])?;
    wait_until_said(&mut mirror, &["partition waits", "consumer_byte_rate"])?;
    assert_eq!((end_of(&pair.target, &topic)?, mirror.exited()?), (100, None), "{}", mirror.stderr());
    client.limit_reader(&name, None)?;
    let code = mirror.wait(LIMIT)?.code();
    assert_eq!((code, end_of(&pair.target, &topic)?), (Some(5), 100), "{}", mirror.stderr());
    let said = mirror.stderr();
    assert!(said.contains("kind=\"diverged\"") && said.contains("from offset 0 on the target's records"), "{said}");
    Ok(())
}

#[test]
fn a_foreign_log_that_ends_in_a_marker_is_refused_like_any_other() -> Outcome {
    let pair = shared()?;
    let topic = unique("committed");
    for cluster in [&pair.source, &pair.target] {
        cluster.create_topic(&topic, 1, &[])?;
    }
    write(&pair.source, &topic, 1, 100)?;
    pair.source.client().delete_records(&topic, 0, 50)?;
    let writer = Transactions::open(&pair.target.bootstrap(), &Writing::default())?;
    writer.write(&topic, 0, Generator::new(2).take(9), End::Commit)?;
    let (mirror, code) = Mirroring::pair(pair, &topic).finish()?;
    let said = mirror.stderr();
    assert_eq!((code, end_of(&pair.target, &topic)?), (5, 10), "nothing is written behind them: {said}");
    assert!(
        said.contains("kind=\"target_conflict\"") && said.contains("the target partition has another writer"),
        "{said}"
    );
    assert!(!said.contains("on.data.loss"), "{said}");
    Ok(())
}

#[test]
fn a_copy_that_ends_in_a_marker_is_not_adopted_when_the_internal_topic_is_lost() -> Outcome {
    let pair = shared()?;
    let topic = unique("orphaned");
    pair.source.create_topic(&topic, 1, &[])?;
    let writer = Transactions::open(&pair.source.bootstrap(), &Writing::default())?;
    writer.write(&topic, 0, Generator::new(3).take(10), End::Commit)?;
    Mirroring::pair(pair, &topic).catch_up()?;
    assert_eq!(end_of(&pair.target, &topic)?, 11);
    let internal = format!("kmirror.{topic}.internal");
    pair.target.client().delete_topic(&internal)?;
    wait_for("the internal topic is gone", LIMIT, || {
        Ok((!pair.target.client().topics()?.contains(&internal)).then_some(()))
    })?;
    writer.write(&topic, 0, Generator::new(4).take(10), End::Commit)?;
    let (mirror, code) = Mirroring::pair(pair, &topic).finish()?;
    assert_eq!((code, end_of(&pair.target, &topic)?), (5, 11), "{}", mirror.stderr());
    assert!(mirror.stderr().contains("kind=\"target_conflict\""), "{}", mirror.stderr());
    Ok(())
}

#[test]
fn logs_that_differ_are_told_apart_though_the_source_has_compacted_the_last_record_away() -> Outcome {
    let pair = shared()?;
    let name = unique("thinned");
    let topic = format!("{name}.differs");
    write_as_mirror(pair, &name, &topic)?;
    pair.source.create_topic(&topic, 1, &COMPACTED)?;
    let keyed = |key: String, day: i64| Record {
        key: Some(key.into_bytes()),
        value: Some(b"the source's".to_vec()),
        headers: Vec::new(),
        timestamp: 4_000_000_000_000 + day * 86_400_000,
    };
    // The last forty of the first hundred come again.
    let once = (0..60).map(|key| keyed(format!("once-{key}"), 0));
    let twice = (0..80).map(|key| keyed(format!("twice-{}", key % 40), 0));
    produce(&pair.source.bootstrap(), &topic, 0, once.chain(twice), &Writing::default())?;
    let mut day = 0;
    wait_for("the source's record 99 is compacted away", LIMIT, || {
        day += 1;
        produce(&pair.source.bootstrap(), &topic, 0, [keyed("closing".to_owned(), day)], &Writing::default())?;
        std::thread::sleep(Duration::from_millis(500));
        let ledger = Ledger::read(&pair.source.bootstrap(), &topic, Isolation::ReadUncommitted)?;
        let offsets: Vec<i64> = ledger.partitions[&0].records.iter().map(|(offset, _)| *offset).collect();
        Ok((offsets.contains(&59) && !offsets.contains(&99)).then_some(()))
    })?;
    let (mirror, code) = Mirroring::of(&pair.source, &pair.target, &name, &topic).finish()?;
    assert_eq!((code, end_of(&pair.target, &topic)?), (5, 100), "{}", mirror.stderr());
    assert!(mirror.stderr().contains("kind=\"diverged\""), "{}", mirror.stderr());
    Ok(())
}

#[test]
fn answers_without_records_at_once_are_no_evidence_and_keep_nobody_busy() -> Outcome {
    let (source, target) = (Cluster::start(Options::default().proxied())?, &shared()?.target);
    let topic = unique("emptied");
    source.create_topic(&topic, 2, &[])?;
    for partition in 0..2 {
        produce(&source.direct(), &topic, partition, Generator::new(1).take(100), &Writing::default())?;
    }
    let emptied = Arc::new(AtomicUsize::new(0));
    let count = emptied.clone();
    source.proxy(1).edit(Some(tampering::fetch_answers(move |_, _, records| {
        count.fetch_add(1, Ordering::Relaxed);
        records.clear();
        true
    })));
    let mirroring = Mirroring::of(&source, target, &topic, &topic);
    let mut mirror = mirroring.command("run", &["--until-caught-up"])?;
    for partition in ["partition=0", "partition=1"] {
        wait_until_said(&mut mirror, &["partition waits", partition, "gives nothing from offset 0 on"])?;
    }
    let before = emptied.load(Ordering::Relaxed);
    std::thread::sleep(Duration::from_secs(2));
    let answers = emptied.load(Ordering::Relaxed) - before;
    // A busy loop has thousands.
    assert!(answers < 100, "{answers} answers in two seconds");
    let ends: Vec<i64> = target.client().bounds(&topic)?.values().map(|bounds| bounds.end).collect();
    assert_eq!((mirror.exited()?, ends), (None, vec![0, 0]), "{}", mirror.stderr());
    source.proxy(1).edit(None);
    source.proxy(1).cut();
    assert_eq!(mirror.wait(LIMIT)?.code(), Some(0), "{}", mirror.stderr());
    ledger::expect_identical(&source.direct(), &target.bootstrap(), &topic, 200).map(drop)
}
