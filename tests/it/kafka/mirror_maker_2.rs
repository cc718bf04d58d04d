//! What MirrorMaker 2 does, done by kmirror between real brokers: topics under other names, and files of its kind.
//!
//! Both sides are read back by librdkafka and compared record by record, each under its own name.

use serde_json::Value;

use crate::support::cluster::{Cluster, Pair, shared, unique};
use crate::support::hand_made::write_markers;
use crate::support::late::advance;
use crate::support::ledger::{self, Isolation, Ledger};
use crate::support::mirroring::Mirroring;
use crate::support::process::Kmirror;
use crate::support::records::{Generator, Writing, produce};
use crate::support::{Outcome, fail};

const LIMIT: std::time::Duration = std::time::Duration::from_secs(120);

fn write(cluster: &Cluster, topic: &str, partition: i32, count: usize) -> Outcome {
    produce(&cluster.direct(), topic, partition, Generator::new(5).take(count), &Writing::default()).map(drop)
}

/// The same partitions, bounds, and records at every offset, under these names.
fn expect_copy((source, topic): (&Cluster, &str), (target, copy): (&Cluster, &str), least: usize) -> Outcome {
    for isolation in [Isolation::ReadUncommitted, Isolation::ReadCommitted] {
        let (ours, theirs) =
            (Ledger::read(&source.direct(), topic, isolation)?, Ledger::read(&target.direct(), copy, isolation)?);
        ledger::compare(&ours, &theirs).expect_identical(least)?;
    }
    Ok(())
}

/// What `kmirror verify` says, as JSON.
fn verified(arguments: &[&str]) -> Outcome<Value> {
    let mut kmirror = Kmirror::start(["verify", "--json"].iter().chain(arguments))?;
    let code = kmirror.wait(LIMIT)?.code();
    match serde_json::from_str(&kmirror.stdout()) {
        Ok(document) => Ok(document),
        Err(_) => fail(format!("kmirror verify ended with {code:?}:\n{}", kmirror.stderr())),
    }
}

/// Partitions with records, with a late start, and with holes that are filled: each of these talks to the target in its own way.
fn fill(pair: &Pair, topic: &str) -> Outcome {
    pair.source.create_topic(topic, 3, &[])?;
    write(&pair.source, topic, 0, 300)?;
    advance(&pair.source, topic, 1, 1234)?;
    write(&pair.source, topic, 1, 100)?;
    write_markers(&pair.source.client(), topic, 2, 1 << 40, 20)?;
    write(&pair.source, topic, 2, 100)?;
    write_markers(&pair.source.client(), topic, 2, 1 << 40, 20)?;
    Ok(())
}

#[test]
fn a_topic_under_the_alias_of_its_source_has_the_same_offsets() -> Outcome {
    let pair = shared()?;
    let topic = unique("renamed");
    let (copy, back) = (format!("east.{topic}"), format!("west.{topic}"));
    fill(pair, &topic)?;
    // Came from the target, and must not go back.
    pair.source.create_topic(&back, 1, &[])?;
    write(&pair.source, &back, 0, 10)?;
    let mirroring = Mirroring::of(&pair.source, &pair.target, &topic, &format!(".*{topic}"))
        .set("replication.policy=default")
        .set("source.cluster.alias=east")
        .set("target.cluster.alias=west");
    let plan = mirroring.plan()?;
    assert_eq!(plan["topics"].as_array().map(Vec::len), Some(1), "{plan}");
    assert_eq!(
        (&plan["topics"][0]["topic"], &plan["topics"][0]["target_topic"]),
        (&topic.clone().into(), &copy.clone().into())
    );

    let report = mirroring.report()?;
    let shown = &report["status"]["topics"][0];
    assert_eq!((&shown["topic"], &shown["target_topic"]), (&topic.clone().into(), &copy.clone().into()), "{report}");
    expect_copy((&pair.source, &topic), (&pair.target, &copy), 500)?;
    let there = pair.target.client().topics()?;
    let of_test: Vec<&String> = there.iter().filter(|name| name.ends_with(&topic)).collect();
    assert_eq!(of_test, [&copy], "nothing else is made on the target");

    // A restart goes on where it was.
    write(&pair.source, &topic, 1, 50)?;
    write_markers(&pair.source.client(), &topic, 2, 1 << 40, 5)?;
    write(&pair.source, &topic, 2, 50)?;
    assert_eq!(mirroring.report()?["status"]["replicated_records"], 100);
    expect_copy((&pair.source, &topic), (&pair.target, &copy), 600)?;

    let (source, target) = (
        format!("source.bootstrap.servers={}", pair.source.direct()),
        format!("target.bootstrap.servers={}", pair.target.direct()),
    );
    let (topics, policy) = (format!("topics={topic}"), "replication.policy=default");
    let arguments =
        ["--set", &source, "--set", &target, "--set", &topics, "--set", policy, "--set", "source.cluster.alias=east"];
    let report = verified(&arguments)?;
    assert_eq!(
        (&report["outcome"], &report["report"]["records_compared"]),
        (&"identical".into(), &600.into()),
        "{report}"
    );
    write(&pair.target, &copy, 0, 1)?;
    assert_eq!(verified(&arguments)?["outcome"], "different", "the copy is what is compared");
    Ok(())
}
