//! Topics on real brokers: many at once, the brokers' own, names that collide, and a target with fewer brokers.
//! What appears later, grows or goes away is in `mirror.rs`.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use kafka_protocol::messages::create_topics_request::{CreatableTopic, CreateTopicsRequest};
use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsRequest, ListOffsetsTopic};
use kafka_protocol::messages::produce_request::{PartitionProduceData, ProduceRequest, TopicProduceData};

use super::mirror::{configs_of, grow, wait_copied};
use crate::support::cluster::{Cluster, Options, Pair, shared, unique};
use crate::support::late::batch;
use crate::support::mirroring::Mirroring;
use crate::support::raw::{check, topic_name};
use crate::support::records::{Generator, Writing, produce};
use crate::support::{Failure, Outcome, ledger, wait_for};

/// A hang limit, not a measure.
const LIMIT: Duration = Duration::from_secs(150);

fn write(cluster: &Cluster, topic: &str, count: usize) -> Outcome {
    produce(&cluster.bootstrap(), topic, 0, Generator::new(3).take(count), &Writing::default()).map(drop)
}

/// The end of partition 0 of each topic, all in one request to the only broker.
fn ends(cluster: &Cluster, topics: &[String]) -> Outcome<BTreeMap<String, i64>> {
    let partition = ListOffsetsPartition::default().with_current_leader_epoch(-1).with_timestamp(-1);
    let topic = |name: &String| {
        ListOffsetsTopic::default().with_name(topic_name(name)).with_partitions(vec![partition.clone()])
    };
    let request =
        ListOffsetsRequest::default().with_replica_id((-1).into()).with_topics(topics.iter().map(topic).collect());
    let answer = cluster.client().any()?.send(6, &request)?;
    let end = |topic: kafka_protocol::messages::list_offsets_response::ListOffsetsTopicResponse| {
        let found = topic.partitions.first().filter(|found| found.error_code == 0);
        (topic.name.0.to_string(), found.map_or(-1, |found| found.offset))
    };
    Ok(answer.topics.into_iter().map(end).collect())
}

#[test]
fn many_topics_at_once_are_found_and_copied() -> Outcome {
    many_topics(200)
}

#[test]
#[ignore = "long: make nightly"]
fn a_thousand_topics_at_once_are_found_and_copied() -> Outcome {
    many_topics(1000)
}

fn many_topics(count: usize) -> Outcome {
    const RECORDS: i64 = 3;
    let pair = Pair::start(Options::default(), Options::default())?;
    pair.source.create_topic("many.first", 1, &[])?;
    write(&pair.source, "many.first", RECORDS as usize)?;
    let mut mirror = Mirroring::of(&pair.source, &pair.target, "many", r"many\..*").start()?;
    wait_copied(&pair, "many.first")?;

    let topics: Vec<String> = (0..count).map(|number| format!("many.{number}")).collect();
    let new = |name: &String| {
        CreatableTopic::default().with_name(topic_name(name)).with_num_partitions(1).with_replication_factor(1)
    };
    let request = CreateTopicsRequest::default().with_topics(topics.iter().map(new).collect()).with_timeout_ms(25_000);
    for topic in pair.source.client().any()?.send(7, &request)?.topics {
        check(topic.error_code, "cannot create a topic")?;
    }
    // One request: a client would ask for the metadata of all topics first, for a long time.
    let data = PartitionProduceData::default().with_records(Some(batch(RECORDS)?));
    let data = |topic: &String| {
        TopicProduceData::default().with_name(topic_name(topic)).with_partition_data(vec![data.clone()])
    };
    wait_for("all topics take records", LIMIT, || {
        let ends = ends(&pair.source, &topics)?;
        let empty = topics.iter().filter(|topic| ends[*topic] < RECORDS);
        let request =
            ProduceRequest::default().with_acks(-1).with_timeout_ms(20_000).with_topic_data(empty.map(data).collect());
        if !request.topic_data.is_empty() {
            pair.source.client().any()?.send(8, &request)?;
        }
        Ok(request.topic_data.is_empty().then_some(()))
    })?;
    let copied = |ends: &BTreeMap<String, i64>| ends.values().filter(|end| **end == RECORDS).count();
    assert_eq!(copied(&ends(&pair.source, &topics)?), topics.len());
    let started = Instant::now();
    let waited =
        wait_for("all are copied", LIMIT, || Ok((copied(&ends(&pair.target, &topics)?) == topics.len()).then_some(())));
    waited.map_err(|error| {
        let said = mirror.stderr();
        let last: Vec<_> = said.lines().rev().take(20).collect();
        Failure(format!("{error}; {:?}\n{last:#?}", ends(&pair.target, &topics).map(|ends| copied(&ends))))
    })?;
    println!("{} topics {:.1?} after the last record of them", topics.len(), started.elapsed());
    for topic in topics.iter().step_by(count / 2) {
        // A broker that has just got a thousand topics may be without leaders for a moment.
        wait_for("both can be read", LIMIT, || {
            let leaders = [&pair.source, &pair.target].map(|cluster| cluster.leader_of(topic, 0));
            Ok(leaders.iter().all(|leader| matches!(leader, Ok(Some(_)))).then_some(()))
        })?;
        ledger::expect_identical(&pair.source.bootstrap(), &pair.target.bootstrap(), topic, RECORDS as usize)?;
    }
    // Configurations of all of them are followed, too.
    pair.source.client().alter_topic(&topics[count - 1], &[("retention.ms", "123456789")])?;
    wait_for("the last topic's configuration follows", LIMIT, || {
        let configs = configs_of(&pair.target, &topics[count - 1])?;
        Ok((configs.get("retention.ms").map(String::as_str) == Some("123456789")).then_some(()))
    })?;
    let usage = mirror.usage();
    println!("{usage:?}");
    mirror.kill9()
}

