//! What a mirror does with topics on real brokers: copies them at the same offsets, finds new ones, refuses what it must.
//!
//! Every comparison is made by librdkafka through the ledger: key, value, headers, timestamp and offset of every record.

use std::collections::BTreeMap;
use std::time::Duration;

use nix::sys::signal::Signal;
use rdkafka::ClientConfig;
use rdkafka::admin::{
    AdminClient, AdminOptions, ConfigSource, NewPartitions, OwnedResourceSpecifier, ResourceSpecifier,
};
use rdkafka::client::DefaultClientContext;

use crate::support::cluster::{Cluster, Options, Pair, Version, shared, unique};
use crate::support::mirroring::Mirroring;
use crate::support::records::{Generator, Record, Writing, produce};
use crate::support::{Outcome, ledger, wait_for};

const CODECS: [&str; 5] = ["none", "gzip", "snappy", "lz4", "zstd"];
/// A hang limit, not a measure.
const LIMIT: Duration = Duration::from_secs(90);

fn write(cluster: &Cluster, topic: &str, partition: i32, count: usize, writing: &Writing) -> Outcome {
    produce(&cluster.bootstrap(), topic, partition, Generator::new(7).take(count), writing).map(drop)
}

fn expect_identical(pair: &Pair, topic: &str, least: usize) -> Outcome {
    ledger::expect_identical(&pair.source.bootstrap(), &pair.target.bootstrap(), topic, least).map(drop)
}

#[test]
fn every_codec_is_identical_from_either_release_to_the_other() -> Outcome {
    let previous = || Options::default().version(Version::Previous);
    let pairs = [Pair::start(Options::default(), previous())?, Pair::start(previous(), Options::default())?];
    for pair in &pairs {
        let topic = "orders";
        pair.source.create_topic(topic, 5, &[])?;
        for (partition, codec) in (0..).zip(CODECS) {
            for idempotent in [true, false] {
                write(&pair.source, topic, partition, 700, &Writing { idempotent, ..Writing::codec(codec) })?;
            }
        }
        Mirroring::pair(pair, topic).catch_up()?;
        expect_identical(pair, topic, 7000)?;
        // The log is the only memory: a second run has nothing to do, and does nothing.
        Mirroring::pair(pair, topic).catch_up()?;
        expect_identical(pair, topic, 7000)?;
    }
    Ok(())
}

#[test]
fn topics_and_partitions_that_appear_later_are_found() -> Outcome {
    let pair = shared()?;
    let name = unique("later");
    let (first, second) = (format!("{name}.first"), format!("{name}.second"));
    pair.source.create_topic(&first, 1, &[])?;
    write(&pair.source, &first, 0, 100, &Writing::default())?;
    let mirroring = Mirroring::of(&pair.source, &pair.target, &name, &format!("{name}\\..*"));
    let mut mirror = mirroring.start()?;
    wait_copied(pair, &first)?;

    pair.source.create_topic(&second, 2, &[])?;
    write(&pair.source, &second, 1, 100, &Writing::default())?;
    wait_copied(pair, &second)?;

    grow(&pair.source, &first, 3)?;
    write(&pair.source, &first, 2, 100, &Writing::default())?;
    wait_copied(pair, &first)?;

    mirror.signal(Signal::SIGTERM)?;
    assert_eq!(mirror.wait(LIMIT)?.code(), Some(143), "{}", mirror.stderr());
    expect_identical(pair, &first, 200)?;
    expect_identical(pair, &second, 100)
}

/// Adds partitions to a topic, up to this number.
pub(super) fn grow(cluster: &Cluster, topic: &str, partitions: usize) -> Outcome {
    let admin: AdminClient<DefaultClientContext> =
        ClientConfig::new().set("bootstrap.servers", cluster.bootstrap()).create()?;
    block_on(admin.create_partitions(&[NewPartitions::new(topic, partitions)], &AdminOptions::new()))?;
    wait_for("the new partitions have leaders", LIMIT, || {
        let there = cluster.client().partitions(topic);
        Ok(there.is_ok_and(|there| there.len() == partitions && there.iter().all(|one| one.leader >= 0)).then_some(()))
    })
}

/// Waits until the target has as many partitions, each with the source's end.
pub(super) fn wait_copied(pair: &Pair, topic: &str) -> Outcome {
    wait_copied_between(&pair.source, &pair.target, topic)
}

