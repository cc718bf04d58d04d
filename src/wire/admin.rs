//! What a mirror asks of a cluster as a whole: topics, who has a transaction open.
//! These are rare and may take their time; what a stream sends all day is in `fetch.rs` and `produce.rs`.

use std::collections::BTreeMap;

use kafka_protocol::messages::create_partitions_request::CreatePartitionsTopic;
use kafka_protocol::messages::create_partitions_response::CreatePartitionsTopicResult;
use kafka_protocol::messages::create_topics_request::{CreatableTopic, CreatableTopicConfig};
use kafka_protocol::messages::create_topics_response::CreatableTopicResult;
use kafka_protocol::messages::delete_topics_request::DeleteTopicState;
use kafka_protocol::messages::{
    CreatePartitionsRequest, CreateTopicsRequest, DeleteTopicsRequest, ListTransactionsRequest, ProducerId,
};
use kafka_protocol::protocol::StrBytes;
use uuid::Uuid;

use super::cluster::{Cluster, topic_name};
use super::configs::{self, DYNAMIC_TOPIC_CONFIG};
use super::connection::Connection;
use super::portions::{self, Answer, PARTITIONS_AT_ONCE};
use crate::error::{Error, ErrorKind, Result};
use crate::terms::broker_error::{BrokerError, Class};
use crate::terms::settings::{Changes, Counting, MIN_IN_SYNC};
use crate::terms::topic::NewTopic;
use crate::text::printable;

impl NewTopic {
    /// The partitions that it gets at once; the others are added.
    fn first_partitions(&self) -> i32 {
        self.partitions.min(PARTITIONS_AT_ONCE)
    }

    /// The records that a controller writes for it.
    fn weight(&self) -> usize {
        1 + self.first_partitions().max(1) as usize + self.configs.len()
    }
}

/// Topics of which as many as a request may hold are created at a time.
pub fn portions(topics: &mut [NewTopic]) -> impl Iterator<Item = &mut [NewTopic]> {
    let ranges = portions::ranges(topics.iter().map(NewTopic::weight));
    let mut rest = topics;
    ranges.into_iter().map(move |range| {
        let (some, others) = std::mem::take(&mut rest).split_at_mut(range.len());
        rest = others;
        some
    })
}

/// The partitions that a topic has, and is to have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Growth {
    /// Now.
    pub from: i32,
    /// In the end.
    pub to: i32,
}

impl Growth {
    /// How many it gets in one request.
    fn next(self) -> i32 {
        self.to.min(self.from.saturating_add(PARTITIONS_AT_ONCE))
    }
}

impl Answer for CreatableTopicResult {
    fn code(&self) -> i16 {
        self.error_code
    }

    fn text(&self) -> Option<&str> {
        self.error_message.as_deref()
    }
}

impl Answer for CreatePartitionsTopicResult {
    fn code(&self) -> i16 {
        self.error_code
    }

    fn text(&self) -> Option<&str> {
        self.error_message.as_deref()
    }
}

/// The error of a request about a thing, as a sentence.
pub fn refused(cluster: &Cluster, what: &str, broker: BrokerError, detail: Option<&str>) -> Error {
    let kind = match broker.class {
        Class::Unauthorized => ErrorKind::Authorization,
        Class::Unauthenticated => ErrorKind::Authentication,
        Class::Unsupported => ErrorKind::Unsupported,
        Class::Refused => ErrorKind::Topic,
        _ => ErrorKind::Broker,
    };
    let detail =
        detail.filter(|text| !text.is_empty()).map(|text| format!(" ({})", printable(text))).unwrap_or_default();
    Error::new(kind, format!("the {} cluster refuses to {what}: {broker}{detail}", cluster.side))
        .with_kafka_code(broker.code)
}

/// Creates topics; the id that each got, nil where the cluster has none. A topic that exists already is no error, and has none
/// either: somebody else may have created it.
pub async fn create_topics(
    cluster: &Cluster,
    controller_id: i32,
    topics: &[NewTopic],
) -> Result<BTreeMap<String, Result<Option<u128>>>> {
    if topics.is_empty() {
        return Ok(BTreeMap::new());
    }
    let connection = controller(cluster, controller_id).await?;
    if !connection.supports::<CreateTopicsRequest>() {
        return create_by_asking(cluster, topics).await;
    }
    let answers = request_creation(cluster, &connection, topics, false).await?;
    let dead: Vec<_> = answers.iter().filter_map(minimum_that_lets_it_live).collect();
    for (name, result) in configs::alter(cluster, &dead, false).await.unwrap_or_default() {
        match result {
            Ok(()) => tracing::info!(topic = name, "min.insync.replicas is as many as it has replicas"),
            Err(error) => tracing::warn!(topic = name, %error, "it takes no records: min.insync.replicas is too high"),
        }
    }
    let ids: BTreeMap<String, u128> = answers
        .iter()
        .filter(|answer| answer.error_code == 0)
        .map(|answer| (answer.name.0.to_string(), answer.topic_id.as_u128()))
        .collect();
    let with_id = |(name, result): (String, Result<()>)| {
        let id = ids.get(&name).copied();
        (name, result.map(|()| id))
    };
    Ok(created(cluster, answers).into_iter().map(with_id).collect())
}

