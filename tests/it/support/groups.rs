//! Consumer groups of a test: offsets set and read by single requests, and members that librdkafka keeps alive.
//!
//! Nothing here is shared with the engine.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use kafka_protocol::messages::offset_commit_request::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};
use kafka_protocol::messages::{
    DeleteGroupsRequest, FindCoordinatorRequest, GroupId, OffsetCommitRequest, OffsetFetchRequest,
};
use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::{BorrowedMessage, Message};

use super::cluster::Cluster;
use super::ledger::{Fingerprint, Stamps};
use super::raw::{Connection, check, text, topic_name};
use super::{Failure, Outcome, fail, wait_for};

const LIMIT: Duration = Duration::from_secs(60);
const COORDINATOR_LOAD_IN_PROGRESS: i16 = 14;
const NOT_COORDINATOR: i16 = 16;

/// A committed offset, its text and its leader epoch.
pub(crate) type Committed = (i64, String, i32);
/// By topic and partition.
pub(crate) type Offsets = BTreeMap<(String, i32), Committed>;

/// Sets offsets of a group as somebody who is no member of it.
pub(crate) fn commit(cluster: &Cluster, group: &str, offsets: &[(&str, i32, i64)]) -> Outcome {
    commit_with(cluster, group, offsets, "")
}

/// The same with a text beside each.
pub(crate) fn commit_with(cluster: &Cluster, group: &str, offsets: &[(&str, i32, i64)], metadata: &str) -> Outcome {
    let topic = |(topic, partition, offset): &(&str, i32, i64)| {
        let partition = OffsetCommitRequestPartition::default()
            .with_partition_index(*partition)
            .with_committed_offset(*offset)
            .with_committed_leader_epoch(0)
            .with_committed_metadata(Some(text(metadata)));
        OffsetCommitRequestTopic::default().with_name(topic_name(topic)).with_partitions(vec![partition])
    };
    let request = OffsetCommitRequest::default()
        .with_group_id(GroupId(text(group)))
        .with_generation_id_or_member_epoch(-1)
        .with_topics(offsets.iter().map(topic).collect());
    wait_for(&format!("{group} has a coordinator"), LIMIT, || {
        let codes: Vec<i16> = coordinator(cluster, group)?
            .ask(8, &request)?
            .topics
            .iter()
            .flat_map(|topic| topic.partitions.iter().map(|partition| partition.error_code))
            .collect();
        if codes.iter().any(|code| (COORDINATOR_LOAD_IN_PROGRESS..=NOT_COORDINATOR).contains(code)) {
            return Ok(None);
        }
        for code in codes {
            check(code, format!("cannot commit offsets of {group}"))?;
        }
        Ok(Some(()))
    })
}

/// All committed offsets of a group.
pub(crate) fn committed(cluster: &Cluster, group: &str) -> Outcome<Offsets> {
    let request = OffsetFetchRequest::default().with_group_id(GroupId(text(group))).with_topics(None);
    wait_for(&format!("{group} has a coordinator"), LIMIT, || {
        let answer = coordinator(cluster, group)?.ask(7, &request)?;
        if (COORDINATOR_LOAD_IN_PROGRESS..=NOT_COORDINATOR).contains(&answer.error_code) {
            return Ok(None);
        }
        check(answer.error_code, format!("cannot read offsets of {group}"))?;
        let mut offsets = Offsets::new();
        for topic in &answer.topics {
            for partition in &topic.partitions {
                let metadata = partition.metadata.as_ref().map(|text| text.as_str().to_owned()).unwrap_or_default();
                let committed = (partition.committed_offset, metadata, partition.committed_leader_epoch);
                offsets.insert((topic.name.0.as_str().to_owned(), partition.partition_index), committed);
            }
        }
        Ok(Some(offsets))
    })
}

/// The committed offset of one partition.
pub(crate) fn offset(cluster: &Cluster, group: &str, topic: &str, partition: i32) -> Outcome<Option<i64>> {
    Ok(committed(cluster, group)?.get(&(topic.to_owned(), partition)).map(|(offset, ..)| *offset))
}

/// Waits until a group has this offset.
pub(crate) fn wait_offset(cluster: &Cluster, group: &str, topic: &str, partition: i32, wanted: i64) -> Outcome {
    let mut last = None;
    let waited = wait_for(&format!("{group} is at {wanted} in {topic}-{partition}"), LIMIT, || {
        last = offset(cluster, group, topic, partition)?;
        Ok((last == Some(wanted)).then_some(()))
    });
    waited.map_err(|error| Failure(format!("{error} (it is at {last:?})")))
}

/// Deletes a group with its offsets.
pub(crate) fn delete(cluster: &Cluster, group: &str) -> Outcome {
    let request = DeleteGroupsRequest::default().with_groups_names(vec![GroupId(text(group))]);
    for answer in coordinator(cluster, group)?.send(2, &request)?.results {
        check(answer.error_code, format!("cannot delete {group}"))?;
    }
    Ok(())
}

