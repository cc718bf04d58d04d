//! A thousand topics, five thousand partitions, thousands of groups: how long it takes until an empty target is the same.
//!
//! What is the same is read by single requests of the tests' own: ends and records of all partitions, configurations of all topics,
//! offsets of all groups. Requests of the mirror are counted by proxies before both brokers.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use kafka_protocol::messages::create_topics_request::{CreatableTopic, CreatableTopicConfig, CreateTopicsRequest};
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use kafka_protocol::messages::offset_commit_request::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};
use kafka_protocol::messages::offset_fetch_request::OffsetFetchRequestGroup;
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::{
    FetchRequest, GroupId, ListOffsetsRequest, OffsetCommitRequest, OffsetFetchRequest, ProduceRequest,
};
use kafka_protocol::records::{Compression, Record, RecordBatchEncoder, RecordEncodeOptions, TimestampType};

use super::mirror::configs_of_all;
use crate::support::cluster::{Cluster, Options, Pair, shared, unique};
use crate::support::counting::{self, Counts};
use crate::support::mirroring::Mirroring;
use crate::support::process::{Kmirror, usage_of};
use crate::support::raw::{check, described, text, topic_name};
use crate::support::{Failure, Outcome, groups, wait_for};

/// A hang limit, not a measure.
const LIMIT: Duration = Duration::from_secs(600);
/// Records of each partition.
const RECORDS: i64 = 3;
/// Topics and groups in one request of the test.
const AT_ONCE: usize = 100;

/// What a test makes at the source.
struct Size {
    /// Begins the names of topics and groups.
    name: String,
    topics: usize,
    partitions: i32,
    groups: usize,
}

/// Offsets of many groups.
type GroupOffsets = BTreeMap<String, BTreeMap<(String, i32), i64>>;

impl Size {
    fn topics(&self) -> Vec<String> {
        (0..self.topics).map(|number| format!("{}.{number}", self.name)).collect()
    }

    fn groups(&self) -> Vec<String> {
        (0..self.groups).map(|number| format!("{}-{number}", self.name)).collect()
    }

    /// Every group has offsets in three topics, in two partitions of each.
    fn offsets(&self, group: usize) -> Vec<(String, i32, i64)> {
        let topics: BTreeSet<usize> = [0, 7, 31].iter().map(|step| (group + step) % self.topics).collect();
        let place = |topic: usize| {
            [0, group as i32 % self.partitions].into_iter().collect::<BTreeSet<i32>>().into_iter().map(
                move |partition| (format!("{}.{topic}", self.name), partition, (group + topic) as i64 % (RECORDS + 1)),
            )
        };
        topics.into_iter().flat_map(place).collect()
    }

    fn make(&self, source: &Cluster) -> Outcome {
        let topics = self.topics();
        for (number, some) in topics.chunks(AT_ONCE).enumerate() {
            self.create(source, some, number * AT_ONCE)?;
        }
        self.write(source, &topics)?;
        let mut connection = match self.groups().first() {
            // The first who looks for a coordinator has the topic of offsets created.
            Some(first) => groups::coordinator(source, first)?,
            None => return Ok(()),
        };
        for (number, group) in self.groups().iter().enumerate() {
            let topic = |(topic, partition, offset): &(String, i32, i64)| {
                let partition = OffsetCommitRequestPartition::default()
                    .with_partition_index(*partition)
                    .with_committed_offset(*offset)
                    .with_committed_metadata(Some(text("")));
                OffsetCommitRequestTopic::default().with_name(topic_name(topic)).with_partitions(vec![partition])
            };
            let request = OffsetCommitRequest::default()
                .with_group_id(GroupId(text(group)))
                .with_generation_id_or_member_epoch(-1)
                .with_topics(self.offsets(number).iter().map(topic).collect());
            wait_for("offsets are taken", LIMIT, || {
                let answer = connection.send(8, &request)?;
                Ok(answer.topics.iter().all(|one| one.partitions[0].error_code == 0).then_some(()))
            })?;
        }
        Ok(())
    }

