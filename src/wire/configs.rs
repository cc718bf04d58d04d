//! The configurations of topics: what is set on them, and changes of it, many topics in one request.
//! Answers are refused for one topic at a time; an error of a function is that of a whole request.

use std::cell::{OnceCell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use kafka_protocol::messages::describe_configs_request::DescribeConfigsResource;
use kafka_protocol::messages::describe_configs_response::{DescribeConfigsResourceResult, DescribeConfigsResult};
use kafka_protocol::messages::incremental_alter_configs_request::{AlterConfigsResource, AlterableConfig};
use kafka_protocol::messages::incremental_alter_configs_response::AlterConfigsResourceResponse;
use kafka_protocol::messages::{DescribeConfigsRequest, IncrementalAlterConfigsRequest};
use kafka_protocol::protocol::StrBytes;

use super::cluster::Cluster;
use super::portions::{self, Answer};
use super::removal::missing;
use crate::error::{ErrorKind, Result};
use crate::terms::broker_error::BrokerError;
use crate::terms::settings::{COUNTING, Changes, Counting, TIMESTAMP_TYPE};

/// Topics in one request that asks.
const AT_ONCE: usize = 250;
/// A topic's number among the things that have configurations.
const TOPIC_RESOURCE: i8 = 2;
/// A configuration that was set on the topic itself.
pub const DYNAMIC_TOPIC_CONFIG: i8 = 1;
/// Whether old segments are kept in a remote store.
pub const REMOTE_STORAGE: &str = "remote.storage.enable";

/// An answer for each topic.
pub type ByTopic<T> = BTreeMap<String, Result<T>>;

/// The configurations of a topic.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TopicConfigs {
    /// What was set on the topic itself, but for secrets.
    pub own: BTreeMap<String, String>,
    /// What counts, set on the topic or not.
    pub counting: Counting,
    /// Every configuration that the brokers know, set or not; nothing if they were not asked.
    pub known: Rc<BTreeSet<String>>,
}

/// The configurations of topics.
pub async fn describe(cluster: &Cluster, topics: &[String]) -> Result<ByTopic<TopicConfigs>> {
    // The brokers of a cluster know the same of all topics.
    let all: OnceCell<Rc<BTreeSet<String>>> = OnceCell::new();
    let values = Values::default();
    describe_keys(cluster, topics, None, false, |configs| {
        let names = || configs.iter().map(|config| config.name.to_string()).collect();
        let known = all.get_or_init(|| Rc::new(names())).clone();
        let counting = counting(configs.iter().map(|config| (config.name.as_str(), config.value.as_deref())), &values);
        let own = configs.into_iter().filter(|config| is_own(config) && !config.is_sensitive);
        let own = own.filter_map(|config| Some((config.name.to_string(), config.value?.to_string())));
        TopicConfigs { own: own.collect(), counting, known }
    })
    .await
}

/// What would count for topics if nothing was set on them.
pub async fn inherited(cluster: &Cluster, topics: &[String]) -> Result<ByTopic<Counting>> {
    let values = Values::default();
    describe_keys(cluster, topics, Some(&COUNTING), true, |configs| {
        let inherited = configs.iter().map(|config| {
            let mut others = config.synonyms.iter().filter(|synonym| synonym.source != DYNAMIC_TOPIC_CONFIG);
            (config.name.as_str(), others.next().and_then(|synonym| synonym.value.as_deref()))
        });
        counting(inherited, &values)
    })
    .await
}

/// Whose times the records of topics carry: `CreateTime`, or `LogAppendTime` of the brokers.
pub async fn timestamp_types(cluster: &Cluster, topics: &[String]) -> Result<ByTopic<Option<String>>> {
    describe_keys(cluster, topics, Some(&[TIMESTAMP_TYPE]), false, |configs| {
        configs.into_iter().find_map(|config| config.value.map(|value| value.to_string()))
    })
    .await
}

/// Values that thousands of topics have in common.
pub type Values = RefCell<BTreeSet<Rc<str>>>;

/// Of all configurations those that are in [`COUNTING`].
pub fn counting<'a>(configs: impl Iterator<Item = (&'a str, Option<&'a str>)>, values: &Values) -> Counting {
    let known = |(name, value): (&str, Option<&str>)| {
        let key = COUNTING.into_iter().find(|key| *key == name)?;
        let mut values = values.borrow_mut();
        let value = match values.get(value?) {
            Some(value) => value.clone(),
            None => Rc::from(value?),
        };
        values.insert(value.clone());
        Some((key, value))
    };
    configs.filter_map(known).collect()
}

/// Whether it was set on the topic itself.
pub fn is_own(config: &DescribeConfigsResourceResult) -> bool {
    config.config_source == DYNAMIC_TOPIC_CONFIG
}

