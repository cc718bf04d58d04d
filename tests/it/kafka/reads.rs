//! What a mirror makes of logs that it cannot read at the moment, and of those of somebody else that look like its own: what is not
//! known is asked for again, and nothing is appended meanwhile.

use std::time::Duration;

use crate::support::cluster::{Cluster, Pair, shared, unique};
use crate::support::failure::Context;
use crate::support::hand_made::{self, Batch};
use crate::support::mirroring::Mirroring;
use crate::support::process::Kmirror;
use crate::support::records::{Generator, Record, Writing, produce};
use crate::support::transactions::{End, Transactions};
use crate::support::{Outcome, wait_for};

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

/// A target log of 100 records that the mirror wrote, and that are not the source's: as after the source was restored from an older
/// copy. The mirror and the topic have one name.
fn diverged(pair: &Pair, mirror: &str, topic: &str) -> Outcome {
    let first = format!("{mirror}.first");
    pair.source.create_topic(&first, 1, &[])?;
    write(&pair.source, &first, 1, 10)?;
    Mirroring::of(&pair.source, &pair.target, mirror, &first).catch_up()?;
    let producers = pair.target.client().producers(&first, 0)?;
    let producer_id = producers.first().map(|state| state.producer_id.0).unwrap_or_default();
    for cluster in [&pair.source, &pair.target] {
        cluster.create_topic(topic, 1, &[])?;
    }
    // Large ones, so that a quota is passed by one of them.
    let records = |seed| -> Vec<Record> { Generator::new(seed).value_size(5_000..5_001).take(20).collect() };
    for (seed, sequence) in (0..5).zip((0..).step_by(20)) {
        let batch = Batch { producer: (producer_id, 0, sequence), ..Batch::of(records(100 + seed)) };
        hand_made::produce(&pair.target.client(), topic, 0, batch.encode())?;
    }
    for seed in 0..6 {
        produce(&pair.source.bootstrap(), topic, 0, records(seed), &Writing::default())?;
    }
    Ok(())
}

#[test]
fn logs_that_differ_are_not_appended_to_while_a_quota_of_the_source_answers_the_comparison() -> Outcome {
    let pair = shared()?;
    let name = unique("quota");
    let topic = format!("{name}.differs");
    diverged(pair, &name, &topic)?;
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