    fn create(&self, source: &Cluster, topics: &[String], first: usize) -> Outcome {
        let config = |(key, value): (&str, String)| {
            CreatableTopicConfig::default().with_name(text(key)).with_value(Some(text(&value)))
        };
        let new = |(number, name): (usize, &String)| {
            let configs = [
                ("retention.ms", (900_000_000_000 + first as i64 + number as i64).to_string()),
                ("segment.ms", "604800001".to_owned()),
            ];
            CreatableTopic::default()
                .with_name(topic_name(name))
                .with_num_partitions(self.partitions)
                .with_replication_factor(1)
                .with_configs(configs.into_iter().map(config).collect())
        };
        let request = CreateTopicsRequest::default()
            .with_topics(topics.iter().enumerate().map(new).collect())
            .with_timeout_ms(25_000);
        for topic in source.client().any()?.send(7, &request)?.topics {
            check(topic.error_code, "cannot create a topic")?;
        }
        Ok(())
    }

    /// A batch of records of its own to every partition. One request: a client would ask for the metadata of all topics first.
    fn write(&self, source: &Cluster, topics: &[String]) -> Outcome {
        for some in topics.chunks(AT_ONCE) {
            wait_for("all partitions take records", LIMIT, || {
                let ends = ends(source, some, self.partitions)?;
                let mut topic_data = Vec::new();
                for topic in some {
                    let open = (0..self.partitions).filter(|number| ends[&(topic.clone(), *number)] < RECORDS);
                    let data = open.map(|number| {
                        let records = batch(&format!("{topic}-{number}"))?;
                        Ok(PartitionProduceData::default().with_index(number).with_records(Some(records)))
                    });
                    let data: Vec<_> = data.collect::<Outcome<_>>()?;
                    if !data.is_empty() {
                        let topic = TopicProduceData::default().with_name(topic_name(topic));
                        topic_data.push(topic.with_partition_data(data));
                    }
                }
                if topic_data.is_empty() {
                    return Ok(Some(()));
                }
                let request = ProduceRequest::default().with_acks(-1).with_timeout_ms(20_000);
                source.client().any()?.send(8, &request.with_topic_data(topic_data))?;
                Ok(None)
            })?;
        }
        Ok(())
    }
}

/// Records that say where they belong.
fn batch(value: &str) -> Outcome<Bytes> {
    let record = |offset: i64| Record {
        transactional: false,
        control: false,
        delete_horizon: false,
        partition_leader_epoch: -1,
        producer_id: -1,
        producer_epoch: -1,
        timestamp_type: TimestampType::Creation,
        offset,
        sequence: offset as i32,
        timestamp: 1_700_000_000_000,
        key: None,
        value: Some(Bytes::from(format!("{value} {offset}"))),
        headers: Default::default(),
    };
    let records: Vec<Record> = (0..RECORDS).map(record).collect();
    let mut bytes = BytesMut::new();
    let options = RecordEncodeOptions { version: 2, compression: Compression::None };
    RecordBatchEncoder::encode(&mut bytes, &records, &options).map_err(described)?;
    Ok(bytes.freeze())
}

/// Where the partitions of topics end, for readers; -1 of one that is not there.
fn ends(cluster: &Cluster, topics: &[String], partitions: i32) -> Outcome<BTreeMap<(String, i32), i64>> {
    let partition = |number| {
        ListOffsetsPartition::default().with_partition_index(number).with_current_leader_epoch(-1).with_timestamp(-1)
    };
    let topic = |name: &String| {
        ListOffsetsTopic::default()
            .with_name(topic_name(name))
            .with_partitions((0..partitions).map(partition).collect())
    };
    let request =
        ListOffsetsRequest::default().with_replica_id((-1).into()).with_topics(topics.iter().map(topic).collect());
    let mut ends = BTreeMap::new();
    for topic in cluster.client().any()?.send(6, &request)?.topics {
        for found in &topic.partitions {
            let end = if found.error_code == 0 { found.offset } else { -1 };
            ends.insert((topic.name.0.to_string(), found.partition_index), end);
        }
    }
    Ok(ends)
}

/// The records of all partitions, as they lie in the log behind the headers of their batches.
fn records(cluster: &Cluster, topics: &[String], partitions: i32) -> Outcome<BTreeMap<(String, i32), Bytes>> {
    const HEADER: usize = 61;
    let mut records = BTreeMap::new();
    let mut connection = cluster.client().any()?;
    for some in topics.chunks(AT_ONCE) {
        let partition = |number| {
            FetchPartition::default().with_partition(number).with_partition_max_bytes(10_000).with_log_start_offset(-1)
        };
        let topic = |name: &String| {
            FetchTopic::default().with_topic(topic_name(name)).with_partitions((0..partitions).map(partition).collect())
        };
        let request = FetchRequest::default()
            .with_replica_id((-1).into())
            .with_max_bytes(1 << 26)
            .with_topics(some.iter().map(topic).collect());
        for topic in connection.send(11, &request)?.responses {
            for found in topic.partitions {
                check(found.error_code, "cannot fetch")?;
                let bytes = found.records.unwrap_or_default();
                let bytes = bytes.slice(HEADER.min(bytes.len())..);
                records.insert((topic.topic.0.to_string(), found.partition_index), bytes);
            }
        }
    }
    Ok(records)
}

