//! The harness itself on real brokers: what the other tests take for granted is shown here once.
//!
//! Clusters start, on both releases; what is written is read back as it was; brokers die, pause, come back and change
//! leadership; a proxy stands between. Nothing here runs the engine.

use std::net::TcpStream;
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::producer::Producer;

use crate::support::cluster::{Cluster, Options, Pair, Version, shared, unique};
use crate::support::ledger::{self, Isolation, Ledger, Stamps};
use crate::support::proxy::Direction;
use crate::support::records::{Generator, Load, Record, Writer, Writing, produce};
use crate::support::{Outcome, console, wait_for};

const CODECS: [&str; 5] = ["none", "gzip", "snappy", "lz4", "zstd"];

#[test]
fn both_releases_give_back_what_was_written() -> Outcome {
    let [latest, previous] = Cluster::start_all(Version::ALL.map(|version| Options::default().version(version)))?;
    assert_ne!(latest.cluster_id(), previous.cluster_id());
    for cluster in [latest, previous] {
        assert_eq!(cluster.client().cluster_id()?, cluster.cluster_id());
        cluster.create_topic("orders", 5, &[])?;
        let records = |partition: i32| Generator::new(partition.unsigned_abs().into()).take(1_000);
        for (partition, codec) in (0..).zip(CODECS) {
            let writing = Writing::codec(codec);
            let offsets = produce(&cluster.bootstrap(), "orders", partition, records(partition), &writing)?;
            assert_eq!(offsets, (0..1_000).collect::<Vec<_>>());
        }
        let ledger = Ledger::read(&cluster.bootstrap(), "orders", Isolation::ReadCommitted)?;
        for (partition, codec) in (0..).zip(CODECS) {
            let written: Vec<_> = (0..).zip(records(partition).map(|record| record.fingerprint())).collect();
            let same = ledger.partitions[&partition].records == written;
            assert!(same, "{codec}: what was read is not what was written");
        }
        let bounds = cluster.client().bounds("orders")?;
        assert!(bounds.values().all(|bounds| (bounds.start, bounds.end) == (0, 1_000)), "{bounds:?}");
        assert!(cluster.client().producers("orders", 0)?.len() == 1, "one idempotent producer wrote");
        assert_eq!(cluster.client().delete_records("orders", 0, 10)?, 10);
        assert_eq!(cluster.client().bounds("orders")?[&0].start, 10);
    }
    Ok(())
}

#[test]
fn the_shared_pair_is_two_clusters_and_the_ledger_tells_them_apart() -> Outcome {
    let Pair { source, target } = shared()?;
    assert_ne!(source.client().cluster_id()?, target.client().cluster_id()?);
    let topic = unique("twins");
    let mut records: Vec<Record> = Generator::new(5).take(500).collect();
    for cluster in [source, target] {
        cluster.create_topic(&topic, 1, &[])?;
        produce(&cluster.bootstrap(), &topic, 0, records.clone(), &Writing::default())?;
    }
    let (from, to) = (source.bootstrap(), target.bootstrap());
    ledger::wait_caught_up(&from, &to, &topic, Duration::from_secs(30))?;
    assert_eq!(ledger::expect_identical(&from, &to, &topic, 500)?, 500);

    records.truncate(1);
    records[0].value = Some(b"only at the source".to_vec());
    produce(&from, &topic, 0, records, &Writing::default())?;
    let error = ledger::expect_identical(&from, &to, &topic, 500).expect_err("they differ now");
    assert!(error.0.contains("offset 500 is missing at the target"), "{error}");
    Ok(())
}

#[test]
fn the_java_consumer_sees_every_field_of_a_record_and_what_is_missing() -> Outcome {
    let Pair { source, target } = shared()?;
    let topics = [unique("java.one"), unique("java.two")];
    let record = |value: &str| Record {
        key: Some(b"key".to_vec()),
        value: Some(value.as_bytes().to_vec()),
        headers: vec![("header".to_owned(), Some(b"first".to_vec())), ("header".to_owned(), None)],
        timestamp: 1_700_000_000_123,
    };
    for (cluster, topic) in
        [source, target].into_iter().flat_map(|cluster| topics.iter().map(move |topic| (cluster, topic)))
    {
        cluster.create_topic(topic, 1, &[])?;
        produce(&cluster.bootstrap(), topic, 0, [record("one"), record("two")], &Writing::default())?;
    }
    let (isolation, stamps) = (Isolation::ReadCommitted, Stamps::WithType);
    let printed = console::read(source, &topics[..1], isolation, stamps, 2)?.lines;
    let line = |offset: i32, value: &str| {
        format!("CreateTime:1700000000123\tPartition:0\tOffset:{offset}\theader:first,header:<absent>\tkey\t{value}")
    };
    assert_eq!(printed, [line(0, "one"), line(1, "two")]);
    assert_eq!(console::expect_identical(source, target, &topics, isolation, stamps, 4)?, 4);
    produce(&source.bootstrap(), &topics[1], 0, [record("three")], &Writing::default())?;
    let error = console::expect_identical(source, target, &topics, isolation, stamps, 4).expect_err("they differ now");
    assert!(error.0.contains("1 only from the source"), "{error}");
    Ok(())
}

#[test]
fn the_type_of_a_timestamp_is_seen() -> Outcome {
    let Pair { source, .. } = shared()?;
    let topic = unique("stamped");
    source.create_topic(&topic, 1, &[("message.timestamp.type", "LogAppendTime")])?;
    let record = Record { key: None, value: None, headers: Vec::new(), timestamp: 5 };
    produce(&source.bootstrap(), &topic, 0, [record.clone()], &Writing::default())?;
    let ledger = Ledger::read(&source.bootstrap(), &topic, Isolation::ReadUncommitted)?;
    let (_, read) = ledger.partitions[&0].records[0];
    assert_eq!(read.difference(&record.fingerprint()), "timestamp");
    Ok(())
}