#[test]
fn topics_of_the_brokers_and_of_mirrors_are_left_out() -> Outcome {
    let pair = shared()?;
    let name = unique("own");
    let copied = [format!("{name}.orders"), format!("{name}.internals"), format!("_{name}")];
    let left_out = [
        format!("__{name}"),
        format!("{name}.internal"),
        format!("{name}-internal"),
        format!("{name}.replica"),
        format!("kmirror.{name}-other.internal"),
    ];
    for topic in copied.iter().chain(&left_out) {
        pair.source.create_topic(topic, 1, &[])?;
        write(&pair.source, topic, 5)?;
    }
    // The pattern selects them all, and what brokers keep offsets in.
    let pattern = format!("(.*[._])?{name}.*, __consumer.*, __trans.*");
    let mut mirror = Mirroring::of(&pair.source, &pair.target, &name, &pattern).start()?;
    for topic in &copied {
        wait_copied(pair, topic)?;
    }
    let there = pair.target.client().topics()?;
    for topic in &left_out {
        assert!(!there.contains(topic), "{topic}: {}", mirror.stderr());
    }
    assert!(!mirror.stderr().contains("topic '__"), "{}", mirror.stderr());
    mirror.kill9()
}

#[test]
fn a_name_that_collides_on_the_target_is_named_and_goes_on_when_there_is_room() -> Outcome {
    let pair = shared()?;
    let name = unique("collision");
    let [good, dotted, score] = ["good", "a.b", "a_b"].map(|topic| format!("{name}.{topic}"));
    for topic in [&good, &dotted] {
        pair.source.create_topic(topic, 1, &[])?;
        write(&pair.source, topic, 20)?;
    }
    pair.target.create_topic(&score, 1, &[])?;
    let mirroring = Mirroring::of(&pair.source, &pair.target, &name, &format!("{name}\\..*"));
    let plan = mirroring.plan()?;
    let collides = |text: &str| text.contains(&dotted) && text.contains(&format!("existing topic: {score}"));
    let topics = plan["topics"].as_array().into_iter().flatten();
    let refused: Vec<_> = topics.filter(|topic| topic["action"] == "refuse").collect();
    assert!(refused.len() == 1 && collides(&refused[0]["reason"].to_string()), "{plan:#}");
    assert!(!pair.target.client().topics()?.contains(&good), "a plan writes nothing");

    let mut mirror = mirroring.start()?;
    wait_copied(pair, &good)?;
    wait_for("it is named", LIMIT, || Ok(collides(&mirror.stderr()).then_some(())))?;
    assert!(!pair.target.client().topics()?.contains(&dotted));
    pair.target.client().delete_topic(&score)?;
    wait_copied(pair, &dotted)?;
    mirror.kill9()
}

