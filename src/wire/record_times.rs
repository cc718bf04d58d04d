//! When the first record of each log was produced, which brokers tell from their indexes.
//! That the record has not been copied is for those who ask to know.

use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use kafka_protocol::messages::{BrokerId, ListOffsetsRequest};

use super::cluster::topic_name;
use super::connection::Connection;
use super::positions::{Answers, ByPartition, by_topic};
use crate::error::Result;
use crate::terms::topic::TopicPartition;

/// The first record of a log that has a time: where it is, and its time in milliseconds since 1970. Both are -1 if there is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FirstRecord {
    /// Its offset.
    pub offset: i64,
    /// Its time.
    pub timestamp: i64,
}

/// Asks the leader of partitions for the first record of each.
pub async fn first_records(connection: &Connection, partitions: &[TopicPartition]) -> Result<ByPartition<FirstRecord>> {
    const CONSUMER: i32 = -1;
    const ANY_TIME: i64 = 0;
    let version = connection.version::<ListOffsetsRequest>(7)?;
    let topics = by_topic(partitions).into_iter().map(|(topic, indexes)| {
        let partition = |index| {
            ListOffsetsPartition::default()
                .with_partition_index(index)
                .with_timestamp(ANY_TIME)
                .with_current_leader_epoch(-1)
        };
        let partitions = indexes.into_iter().map(partition).collect();
        ListOffsetsTopic::default().with_name(topic_name(&topic)).with_partitions(partitions)
    });
    let request = ListOffsetsRequest::default().with_replica_id(BrokerId(CONSUMER)).with_topics(topics.collect());
    let response = connection.call(&request, version).await?;
    let mut answers = Answers::new(partitions);
    for topic in &response.topics {
        for one in &topic.partitions {
            let first = FirstRecord { offset: one.offset, timestamp: one.timestamp };
            answers.put(&topic.name.0, one.partition_index, one.error_code, || first);
        }
    }
    Ok(answers.finish())
}
