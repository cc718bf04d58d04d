//! Decides which topics are mirrored and what has to be done on the target first: `plan(source, target, policy)`.
//! Asks and changes nothing: a plan can be shown without being carried out.

use std::collections::BTreeMap;

use crate::config::{Config, OnTopicReset};
use crate::error::{Error, ErrorKind};
use crate::wire::cluster::{Metadata, TopicMetadata};
use crate::wire::errors::{BrokerError, Class};

/// The ids of a topic, nil where a cluster has none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TopicIds {
    /// On the source.
    pub source: u128,
    /// On the target.
    pub target: u128,
}

impl TopicIds {
    /// Whether these are certainly the ids of two topics.
    fn is_of(&self, source: &TopicMetadata, target: &TopicMetadata) -> bool {
        self.source != 0 && self.target != 0 && self.source == source.id && self.target == target.id
    }
}

/// A topic that is mirrored already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mirrored {
    /// Its ids.
    pub ids: TopicIds,
    /// How many of its partitions are assigned to streams.
    pub partitions: usize,
    /// Whether the target's topic was found to hold what somebody else has written.
    pub has_other_writer: bool,
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
        /// The topic's ids.
        ids: TopicIds,
    },
    /// Leave it alone.
    Refuse(Error),
    /// It is not the topic it was.
    Park(Error),
    /// It is not the topic it was, and the target's topic is to be deleted and created again.
    Recreate(Error),
    /// The target's topic held what somebody else has written, and now there is another one in its place: it is mirrored from its
    /// beginning.
    Anew(Error),
    /// One of the clusters does not show it: deleted, or the permission to see it was.
    Gone(Error),
}

