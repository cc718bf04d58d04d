//! Finds out what there is to compare: topics, partitions, and the offsets between which both sides have to be equal.
//!
//! All ends are asked for once, at the beginning, so that a verification comes to an end while both sides live. The target
//! is asked first: a source that is asked later cannot have less than the target had.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::rc::Rc;
use std::sync::Arc;

use kafka_protocol::messages::DescribeConfigsRequest;
use kafka_protocol::messages::describe_configs_request::DescribeConfigsResource;
use kafka_protocol::protocol::StrBytes;
use tokio::time::Instant;

use super::report::Unread;
use super::translated::{self, Lens};
use super::{MEANWHILE, VerifyOptions};
use crate::config::{Config, IsolationLevel};
use crate::error::{Error, ErrorKind, Result};
use crate::machine::topics::names_on_target;
use crate::wire::admin::refused;
use crate::wire::cluster::{Cluster, Metadata, TopicMetadata};
use crate::wire::errors::{BrokerError, Class};
use crate::wire::positions::{self, ByPartition, TopicPartition, Which};

/// What there is to compare.
#[derive(Debug, Default)]
pub struct Plan {
    /// Topics that are compared.
    pub topics: u64,
    /// Their partitions.
    pub partitions: Vec<Planned>,
    /// What cannot be compared.
    pub unread: Vec<Unread>,
}

/// One partition to compare.
#[derive(Debug, Clone)]
pub struct Planned {
    /// The topic's name on the target.
    pub target_topic: String,
    /// The topic.
    pub topic: String,
    /// Its number.
    pub partition: i32,
    /// Whether source and target compact the topic.
    pub compacts: [bool; 2],
    /// The source's log; `None` if it lacks the partition.
    pub source: Option<Log>,
    /// The target's log; `None` if it lacks the partition.
    pub target: Option<Log>,
    /// How both are looked at, if offsets are translated.
    pub lens: Option<Arc<Lens>>,
}

/// Where a log begins and ends.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Log {
    /// The first offset that is kept.
    pub start: i64,
    /// Next offset that consumers of the isolation level cannot see yet.
    pub end: i64,
    /// Next offset that no consumer can see yet.
    pub high_watermark: i64,
}

type Offsets = HashMap<TopicPartition, Result<i64>>;

