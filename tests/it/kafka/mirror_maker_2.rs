//! What MirrorMaker 2 does, done by kmirror between real brokers: topics under other names, and files of its kind.
//!
//! Both sides are read back by librdkafka and compared record by record, each under its own name.

mod tools;

use serde_json::Value;

use super::mirror::configs_of;
use crate::support::cluster::{Cluster, Pair, shared, unique};
use crate::support::groups;
use crate::support::hand_made::write_markers;
use crate::support::late::advance;
use crate::support::ledger::{self, Isolation, Ledger};
use crate::support::mirroring::Mirroring;
use crate::support::process::Kmirror;
use crate::support::records::{Generator, Writing, produce};
use crate::support::{Outcome, fail, wait_for};

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
    groups::commit(&pair.source, &topic, &[(&topic, 0, 17), (&topic, 1, 1300)])?;
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

    let of_group = |partition| groups::offset(&pair.target, &topic, &copy, partition);
    assert_eq!((of_group(0)?, of_group(1)?), (Some(17), Some(1300)), "offsets of groups go with the copy");
    assert_eq!(groups::offset(&pair.target, &topic, &topic, 0)?, None);

    // A restart goes on where it was, with records, offsets of groups and settings.
    groups::commit(&pair.source, &topic, &[(&topic, 0, 20)])?;
    pair.source.client().alter_topic(&topic, &[("retention.ms", "864000000000")])?;
    let plan = mirroring.plan()?;
    assert_eq!(plan["configs"][0]["changes"][0]["key"], "retention.ms", "{plan}");
    assert_eq!(plan["groups"][0]["offsets"][0]["to"], 20, "{plan}");
    assert_eq!(plan["missing_permissions"].as_array().map(Vec::len), Some(0), "{plan}");
    write(&pair.source, &topic, 1, 50)?;
    write_markers(&pair.source.client(), &topic, 2, 1 << 40, 5)?;
    write(&pair.source, &topic, 2, 50)?;
    assert_eq!(mirroring.report()?["status"]["replicated_records"], 100);
    assert_eq!(of_group(0)?, Some(20));
    assert_eq!(configs_of(&pair.target, &copy)?.get("retention.ms").map(String::as_str), Some("864000000000"));
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

/// A file of MirrorMaker 2 about the two clusters under these aliases, with more lines.
fn file(pair: &Pair, [source, target]: [&str; 2], lines: &str) -> Outcome<tempfile::NamedTempFile> {
    let file = tempfile::NamedTempFile::new()?;
    let text = format!(
        "clusters = {source}, {target}\n{source}.bootstrap.servers = {}\n{target}.bootstrap.servers = {}\n\
         sync.topic.acls.enabled = false\nrefresh.topics.interval.seconds = 1\nreplication.factor = 1\n{lines}\n",
        pair.source.direct(),
        pair.target.direct()
    );
    std::fs::write(&file, text)?;
    Ok(file)
}

/// Runs a command with the file; the exit code must be this.
fn run(command: &str, file: &tempfile::NamedTempFile, more: &[&str], code: i32) -> Outcome<Kmirror> {
    let path = file.path().display().to_string();
    let mut kmirror = Kmirror::start([command, "--config", &path].iter().chain(more))?;
    match kmirror.wait(LIMIT)?.code() {
        Some(found) if found == code => Ok(kmirror),
        found => fail(format!("kmirror {command} ended with {found:?}:\n{}\n{}", kmirror.stdout(), kmirror.stderr())),
    }
}

fn json(kmirror: &Kmirror) -> Outcome<Value> {
    Ok(serde_json::from_str(&kmirror.stdout())?)
}

fn topics_like(cluster: &Cluster, topic: &str) -> Outcome<Vec<String>> {
    let mut topics = cluster.client().topics()?;
    topics.retain(|name| name.ends_with(topic));
    topics.sort();
    Ok(topics)
}

#[test]
fn a_file_with_both_directions_mirrors_both_and_nothing_echoes() -> Outcome {
    let pair = shared()?;
    let topic = unique("both-ways");
    fill(pair, &topic)?;
    pair.target.create_topic(&topic, 2, &[])?;
    write(&pair.target, &topic, 1, 70)?;
    let lines = format!("topics = .*{topic}\neast->west.enabled = true\nwest->east.enabled = true");
    let file = file(pair, ["east", "west"], &lines)?;

    let plans = json(&run("plan", &file, &["--json"], 0)?)?;
    let copies: Vec<&Value> = [0, 1].iter().map(|flow| &plans[flow]["topics"][0]["target_topic"]).collect();
    assert_eq!(copies, [&Value::from(format!("east.{topic}")), &Value::from(format!("west.{topic}"))], "{plans}");

    let report = json(&run("run", &file, &["--until-caught-up", "--json"], 0)?)?;
    assert_eq!(report["outcome"], "caught_up", "{report}");
    let names: Vec<&Value> = [0, 1].iter().map(|flow| &report["mirrors"][flow]["status"]["name"]).collect();
    assert_eq!(names, ["east-to-west", "west-to-east"]);

    // What comes later is copied by the mirrors while they run, and by the next ones.
    let path = file.path().display().to_string();
    let mut running = Kmirror::start(["run", "--config", &path])?;
    write(&pair.source, &topic, 1, 50)?;
    write(&pair.target, &topic, 0, 50)?;
    wait_for("both copies are complete", LIMIT, || {
        let end = |cluster: &Cluster, topic: &str, partition: i32| cluster.client().offset_at(topic, partition, -1);
        let there = end(&pair.target, &format!("east.{topic}"), 1)? == end(&pair.source, &topic, 1)?;
        Ok((there && end(&pair.source, &format!("west.{topic}"), 0)? == 50).then_some(()))
    })?;
    running.signal(nix::sys::signal::Signal::SIGTERM)?;
    assert_eq!(running.wait(LIMIT)?.code(), Some(143), "{}", running.stderr());
    write(&pair.source, &topic, 2, 50)?;
    run("run", &file, &["--until-caught-up", "--flow", "east->west"], 0)?;

    expect_copy((&pair.source, &topic), (&pair.target, &format!("east.{topic}")), 600)?;
    expect_copy((&pair.target, &topic), (&pair.source, &format!("west.{topic}")), 120)?;
    assert_eq!(topics_like(&pair.source, &topic)?, [topic.clone(), format!("west.{topic}")]);
    assert_eq!(topics_like(&pair.target, &topic)?, [topic.clone(), format!("east.{topic}")]);
    let reports = json(&run("verify", &file, &["--json"], 0)?)?;
    let outcomes: Vec<&Value> = [0, 1].iter().map(|flow| &reports[flow]["outcome"]).collect();
    assert_eq!(outcomes, ["identical", "identical"], "{reports}");
    Ok(())
}

#[test]
fn a_file_with_the_identity_policy_keeps_names() -> Outcome {
    let pair = shared()?;
    let topic = unique("kept-name");
    fill(pair, &topic)?;
    let policy = "org.apache.kafka.connect.mirror.IdentityReplicationPolicy";
    let lines =
        format!("north->south.enabled = true\nnorth->south.topics = {topic}\nreplication.policy.class = {policy}");
    let file = file(pair, ["north", "south"], &lines)?;
    let report = json(&run("run", &file, &["--until-caught-up", "--json"], 0)?)?;
    assert_eq!(report["status"]["topics"][0]["target_topic"], Value::Null, "{report}");
    expect_copy((&pair.source, &topic), (&pair.target, &topic), 500)?;
    run("run", &file, &["--flow", "south->north"], 2)?;
    Ok(())
}
