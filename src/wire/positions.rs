//! Where logs begin and end, and who wrote their end: what is asked before a partition is opened.
//!
//! Each function asks one broker about many partitions in one request.

use std::collections::{HashMap, HashSet};
use std::rc::Rc;

use kafka_protocol::messages::describe_producers_request::TopicRequest;
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use kafka_protocol::messages::{BrokerId, DescribeProducersRequest, FetchRequest, ListOffsetsRequest};

use super::cluster::topic_name;
use super::connection::Connection;
use super::errors::BrokerError;
use crate::batch::{self, Header};
use crate::error::Result;
use crate::machine::partition::Writer;

/// A partition by name and number.
pub type TopicPartition = (Rc<str>, i32);
/// An answer for each partition that was asked for.
pub type ByPartition<T> = HashMap<TopicPartition, Result<T, BrokerError>>;

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

/// Brokers show what is not replicated yet only to a "debugging replica".
const DEBUGGING_REPLICA: i32 = -2;
const CONSUMER: i32 = -1;
const EARLIEST: i64 = -2;
const LATEST: i64 = -1;
/// Enough for the one batch in front, whatever its size.
const ONE_BATCH: i32 = 1;

/// Asks the leader of partitions for an offset of each.
pub async fn list_offsets(
    connection: &Connection,
    partitions: &[TopicPartition],
    which: Which,
) -> Result<ByPartition<i64>> {
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
            answers.put(&topic.name.0, partition.partition_index, partition.error_code, || partition.offset);
        }
    }
    Ok(answers.finish())
}

/// Asks the leader of partitions what a producer id wrote last to each. `None` for a broker that cannot tell.
pub async fn describe_producers(
    connection: &Connection,
    partitions: &[TopicPartition],
    producer_id: i64,
) -> Result<Option<ByPartition<Option<Writer>>>> {
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
                let ours = partition.active_producers.iter().find(|producer| producer.producer_id.0 == producer_id);
                ours.map(|producer| Writer::Mirror {
                    producer_epoch: producer.producer_epoch as i16,
                    last_sequence: producer.last_sequence,
                })
            });
        }
    }
    Ok(Some(answers.finish()))
}

/// Reads the header of the batch at the end of logs, given each one's last offset. This tells who wrote it where the broker has
/// forgotten, or cannot be asked. `None` where no batch came.
pub async fn last_batches(
    connection: &Connection,
    last_offsets: &[(TopicPartition, i64)],
) -> Result<ByPartition<Option<Header>>> {
    let version = connection.version::<FetchRequest>(12)?;
    let offsets: HashMap<&TopicPartition, i64> =
        last_offsets.iter().map(|(partition, offset)| (partition, *offset)).collect();
    let partitions: Vec<TopicPartition> = last_offsets.iter().map(|(partition, _)| partition.clone()).collect();
    let mut found = HashMap::new();
    // The answer's limit counts for all partitions together; one at a time surely brings each one's batch.
    for partition in &partitions {
        let wanted = FetchPartition::default()
            .with_partition(partition.1)
            .with_fetch_offset(offsets[partition])
            .with_partition_max_bytes(ONE_BATCH)
            .with_current_leader_epoch(-1)
            .with_last_fetched_epoch(-1)
            .with_log_start_offset(-1);
        let topic = FetchTopic::default().with_topic(topic_name(&partition.0)).with_partitions(vec![wanted]);
        let request = FetchRequest::default()
            .with_replica_id(BrokerId(CONSUMER))
            .with_max_wait_ms(0)
            .with_min_bytes(0)
            .with_max_bytes(ONE_BATCH)
            .with_session_epoch(-1)
            .with_topics(vec![topic]);
        let response = connection.call(&request, version).await?;
        let mut answers = Answers::new(std::slice::from_ref(partition));
        for topic in response.responses {
            for data in topic.partitions {
                let records = data.records.unwrap_or_default();
                answers.put(&topic.topic.0, data.partition_index, data.error_code, || {
                    batch::split(records).filter_map(Result::ok).last().map(|batch| batch.header)
                });
            }
        }
        found.extend(answers.finish());
    }
    Ok(found)
}

/// Groups partitions by topic.
pub fn by_topic(partitions: &[TopicPartition]) -> HashMap<Rc<str>, Vec<i32>> {
    let mut topics: HashMap<Rc<str>, Vec<i32>> = HashMap::new();
    for (topic, index) in partitions {
        topics.entry(topic.clone()).or_default().push(*index);
    }
    topics
}

/// Collects what a broker answers; a partition that it leaves out counts as unknown to it.
pub(super) struct Answers<T> {
    found: HashMap<TopicPartition, Result<T, BrokerError>>,
    asked: Vec<TopicPartition>,
    names: HashSet<Rc<str>>,
}

impl<T> Answers<T> {
    pub(super) fn new(asked: &[TopicPartition]) -> Self {
        let names = asked.iter().map(|(topic, _)| topic.clone()).collect();
        Answers { found: HashMap::with_capacity(asked.len()), asked: asked.to_vec(), names }
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
            self.found.entry(partition).or_insert(Err(BrokerError::UNKNOWN_PARTITION));
        }
        self.found
    }
}
