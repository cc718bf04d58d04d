//! Finds out what there is to compare: topics, partitions, and the offsets between which both sides have to be equal.
//!
//! All ends are asked for once, at the beginning, so that a verification comes to an end while both sides live. The target
//! is asked first: a source that is asked later cannot have less than the target had.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt::Display;
use std::rc::Rc;
use std::sync::Arc;

use tokio::time::Instant;

use super::report::Unread;
use super::translated::{self, Lens};
use super::{MEANWHILE, VerifyOptions};
use crate::batch::marker::Origin;
use crate::config::{Config, IsolationLevel};
use crate::control::default_name;
use crate::error::{Error, ErrorKind, Result};
use crate::identity::{self, Whose};
use crate::machine::topics::names_on_target;
use crate::terms::broker_error::{BrokerError, Class};
use crate::terms::topic::{Metadata, TopicMetadata, TopicPartition};
use crate::wire::cluster::Cluster;
use crate::wire::configs::{self, REMOTE_STORAGE};
use crate::wire::positions::{self, Which};

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
    /// Whether source and target have the topic in tiered storage; `None` where that is not known.
    pub tiered: [Option<bool>; 2],
    /// Who writes copies to the target; `None` if that is not known, or offsets are translated.
    pub writers: Option<Writers>,
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
    let source_id = all.cluster_id.clone().unwrap_or_else(|| "unknown".to_owned());
    let writers = writers(config, &target, &source_id, theirs.cluster_id.as_deref().unwrap_or("unknown")).await;
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
            Err(error) => plan.unread.push(Unread { topic: (*name).clone(), partition: None, offset: None, error }),
        }
    }
    let kept = [kept(&source, &selected).await, kept(&target, &selected_there).await];
    let logs_there = logs(&target, &on_target, config.isolation_level).await;
    let logs_here = logs(&source, &on_source, config.isolation_level).await;
    for (name, name_there) in named_partitions {
        let (topic, target_topic, partition) = (name.0.to_string(), name_there.0.to_string(), name.1);
        let source = logs_here.get(&name).cloned().transpose();
        let target = logs_there.get(&name_there).cloned().transpose();
        match (source, target) {
            (Ok(source), Ok(target)) => {
                let kept = [kept[0].get(&topic), kept[1].get(&target_topic)];
                let compacts = kept.map(|kept| kept.is_some_and(|kept| kept.compacts));
                let tiered = kept.map(|kept| kept.map(|kept| kept.is_tiered));
                let lens = None;
                plan.partitions.push(Planned {
                    topic,
                    target_topic,
                    partition,
                    compacts,
                    source,
                    target,
                    tiered,
                    writers,
                    lens,
                });
            }
            (Err(error), _) | (_, Err(error)) => {
                plan.unread.push(Unread { topic, partition: Some(partition), offset: None, error });
            }
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

/// Who writes copies of the source to the target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Writers {
    /// What producer ids of such mirrors say.
    origin: Origin,
    /// The producer id of the mirror of this name, which may say nothing.
    producer_id: i64,
}

impl Writers {
    /// Whether a producer id is one of theirs.
    pub fn are(self, producer_id: i64) -> bool {
        producer_id == self.producer_id || Origin::of_producer(producer_id) == Some(self.origin)
    }
}

/// Who writes copies of the source to the target. Where no mirror of this name is known, nobody is known to be somebody else.
async fn writers(config: &Config, target: &Cluster, source_id: &str, target_id: &str) -> Option<Writers> {
    if config.translates() {
        return None;
    }
    let name = config.name.clone().unwrap_or_else(|| default_name(source_id, target_id));
    let whose = Whose { name: &name, source_cluster_id: source_id, offsets: config.offsets };
    match identity::find(target, whose).await {
        Ok(found) => {
            let producer_id = found?.identity.producer_id;
            Some(Writers { origin: Origin::of_cluster(source_id), producer_id })
        }
        Err(error) => {
            tracing::warn!(%error, "it cannot be told what the mirror '{name}' has written to the target, and what others");
            None
        }
    }
}

/// How a cluster keeps a topic.
#[derive(Debug, Clone, Copy)]
struct Kept {
    compacts: bool,
    is_tiered: bool,
}

/// How a cluster keeps topics. Of one that it does not tell about nothing is known: it counts as not compacted, so that what is
/// missing there has no excuse.
async fn kept(cluster: &Cluster, topics: &[String]) -> BTreeMap<String, Kept> {
    const CLEANUP_POLICY: &str = "cleanup.policy";
    let described = configs::describe_keys(cluster, topics, Some(&[CLEANUP_POLICY, REMOTE_STORAGE]), false, |all| {
        let has = |key: &str, what: &str| {
            let values =
                all.iter().filter(|config| config.name.as_str() == key).filter_map(|config| config.value.as_ref());
            values.flat_map(|value| value.split(',')).any(|value| value.trim() == what)
        };
        Kept { compacts: has(CLEANUP_POLICY, "compact"), is_tiered: has(REMOTE_STORAGE, "true") }
    });
    let is_there = |error: &Error| error.kafka_code() != Some(BrokerError::UNKNOWN_PARTITION.code);
    let (mut found, mut untold) = (BTreeMap::new(), None);
    match described.await {
        Ok(described) => {
            for (topic, kept) in described {
                match kept {
                    Ok(kept) => drop(found.insert(topic, kept)),
                    // Whether there is such a topic is seen elsewhere.
                    Err(error) => untold = untold.or(Some(error).filter(is_there)),
                }
            }
        }
        Err(error) => untold = Some(error),
    }
    if let Some(error) = untold {
        let side = cluster.side;
        tracing::warn!(%error, "the {side} does not tell how it keeps topics: those count as not compacted");
    }
    found
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
        let of =
            |offsets: &Offsets| offsets.get(name).cloned().unwrap_or_else(|| Err(not_told(cluster, name, NO_LEADER)));
        let high_watermark = of(&high_watermarks)?;
        let end = ends.as_ref().map_or(Ok(high_watermark), of)?;
        Ok(Log { start: of(&starts)?, end, high_watermark })
    };
    partitions.iter().map(|name| (name.clone(), log(name))).collect()
}