/// The offsets of all these groups.
fn offsets(cluster: &Cluster, names: &[String]) -> Outcome<GroupOffsets> {
    let mut offsets = GroupOffsets::new();
    let Some(first) = names.first() else { return Ok(offsets) };
    let mut connection = groups::coordinator(cluster, first)?;
    for some in names.chunks(1000) {
        let group =
            |name: &String| OffsetFetchRequestGroup::default().with_group_id(GroupId(text(name))).with_topics(None);
        let request = OffsetFetchRequest::default().with_groups(some.iter().map(group).collect());
        for group in connection.send(8, &request)?.groups {
            let found = group.topics.iter().flat_map(|topic| {
                topic
                    .partitions
                    .iter()
                    .map(|one| ((topic.name.0.to_string(), one.partition_index), one.committed_offset))
            });
            offsets.insert(group.group_id.0.to_string(), found.collect());
        }
    }
    Ok(offsets)
}

/// CPU seconds of the mirror and of both brokers.
fn cpu(pair: &Pair, mirror: &mut Kmirror) -> Outcome<[f64; 3]> {
    let broker = |cluster: &Cluster| match cluster.pid(1) {
        Some(pid) => Ok(usage_of(pid)?.cpu_seconds),
        None => Err(Failure("a broker has ended".to_owned())),
    };
    Ok([mirror.usage().cpu_seconds, broker(&pair.source)?, broker(&pair.target)?])
}

/// Starts a mirror and waits until everything is the same; tells how long each took.
fn until_the_same(pair: &Pair, size: &Size, mirroring: &Mirroring) -> Outcome<Kmirror> {
    let topics = size.topics();
    let expected = ends(&pair.source, &topics, size.partitions)?;
    assert!(expected.values().all(|end| *end == RECORDS) && expected.len() == topics.len() * size.partitions as usize);
    let configs = configs_of_all(&pair.source, &topics)?;
    let committed = offsets(&pair.source, &size.groups())?;
    assert_eq!((configs.len(), committed.len()), (size.topics, size.groups));
    let started = Instant::now();
    let mut mirror = mirroring.start()?;
    let before = cpu(pair, &mut mirror)?;
    let mut took: [Option<Duration>; 4] = [None; 4];
    let waited = wait_for("everything is the same", LIMIT, || {
        assert_eq!(mirror.exited()?, None, "{}", mirror.stderr());
        let there = ends(&pair.target, &topics, size.partitions)?;
        let mut found = |number: usize, is_so: bool| {
            if is_so && took[number].is_none() {
                took[number] = Some(started.elapsed());
            }
        };
        found(0, there.len() == expected.len() && there.values().all(|end| *end >= 0));
        found(1, there == expected);
        if there == expected {
            found(2, configs_of_all(&pair.target, &topics)? == configs);
            found(3, offsets(&pair.target, &size.groups())? == committed);
        }
        std::thread::sleep(Duration::from_millis(300));
        Ok(took.iter().all(Option::is_some).then_some(()))
    });
    let after = cpu(pair, &mut mirror)?;
    let used: Vec<String> = before.iter().zip(after).map(|(before, after)| format!("{:.1}", after - before)).collect();
    println!(
        "{} topics, {} partitions, {} groups: topics are there after {:.1?}, records {:.1?}, configurations {:.1?}, groups {:.1?}; \
         CPU seconds of mirror, source, target: {}; {:?}",
        size.topics,
        expected.len(),
        size.groups,
        took[0].unwrap_or_default(),
        took[1].unwrap_or_default(),
        took[2].unwrap_or_default(),
        took[3].unwrap_or_default(),
        used.join(", "),
        mirror.usage()
    );
    waited.map_err(|error| Failure(format!("{error}\n{}", last_lines(&mirror))))?;
    let read = |cluster| records(cluster, &topics, size.partitions);
    let (source, target) = (read(&pair.source)?, read(&pair.target)?);
    assert!(source.len() == expected.len() && source.values().all(|bytes| bytes.len() > 30));
    assert!(source == target, "the records differ");
    Ok(mirror)
}

