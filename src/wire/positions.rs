//! Where logs begin and end, and who wrote their end: what is asked before a partition is opened.
//!
//! Each function asks one broker about many partitions in one request. What no answer came for, or an answer that says nothing,
//! is an error of that partition, never an absence: see [`seen`](super::seen).

use std::collections::{BTreeMap, HashSet};
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use kafka_protocol::messages::describe_producers_request::TopicRequest;
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use kafka_protocol::messages::offset_for_leader_epoch_request::{OffsetForLeaderPartition, OffsetForLeaderTopic};
use kafka_protocol::messages::{
    BrokerId, DescribeProducersRequest, FetchRequest, ListOffsetsRequest, OffsetForLeaderEpochRequest,
};

use super::cluster::topic_name;
use super::connection::Connection;
use super::seen::{Held, Seen, held_at};
use crate::config::IsolationLevel;
use crate::error::Result;
use crate::terms::broker_error::BrokerError;
use crate::terms::topic::TopicPartition;

/// An answer for each partition that was asked for.
pub type ByPartition<T> = BTreeMap<TopicPartition, Result<T, BrokerError>>;

/// Which offset of a log is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Which {
    /// The first that is kept.
    LogStart,
    /// Next one that the leader will give.
    LogEnd,
    /// Next one that consumers cannot see yet, of all in-sync replicas.
    HighWatermark,
    /// Next one beyond which a transaction is open.
    LastStable,
    /// The first record of this time or later, in milliseconds since 1970; -1 if there is none.
    Timestamp(i64),
}

impl Which {
    /// Where what consumers of this isolation level can see ends.
    pub fn visible_to(isolation: IsolationLevel) -> Self {
        match isolation {
            IsolationLevel::ReadCommitted => Which::LastStable,
            IsolationLevel::ReadUncommitted => Which::HighWatermark,
        }
    }
}

/// Brokers show what is not replicated yet only to a "debugging replica".
const DEBUGGING_REPLICA: i32 = -2;
const CONSUMER: i32 = -1;
const EARLIEST: i64 = -2;
const LATEST: i64 = -1;
/// Bytes of an answer that looks at many partitions.
const ENOUGH: i32 = 1 << 20;
/// How large a batch may be of which the header is wanted, in the first requests; the last ones take any.
const HEADER_STEPS: [i32; 3] = [2 << 10, 16 << 10, 256 << 10];
/// How long a broker may look for what it has not at hand, in a remote store. Before Kafka 3.8 it gives up when the request has
/// waited so long; for what it has, no broker waits, because no bytes are asked for at least.
const LOOK_WAIT: Duration = Duration::from_secs(10);

/// Asks the leader of partitions for an offset of each.
pub async fn list_offsets(
    connection: &Connection,
    partitions: &[TopicPartition],
    which: Which,
) -> Result<ByPartition<i64>> {
    let offsets = offsets_and_epochs(connection, partitions, which).await?;
    Ok(offsets.into_iter().map(|(partition, answer)| (partition, answer.map(|(offset, _)| offset))).collect())
}

/// Asks the leader of partitions for the next offset that it will give in each, and the leader epoch in which it will; -1 of brokers that do
/// not tell.
pub async fn log_ends(connection: &Connection, partitions: &[TopicPartition]) -> Result<ByPartition<(i64, i32)>> {
    offsets_and_epochs(connection, partitions, Which::LogEnd).await
}

/// As [`list_offsets`], each with the leader epoch that the broker tells with it; of an end it is the leader's own. -1 of brokers that do not tell.
pub async fn offsets_and_epochs(
    connection: &Connection,
    partitions: &[TopicPartition],
    which: Which,
) -> Result<ByPartition<(i64, i32)>> {
    let version = connection.version::<ListOffsetsRequest>(7)?;
    let timestamp = match which {
        Which::LogStart => EARLIEST,
        Which::Timestamp(timestamp) => timestamp,
        Which::LogEnd | Which::HighWatermark | Which::LastStable => LATEST,
    };
    let topics = by_topic(partitions).into_iter().map(|(topic, indexes)| {
        let partition = |index| {
            ListOffsetsPartition::default()
                .with_partition_index(index)
                .with_timestamp(timestamp)
                .with_current_leader_epoch(-1)
        };
        let partitions = indexes.into_iter().map(partition).collect();
        ListOffsetsTopic::default().with_name(topic_name(&topic)).with_partitions(partitions)
    });
    let request = ListOffsetsRequest::default()
        .with_replica_id(BrokerId(if which == Which::LogEnd { DEBUGGING_REPLICA } else { CONSUMER }))
        .with_isolation_level(i8::from(which == Which::LastStable && version >= 2))
        .with_topics(topics.collect());
    let response = connection.call(&request, version).await?;
    let mut answers = Answers::new(partitions);
    for topic in &response.topics {
        for partition in &topic.partitions {
            let found = (partition.offset, partition.leader_epoch);
            answers.put(&topic.name.0, partition.partition_index, partition.error_code, || found);
        }
    }
    let mut offsets = answers.finish();
    // Only for a time may there be no record.
    if !matches!(which, Which::Timestamp(_)) {
        for offset in offsets.values_mut().filter(|offset| matches!(offset, Ok((negative, _)) if *negative < 0)) {
            *offset = Err(BrokerError::NO_OFFSET);
        }
    }
    Ok(offsets)
}