/// Some or all configurations of topics, each topic's as `read` makes of them.
pub async fn describe_keys<T>(
    cluster: &Cluster,
    topics: &[String],
    keys: Option<&[&'static str]>,
    synonyms: bool,
    read: impl Fn(Vec<DescribeConfigsResourceResult>) -> T,
) -> Result<ByTopic<T>> {
    let mut described = BTreeMap::new();
    for some in topics.chunks(AT_ONCE) {
        let connection = cluster.any().await?;
        let resource = |topic: &String| {
            let keys = keys.map(|keys| keys.iter().map(|key| StrBytes::from_static_str(key)).collect());
            DescribeConfigsResource::default()
                .with_resource_type(TOPIC_RESOURCE)
                .with_resource_name(StrBytes::from_string(topic.clone()))
                .with_configuration_keys(keys)
        };
        let request = DescribeConfigsRequest::default()
            .with_resources(some.iter().map(resource).collect())
            .with_include_synonyms(synonyms);
        let response = connection.call(&request, connection.version::<DescribeConfigsRequest>(4)?).await?;
        described.extend(response.results.into_iter().map(|result| described_one(cluster, result, &read)));
    }
    Ok(described)
}

fn described_one<T>(
    cluster: &Cluster,
    result: DescribeConfigsResult,
    read: &impl Fn(Vec<DescribeConfigsResourceResult>) -> T,
) -> (String, Result<T>) {
    let name = result.resource_name.to_string();
    let configs = match BrokerError::of(result.error_code) {
        Some(error) => {
            let what = format!("describe the configuration of topic '{name}'");
            Err(missing(cluster, &what, "DescribeConfigs", &name, error, result.error_message.as_deref()))
        }
        None => Ok(read(result.configs)),
    };
    (name, configs)
}

/// Changes configurations of topics, or with `validate_only` asks whether that would be possible; the result of each.
pub async fn alter<K: AsRef<str>>(
    cluster: &Cluster,
    topics: &[(String, Changes<K>)],
    validate_only: bool,
) -> Result<ByTopic<()>> {
    const SET: i8 = 0;
    const DELETE: i8 = 1;
    let connection = match topics {
        [] => return Ok(BTreeMap::new()),
        _ => cluster.any().await?,
    };
    let version = connection.version::<IncrementalAlterConfigsRequest>(1)?;
    let change = |(key, value): &(K, Option<String>)| {
        AlterableConfig::default()
            .with_name(StrBytes::from_string(key.as_ref().to_owned()))
            .with_config_operation(if value.is_some() { SET } else { DELETE })
            .with_value(value.clone().map(StrBytes::from_string))
    };
    let resource = |(topic, changes): &&(String, Changes<K>)| {
        AlterConfigsResource::default()
            .with_resource_type(TOPIC_RESOURCE)
            .with_resource_name(StrBytes::from_string(topic.clone()))
            .with_configs(changes.iter().map(change).collect())
    };
    let all: Vec<&(String, Changes<K>)> = topics.iter().collect();
    let answers = portions::ask(
        &all,
        |(_, changes)| changes.len(),
        async |some: &[&(String, Changes<K>)]| {
            let request = IncrementalAlterConfigsRequest::default()
                .with_resources(some.iter().map(resource).collect())
                .with_validate_only(validate_only);
            Ok(connection.call(&request, version).await?.responses)
        },
    );
    let results = answers.await?.into_iter().map(|result| {
        let name = result.resource_name.to_string();
        let keys = topics.iter().filter(|(topic, _)| *topic == name).flat_map(|(_, changes)| changes);
        let keys: Vec<&str> = keys.map(|(key, _)| key.as_ref()).collect();
        let what = format!("change {} of topic '{name}'", keys.join(", "));
        let outcome = BrokerError::of(result.error_code).map_or(Ok(()), |error| {
            Err(missing(cluster, &what, "AlterConfigs", &name, error, result.error_message.as_deref()))
        });
        (name, outcome)
    });
    Ok(results.collect())
}

impl Answer for AlterConfigsResourceResponse {
    fn code(&self) -> i16 {
        self.error_code
    }

    fn text(&self) -> Option<&str> {
        self.error_message.as_deref()
    }
}

/// What every topic gets when a whole request is not offered by the brokers.
pub fn unsupported_is<T: Clone>(answer: Result<ByTopic<T>>, topics: &[String], instead: &T) -> Result<ByTopic<T>> {
    match answer {
        Err(error) if error.kind() == ErrorKind::Unsupported => {
            Ok(topics.iter().map(|topic| (topic.clone(), Ok(instead.clone()))).collect())
        }
        answer => answer,
    }
}
