//! What a broker in this process answers about topics and their configurations: the same on every broker, as of now.
//! It knows nothing of records.

use std::collections::BTreeMap;

use kafka_protocol::messages::create_partitions_response::CreatePartitionsTopicResult;
use kafka_protocol::messages::create_topics_response::{CreatableTopicConfigs, CreatableTopicResult};
use kafka_protocol::messages::delete_topics_response::DeletableTopicResult;
use kafka_protocol::messages::describe_configs_response::{DescribeConfigsResourceResult, DescribeConfigsResult};
use kafka_protocol::messages::incremental_alter_configs_response::AlterConfigsResourceResponse;
use kafka_protocol::messages::metadata_response::{
    MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
};
use kafka_protocol::messages::*;
use kafka_protocol::protocol::StrBytes;
use uuid::Uuid;

use super::broker::Broker;
use super::cluster::{Topic, UNKNOWN_TOPIC_OR_PARTITION};
use super::log::Log;
use crate::wire::cluster::topic_name;

const TOPIC_ALREADY_EXISTS: i16 = 36;
const DYNAMIC_TOPIC_CONFIG: i8 = 1;
const DEFAULT_CONFIG: i8 = 5;
const SET: i8 = 0;

/// What counts for a topic that has nothing else set on it.
const DEFAULTS: [(&str, &str); 6] = [
    ("cleanup.policy", "delete"),
    ("retention.ms", "604800000"),
    ("retention.bytes", "-1"),
    ("delete.retention.ms", "86400000"),
    ("message.timestamp.type", "CreateTime"),
    ("max.message.bytes", "1048588"),
];

fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