#[test]
fn three_brokers_lose_one_and_nothing_acknowledged() -> Outcome {
    let cluster = Cluster::start(Options::default().nodes(3))?;
    cluster.create_topic("orders", 3, &[])?;
    for node in 1..=3 {
        cluster.move_leader("orders", node - 1, node)?;
        assert_eq!(cluster.leader_of("orders", node - 1)?, Some(node));
    }

    let load = Load::start(&cluster.bootstrap(), "orders", 3, 500, 9, &Writing::codec("lz4"))?;
    load.wait_for_more(300)?;
    cluster.kill(1)?;
    wait_for("another broker leads", Duration::from_secs(60), || {
        Ok(cluster.leader_of("orders", 0)?.filter(|leader| *leader != 1))
    })?;
    load.wait_for_more(300)?;
    cluster.restart(1)?;
    cluster.wait_in_sync("orders")?;
    cluster.move_leader("orders", 0, 1)?;
    cluster.pause(2)?;
    wait_for("another broker leads", Duration::from_secs(60), || {
        Ok(cluster.leader_of("orders", 1)?.filter(|leader| *leader != 2))
    })?;
    cluster.resume(2)?;
    cluster.wait_in_sync("orders")?;
    load.wait_for_more(300)?;

    let acknowledged = load.stop()?;
    let ledger = Ledger::read(&cluster.bootstrap(), "orders", Isolation::ReadCommitted)?;
    let all: Vec<_> = acknowledged.values().flatten().collect();
    assert!(all.len() >= 900, "{} records", all.len());
    for record in &all {
        assert!(
            ledger.holds(record.partition, record.offset, record.hash),
            "{record:?} was acknowledged and is not there"
        );
    }
    // The writer is idempotent, so nothing was written twice either.
    assert_eq!(ledger.count(), all.len());
    Ok(())
}

#[test]
fn a_broker_behind_a_proxy_is_spoiled_for_its_clients_only() -> Outcome {
    let cluster = Cluster::start(Options::default().proxied())?;
    cluster.create_topic("orders", 1, &[])?;
    let proxy = cluster.proxy(1);
    let records = || Generator::new(4).take(200);
    produce(&cluster.bootstrap(), "orders", 0, records(), &Writing::default())?;
    let before = proxy.bytes(Direction::ToBroker);
    assert!(before > 1_000, "the records went through the proxy");

    // The producer's connections are cut in the middle of a batch; it comes again and completes it.
    proxy.cut_after(Direction::ToBroker, 5_000);
    produce(&cluster.bootstrap(), "orders", 0, records(), &Writing::default())?;
    proxy.pause();
    produce(&cluster.direct(), "orders", 0, records(), &Writing::default())?;
    proxy.resume();
    assert!(TcpStream::connect(proxy.address()).is_ok());
    let ledger = Ledger::read(&cluster.bootstrap(), "orders", Isolation::ReadUncommitted)?;
    assert_eq!(ledger.count(), 600);
    Ok(())
}

#[test]
fn a_broker_that_does_not_come_up_says_why() {
    let options = Options::default().property("log.segment.bytes", "many");
    let error = Cluster::start(options).err().expect("no broker takes that number");
    assert!(error.0.contains("log.segment.bytes"), "{error}");
}

#[test]
fn aborted_records_show_to_those_who_read_uncommitted_only() -> Outcome {
    let Pair { source, .. } = shared()?;
    let topic = unique("transactions");
    source.create_topic(&topic, 1, &[])?;
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", source.bootstrap()).set("transactional.id", unique("writer"));
    let limit = Duration::from_secs(60);
    let writer = Writer::from_config(&config)?;
    writer.producer().init_transactions(limit)?;
    for commit in [true, false] {
        writer.producer().begin_transaction()?;
        for record in Generator::new(6).take(10) {
            writer.send(&topic, 0, &record)?;
        }
        // An abort throws away what was not sent yet; the records must have reached the log to test anything.
        writer.producer().flush(limit)?;
        match commit {
            true => writer.producer().commit_transaction(limit)?,
            false => writer.producer().abort_transaction(limit)?,
        }
    }
    let read = |isolation| Ledger::read(&source.bootstrap(), &topic, isolation);
    let all = read(Isolation::ReadUncommitted)?;
    assert_eq!(all.count(), 20);
    assert_eq!(all.partitions[&0].bounds.end, 22, "each transaction ends with a marker");
    assert_eq!(read(Isolation::ReadCommitted)?.count(), 10);
    Ok(())
}

#[test]
fn a_ledger_read_under_load_ends_where_the_topic_ended() -> Outcome {
    let Pair { source, .. } = shared()?;
    let topic = unique("busy");
    source.create_topic(&topic, 2, &[])?;
    let load = Load::start(&source.bootstrap(), &topic, 2, 2_000, 11, &Writing::default())?;
    load.wait_for_more(500)?;
    let ledger = Ledger::read(&source.bootstrap(), &topic, Isolation::ReadUncommitted)?;
    load.stop()?;
    assert!(ledger.count() >= 500);
    for partition in ledger.partitions.values() {
        let offsets: Vec<_> = partition.records.iter().map(|(offset, _)| *offset).collect();
        assert_eq!(offsets, (0..partition.bounds.end).collect::<Vec<_>>());
    }
    Ok(())
}