/// What a broker remembers of a producer id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProducerState {
    /// The producer id.
    pub producer_id: i64,
    /// Its epoch.
    pub producer_epoch: i16,
    /// The sequence number of its last record; -1 if it wrote markers only.
    pub last_sequence: i32,
    /// Where its open transaction begins.
    pub open_since_offset: Option<i64>,
}

/// Asks the leader of partitions what producers wrote to each. `None` for a broker that cannot tell.
pub async fn producers(
    connection: &Connection,
    partitions: &[TopicPartition],
    wanted: impl Fn(&ProducerState) -> bool,
) -> Result<Option<ByPartition<Vec<ProducerState>>>> {
    if !connection.supports::<DescribeProducersRequest>() {
        return Ok(None);
    }
    let topics = by_topic(partitions)
        .into_iter()
        .map(|(topic, indexes)| TopicRequest::default().with_name(topic_name(&topic)).with_partition_indexes(indexes));
    let request = DescribeProducersRequest::default().with_topics(topics.collect());
    let response = connection.call(&request, 0).await?;
    let mut answers = Answers::new(partitions);
    for topic in &response.topics {
        for partition in &topic.partitions {
            answers.put(&topic.name.0, partition.partition_index, partition.error_code, || {
                let states = partition.active_producers.iter().map(|producer| ProducerState {
                    producer_id: producer.producer_id.0,
                    producer_epoch: producer.producer_epoch as i16,
                    last_sequence: producer.last_sequence,
                    open_since_offset: Some(producer.current_txn_start_offset).filter(|offset| *offset >= 0),
                });
                states.filter(&wanted).collect()
            });
        }
    }
    Ok(Some(answers.finish()))
}

/// Reads the header of the batch that holds an offset, for each partition. The offsets are known to be before the ends of
/// the logs: where nothing comes, nothing is known.
///
/// A broker sends whole batches only, and of all but the first partition in an answer none that is larger than was asked
/// for. So most come in few requests, because the last batch of a log is mostly small, and the larger ones a few at a time.
/// What is in a remote store comes last, one at a time: brokers up to 4.3 read there for one partition of a request only.
pub async fn batch_headers(
    connection: &Connection,
    offsets: &[(TopicPartition, i64)],
) -> Result<ByPartition<Seen<Held>>> {
    let mut found: ByPartition<Seen<Held>> = BTreeMap::new();
    for bytes in HEADER_STEPS {
        let open: Vec<_> = offsets.iter().filter(|(partition, _)| !found.contains_key(partition)).collect();
        for some in open.chunks((ENOUGH / bytes) as usize) {
            headers_of(connection, some, bytes, &mut found).await?;
        }
    }
    let open: Vec<_> = offsets.iter().filter(|(partition, _)| !found.contains_key(partition)).collect();
    for one in open {
        headers_of(connection, &[one], ENOUGH, &mut found).await?;
        found.entry(one.0.clone()).or_insert(Err(BrokerError::NO_RECORDS));
    }
    Ok(found)
}

/// Adds the headers of those partitions of which a batch came.
async fn headers_of(
    connection: &Connection,
    offsets: &[&(TopicPartition, i64)],
    max_bytes: i32,
    found: &mut ByPartition<Seen<Held>>,
) -> Result<()> {
    let wanted = offsets.iter().map(|(partition, offset)| (partition.clone(), *offset));
    let mut answers = fetch_once(connection, wanted, max_bytes).await?;
    for (partition, offset) in offsets {
        let held = match answers.remove(partition) {
            Some(Ok(records)) if records.is_empty() => continue,
            Some(Ok(records)) => held_at(&records, *offset),
            Some(Err(error)) => Err(error),
            None => Err(BrokerError::UNKNOWN_PARTITION),
        };
        found.insert(partition.clone(), held);
    }
    Ok(())
}

/// Reads from one partition, without waiting for records, at an offset that is known to be before the end of the log: an answer
/// without records says nothing, and is an error. What comes are batches, as bytes; the last one may be cut off.
pub async fn look(
    connection: &Connection,
    partition: &TopicPartition,
    offset: i64,
    max_bytes: i32,
) -> Result<Result<Bytes, BrokerError>> {
    let wanted = std::iter::once((partition.clone(), offset));
    let mut answers = fetch_once(connection, wanted, max_bytes).await?;
    let answer = answers.remove(partition).unwrap_or(Err(BrokerError::UNKNOWN_PARTITION));
    Ok(answer.and_then(|records| if records.is_empty() { Err(BrokerError::NO_RECORDS) } else { Ok(records) }))
}