/// Asks both clusters. Topics that the target lacks are waited for until `patience` ends.
pub async fn plan(config: &Config, options: &VerifyOptions, patience: Instant) -> Result<Plan> {
    let source = Cluster::new("source", config.source.clone());
    let target = Cluster::new("target", config.target.clone());
    let none: [String; 0] = [];
    let (all, there) = tokio::join!(source.metadata(None, false), target.metadata(Some(&none), false));
    let (all, there) = (all?, there?);
    if all.cluster_id.is_some() && all.cluster_id == there.cluster_id {
        let message =
            "source and target are the same cluster: check source.bootstrap.servers and target.bootstrap.servers";
        return Err(Error::new(ErrorKind::Config, message));
    }
    let selected = select(config, options, &all)?;
    let meanwhile = Instant::now() + MEANWHILE;
    let ours = settled(&source, &selected, |_| 0, meanwhile).await?;
    // A mirror that has just started creates its topics first.
    let names: BTreeMap<String, &String> = names_on_target(config, &selected).into_iter().zip(&selected).collect();
    let selected_there: Vec<String> = names.keys().cloned().collect();
    let wanted = |name: &str| {
        let at_source = names.get(name).and_then(|name| ours.topics.get(*name));
        at_source.map_or(0, |topic| topic.leaders.len())
    };
    let theirs = settled(&target, &selected_there, wanted, meanwhile.max(patience)).await?;
    let mut plan = Plan::default();
    let (mut on_source, mut on_target) = (BTreeSet::new(), BTreeSet::new());
    // What partitions are called on both sides.
    let mut named_partitions = BTreeMap::new();
    for (name_there, name) in &names {
        let counts = partitions_of(&ours, "source", name)
            .and_then(|count| Ok((count, partitions_of(&theirs, "target", name_there)?)));
        match counts {
            Ok((source_count, target_count)) => {
                plan.topics += 1;
                let [topic, topic_there]: [Rc<str>; 2] = [Rc::from(name.as_str()), Rc::from(name_there.as_str())];
                let named = |index: i32| ((topic.clone(), index), (topic_there.clone(), index));
                on_source.extend((0..source_count).map(|index| named(index).0));
                on_target.extend((0..target_count).map(|index| named(index).1));
                named_partitions.extend((0..source_count.max(target_count)).map(named));
            }
            Err(error) => plan.unread.push(Unread { topic: (*name).clone(), partition: None, error }),
        }
    }
    let compacts = [compacted(&source, &selected).await, compacted(&target, &selected_there).await];
    let logs_there = logs(&target, &on_target, config.isolation_level).await;
    let logs_here = logs(&source, &on_source, config.isolation_level).await;
    for (name, name_there) in named_partitions {
        let (topic, target_topic, partition) = (name.0.to_string(), name_there.0.to_string(), name.1);
        let source = logs_here.get(&name).cloned().transpose();
        let target = logs_there.get(&name_there).cloned().transpose();
        match (source, target) {
            (Ok(source), Ok(target)) => {
                let compacts = [compacts[0].contains(&topic), compacts[1].contains(&target_topic)];
                plan.partitions.push(Planned { topic, target_topic, partition, compacts, source, target, lens: None });
            }
            (Err(error), _) | (_, Err(error)) => plan.unread.push(Unread { topic, partition: Some(partition), error }),
        }
    }
    translated::translate(config, (&source, &all), (&target, &theirs), &mut plan, patience).await?;
    recheck_ends(&source, &mut plan.partitions).await;
    // The largest first, so that the last thread to end does not end late.
    plan.partitions.sort_by_key(|planned| planned.source.map_or(0, |source| source.start - source.end));
    Ok(plan)
}

fn select(config: &Config, options: &VerifyOptions, metadata: &Metadata) -> Result<Vec<String>> {
    let mirrored = |name: &&String, topic: &TopicMetadata| !topic.is_internal && config.mirrors(name);
    let narrowed = |name: &&String| options.topics.as_ref().is_none_or(|topics| topics.matches(name));
    let mirrored = metadata.topics.iter().filter(|(name, topic)| mirrored(name, topic)).map(|(name, _)| name);
    let selected: Vec<String> = mirrored.filter(narrowed).cloned().collect();
    if selected.is_empty() {
        let message = format!(
            "no topic of the source is selected to be verified (the source shows {} topics): check 'topics', \
             'topics.exclude', --topics and the permission to describe topics",
            metadata.topics.len()
        );
        return Err(Error::new(ErrorKind::Config, message));
    }
    Ok(selected)
}

/// Asks for topics until all are there with leaders for their partitions, as many as are wanted of each, or until they have
/// had time enough.
async fn settled(
    cluster: &Cluster,
    topics: &[String],
    wanted: impl Fn(&str) -> usize,
    deadline: Instant,
) -> Result<Metadata> {
    loop {
        let metadata = cluster.metadata(Some(topics), false).await?;
        let is_settled = |name: &String| {
            let Some(topic) = metadata.topics.get(name) else { return wanted(name) == 0 };
            match BrokerError::of(topic.error_code) {
                Some(error) if error.code == BrokerError::UNKNOWN_PARTITION.code => wanted(name) == 0,
                Some(error) => error.class != Class::Leader,
                None => topic.leaders.len() >= wanted(name) && topic.leaders.iter().all(|leader| *leader >= 0),
            }
        };
        if topics.iter().all(is_settled) || Instant::now() > deadline {
            return Ok(metadata);
        }
        tokio::time::sleep(cluster.config().retry_backoff).await;
    }
}