impl Broker<'_> {
    pub(super) fn metadata(self, request: &MetadataRequest) -> MetadataResponse {
        let state = self.cluster.state.borrow();
        let up = |broker: &usize| state.up[*broker];
        let broker = |number: usize| {
            MetadataResponseBroker::default()
                .with_node_id(BrokerId(number as i32))
                .with_host(text(&format!("{}-{number}", self.cluster.side)))
                .with_port(9092)
        };
        let describe = |name: &str| match state.topics.get(name) {
            Some(topic) => described(name, topic, &state.up),
            None => MetadataResponseTopic::default()
                .with_name(Some(topic_name(name)))
                .with_error_code(UNKNOWN_TOPIC_OR_PARTITION),
        };
        let topics = match &request.topics {
            None => state.topics.keys().map(|name| describe(name)).collect(),
            Some(topics) => topics.iter().flat_map(|topic| &topic.name).map(|name| describe(&name.0)).collect(),
        };
        let controller = (0..state.up.len()).find(up).unwrap_or(0);
        MetadataResponse::default()
            .with_brokers((0..state.up.len()).filter(up).map(broker).collect())
            .with_cluster_id(Some(text(&self.cluster.id)))
            .with_controller_id(BrokerId(controller as i32))
            .with_topics(topics)
    }

    pub(super) fn create_topics(self, request: &CreateTopicsRequest) -> CreateTopicsResponse {
        let created = request.topics.iter().map(|topic| {
            let (name, partitions) = (topic.name.0.as_str(), topic.num_partitions.max(1));
            let own: BTreeMap<String, String> = topic
                .configs
                .iter()
                .filter_map(|one| Some((one.name.to_string(), one.value.as_ref()?.to_string())))
                .collect();
            let brokers = self.cluster.state.borrow().up.len() as i16;
            let mut result = CreatableTopicResult::default()
                .with_name(topic.name.clone())
                .with_num_partitions(partitions)
                .with_replication_factor(brokers);
            if self.cluster.state.borrow().topics.contains_key(name) {
                return result.with_error_code(TOPIC_ALREADY_EXISTS);
            }
            let config = |(key, value, source): (String, String, i8)| {
                CreatableTopicConfigs::default()
                    .with_name(text(&key))
                    .with_value(Some(text(&value)))
                    .with_config_source(source)
            };
            result.configs = Some(all_configs(&own).into_iter().map(config).collect());
            if !request.validate_only {
                let id = self.cluster.change(|state| state.create(name, partitions as usize, own));
                result.topic_id = Uuid::from_u128(id);
            }
            result
        });
        CreateTopicsResponse::default().with_topics(created.collect())
    }

    pub(super) fn create_partitions(self, request: &CreatePartitionsRequest) -> CreatePartitionsResponse {
        let grown = request.topics.iter().map(|grown| {
            let result = CreatePartitionsTopicResult::default().with_name(grown.name.clone());
            let known = self.cluster.change(|state| {
                let brokers = state.up.len();
                let Some(topic) = state.topics.get_mut(grown.name.0.as_str()) else { return false };
                while !request.validate_only && topic.logs.len() < grown.count as usize {
                    let leader = topic.logs.len() % brokers;
                    topic.logs.push(Log::new(brokers, leader));
                }
                true
            });
            result.with_error_code(if known { 0 } else { UNKNOWN_TOPIC_OR_PARTITION })
        });
        CreatePartitionsResponse::default().with_results(grown.collect())
    }

    pub(super) fn delete_topics(self, request: &DeleteTopicsRequest) -> DeleteTopicsResponse {
        let deleted = request.topics.iter().map(|topic| {
            let by_name = topic.name.as_ref().map(|name| name.0.to_string()).unwrap_or_default();
            let gone = self.cluster.change(|state| {
                let name = state.name_of(&by_name, topic.topic_id.as_u128())?;
                state.topics.remove(&name)
            });
            DeletableTopicResult::default()
                .with_name(topic.name.clone())
                .with_topic_id(topic.topic_id)
                .with_error_code(if gone.is_some() { 0 } else { UNKNOWN_TOPIC_OR_PARTITION })
        });
        DeleteTopicsResponse::default().with_responses(deleted.collect())
    }

    pub(super) fn describe_configs(self, request: &DescribeConfigsRequest) -> DescribeConfigsResponse {
        let state = self.cluster.state.borrow();
        let results = request.resources.iter().map(|resource| {
            let result = DescribeConfigsResult::default()
                .with_resource_type(resource.resource_type)
                .with_resource_name(resource.resource_name.clone());
            let Some(topic) = state.topics.get(resource.resource_name.as_str()) else {
                return result.with_error_code(UNKNOWN_TOPIC_OR_PARTITION);
            };
            let wanted = |key: &str| {
                let keys = resource.configuration_keys.as_ref();
                keys.is_none_or(|keys| keys.iter().any(|wanted| wanted.as_str() == key))
            };
            let config = |(key, value, source): (String, String, i8)| {
                DescribeConfigsResourceResult::default()
                    .with_name(text(&key))
                    .with_value(Some(text(&value)))
                    .with_config_source(source)
            };
            let configs = all_configs(&topic.configs).into_iter().filter(|(key, ..)| wanted(key));
            result.with_configs(configs.map(config).collect())
        });
        DescribeConfigsResponse::default().with_results(results.collect())
    }

    pub(super) fn alter_configs(self, request: &IncrementalAlterConfigsRequest) -> IncrementalAlterConfigsResponse {
        let altered = request.resources.iter().map(|resource| {
            let known = self.cluster.change(|state| {
                let Some(topic) = state.topics.get_mut(resource.resource_name.as_str()) else { return false };
                for config in resource.configs.iter().filter(|_| !request.validate_only) {
                    match &config.value {
                        Some(value) if config.config_operation == SET => {
                            topic.configs.insert(config.name.to_string(), value.to_string());
                        }
                        _ => drop(topic.configs.remove(config.name.as_str())),
                    }
                }
                true
            });
            AlterConfigsResourceResponse::default()
                .with_resource_type(resource.resource_type)
                .with_resource_name(resource.resource_name.clone())
                .with_error_code(if known { 0 } else { UNKNOWN_TOPIC_OR_PARTITION })
        });
        IncrementalAlterConfigsResponse::default().with_responses(altered.collect())
    }
}

/// Every configuration of a topic: key, value, and where it is set.
fn all_configs(own: &BTreeMap<String, String>) -> Vec<(String, String, i8)> {
    let defaults = DEFAULTS.iter().filter(|(key, _)| !own.contains_key(*key));
    let defaults = defaults.map(|(key, value)| ((*key).to_owned(), (*value).to_owned(), DEFAULT_CONFIG));
    own.iter().map(|(key, value)| (key.clone(), value.clone(), DYNAMIC_TOPIC_CONFIG)).chain(defaults).collect()
}

fn described(name: &str, topic: &Topic, up: &[bool]) -> MetadataResponseTopic {
    let partitions = topic.logs.iter().enumerate().map(|(index, log)| {
        let nodes = |wanted: &dyn Fn(usize) -> bool| -> Vec<BrokerId> {
            (0..up.len()).filter(|number| wanted(*number)).map(|number| BrokerId(number as i32)).collect()
        };
        let leader = if up[log.leader] { log.leader as i32 } else { -1 };
        MetadataResponsePartition::default()
            .with_partition_index(index as i32)
            .with_leader_id(BrokerId(leader))
            .with_leader_epoch(log.leader_epoch())
            .with_replica_nodes(nodes(&|_| true))
            .with_isr_nodes(nodes(&|number| log.replicas[number].in_sync))
    });
    MetadataResponseTopic::default()
        .with_name(Some(topic_name(name)))
        .with_topic_id(Uuid::from_u128(topic.id))
        .with_partitions(partitions.collect())
}