async fn fetch_once(
    connection: &Connection,
    offsets: impl Iterator<Item = (TopicPartition, i64)>,
    max_bytes: i32,
) -> Result<ByPartition<Bytes>> {
    let version = connection.version::<FetchRequest>(12)?;
    let mut topics: BTreeMap<Rc<str>, Vec<FetchPartition>> = BTreeMap::new();
    let mut asked = Vec::new();
    for (partition, offset) in offsets {
        let wanted = FetchPartition::default()
            .with_partition(partition.1)
            .with_fetch_offset(offset)
            .with_partition_max_bytes(max_bytes)
            .with_current_leader_epoch(-1)
            .with_last_fetched_epoch(-1)
            .with_log_start_offset(-1);
        topics.entry(partition.0.clone()).or_default().push(wanted);
        asked.push(partition);
    }
    let topics = topics
        .into_iter()
        .map(|(topic, partitions)| FetchTopic::default().with_topic(topic_name(&topic)).with_partitions(partitions));
    let wait = LOOK_WAIT.min(connection.request_timeout() / 2);
    let request = FetchRequest::default()
        .with_replica_id(BrokerId(CONSUMER))
        .with_max_wait_ms(wait.as_millis() as i32)
        .with_min_bytes(0)
        .with_max_bytes(max_bytes.max(ENOUGH))
        .with_session_epoch(-1)
        .with_topics(topics.collect());
    let response = connection.call(&request, version).await?;
    if let Some(error) = BrokerError::of(response.error_code) {
        return Ok(asked.into_iter().map(|partition| (partition, Err(error))).collect());
    }
    let mut answers = Answers::new(&asked);
    answers.delayed(response.throttle_time_ms);
    for topic in response.responses {
        for data in topic.partitions {
            let records = data.records.unwrap_or_default();
            answers.put(&topic.topic.0, data.partition_index, data.error_code, || records);
        }
    }
    Ok(answers.finish())
}

/// Asks the leader of partitions where a leader epoch ends (KIP-101). `None` for a broker that cannot tell.
pub async fn epoch_ends(connection: &Connection, epochs: &[(TopicPartition, i32)]) -> Result<Option<ByPartition<i64>>> {
    if !connection.supports::<OffsetForLeaderEpochRequest>() {
        return Ok(None);
    }
    let version = connection.version::<OffsetForLeaderEpochRequest>(4)?;
    let mut topics: BTreeMap<Rc<str>, Vec<OffsetForLeaderPartition>> = BTreeMap::new();
    for ((topic, index), epoch) in epochs {
        let partition = OffsetForLeaderPartition::default()
            .with_partition(*index)
            .with_current_leader_epoch(-1)
            .with_leader_epoch(*epoch);
        topics.entry(topic.clone()).or_default().push(partition);
    }
    let topics = topics.into_iter().map(|(topic, partitions)| {
        OffsetForLeaderTopic::default().with_topic(topic_name(&topic)).with_partitions(partitions)
    });
    let request =
        OffsetForLeaderEpochRequest::default().with_replica_id(BrokerId(CONSUMER)).with_topics(topics.collect());
    let response = connection.call(&request, version).await?;
    let asked: Vec<TopicPartition> = epochs.iter().map(|(partition, _)| partition.clone()).collect();
    let mut answers = Answers::new(&asked);
    for topic in &response.topics {
        for partition in &topic.partitions {
            answers.put(&topic.topic.0, partition.partition, partition.error_code, || partition.end_offset);
        }
    }
    Ok(Some(answers.finish()))
}

/// Groups partitions by topic.
pub fn by_topic(partitions: &[TopicPartition]) -> BTreeMap<Rc<str>, Vec<i32>> {
    let mut topics: BTreeMap<Rc<str>, Vec<i32>> = BTreeMap::new();
    for (topic, index) in partitions {
        topics.entry(topic.clone()).or_default().push(*index);
    }
    topics
}

/// Collects what a broker answers; a partition that it leaves out counts as unknown to it.
pub(super) struct Answers<T> {
    found: BTreeMap<TopicPartition, Result<T, BrokerError>>,
    asked: Vec<TopicPartition>,
    names: HashSet<Rc<str>>,
    /// What it means that a partition is left out.
    left_out: BrokerError,
}

impl<T> Answers<T> {
    pub(super) fn new(asked: &[TopicPartition]) -> Self {
        let names = asked.iter().map(|(topic, _)| topic.clone()).collect();
        let left_out = BrokerError::UNKNOWN_PARTITION;
        Answers { found: BTreeMap::new(), asked: asked.to_vec(), names, left_out }
    }

    /// The broker has delayed its answer, because of a quota, if that is more than 0: a fetch over the quota of its client is
    /// answered at once, and with nothing.
    pub(super) fn delayed(&mut self, throttle_time_ms: i32) {
        if throttle_time_ms > 0 {
            self.left_out = BrokerError::HELD_BACK;
        }
    }

    pub(super) fn put(&mut self, topic: &str, index: i32, error_code: i16, value: impl FnOnce() -> T) {
        let Some(topic) = self.names.get(topic) else { return };
        let answer = match BrokerError::of(error_code) {
            None => Ok(value()),
            Some(error) => Err(error),
        };
        self.found.insert((topic.clone(), index), answer);
    }

    pub(super) fn finish(mut self) -> ByPartition<T> {
        for partition in self.asked {
            self.found.entry(partition).or_insert(Err(self.left_out));
        }
        self.found
    }
}