/// A connection to the broker that coordinates a group. The first who looks for one has the coordinators' topic created.
pub(crate) fn coordinator(cluster: &Cluster, group: &str) -> Outcome<Connection> {
    let waited = wait_for(&format!("{group} has a coordinator"), LIMIT, || coordinator_node(cluster, group));
    Connection::open(&waited?.1)
}

/// Number and address of the broker that coordinates a group, `None` if there is none.
pub(crate) fn coordinator_node(cluster: &Cluster, group: &str) -> Outcome<Option<(i32, String)>> {
    let request = FindCoordinatorRequest::default().with_key(text(group)).with_key_type(0);
    let answer = cluster.client().any()?.ask(3, &request)?;
    let address = format!("{}:{}", answer.host.as_str(), answer.port);
    Ok((answer.error_code == 0).then_some((answer.node_id.0, address)))
}

/// How members find each other: the classic protocol, or that of KIP-848.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protocol {
    Classic,
    Consumer,
}

fn consumer(cluster: &Cluster, group: &str, protocol: Protocol, reset: &str) -> Outcome<BaseConsumer> {
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", cluster.direct())
        .set("group.id", group)
        .set("enable.auto.commit", "false")
        .set("enable.auto.offset.store", "false")
        .set("auto.offset.reset", reset)
        .set("isolation.level", "read_committed")
        .set("enable.partition.eof", "true");
    match protocol {
        Protocol::Classic => config.set("session.timeout.ms", "10000"),
        Protocol::Consumer => config.set("group.protocol", "consumer"),
    };
    Ok(config.create()?)
}

/// A record that a member of a group has read.
pub(crate) type Read = ((i32, i64), u64);

fn read_of(message: &BorrowedMessage<'_>) -> Read {
    ((message.partition(), message.offset()), Fingerprint::of(message, Stamps::WithType).hash)
}

/// Reads as a member of a group from where the group is, commits after each record, and leaves the group after `most`
/// records, or when the ends of so many partitions were reached. A partition in which the group is nowhere is read from its
/// first record with `reset` "earliest", and an error with "error".
pub(crate) fn read(
    cluster: &Cluster,
    group: &str,
    (protocol, reset): (Protocol, &str),
    topic: &str,
    most: usize,
    partitions: usize,
) -> Outcome<Vec<Read>> {
    let consumer = consumer(cluster, group, protocol, reset)?;
    consumer.subscribe(&[topic])?;
    let mut read = Vec::new();
    let mut ends = BTreeSet::new();
    let mut silent_since = Instant::now();
    while read.len() < most && ends.len() < partitions {
        // It returns early for other things than records, too.
        let polled = consumer.poll(Duration::from_millis(100));
        if polled.is_some() {
            silent_since = Instant::now();
        }
        match polled {
            None if silent_since.elapsed() < LIMIT => {}
            None => return fail(format!("{group} waited {LIMIT:?} for a record of {topic}, after {}", read.len())),
            Some(Err(KafkaError::PartitionEOF(partition))) => _ = ends.insert(partition),
            Some(Err(error)) => return fail(format!("{group} cannot read {topic}: {error}")),
            Some(Ok(message)) => {
                ends.remove(&message.partition());
                read.push(read_of(&message));
                consumer.store_offset_from_message(&message)?;
            }
        }
    }
    if !read.is_empty() {
        consumer.commit_consumer_state(CommitMode::Sync)?;
    }
    Ok(read)
}

/// A member that does nothing but be there.
pub(crate) struct Member {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Member {
    /// Joins, and returns when it has partitions.
    pub(crate) fn join(cluster: &Cluster, group: &str, protocol: Protocol, topic: &str) -> Outcome<Self> {
        let consumer = consumer(cluster, group, protocol, "latest")?;
        consumer.subscribe(&[topic])?;
        wait_for(&format!("{group} has a member"), LIMIT, || {
            drop(consumer.poll(Duration::from_millis(50)));
            Ok((consumer.assignment()?.count() > 0).then_some(()))
        })?;
        let stop = Arc::new(AtomicBool::new(false));
        let asked = stop.clone();
        let thread = std::thread::spawn(move || {
            while !asked.load(Ordering::Relaxed) {
                drop(consumer.poll(Duration::from_millis(50)));
            }
        });
        Ok(Member { stop, thread: Some(thread) })
    }

    /// Leaves the group.
    pub(crate) fn leave(mut self) -> Outcome {
        self.stop.store(true, Ordering::Relaxed);
        match self.thread.take().map(JoinHandle::join) {
            Some(Err(_)) => fail("a member of a group panicked"),
            _ => Ok(()),
        }
    }
}
