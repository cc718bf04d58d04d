//! Has the configurations of the target's topics follow the source's: reads both, decides by `machine::configs`, changes.
//!
//! Topics of which it is not certain yet that they are the mirror's, and those whose first offsets are being filled, are left
//! alone. One topic's trouble is that topic's: it is shown, and tried again with the next look.

pub(crate) mod adapting;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use super::Control;
use crate::config::Config;
use crate::error::{Error, ErrorKind, Result};
use crate::machine::configs::{self, Adaptations, Change, Insistence, Policy, SourceTopic, TargetTopic};
use crate::machine::topics::{names_on_target, under_source_names};
use crate::status::{Progress, Subject};
use crate::terms::broker_error::BrokerError;
use crate::terms::settings::Changes;
use crate::terms::state::State;
use crate::terms::topic::Metadata;
use crate::wire;
use crate::wire::cluster::Cluster;
use crate::wire::configs::{ByTopic, TopicConfigs};

/// How often is looked whether all topics have begun, before they are looked at for the first time.
const TICK: Duration = Duration::from_millis(50);
/// What is shown in place of a topic when it is about all of them.
const ALL_TOPICS: &str = "all topics";

/// What is known of topics on the target beside their configurations.
#[derive(Default)]
pub(super) struct Following {
    replicas: RefCell<BTreeMap<String, Replicas>>,
    /// Held during a look, so that two of them do not do the same.
    looking: tokio::sync::Mutex<()>,
    /// What was set and did not hold.
    insistence: RefCell<Insistence>,
    /// What is set in place of what the target does not take.
    pub(super) adaptations: RefCell<Adaptations>,
}

/// The replicas of a topic.
#[derive(Clone, Copy)]
struct Replicas {
    wanted: i16,
    target: i16,
    brokers: usize,
}

