//! Decides which topics are mirrored and what has to be done on the target first: `plan(source, target, policy)`.
//! Asks and changes nothing: a plan can be shown without being carried out.

use std::collections::BTreeMap;

use crate::config::{Config, OnTopicReset, ReplicationFactor};
use crate::error::{Error, ErrorKind};
use crate::wire::cluster::{Metadata, TopicMetadata};
use crate::wire::errors::{BrokerError, Class};

/// A topic that is mirrored already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mirrored {
    /// The source topic's id, nil where the source has none.
    pub id: u128,
    /// How many of its partitions are assigned to streams.
    pub partitions: usize,
}

/// What has to be done for one topic.
#[derive(Debug, Clone)]
pub enum Action {
    /// Create it on the target.
    Create {
        /// Partitions, as at the source.
        partitions: i32,
        /// Replicas on the target.
        replication_factor: i16,
        /// Replicas that were asked for but that the target has not enough brokers for.
        clamped_from: Option<i16>,
    },
    /// Add partitions on the target.
    Grow {
        /// Partitions, as at the source.
        partitions: i32,
    },
    /// Mirror the partitions from the first number up to the second.
    Mirror {
        /// First new partition.
        from: usize,
        /// Number of partitions, as at the source.
        to: usize,
        /// The source topic's id.
        id: u128,
    },
    /// Leave it alone.
    Refuse(Error),
    /// It is not the topic it was.
    Park(Error),
    /// It is not the topic it was, and the target's topic is to be deleted and created again.
    Recreate(Error),
    /// The source does not show it: deleted, or the permission to see it was.
    Gone(Error),
}

/// What has to be done, for each topic that needs something.
pub fn plan(
    source: &Metadata,
    target: &Metadata,
    mirrored: &BTreeMap<String, Mirrored>,
    config: &Config,
) -> BTreeMap<String, Action> {
    let mut actions = BTreeMap::new();
    for (name, topic) in source.topics.iter().filter(|(name, topic)| selects(&config.topics, name, topic)) {
        let known = mirrored.get(name);
        if let Some(action) = plan_topic(name, topic, target, known, config) {
            actions.insert(name.clone(), action);
        }
    }
    for name in mirrored.keys().filter(|name| !source.topics.contains_key(*name)) {
        let message =
            format!("topic '{name}' is gone at the source, or the permission to see it; its copy stays on the target");
        actions.insert(name.clone(), Action::Gone(Error::new(ErrorKind::Topic, message).with_topic(name)));
    }
    actions
}

/// Whether a topic of the source is to be mirrored.
pub fn selects(selection: &crate::config::TopicSelection, name: &str, topic: &TopicMetadata) -> bool {
    !topic.is_internal && selection.matches(name)
}

fn plan_topic(
    name: &str,
    topic: &TopicMetadata,
    target: &Metadata,
    known: Option<&Mirrored>,
    config: &Config,
) -> Option<Action> {
    let refuse = |message: String| Some(Action::Refuse(Error::new(ErrorKind::Topic, message).with_topic(name)));
    if let Some(error) = BrokerError::of(topic.error_code) {
        // A topic that is just being created or deleted shows up the next time.
        let kind = if error.class == Class::Unauthorized { ErrorKind::Authorization } else { ErrorKind::Topic };
        let message = format!("the source does not describe topic '{name}': {error}");
        return (error.class != Class::Leader).then(|| Action::Refuse(Error::new(kind, message).with_topic(name)));
    }
    if let Some(known) = known.filter(|known| known.id != topic.id) {
        let what = format!(
            "topic '{name}' was deleted and created again at the source (its id is {:032x}, it was {:032x})",
            topic.id, known.id
        );
        let error = |what: String| Error::new(ErrorKind::TopicReset, what).with_topic(name);
        return Some(match config.on_topic_reset {
            OnTopicReset::Fail => Action::Park(error(format!(
                "{what}; the copy on the target is that of the old one: delete it there to start anew"
            ))),
            OnTopicReset::RecreateTarget => {
                Action::Recreate(error(format!("{what}; its copy on the target is deleted and made anew")))
            }
        });
    }
    let partitions = topic.leaders.len();
    let there = target.topics.get(name);
    let error = there.map_or(Some(BrokerError::UNKNOWN_PARTITION), |there| BrokerError::of(there.error_code));
    match (error, there) {
        (Some(error), _) if error.code == BrokerError::UNKNOWN_PARTITION.code => {
            let wanted = match config.replication_factor {
                ReplicationFactor::Source => topic.replication_factor,
                ReplicationFactor::Count(count) => count,
            };
            let possible = wanted.min(target.broker_count as i16);
            Some(Action::Create {
                partitions: partitions as i32,
                replication_factor: possible,
                clamped_from: (possible < wanted).then_some(wanted),
            })
        }
        (Some(error), _) if error.class == Class::Leader => None,
        (Some(error), _) => refuse(format!("the target does not describe topic '{name}': {error}")),
        (None, Some(there)) if there.leaders.len() < partitions && known.is_some() => {
            Some(Action::Grow { partitions: partitions as i32 })
        }
        (None, Some(there)) if there.leaders.len() < partitions => refuse(format!(
            "topic '{name}' has {} partitions on the target and {partitions} on the source; add partitions on the target, or \
             delete it there so that it is created anew",
            there.leaders.len()
        )),
        (None, _) => {
            let from = known.map_or(0, |known| known.partitions);
            (from < partitions).then_some(Action::Mirror { from, to: partitions, id: topic.id })
        }
    }
}

/// Configurations of a source topic that the target's topic does not get, and why.
pub const NOT_COPIED: &[(&str, &str)] = &[
    ("follower.replication.throttled.replicas", "names brokers of the source"),
    ("leader.replication.throttled.replicas", "names brokers of the source"),
    (
        "message.timestamp.type",
        "records keep the time they have at the source, so the target's broker must not set its own",
    ),
    ("unclean.leader.election.enable", "how much the target may lose is decided there"),
];

/// The configurations with which a topic is created on the target.
pub fn configs_for_target(
    source: &BTreeMap<String, String>,
    overrides: &BTreeMap<String, String>,
    replication_factor: i16,
) -> BTreeMap<String, String> {
    let copied = source.iter().filter(|(name, _)| NOT_COPIED.iter().all(|(excluded, _)| excluded != name));
    let mut configs: BTreeMap<String, String> = copied.map(|(name, value)| (name.clone(), value.clone())).collect();
    configs.extend(overrides.iter().map(|(name, value)| (name.clone(), value.clone())));
    // More than all replicas can never be in sync: the topic would be dead.
    if let Some(minimum) = configs.get_mut("min.insync.replicas")
        && minimum.parse::<i16>().is_ok_and(|minimum| minimum > replication_factor)
    {
        *minimum = replication_factor.to_string();
    }
    configs
}