/// How many partitions a cluster has of a topic.
fn partitions_of(metadata: &Metadata, side: &str, name: &str) -> Result<i32> {
    let topic = metadata.topics.get(name);
    let code = topic.map_or(BrokerError::UNKNOWN_PARTITION.code, |topic| topic.error_code);
    match BrokerError::of(code) {
        None => Ok(topic.map_or(0, |topic| topic.leaders.len() as i32)),
        Some(error) if error.code == BrokerError::UNKNOWN_PARTITION.code => Ok(0),
        Some(error) => {
            let unauthorized = error.class == Class::Unauthorized;
            let kind = if unauthorized { ErrorKind::Authorization } else { ErrorKind::Broker };
            let message = format!("the {side} does not describe topic '{name}': {error}");
            Err(Error::new(kind, message).with_topic(name).with_kafka_code(error.code))
        }
    }
}

/// Which topics a cluster compacts. Where it does not tell, a topic counts as not compacted.
async fn compacted(cluster: &Cluster, topics: &[String]) -> BTreeSet<String> {
    match try_compacted(cluster, topics).await {
        Ok(compacted) => compacted,
        Err(error) => {
            tracing::warn!(%error, "the {} does not tell which topics it compacts: none, as far as is known", cluster.side);
            BTreeSet::new()
        }
    }
}

async fn try_compacted(cluster: &Cluster, topics: &[String]) -> Result<BTreeSet<String>> {
    const TOPIC: i8 = 2;
    const CLEANUP_POLICY: StrBytes = StrBytes::from_static_str("cleanup.policy");
    let connection = cluster.any().await?;
    let resource = |topic: &String| {
        DescribeConfigsResource::default()
            .with_resource_type(TOPIC)
            .with_resource_name(StrBytes::from_string(topic.clone()))
            .with_configuration_keys(Some(vec![CLEANUP_POLICY]))
    };
    let request = DescribeConfigsRequest::default().with_resources(topics.iter().map(resource).collect());
    let response = connection.call(&request, connection.version::<DescribeConfigsRequest>(4)?).await?;
    let mut compacted = BTreeSet::new();
    for result in response.results {
        match BrokerError::of(result.error_code) {
            // Whether there is such a topic is seen elsewhere.
            Some(error) if error.code == BrokerError::UNKNOWN_PARTITION.code => continue,
            Some(error) => {
                return Err(refused(cluster, &format!("describe topic '{}'", result.resource_name), error, None));
            }
            None => {}
        }
        let is_compact = |value: &StrBytes| value.split(',').any(|policy| policy.trim() == "compact");
        let mut policies = result.configs.iter().filter(|config| config.name == CLEANUP_POLICY);
        if policies.any(|config| config.value.as_ref().is_some_and(is_compact)) {
            compacted.insert(result.resource_name.to_string());
        }
    }
    Ok(compacted)
}

async fn logs(
    cluster: &Cluster,
    partitions: &BTreeSet<TopicPartition>,
    isolation: IsolationLevel,
) -> HashMap<TopicPartition, Result<Log>> {
    let high_watermarks = offsets(cluster, partitions, Which::HighWatermark).await;
    let ends = match isolation {
        IsolationLevel::ReadUncommitted => None,
        IsolationLevel::ReadCommitted => Some(offsets(cluster, partitions, Which::LastStable).await),
    };
    let starts = offsets(cluster, partitions, Which::LogStart).await;
    let log = |name: &TopicPartition| {
        let of = |offsets: &Offsets| offsets.get(name).cloned().unwrap_or_else(|| Err(not_told(cluster, name, None)));
        let high_watermark = of(&high_watermarks)?;
        let end = ends.as_ref().map_or(Ok(high_watermark), of)?;
        Ok(Log { start: of(&starts)?, end, high_watermark })
    };
    partitions.iter().map(|name| (name.clone(), log(name))).collect()
}

