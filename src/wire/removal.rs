//! The two requests that a late start needs beside filler: deleting records, and a topic's settings meanwhile.
//!
//! A topic that only compacts refuses to have records deleted. For the time of the fill it gets a policy that allows it, and
//! retention that never comes, from both of which what was set before can be read again: whoever finds such a topic,
//! however much later, can put it right without any other memory.

use std::collections::BTreeMap;
use std::time::Duration;

use kafka_protocol::messages::DeleteRecordsRequest;
use kafka_protocol::messages::delete_records_request::{DeleteRecordsPartition, DeleteRecordsTopic};
use kafka_protocol::messages::describe_configs_response::DescribeConfigsResourceResult;

use super::admin::refused;
use super::cluster::{Cluster, topic_name};
use super::configs::{self, ByTopic};
use super::connection::Connection;
use super::errors::{BrokerError, Class};
use super::positions::{Answers, ByPartition, TopicPartition, by_topic};
use crate::error::Result;

const POLICY: &str = "cleanup.policy";
const RETENTION: [&str; 2] = ["retention.ms", "retention.bytes"];
/// The policy of a topic that is being filled: both words, in an order that says whether the policy was set on the topic.
const POLICY_WAS_SET: &str = "compact,delete";
const POLICY_WAS_DEFAULT: &str = "delete,compact";
/// Retention during a fill, in milliseconds 142 000 years and in bytes 4.5 PB for each partition: exactly this if none was
/// set on the topic, else this and what was set and 2, which is at least -1.
const NEVER: i64 = 1 << 52;

/// Settings of a topic that matter here: what counts, and whether it was set on the topic itself.
pub type Settings = BTreeMap<String, (String, bool)>;
/// What is to be set, or with `None` to be left to the default.
pub type Changes = configs::Changes<&'static str>;

/// What has to be changed before records of a topic with these settings can be deleted.
pub fn open_for_fill(settings: &Settings) -> Changes {
    let Some((policy, was_set)) = settings.get(POLICY) else { return Vec::new() };
    if policy.contains("delete") || is_open_for_fill(settings) {
        return Vec::new();
    }
    let policy = if *was_set { POLICY_WAS_SET } else { POLICY_WAS_DEFAULT };
    let mut changes = vec![(POLICY, Some(policy.to_owned()))];
    for key in RETENTION {
        let set = settings.get(key).filter(|(_, set)| *set).and_then(|(value, _)| value.parse::<i64>().ok());
        let never = set.map_or(NEVER, |value| NEVER.saturating_add(value.saturating_add(2)));
        changes.push((key, Some(never.to_string())));
    }
    changes
}

/// Whether a topic has the settings of one that is being filled.
pub fn is_open_for_fill(settings: &Settings) -> bool {
    let never =
        |key: &&str| settings.get(*key).and_then(|(value, _)| value.parse::<i64>().ok()).is_some_and(|v| v >= NEVER);
    let policy = settings.get(POLICY).map(|(policy, _)| policy.as_str());
    matches!(policy, Some(POLICY_WAS_SET | POLICY_WAS_DEFAULT)) && RETENTION.iter().all(never)
}

/// What has to be changed so that a topic is as it was before it was filled.
pub fn close_after_fill(settings: &Settings) -> Changes {
    if !is_open_for_fill(settings) {
        return Vec::new();
    }
    let was_set = settings.get(POLICY).is_some_and(|(policy, _)| policy == POLICY_WAS_SET);
    let mut changes: Changes = vec![(POLICY, was_set.then(|| "compact".to_owned()))];
    for key in RETENTION {
        let value = settings.get(key).and_then(|(value, _)| value.parse::<i64>().ok()).unwrap_or(NEVER);
        changes.push((key, (value > NEVER).then(|| (value - NEVER - 2).to_string())));
    }
    changes
}

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
pub async fn alter(cluster: &Cluster, topics: &[(String, Changes)]) -> Result<ByTopic<()>> {
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

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(rows: &[(&str, &str, bool)]) -> Settings {
        rows.iter().map(|(key, value, set)| ((*key).to_owned(), ((*value).to_owned(), *set))).collect()
    }

    fn applied(settings: &Settings, changes: &Changes, defaults: &Settings) -> Settings {
        let mut after = settings.clone();
        for (key, value) in changes {
            let entry = value.clone().map_or_else(|| defaults[*key].clone(), |value| (value, true));
            after.insert((*key).to_owned(), entry);
        }
        after
    }

    #[test]
    fn what_a_topic_had_before_a_fill_can_be_read_from_what_it_has_meanwhile() {
        let defaults = settings(&[
            ("cleanup.policy", "compact", false),
            ("retention.ms", "604800000", false),
            ("retention.bytes", "-1", false),
        ]);
        for set in [
            &[][..],
            &[("cleanup.policy", "compact", true)],
            &[("cleanup.policy", "compact", true), ("retention.ms", "-1", true)],
            &[("retention.ms", "0", true), ("retention.bytes", "123456789", true)],
        ] {
            let mut before = defaults.clone();
            before.extend(settings(set));
            let meanwhile = applied(&before, &open_for_fill(&before), &defaults);
            assert!(is_open_for_fill(&meanwhile) && !is_open_for_fill(&before), "{meanwhile:?}");
            assert!(open_for_fill(&meanwhile).is_empty(), "a second process changes nothing more");
            assert_eq!(applied(&meanwhile, &close_after_fill(&meanwhile), &defaults), before);
        }
    }

    #[test]
    fn a_topic_that_deletes_stays_as_it_is() {
        for policy in ["delete", "compact,delete", "delete,compact"] {
            let topic = settings(&[("cleanup.policy", policy, true), ("retention.ms", "5", true)]);
            assert!(open_for_fill(&topic).is_empty() && close_after_fill(&topic).is_empty(), "{policy}");
        }
    }
}