impl Control {
    /// How the target's topics differ from the source's on purpose.
    pub(super) fn config_policy(&self) -> Policy<'_> {
        Policy::of(&self.config)
    }

    /// Takes over how many replicas topics have.
    pub(super) fn remember_replicas(&self, source: &Metadata, target: &Metadata) {
        let replicas = source.topics.iter().filter_map(|(name, at_source)| {
            let topic = target.topics.get(&*self.config.names.on_target(name)).filter(|topic| topic.error_code == 0)?;
            let wanted = self.config.replication_factor.wanted(at_source.replication_factor);
            let (target, brokers) = (topic.replication_factor, target.broker_count);
            Some((name.clone(), Replicas { wanted, target, brokers }))
        });
        *self.configs.replicas.borrow_mut() = replicas.collect();
    }

    /// Keeps configurations in step, for ever.
    pub(super) async fn keep_configs(self: Rc<Self>) {
        self.await_begin().await;
        loop {
            self.follow_configs_once().await;
            tokio::time::sleep(self.config.refresh_interval).await;
        }
    }

    /// Waits until all topics have begun, but not for long: before that there is little that can be kept in step.
    pub(super) async fn await_begin(&self) {
        let soon = tokio::time::Instant::now() + self.config.refresh_interval;
        while tokio::time::Instant::now() < soon && self.followed().len() < self.lives.borrow().count() {
            tokio::time::sleep(TICK).await;
        }
    }

    /// Brings the configurations of all topics in step that can be.
    pub(super) async fn follow_configs_once(&self) {
        let _only_one = self.configs.looking.lock().await;
        let mut troubles = self.too_few_replicas();
        if self.config.sync_topic_configs {
            match self.follow_configs().await {
                Ok(more) => troubles.extend(more),
                Err(error) if error.kind() == ErrorKind::Unsupported => {
                    let what = "configurations of topics cannot be kept in step";
                    troubles.insert(ALL_TOPICS.to_owned(), error.context(what));
                }
                // What was in trouble before may still be.
                Err(error) => {
                    return self.tell("configurations of topics cannot be compared; will be tried again", &error);
                }
            }
        }
        self.shared.set_troubles(Subject::TopicConfig, troubles);
    }

    async fn follow_configs(&self) -> Result<BTreeMap<String, Error>> {
        let mut topics = self.followed();
        if self.translates() {
            // Others may use the topic, too. What the mirror has created it keeps like the source's.
            topics.retain(|topic| self.lives.borrow().has_created_copy_of(topic));
        }
        if topics.is_empty() {
            return Ok(BTreeMap::new());
        }
        let (source, target) = tokio::join!(
            wire::configs::describe(&self.source, &topics),
            describe_target(&self.target, &self.config, &topics)
        );
        let (source, target) = (source?, target?);
        let mut troubles = BTreeMap::new();
        let mut pairs = Vec::new();
        for topic in topics {
            match (told(&source, &topic), told(&target, &topic)) {
                (Ok(Some(source)), Ok(Some(target))) => {
                    let replicas = self.configs.replicas.borrow().get(&topic).copied();
                    // Without them the next look at the topics has to come first.
                    let Some(replicas) = replicas else { continue };
                    let is_created = self.lives.borrow().has_created_copy_of(&topic);
                    let target = target_topic(target, source, replicas.target, is_created);
                    pairs.push((topic, source_topic(source), target));
                }
                (Err(error), _) | (_, Err(error)) => drop(troubles.insert(topic, error)),
                _ => {}
            }
        }
        ask_for_inherited(&self.target, &self.config, &mut pairs, self.config_policy()).await?;
        for (topic, source, target) in &pairs {
            let stricter = configs::stricter(source, target, self.config_policy());
            if !stricter.is_empty() {
                troubles.insert(topic.clone(), loses_records(topic, &stricter));
            }
        }
        let planned: Vec<(String, Vec<Change>)> = pairs
            .into_iter()
            .map(|(topic, source, target)| (topic, configs::plan(&source, &target, self.config_policy())))
            .collect();
        let mut changes = Vec::new();
        for (topic, planned) in planned.clone() {
            let planned = self.adapted(&topic, planned).0;
            let (wanted, in_vain) = self.configs.insistence.borrow_mut().handle_planned(&topic, planned);
            if let Some(change) = in_vain.first() {
                troubles.insert(topic.clone(), does_not_hold(&topic, change));
            }
            if !wanted.is_empty() {
                changes.push((topic, wanted));
            }
        }
        troubles.extend(self.change(changes).await?);
        for (topic, planned) in planned {
            let told = self.adapted(&topic, planned).1;
            if !told.is_empty() {
                troubles.entry(topic.clone()).or_insert_with(|| is_adapted(&topic, &told));
            }
        }
        Ok(troubles)
    }

    /// Changes as the target takes them, and what to tell of those that it does not.
    fn adapted(&self, topic: &str, changes: Vec<Change>) -> (Vec<Change>, Vec<String>) {
        self.configs.adaptations.borrow().adapt(&self.config.names.on_target(topic), changes)
    }

    /// Makes changes; returns why some could not be made.
    async fn change(&self, mut changes: Vec<(String, Vec<Change>)>) -> Result<BTreeMap<String, Error>> {
        let _only_one = self.prefixes.settings.lock().await;
        changes.retain(|(topic, _)| !self.prefixes.has_topic(topic));
        let copies = self.shared.partitions().into_iter();
        let copies = copies.filter(|copy| changes.iter().any(|(topic, _)| **topic == *copy.topic));
        let gone = self.gone_copies(copies).await?;
        changes.retain(|(topic, _)| !gone.contains_key(topic));
        let altered = adapting::alter(&self.target, &self.config, &mut changes, &self.configs.adaptations, false).await;
        let results = match altered {
            Err(error) if error.kind() == ErrorKind::Unsupported => {
                return Ok(changes
                    .iter()
                    .map(|(topic, changes)| (topic.clone(), by_hand(topic, changes, &error)))
                    .collect());
            }
            results => results?,
        };
        let mut troubles = gone;
        for (topic, changes) in changes {
            match told(&results, &topic) {
                Ok(Some(())) => {
                    for change in changes {
                        let (key, reason) = (change.key(), change.reason());
                        let (from, to) = (change.from().unwrap_or("default"), change.to().unwrap_or("default"));
                        tracing::info!(topic, key, from, to, reason, "configuration follows");
                        self.configs.insistence.borrow_mut().handle_made(&topic, &change);
                    }
                }
                Ok(None) => {}
                Err(error) => drop(troubles.insert(topic, error)),
            }
        }
        Ok(troubles)
    }

    /// The topics that are certainly the mirror's, and begun.
    fn followed(&self) -> Vec<String> {
        let mut begun: BTreeMap<std::sync::Arc<str>, bool> = BTreeMap::new();
        for progress in self.shared.partitions() {
            let is_begun = !self.prefixes.has(&progress) && is_of_mirror(&progress);
            *begun.entry(progress.topic.clone()).or_insert(true) &= is_begun;
        }
        let lives = self.lives.borrow();
        let begun = begun.into_iter().filter(|(topic, begun)| *begun && !lives.is_stopped(topic));
        begun.map(|(topic, _)| topic.to_string()).collect()
    }

    /// The topics that have fewer replicas than they should, because the target has too few brokers.
    fn too_few_replicas(&self) -> BTreeMap<String, Error> {
        let replicas = self.configs.replicas.borrow();
        let lives = self.lives.borrow();
        let few = replicas.iter().filter(|(topic, _)| lives.get(topic).is_some()).filter(|(_, replicas)| {
            replicas.target < replicas.wanted && replicas.brokers < replicas.wanted.unsigned_abs().into()
        });
        few.map(|(topic, replicas)| {
            let message = format!(
                "topic '{topic}' has {} of {} replicas on the target, which has {} brokers: start more there and reassign its \
                 partitions, or set 'replication.factor'",
                replicas.target, replicas.wanted, replicas.brokers
            );
            (topic.clone(), Error::new(ErrorKind::Topic, message).with_topic(topic))
        })
        .collect()
    }
}

