//! The two requests that a late start needs beside filler: deleting records, and changing a topic's settings meanwhile.
//! Which settings is decided in `machine::fill_settings`.

use std::collections::BTreeMap;
use std::time::Duration;

use kafka_protocol::messages::DeleteRecordsRequest;
use kafka_protocol::messages::delete_records_request::{DeleteRecordsPartition, DeleteRecordsTopic};
use kafka_protocol::messages::describe_configs_response::DescribeConfigsResourceResult;

use super::admin::refused;
use super::cluster::{Cluster, topic_name};
use super::configs::{self, ByTopic};
use super::connection::Connection;
use super::positions::{Answers, ByPartition, by_topic};
use crate::error::Result;
use crate::terms::broker_error::{BrokerError, Class};
use crate::terms::settings::{Changes, POLICY, RETENTION, Settings};
use crate::terms::topic::TopicPartition;

/// The settings of topics that matter for a fill.
pub async fn describe(cluster: &Cluster, topics: &[String]) -> Result<ByTopic<Settings>> {
    let keys = [POLICY, RETENTION[0], RETENTION[1]];
    configs::describe_keys(cluster, topics, Some(&keys), false, |settings| {
        let setting = |config: DescribeConfigsResourceResult| {
            let set = configs::is_own(&config);
            Some((config.name.to_string(), (config.value?.to_string(), set)))
        };
        settings.into_iter().filter_map(setting).collect()
    })
    .await
}

/// Changes settings of topics; the result of each.
pub async fn alter(cluster: &Cluster, topics: &[(String, Changes<&'static str>)]) -> Result<ByTopic<()>> {
    configs::alter(cluster, topics, false).await
}

/// Deletes the records before an offset of each partition, which the broker must lead. It answers when all replicas that are
/// in sync have done so.
pub async fn delete_records(
    connection: &Connection,
    partitions: &[(TopicPartition, i64)],
    limit: Duration,
) -> Result<ByPartition<i64>> {
    let version = connection.version::<DeleteRecordsRequest>(2)?;
    let names: Vec<TopicPartition> = partitions.iter().map(|(name, _)| name.clone()).collect();
    let before: BTreeMap<&TopicPartition, i64> = partitions.iter().map(|(name, offset)| (name, *offset)).collect();
    let topics = by_topic(&names).into_iter().map(|(topic, indexes)| {
        let partition = |index| {
            let offset = before.get(&(topic.clone(), index)).copied().unwrap_or_default();
            DeleteRecordsPartition::default().with_partition_index(index).with_offset(offset)
        };
        let partitions = indexes.into_iter().map(partition).collect();
        DeleteRecordsTopic::default().with_name(topic_name(&topic)).with_partitions(partitions)
    });
    let request = DeleteRecordsRequest::default()
        .with_topics(topics.collect())
        // The broker has to give up first: its answer says more than silence.
        .with_timeout_ms((limit.as_millis() * 2 / 3) as i32);
    let response = connection.call_within(&request, version, limit).await?;
    let mut answers = Answers::new(&names);
    for topic in &response.topics {
        for partition in &topic.partitions {
            answers.put(&topic.name.0, partition.partition_index, partition.error_code, || partition.low_watermark);
        }
    }
    Ok(answers.finish())
}

/// The error of a request about a topic, which names the permission if that is what is missing.
pub fn missing(
    cluster: &Cluster,
    what: &str,
    operation: &str,
    topic: &str,
    broker: BrokerError,
    detail: Option<&str>,
) -> crate::error::Error {
    let error = refused(cluster, what, broker, detail).with_topic(topic);
    match broker.class {
        Class::Unauthorized => error.context(format!(
            "operation {operation} on topic '{topic}' of the {} has to be allowed to the mirror",
            cluster.side
        )),
        _ => error,
    }
}