/// Asks whether topics could be created; of each, what would count for it without being set on it, as far as that is told. Nothing where
/// that cannot be asked.
pub async fn may_create_topics(
    cluster: &Cluster,
    controller_id: i32,
    topics: &[NewTopic],
) -> Result<BTreeMap<String, Result<Counting>>> {
    if topics.is_empty() {
        return Ok(BTreeMap::new());
    }
    let connection = controller(cluster, controller_id).await?;
    if !connection.supports::<CreateTopicsRequest>() {
        return Ok(BTreeMap::new());
    }
    let answers = request_creation(cluster, &connection, topics, true).await?;
    let values = configs::Values::default();
    let inherited = |answer: &CreatableTopicResult| {
        let configs = answer.configs.iter().flatten().filter(|config| config.config_source != DYNAMIC_TOPIC_CONFIG);
        let configs = configs.map(|config| (config.name.as_str(), config.value.as_deref()));
        (answer.name.0.to_string(), configs::counting(configs, &values))
    };
    let mut inherited: BTreeMap<String, Counting> = answers.iter().map(inherited).collect();
    let with_inherited = |(name, result): (String, Result<()>)| {
        let inherited = inherited.remove(&name).unwrap_or_default();
        (name, result.map(|()| inherited))
    };
    Ok(created(cluster, answers).into_iter().map(with_inherited).collect())
}

async fn request_creation(
    cluster: &Cluster,
    connection: &Connection,
    topics: &[NewTopic],
    validate_only: bool,
) -> Result<Vec<CreatableTopicResult>> {
    let new = |topic: &NewTopic| {
        let config = |(name, value): (&String, &String)| {
            let (name, value) = (StrBytes::from_string(name.clone()), StrBytes::from_string(value.clone()));
            CreatableTopicConfig::default().with_name(name).with_value(Some(value))
        };
        CreatableTopic::default()
            .with_name(topic_name(&topic.name))
            .with_num_partitions(topic.first_partitions())
            .with_replication_factor(topic.replication_factor)
            .with_configs(topic.configs.iter().map(config).collect())
    };
    portions::ask(topics, NewTopic::weight, async |some: &[NewTopic]| {
        let request = CreateTopicsRequest::default()
            .with_topics(some.iter().map(new).collect())
            .with_validate_only(validate_only)
            .with_timeout_ms(cluster.config().request_timeout.as_millis() as i32);
        Ok(connection.call(&request, connection.version::<CreateTopicsRequest>(7)?).await?.topics)
    })
    .await
}

fn created(cluster: &Cluster, answers: Vec<CreatableTopicResult>) -> BTreeMap<String, Result<()>> {
    let created = answers.into_iter().map(|topic| {
        let name = topic.name.0.to_string();
        let what = format!("create topic '{name}'");
        let result = outcome(cluster, &what, topic.error_code, topic.error_message.as_deref());
        (name.clone(), result.map_err(|error| error.with_topic(name)))
    });
    created.collect()
}

/// The change that a new topic needs of which more replicas would have to be in sync than there are: brokers may have such a default.
fn minimum_that_lets_it_live(topic: &CreatableTopicResult) -> Option<(String, Changes<&'static str>)> {
    let mut own = topic.configs.iter().flatten().filter(|config| config.name.as_str() == MIN_IN_SYNC);
    let minimum: i16 = own.next()?.value.as_ref()?.parse().ok()?;
    let replicas = topic.replication_factor;
    let is_dead = topic.error_code == 0 && replicas > 0 && minimum > replicas;
    is_dead.then(|| (topic.name.0.to_string(), vec![(MIN_IN_SYNC, Some(replicas.to_string()))]))
}

const TOPIC_ALREADY_EXISTS: i16 = 36;
const UNKNOWN_TOPIC_ID: i16 = 100;
/// From this version on a topic is deleted by its id (Kafka 2.8).
const BY_ID: i16 = 6;

fn outcome(cluster: &Cluster, what: &str, error_code: i16, detail: Option<&str>) -> Result<()> {
    match BrokerError::of(error_code) {
        Some(error) if error.code != TOPIC_ALREADY_EXISTS => Err(refused(cluster, what, error, detail)),
        _ => Ok(()),
    }
}