/// Whether the partition was begun and is not known to be anybody else's.
fn is_of_mirror(progress: &Progress) -> bool {
    use ErrorKind::{Diverged, Fenced, TargetConflict, TopicReset};
    match progress.state() {
        State::Starting => false,
        State::Failed => progress
            .error()
            .is_none_or(|error| !matches!(error.kind(), Diverged | Fenced | TargetConflict | TopicReset)),
        _ => true,
    }
}

/// The configurations of the target's topics, by their names at the source.
pub(crate) async fn describe_target(
    target: &Cluster,
    config: &Config,
    topics: &[String],
) -> Result<ByTopic<TopicConfigs>> {
    let answers = wire::configs::describe(target, &names_on_target(config, topics)).await?;
    Ok(under_source_names(config, topics, answers))
}

/// Changes the target's topics, or asks whether it would; what became of each, by their names at the source.
pub(crate) async fn alter_target(
    target: &Cluster,
    config: &Config,
    changes: &[(String, Vec<Change>)],
    only_ask: bool,
) -> Result<ByTopic<()>> {
    let topics: Vec<String> = changes.iter().map(|(topic, _)| topic.clone()).collect();
    let names = names_on_target(config, &topics).into_iter();
    let wanted: Vec<_> = names.zip(changes).map(|(name, (_, changes))| (name, as_asked(changes))).collect();
    let answers = wire::configs::alter(target, &wanted, only_ask).await?;
    Ok(under_source_names(config, &topics, answers))
}

/// What a topic on the target does to records that it does not do at the source.
fn loses_records(topic: &str, stricter: &[String]) -> Error {
    let message = format!(
        "topic '{topic}' lets records go on the target that the source keeps, or refuses what the source takes: {}; set it on the \
         target's topic, at the source's, or with topic.configs.override",
        stricter.join(", ")
    );
    Error::new(ErrorKind::Topic, message).with_topic(topic)
}

/// Settings that the target does not take as the source has them.
fn is_adapted(topic: &str, told: &[String]) -> Error {
    Error::new(ErrorKind::Topic, format!("topic '{topic}': {}", told.join("; "))).with_topic(topic)
}

/// A setting that reads back otherwise each time it is set.
fn does_not_hold(topic: &str, change: &Change) -> Error {
    let (key, from) = (change.key(), change.from().unwrap_or("the default"));
    let to = change.to().unwrap_or("the default");
    let message = format!(
        "{key} of topic '{topic}' was set to {to} on the target again and again and is {from} each time it is read: its brokers make that of \
         it, or somebody sets it back; it is left so, until one of the two changes; topic.configs.exclude={key} leaves it to the target"
    );
    Error::new(ErrorKind::Topic, message).with_topic(topic)
}