#[test]
fn a_target_with_one_broker_takes_what_three_brokers_hold() -> Outcome {
    // Its brokers want two replicas in sync of topics that do not say otherwise.
    let target = Options::default().property("min.insync.replicas", "2");
    let pair = Pair::start(Options::default().nodes(3), target)?;
    let topics = [("safe", vec![("min.insync.replicas", "2")]), ("plain", vec![]), ("later", vec![])];
    for (topic, configs) in &topics {
        pair.source.create_topic(topic, 1, configs)?;
        write(&pair.source, topic, 20)?;
    }
    // It was made by somebody who did not look.
    pair.target.create_topic("later", 1, &[])?;
    let mirroring = Mirroring::of(&pair.source, &pair.target, "few", "safe,plain,later");
    let plan = mirroring.plan()?;
    let planned =
        |topic: &str| plan["topics"].as_array().into_iter().flatten().find(|one| one["topic"] == topic).cloned();
    let safe = planned("safe").unwrap_or_default();
    assert_eq!((&safe["replication_factor"], &safe["replication_factor_wanted"]), (&1.into(), &3.into()), "{plan:#}");

    for _ in 0..2 {
        let report = mirroring.report()?;
        for (topic, _) in &topics {
            assert_eq!(pair.target.client().bounds(topic)?[&0].end, 20, "{topic}");
            assert_eq!(
                configs_of(&pair.target, topic)?.get("min.insync.replicas").map(String::as_str),
                Some("1"),
                "{topic}"
            );
            let troubles = report["status"]["troubles"].as_array().cloned().unwrap_or_default();
            let named = |trouble: &serde_json::Value| {
                trouble["name"] == *topic && trouble["message"].to_string().contains("1 of 3 replicas")
            };
            assert!(troubles.iter().any(named), "{troubles:#?}");
        }
    }
    // Removed at the source: the brokers' own minimum would stop it.
    pair.source.client().change_topic("safe", &[("min.insync.replicas", None)])?;
    mirroring.catch_up()?;
    assert_eq!(configs_of(&pair.target, "safe")?.get("min.insync.replicas").map(String::as_str), Some("1"));

    // A topic that is created while nothing is kept in step lives as well.
    pair.source.create_topic("unsynced", 1, &[])?;
    write(&pair.source, "unsynced", 20)?;
    let run =
        Mirroring::of(&pair.source, &pair.target, "few", "unsynced").set("sync.topic.configs=false").catch_up()?;
    assert!(run.stderr().contains("the target has fewer brokers than replicas are wanted"), "{}", run.stderr());
    assert_eq!(pair.target.client().bounds("unsynced")?[&0].end, 20);
    Ok(())
}

#[test]
fn a_topic_that_grew_while_no_mirror_ran_grows_with_the_next() -> Outcome {
    let pair = shared()?;
    let topic = unique("grown");
    pair.source.create_topic(&topic, 1, &[])?;
    write(&pair.source, &topic, 20)?;
    let mirroring = Mirroring::pair(pair, &topic);
    mirroring.catch_up()?;
    grow(&pair.source, &topic, 3)?;
    produce(&pair.source.bootstrap(), &topic, 2, Generator::new(4).take(30), &Writing::default())?;
    let plan = mirroring.plan()?;
    assert_eq!(plan["topics"][0]["action"], "grow", "{plan:#}");
    mirroring.catch_up()?;
    assert_eq!(pair.source.client().bounds(&topic)?, pair.target.client().bounds(&topic)?);
    ledger::expect_identical(&pair.source.bootstrap(), &pair.target.bootstrap(), &topic, 50).map(drop)
}

/// Records are copied right, and keys are spread differently by producers that are moved.
#[test]
fn a_copy_with_more_partitions_is_told() -> Outcome {
    let pair = shared()?;
    let topic = unique("wider");
    pair.source.create_topic(&topic, 3, &[])?;
    pair.target.create_topic(&topic, 6, &[])?;
    let told = format!("topic '{topic}' has 6 partitions on the target and 3 at the source");
    let mirroring = Mirroring::pair(pair, &topic);
    let plan = mirroring.plan()?;
    assert!(plan["topics"][0]["warning"].as_str().is_some_and(|warning| warning.starts_with(&told)), "{plan}");
    let (code, check) = mirroring.document("check", &[])?;
    let warns = |line: &serde_json::Value| line["outcome"] == "warning" && line["message"].to_string().contains(&told);
    assert!(code == 0 && check["lines"].as_array().is_some_and(|lines| lines.iter().any(warns)), "{check}");
    let report = mirroring.report()?;
    let troubles = report["status"]["troubles"].as_array().cloned().unwrap_or_default();
    let is_told =
        |trouble: &&serde_json::Value| trouble["subject"] == "topic" && trouble["message"].to_string().contains(&told);
    assert_eq!(troubles.iter().filter(is_told).count(), 1, "{report}");
    // As many on both sides are no news, also where the source has grown.
    grow(&pair.source, &topic, 6)?;
    let report = mirroring.report()?;
    assert_eq!(report["status"]["troubles"], serde_json::json!([]), "{report}");
    assert_eq!(mirroring.plan()?["topics"][0]["warning"], serde_json::Value::Null);
    Ok(())
}