/// A cluster without CreateTopics creates a topic when its metadata is asked for, with its own number of partitions.
async fn create_by_asking(cluster: &Cluster, topics: &[NewTopic]) -> Result<BTreeMap<String, Result<Option<u128>>>> {
    let names: Vec<String> = topics.iter().map(|topic| topic.name.clone()).collect();
    cluster.metadata(Some(&names), true).await?;
    Ok(names.into_iter().map(|name| (name, Ok(None))).collect())
}

/// Adds partitions to topics, up to the number given or as many of them as a request may hold, or with `validate_only` asks whether that would
/// be possible; the result of each.
pub async fn grow_topics(
    cluster: &Cluster,
    controller_id: i32,
    topics: &BTreeMap<String, Growth>,
    validate_only: bool,
) -> Result<BTreeMap<String, Result<()>>> {
    if topics.is_empty() {
        return Ok(BTreeMap::new());
    }
    let connection = controller(cluster, controller_id).await?;
    let topics: Vec<(&String, Growth)> = topics.iter().map(|(name, growth)| (name, *growth)).collect();
    let weight = |(_, growth): &(&String, Growth)| growth.next().saturating_sub(growth.from).max(1) as usize;
    let grown = |(name, growth): &(&String, Growth)| {
        CreatePartitionsTopic::default().with_name(topic_name(name)).with_count(growth.next()).with_assignments(None)
    };
    let answers = portions::ask(&topics, weight, async |some: &[(&String, Growth)]| {
        let request = CreatePartitionsRequest::default()
            .with_topics(some.iter().map(grown).collect())
            .with_validate_only(validate_only)
            .with_timeout_ms(cluster.config().request_timeout.as_millis() as i32);
        Ok(connection.call(&request, connection.version::<CreatePartitionsRequest>(3)?).await?.results)
    });
    let results = answers.await?.into_iter().map(|topic| {
        let name = topic.name.0.to_string();
        let what = format!("add partitions to topic '{name}'");
        let result = outcome(cluster, &what, topic.error_code, topic.error_message.as_deref());
        (name.clone(), result.map_err(|error| error.with_topic(name)))
    });
    Ok(results.collect())
}

/// Deletes the topic with this id and all its records, and no other that has come to have its name. One that is not there counts as
/// deleted.
pub async fn delete_topic(cluster: &Cluster, controller_id: i32, topic: &str, id: u128) -> Result<()> {
    let connection = controller(cluster, controller_id).await?;
    let version = connection.version::<DeleteTopicsRequest>(6)?;
    if version < BY_ID || id == 0 {
        let message = format!("the {} cluster does not delete topic '{topic}' by its id", cluster.side);
        return Err(Error::new(ErrorKind::Unsupported, message).with_topic(topic));
    }
    let request = DeleteTopicsRequest::default()
        .with_timeout_ms(cluster.config().request_timeout.as_millis() as i32)
        .with_topics(vec![DeleteTopicState::default().with_name(None).with_topic_id(Uuid::from_u128(id))]);
    let response = connection.call(&request, version).await?;
    for answer in response.responses {
        match BrokerError::of(answer.error_code) {
            Some(error) if ![BrokerError::UNKNOWN_PARTITION.code, UNKNOWN_TOPIC_ID].contains(&error.code) => {
                let detail = answer.error_message.as_deref();
                return Err(refused(cluster, &format!("delete topic '{topic}'"), error, detail).with_topic(topic));
            }
            _ => {}
        }
    }
    Ok(())
}

/// Old clusters create topics on the controller only; newer ones pass it on from any broker.
async fn controller(cluster: &Cluster, controller_id: i32) -> Result<std::rc::Rc<Connection>> {
    match cluster.broker(controller_id).await {
        Ok(connection) => Ok(connection),
        Err(_) => cluster.any().await,
    }
}

/// The transactional id of a producer with an open transaction, if the coordinators tell: each broker knows its own, and shows
/// only those that may be described.
pub async fn transactional_id_of(cluster: &Cluster, producer_id: i64) -> Option<String> {
    for broker in cluster.brokers() {
        let Ok(connection) = cluster.broker(broker).await else { continue };
        let Ok(version) = connection.version::<ListTransactionsRequest>(0) else { continue };
        let request = ListTransactionsRequest::default().with_producer_id_filters(vec![ProducerId(producer_id)]);
        let Ok(response) = connection.call(&request, version).await else { continue };
        let found = response.transaction_states.into_iter().find(|state| state.producer_id.0 == producer_id);
        if let Some(state) = found {
            return Some(state.transactional_id.0.to_string());
        }
    }
    None
}