/// Topics that would give every record the time at which it was appended, and why they are not mirrored to. Of what is not told
/// nothing is said: the answer to the first batch shows it.
pub(crate) async fn restamping(target: &Cluster, config: &Config, topics: &[String]) -> BTreeMap<String, Error> {
    let names = names_on_target(config, topics);
    // Left open: the answer to the first batch shows it.
    let Ok(answers) = wire::configs::timestamp_types(target, &names).await else { return BTreeMap::new() };
    let answers = under_source_names(config, topics, answers).into_iter();
    let restamps = answers.filter(|(_, answer)| matches!(answer, Ok(Some(kind)) if kind == configs::LOG_APPEND_TIME));
    let error = |(topic, _): (String, Result<Option<String>>)| {
        let message = format!(
            "topic '{}' has message.timestamp.type=LogAppendTime on the target, so that every record would get the time at which it \
             is copied in place of its own: set it to CreateTime there, and delete the topic there if records were copied to it \
             before",
            config.names.on_target(&topic)
        );
        (topic.clone(), Error::new(ErrorKind::TargetConflict, message).with_topic(&topic))
    };
    restamps.map(error).collect()
}

/// A topic at the source as `machine::configs` sees it.
pub(crate) fn source_topic(described: &TopicConfigs) -> SourceTopic {
    SourceTopic { own: described.own.clone(), counting: described.counting.clone() }
}

/// A topic on the target as `machine::configs` sees it.
pub(crate) fn target_topic(
    described: &TopicConfigs,
    source: &TopicConfigs,
    replication_factor: i16,
    is_created: bool,
) -> TargetTopic {
    let mut inherited = described.counting.clone();
    inherited.retain(|key, _| !described.own.contains_key(*key));
    let is_only_there = |key: &&String| !source.known.is_empty() && !source.known.contains(*key);
    TargetTopic {
        own: described.own.clone(),
        only_there: described.own.keys().filter(is_only_there).cloned().collect(),
        inherited,
        replication_factor,
        is_created,
    }
}

/// A topic, and what it has at the source and on the target.
pub(crate) type Sides = (String, SourceTopic, TargetTopic);

/// Asks for what decides whether a setting may be removed. That is rare.
pub(crate) async fn ask_for_inherited(
    target: &Cluster,
    config: &Config,
    pairs: &mut [Sides],
    policy: Policy<'_>,
) -> Result<()> {
    let needs = |(_, source, target): &&mut Sides| configs::needs_inherited(source, target, policy);
    let mut open: Vec<&mut Sides> = pairs.iter_mut().filter(needs).collect();
    let names: Vec<String> = open.iter().map(|(topic, ..)| topic.clone()).collect();
    let inherited = wire::configs::inherited(target, &names_on_target(config, &names)).await?;
    let mut inherited = under_source_names(config, &names, inherited);
    for (topic, _, target) in &mut open {
        // Left open: what is not known is not removed.
        if let Some(Ok(more)) = inherited.remove(topic) {
            target.inherited.extend(more);
        }
    }
    Ok(())
}

/// Changes as they are asked for.
fn as_asked(changes: &[Change]) -> Changes<String> {
    changes.iter().map(|change| (change.key().to_owned(), change.to().map(str::to_owned))).collect()
}

/// What was told of a topic; nothing of one that is not there.
pub(crate) fn told<'a, T>(answers: &'a ByTopic<T>, topic: &str) -> Result<Option<&'a T>> {
    match answers.get(topic) {
        Some(Ok(answer)) => Ok(Some(answer)),
        Some(Err(error)) if error.kafka_code() != Some(BrokerError::UNKNOWN_PARTITION.code) => Err(error.clone()),
        _ => Ok(None),
    }
}

/// Brokers before 2.3 take only all configurations of a topic at once, which would undo what somebody else changes meanwhile.
pub(crate) fn by_hand(topic: &str, changes: &[Change], error: &Error) -> Error {
    let change = |change: &Change| match change.to() {
        Some(value) => format!("set {}={value}", change.key()),
        None => format!("remove {}", change.key()),
    };
    let changes: Vec<String> = changes.iter().map(change).collect();
    let message = format!(
        "the configuration of topic '{topic}' has to be changed by hand on the target, whose brokers are older than Kafka 2.3: \
         {} ({})",
        changes.join(", "),
        error.message()
    );
    Error::new(ErrorKind::Unsupported, message).with_topic(topic)
}