fn last_lines(mirror: &Kmirror) -> String {
    let said = mirror.stderr();
    let lines: Vec<&str> = said.lines().collect();
    lines[lines.len().saturating_sub(30)..].join("\n")
}

fn told(what: &str, source: &Counts, target: &Counts) {
    println!("{what}: requests to the source {:?}, to the target {:?}", source.take(), target.take());
}

#[test]
fn a_hundred_topics_and_their_groups_are_the_same_on_an_empty_target() -> Outcome {
    let size = Size { name: unique("some"), topics: 100, partitions: 5, groups: 200 };
    let pair = shared()?;
    size.make(&pair.source)?;
    let mirroring = Mirroring::of(&pair.source, &pair.target, &size.name, &format!(r"{}\..*", size.name));
    until_the_same(pair, &size, &mirroring)?.kill9()
}

/// Brokers that hold thousands of partitions.
fn large() -> Outcome<Pair> {
    let options = || Options::default().proxied().heap("-Xmx1g");
    Pair::start(options(), options())
}

#[test]
#[ignore = "long: make nightly"]
fn a_thousand_topics_and_two_thousand_groups() -> Outcome {
    const REFRESH: Duration = Duration::from_secs(5);
    let size = Size { name: "scale".to_owned(), topics: 1000, partitions: 5, groups: 2000 };
    let pair = large()?;
    size.make(&pair.source)?;
    let (source, target) = (counting::of(&pair.source), counting::of(&pair.target));
    let mirroring = Mirroring::of(&pair.source, &pair.target, &size.name, r"scale\..*")
        .set(&format!("refresh.interval.ms={}", REFRESH.as_millis()));
    let mut mirror = until_the_same(&pair, &size, &mirroring)?;
    told("until everything was the same", &source, &target);

    let mut latencies = Vec::new();
    for round in 0..8 {
        let topic = format!("scale.new-{round}");
        let new = Size { name: size.name.clone(), topics: 0, partitions: 2, groups: 0 };
        let created = Instant::now();
        new.create(&pair.source, std::slice::from_ref(&topic), 0)?;
        let there = created.elapsed();
        new.write(&pair.source, std::slice::from_ref(&topic))?;
        let written = created.elapsed();
        wait_for("a new topic's first record can be read", LIMIT, || {
            Ok((ends(&pair.target, std::slice::from_ref(&topic), 1)?[&(topic.clone(), 0)] > 0).then_some(()))
        })?;
        latencies.push(created.elapsed());
        println!(
            "created at the source after {there:.1?}, written there after {written:.1?}, on the target after {:.1?}",
            created.elapsed()
        );
        // At another moment between two looks each time.
        std::thread::sleep(REFRESH / 7 * (round % 3));
    }
    println!("a new topic's first record was there after {latencies:.1?}");
    told("meanwhile", &source, &target);
    mirror.kill9()
}

#[test]
#[ignore = "long: make nightly"]
fn ten_thousand_groups() -> Outcome {
    const REFRESH: Duration = Duration::from_secs(5);
    let size = Size { name: "groups".to_owned(), topics: 50, partitions: 2, groups: 10_000 };
    let pair = large()?;
    size.make(&pair.source)?;
    let (source, target) = (counting::of(&pair.source), counting::of(&pair.target));
    let mirroring = Mirroring::of(&pair.source, &pair.target, &size.name, r"groups\..*")
        .set(&format!("refresh.interval.ms={}", REFRESH.as_millis()));
    let mut mirror = until_the_same(&pair, &size, &mirroring)?;
    told("until everything was the same", &source, &target);
    let commits = target.total(kafka_protocol::messages::ApiKey::OffsetCommit);
    assert!(commits <= 2 * size.groups, "{commits} commits");

    std::thread::sleep(REFRESH * 2);
    let _ = (source.take(), target.take());
    let (before, began) = (cpu(&pair, &mut mirror)?, Instant::now());
    wait_for("four rounds have passed", LIMIT, || {
        Ok((target.count(kafka_protocol::messages::ApiKey::ListGroups) >= 4).then_some(()))
    })?;
    let used: Vec<String> =
        before.iter().zip(cpu(&pair, &mut mirror)?).map(|(before, after)| format!("{:.2}", after - before)).collect();
    println!("four idle rounds in {:.1?}: CPU seconds of mirror, source, target: {}", began.elapsed(), used.join(", "));
    assert_eq!(target.count(kafka_protocol::messages::ApiKey::OffsetCommit), 0, "nothing has changed");
    told("four idle rounds", &source, &target);
    mirror.kill9()
}