/// What has to be done, for each topic that needs something.
pub fn plan(
    source: &Metadata,
    target: &Metadata,
    mirrored: &BTreeMap<String, Mirrored>,
    remembered: &BTreeMap<String, TopicIds>,
    config: &Config,
) -> BTreeMap<String, Action> {
    let mut actions = BTreeMap::new();
    for (name, topic) in source.topics.iter().filter(|(name, topic)| selects(config, name, topic)) {
        let known = mirrored.get(name);
        let name_there = config.names.on_target(name);
        let there = target.topics.get(&*name_there);
        let remembered = remembered.get(name);
        let reset = reset_of(name, topic, there, known, remembered, config);
        let action =
            reset.or_else(|| plan_topic([name, &name_there], topic, (target, there), known, remembered, config));
        if let Some(action) = action {
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
pub fn selects(config: &Config, name: &str, topic: &TopicMetadata) -> bool {
    !topic.is_internal && config.mirrors(name)
}

/// The names at the source of the topics that are to be mirrored.
pub fn selected(config: &Config, source: &Metadata) -> Vec<String> {
    let selected = source.topics.iter().filter(|(name, topic)| selects(config, name, topic));
    selected.map(|(name, _)| name.clone()).collect()
}

/// The names on the target of topics of the source, in the same order.
pub fn names_on_target(config: &Config, topics: &[String]) -> Vec<String> {
    topics.iter().map(|topic| config.names.on_target(topic).into_owned()).collect()
}

/// Answers of the target about these topics, under the names that they have at the source.
pub fn under_source_names<T>(
    config: &Config,
    topics: &[String],
    mut answers: BTreeMap<String, T>,
) -> BTreeMap<String, T> {
    let named =
        topics.iter().filter_map(|topic| Some((topic.clone(), answers.remove(&*config.names.on_target(topic))?)));
    named.collect()
}

/// What to do about a topic that is not the one that was mirrored, on either side, now or when the mirror ran before.
fn reset_of(
    name: &str,
    topic: &TopicMetadata,
    there: Option<&TopicMetadata>,
    known: Option<&Mirrored>,
    remembered: Option<&TopicIds>,
    config: &Config,
) -> Option<Action> {
    let differ = |one: u128, other: u128| one != other && one != 0 && other != 0;
    let there = there.filter(|there| there.error_code == 0);
    // A copy that somebody has deleted on the target, to start anew, says nothing about the topic that is there now.
    let remembered = remembered.filter(|ids| there.is_some_and(|there| !differ(ids.target, there.id)));
    let ids = known.map(|known| &known.ids).or(remembered)?;
    if topic.error_code == 0 && differ(topic.id, ids.source) {
        let what = format!(
            "topic '{name}' was deleted and created again at the source (its id is {:032x}, it was {:032x})",
            topic.id, ids.source
        );
        let error = |what: String| Error::new(ErrorKind::TopicReset, what).with_topic(name);
        let stop =
            error(format!("{what}; the copy on the target is that of the old one: delete it there to start anew"));
        return Some(match config.on_topic_reset {
            OnTopicReset::Fail if known.is_some() => Action::Park(stop),
            OnTopicReset::Fail => Action::Refuse(stop),
            OnTopicReset::RecreateTarget => {
                Action::Recreate(error(format!("{what}; its copy on the target is deleted and made anew")))
            }
        });
    }
    let known = known?;
    let name_there = config.names.on_target(name);
    let fix = match known.has_other_writer {
        true => "it is copied anew",
        false => "start the mirror again to copy the topic anew",
    };
    let conflict = |what: String| Error::new(ErrorKind::TargetConflict, format!("{what}; {fix}")).with_topic(name);
    match there {
        Some(there) if differ(there.id, known.ids.target) => {
            let error = conflict(format!(
                "topic '{name_there}' was deleted and created again on the target while it was mirrored (its id is {:032x}, it was {:032x})",
                there.id, known.ids.target
            ));
            Some(if known.has_other_writer { Action::Anew(error) } else { Action::Park(error) })
        }
        None if known.partitions > 0 => Some(Action::Gone(conflict(format!(
            "topic '{name_there}' is gone on the target, or the permission to see it, while it is mirrored"
        )))),
        _ => None,
    }
}

/// What to do about a topic, given its names on both sides.
fn plan_topic(
    [name, name_there]: [&str; 2],
    topic: &TopicMetadata,
    (target, there): (&Metadata, Option<&TopicMetadata>),
    known: Option<&Mirrored>,
    remembered: Option<&TopicIds>,
    config: &Config,
) -> Option<Action> {
    let refuse = |message: String| Some(Action::Refuse(Error::new(ErrorKind::Topic, message).with_topic(name)));
    if let Some(error) = BrokerError::of(topic.error_code) {
        // A topic that is just being created or deleted shows up the next time.
        let kind = if error.class == Class::Unauthorized { ErrorKind::Authorization } else { ErrorKind::Topic };
        let message = format!("the source does not describe topic '{name}': {error}");
        return (error.class != Class::Leader).then(|| Action::Refuse(Error::new(kind, message).with_topic(name)));
    }
    let partitions = topic.leaders.len();
    let error = there.map_or(Some(BrokerError::UNKNOWN_PARTITION), |there| BrokerError::of(there.error_code));
    match (error, there) {
        (Some(error), _) if error.code == BrokerError::UNKNOWN_PARTITION.code => {
            let wanted = config.replication_factor.wanted(topic.replication_factor);
            let possible = wanted.min(target.broker_count as i16);
            Some(Action::Create {
                partitions: partitions as i32,
                replication_factor: possible,
                clamped_from: (possible < wanted).then_some(wanted),
            })
        }
        (Some(error), _) if error.class == Class::Leader => None,
        (Some(error), _) => refuse(format!("the target does not describe topic '{name_there}': {error}")),
        // It may also have grown while no mirror ran.
        (None, Some(there))
            if there.leaders.len() < partitions
                && (known.is_some() || remembered.is_some_and(|ids| ids.is_of(topic, there))) =>
        {
            Some(Action::Grow { partitions: partitions as i32 })
        }
        (None, Some(there)) if there.leaders.len() < partitions => refuse(format!(
            "topic '{name_there}' has {} partitions on the target and {partitions} on the source; add partitions on the target, or \
             delete it there so that it is created anew",
            there.leaders.len()
        )),
        (None, _) => {
            let from = known.map_or(0, |known| known.partitions);
            let ids = TopicIds { source: topic.id, target: there.map_or(0, |there| there.id) };
            (from < partitions).then_some(Action::Mirror { from, to: partitions, ids })
        }
    }
}

#[cfg(test)]
mod tests;