pub(super) fn wait_copied_between(source: &Cluster, target: &Cluster, topic: &str) -> Outcome {
    let ends = |cluster: &Cluster| -> Outcome<BTreeMap<i32, i64>> {
        Ok(cluster.client().bounds(topic)?.into_iter().map(|(partition, bounds)| (partition, bounds.end)).collect())
    };
    let wanted = ends(source)?;
    wait_for(&format!("{topic} is copied"), LIMIT, || Ok(ends(target).is_ok_and(|ends| ends == wanted).then_some(())))
}

#[test]
fn a_topic_is_created_with_the_partitions_and_the_configuration_of_the_source() -> Outcome {
    let pair = shared()?;
    let topic = unique("configured");
    let configs = [("cleanup.policy", "compact"), ("max.message.bytes", "2000000"), ("min.insync.replicas", "3")];
    pair.source.create_topic(&topic, 3, &configs)?;
    Mirroring::pair(pair, &topic).set("topic.configs.override=retention.ms=123456").catch_up()?;
    assert_eq!(pair.target.client().partitions(&topic)?.len(), 3);
    let copied = configs_of(&pair.target, &topic)?;
    let value = |key: &str| copied.get(key).map(String::as_str);
    assert_eq!(value("cleanup.policy"), Some("compact"));
    assert_eq!(value("max.message.bytes"), Some("2000000"));
    assert_eq!(value("retention.ms"), Some("123456"));
    assert_eq!(value("min.insync.replicas"), Some("1"), "more than all replicas would make a dead topic");
    assert_eq!(value("segment.bytes"), None, "what is default at the source stays default at the target");
    Ok(())
}

/// What was set on the topic itself.
pub(super) fn configs_of(cluster: &Cluster, topic: &str) -> Outcome<BTreeMap<String, String>> {
    Ok(configs_of_all(cluster, &[topic.to_owned()])?.remove(topic).unwrap_or_default())
}

/// What was set on topics themselves, by topic.
pub(super) fn configs_of_all(
    cluster: &Cluster,
    topics: &[String],
) -> Outcome<BTreeMap<String, BTreeMap<String, String>>> {
    let admin: AdminClient<DefaultClientContext> =
        ClientConfig::new().set("bootstrap.servers", cluster.bootstrap()).create()?;
    let topics: Vec<_> = topics.iter().map(|topic| ResourceSpecifier::Topic(topic)).collect();
    let described = block_on(admin.describe_configs(&topics, &AdminOptions::new()))?;
    let mut configs = BTreeMap::new();
    for resource in described {
        let resource = resource.map_err(|code| crate::support::Failure(code.to_string()))?;
        let OwnedResourceSpecifier::Topic(topic) = resource.specifier else { continue };
        let own = resource.entries.into_iter().filter(|entry| entry.source == ConfigSource::DynamicTopic);
        configs.insert(topic, own.map(|entry| (entry.name, entry.value.unwrap_or_default())).collect());
    }
    Ok(configs)
}

fn block_on<T, E: Into<Box<dyn std::error::Error>>>(future: impl Future<Output = Result<T, E>>) -> Outcome<T> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(future).map_err(|error| crate::support::Failure(error.into().to_string()))
}

#[test]
fn a_topic_that_cannot_be_mirrored_is_refused_and_the_others_go_on() -> Outcome {
    let pair = shared()?;
    let name = unique("refused");
    let [good, foreign, narrow] = ["good", "foreign", "narrow"].map(|topic| format!("{name}.{topic}"));
    for topic in [&good, &foreign, &narrow] {
        pair.source.create_topic(topic, 2, &[])?;
        write(&pair.source, topic, 0, 50, &Writing::default())?;
    }
    pair.target.create_topic(&foreign, 2, &[])?;
    write(&pair.target, &foreign, 0, 20, &Writing::default())?;
    pair.target.create_topic(&narrow, 1, &[])?;

    let (mirror, code) = Mirroring::of(&pair.source, &pair.target, &name, &format!("{name}\\..*")).finish()?;
    let said = mirror.stderr();
    assert_eq!(code, 5, "{said}");
    expect_identical(pair, &good, 50)?;
    assert_eq!(pair.target.client().bounds(&foreign)?[&0].end, 20, "nothing is mixed into a foreign log");
    assert_eq!(pair.target.client().bounds(&narrow)?[&0].end, 0);
    assert!(
        said.contains(&format!("topic '{foreign}' partition 0: the target partition has another writer")),
        "{said}"
    );
    assert!(said.contains(&format!("topic '{narrow}' has 1 partitions on the target and 2 on the source")), "{said}");
    Ok(())
}