const NO_LEADER: &str = "it has no leader";

fn not_told(cluster: &Cluster, name: &TopicPartition, why: impl Display) -> Error {
    let (topic, partition) = name;
    let message =
        format!("the {} does not tell the offsets of topic '{topic}' partition {partition}: {why}", cluster.side);
    Error::new(ErrorKind::Broker, message).with_partition(&**topic, *partition)
}

fn refused_to_tell(cluster: &Cluster, name: &TopicPartition, error: BrokerError) -> Error {
    let told = not_told(cluster, name, error);
    match error.class {
        Class::Unauthorized => Error::new(ErrorKind::Authorization, told.message())
            .with_partition(&*name.0, name.1)
            .with_kafka_code(error.code),
        _ => told.with_kafka_code(error.code),
    }
}

/// Asks the leaders of partitions for an offset of each, again and again for as long as a request may take. What is not told is an
/// error, with the last reason.
async fn offsets(cluster: &Cluster, partitions: &BTreeSet<TopicPartition>, which: Which) -> Offsets {
    let deadline = Instant::now() + cluster.config().request_timeout;
    let mut open = partitions.clone();
    let mut found = HashMap::new();
    loop {
        let names: BTreeSet<String> = open.iter().map(|(topic, _)| topic.to_string()).collect();
        let names: Vec<String> = names.into_iter().collect();
        if names.is_empty() {
            return found;
        }
        match cluster.metadata(Some(&names), false).await {
            Ok(metadata) => ask(cluster, &metadata, &open, which, &mut found).await,
            Err(error) => found.extend(open.iter().map(|name| (name.clone(), Err(not_told(cluster, name, &error))))),
        }
        let passes = |error: &Error| error.kind() == ErrorKind::Broker;
        open.retain(|name| found.get(name).is_none_or(|answer| answer.as_ref().is_err_and(passes)));
        if open.is_empty() || Instant::now() > deadline {
            return found;
        }
        tokio::time::sleep(cluster.config().retry_backoff).await;
    }
}

/// Asks once.
async fn ask(
    cluster: &Cluster,
    metadata: &Metadata,
    partitions: &BTreeSet<TopicPartition>,
    which: Which,
    found: &mut Offsets,
) {
    let mut groups: BTreeMap<i32, Vec<TopicPartition>> = BTreeMap::new();
    for name in partitions {
        let leaders = metadata.topics.get(&*name.0).map(|topic| &topic.leaders);
        match leaders.and_then(|leaders| leaders.get(name.1 as usize)).filter(|leader| **leader >= 0) {
            Some(leader) => groups.entry(*leader).or_default().push(name.clone()),
            None => drop(found.insert(name.clone(), Err(not_told(cluster, name, NO_LEADER)))),
        }
    }
    for (leader, group) in groups {
        let answers = match cluster.broker(leader).await {
            Ok(connection) => positions::list_offsets(&connection, &group, which).await,
            Err(error) => Err(error),
        };
        for name in group {
            let answer = match answers.as_ref().map(|answers| answers.get(&name)) {
                Ok(Some(Ok(offset))) => Ok(*offset),
                Ok(Some(Err(error))) => Err(refused_to_tell(cluster, &name, *error)),
                Ok(None) => Err(not_told(cluster, &name, "the answer of its leader does not name it")),
                Err(error) => Err(not_told(cluster, &name, error)),
            };
            found.insert(name, answer);
        }
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