fn not_told(cluster: &Cluster, name: &TopicPartition, error: Option<BrokerError>) -> Error {
    let why = error.map_or_else(|| "it has no leader".to_owned(), |error| error.to_string());
    let kind = match error {
        Some(error) if error.class == Class::Unauthorized => ErrorKind::Authorization,
        _ => ErrorKind::Broker,
    };
    let (topic, partition) = name;
    let message =
        format!("the {} does not tell the offsets of topic '{topic}' partition {partition}: {why}", cluster.side);
    Error::new(kind, message).with_partition(&**topic, *partition)
}

/// Asks the leaders of partitions for an offset of each, again and again for as long as a request may take.
async fn offsets(cluster: &Cluster, partitions: &BTreeSet<TopicPartition>, which: Which) -> Offsets {
    let deadline = Instant::now() + cluster.config().request_timeout;
    let mut open = partitions.clone();
    let mut found = HashMap::new();
    loop {
        let names: BTreeSet<String> = open.iter().map(|(topic, _)| topic.to_string()).collect();
        let names: Vec<String> = names.into_iter().collect();
        let metadata = match names.is_empty() {
            true => return found,
            // Left open: what is missing is an error below.
            false => cluster.metadata(Some(&names), false).await.unwrap_or_default(),
        };
        let mut groups: BTreeMap<i32, Vec<TopicPartition>> = BTreeMap::new();
        for name in &open {
            let leaders = metadata.topics.get(&*name.0).map(|topic| &topic.leaders);
            let leader =
                leaders.and_then(|leaders| leaders.get(name.1 as usize)).copied().filter(|leader| *leader >= 0);
            match leader {
                Some(leader) => groups.entry(leader).or_default().push(name.clone()),
                None => drop(found.insert(name.clone(), Err(not_told(cluster, name, None)))),
            }
        }
        for (leader, group) in groups {
            let answers = match cluster.broker(leader).await {
                // Left open: what is missing is an error below.
                Ok(connection) => positions::list_offsets(&connection, &group, which).await.unwrap_or_default(),
                Err(_) => ByPartition::default(), // Left open: as above.
            };
            for name in group {
                let answer = match answers.get(&name) {
                    Some(Ok(offset)) => Ok(*offset),
                    Some(Err(error)) => Err(not_told(cluster, &name, Some(*error))),
                    None => Err(not_told(cluster, &name, None)),
                };
                found.insert(name, answer);
            }
        }
        let passes = |error: &Error| error.kind() == ErrorKind::Broker;
        open.retain(|name| found.get(name).is_none_or(|answer| answer.as_ref().is_err_and(passes)));
        if open.is_empty() || Instant::now() > deadline {
            return found;
        }
        tokio::time::sleep(cluster.config().retry_backoff).await;
    }
}

/// A leader that has just been elected may tell an end that is too low for a moment: where the target seems to go on
/// beyond the source's end, the source is asked again.
async fn recheck_ends(source: &Cluster, partitions: &mut [Planned]) {
    let deadline = Instant::now() + MEANWHILE;
    loop {
        let ends = |planned: &Planned| Some((planned.source?.high_watermark, planned.target?.high_watermark));
        let is_beyond = |planned: &&mut Planned| ends(planned).is_some_and(|(source, target)| target > source);
        let mut beyond: Vec<_> = partitions.iter_mut().filter(is_beyond).collect();
        let names = beyond.iter().map(|planned| (Rc::from(planned.topic.as_str()), planned.partition)).collect();
        if beyond.is_empty() || Instant::now() > deadline {
            return;
        }
        tokio::time::sleep(source.config().retry_backoff).await;
        let found = offsets(source, &names, Which::HighWatermark).await;
        for planned in &mut beyond {
            let end = found.get(&(Rc::from(planned.topic.as_str()), planned.partition));
            if let (Some(Ok(end)), Some(log)) = (end, &mut planned.source) {
                log.high_watermark = log.high_watermark.max(*end);
            }
        }
    }
}