#[test]
fn records_that_the_source_lost_before_they_were_copied_are_told_with_their_range() -> Outcome {
    let pair = shared()?;
    let topic = unique("lost");
    pair.source.create_topic(&topic, 1, &[])?;
    write(&pair.source, &topic, 0, 40, &Writing::default())?;
    Mirroring::pair(pair, &topic).catch_up()?;
    write(&pair.source, &topic, 0, 40, &Writing::default())?;
    pair.source.client().delete_records(&topic, 0, 60)?;
    let (mirror, code) = Mirroring::pair(pair, &topic).finish()?;
    assert_eq!(code, 5, "{}", mirror.stderr());
    assert!(
        mirror.stderr().contains("source offsets 40 to 59 were removed before they were replicated"),
        "{}",
        mirror.stderr()
    );
    assert_eq!(pair.target.client().bounds(&topic)?[&0].end, 40);
    Ok(())
}

#[test]
fn a_topic_that_was_created_anew_is_not_appended_to_its_old_copy() -> Outcome {
    let pair = shared()?;
    let topic = unique("reset");
    pair.source.create_topic(&topic, 1, &[])?;
    write(&pair.source, &topic, 0, 40, &Writing::default())?;
    let mut mirror = Mirroring::pair(pair, &topic).start()?;
    wait_copied(pair, &topic)?;
    pair.source.client().delete_topic(&topic)?;
    wait_for("the topic is gone", LIMIT, || Ok((!pair.source.client().topics()?.contains(&topic)).then_some(())))?;
    pair.source.create_topic(&topic, 1, &[])?;
    write(&pair.source, &topic, 0, 100, &Writing::default())?;
    let status = mirror.wait(LIMIT)?;
    assert_eq!(status.code(), Some(5), "the only topic is parked: {}", mirror.stderr());
    assert_eq!(pair.target.client().bounds(&topic)?[&0].end, 40, "{}", mirror.stderr());
    Ok(())
}

#[test]
fn a_deleted_topic_stays_on_the_target_and_the_others_go_on() -> Outcome {
    let pair = shared()?;
    let name = unique("deleted");
    let [deleted, other] = ["deleted", "other"].map(|topic| format!("{name}.{topic}"));
    for topic in [&deleted, &other] {
        pair.source.create_topic(topic, 1, &[])?;
        write(&pair.source, topic, 0, 40, &Writing::default())?;
    }
    let mut mirror = Mirroring::of(&pair.source, &pair.target, &name, &format!("{name}\\..*")).start()?;
    wait_copied(pair, &deleted)?;
    pair.source.client().delete_topic(&deleted)?;
    wait_for("the mirror tells of it", LIMIT, || {
        Ok(mirror.stderr().contains(&format!("topic '{deleted}' is gone at the source")).then_some(()))
    })?;
    write(&pair.source, &other, 0, 40, &Writing::default())?;
    wait_copied(pair, &other)?;
    assert_eq!(pair.target.client().bounds(&deleted)?[&0].end, 40);
    mirror.kill9()
}

#[test]
fn a_slow_target_slows_the_fetches_and_memory_stays_bounded() -> Outcome {
    const BUFFER: u64 = 4 << 20;
    const DATA: usize = 30 << 20;
    let pair = Pair::start(Options::default(), Options::default().proxied())?;
    let topic = "slow";
    pair.source.create_topic(topic, 2, &[])?;
    let record = |number: usize| Record {
        key: Some(number.to_be_bytes().to_vec()),
        value: Some(vec![number as u8; 10_000]),
        headers: Vec::new(),
        timestamp: 1_700_000_000_000,
    };
    for partition in 0..2 {
        produce(&pair.source.bootstrap(), topic, partition, (0..DATA / 20_000).map(record), &Writing::default())?;
    }
    pair.target.proxy(1).limit(Some(6 << 20));
    let mut mirror = Mirroring::pair(&pair, topic).set(&format!("buffer.memory={BUFFER}")).catch_up()?;
    let peak = mirror.usage().peak_kib * 1024;
    assert!(peak < (64 << 20), "{peak} bytes at the most, with {BUFFER} of buffer.memory and {DATA} to copy");
    // Without backpressure all of the data would have been in memory.
    assert!(peak < DATA as u64 + (12 << 20), "{peak} bytes: the fetches did not wait for the target");
    pair.target.proxy(1).limit(None);
    expect_identical(&pair, topic, 2 * (DATA / 20_000))
}
