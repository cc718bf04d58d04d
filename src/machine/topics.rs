//! Decides which topics are mirrored and what has to be done on the target first. What a topic goes through while it is mirrored is in
//! [`Lives`]. Asks and changes nothing: a plan can be shown without being carried out.

mod life;
#[cfg(test)]
mod simulation;

use std::collections::BTreeMap;

use crate::config::Config;
use crate::error::{Error, ErrorKind};
use crate::terms::broker_error::{BrokerError, Class};
use crate::terms::topic::{Metadata, TopicMetadata};

pub use life::{Lives, Mirrored};

/// The ids of a topic, nil where a cluster has none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TopicIds {
    /// On the source.
    pub source: u128,
    /// On the target.
    pub target: u128,
}

impl TopicIds {
    /// Whether these are certainly the ids of these two topics.
    fn is_of(&self, source: &TopicMetadata, target: &TopicMetadata) -> bool {
        self.source != 0 && self.target != 0 && self.source == source.id && self.target == target.id
    }
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
    /// Stop its partitions: it is not the topic it was.
    Park(Error),
    /// Stop its partitions because one of the clusters does not show it any more: deleted, or the permission to see it was.
    Gone(Error),
    /// Go on with its partitions: it is there again.
    Resume,
    /// Stop its partitions and let the streams drop them: it is to be copied anew. What they have under way has arrived at the next look.
    LetGo(Error),
    /// Delete the copy that the mirror has created on the target, if nobody else has written to it.
    Delete {
        /// The copy's id on the target.
        id: u128,
        /// What this is done for.
        error: Error,
    },
    /// Drop everything that is known of it: what comes under its name is new.
    Forget {
        /// What is said of it.
        why: &'static str,
    },
}

/// Says that a topic of the source is another one now.
pub fn created_again(name: &str, id: u128, before: u128) -> String {
    format!("topic '{name}' was deleted and created again at the source (its id is {id:032x}, it was {before:032x})")
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

/// What is told of a copy that has more partitions than its source; `None` if it has not.
pub fn wider(name: &str, at_source: usize, on_target: usize) -> Option<String> {
    (on_target > at_source).then(|| {
        format!(
            "topic '{name}' has {on_target} partitions on the target and {at_source} at the source: the records are copied to the same numbers, \
             but a producer that is moved spreads keys over all of them, so records of one key would be in two partitions; delete the copy \
             to have it made anew, or give the source as many"
        )
    })
}

/// The copies of mirrored topics that have more partitions than their source.
pub fn wider_copies(config: &Config, source: &Metadata, target: &Metadata) -> BTreeMap<String, Error> {
    let told = |(name, topic): (&String, &TopicMetadata)| {
        let there = target.topics.get(&*config.names.on_target(name)).filter(|there| there.error_code == 0)?;
        let message = wider(name, topic.leaders.len(), there.leaders.len())?;
        Some((name.clone(), Error::new(ErrorKind::Topic, message).with_topic(name)))
    };
    // Where records are appended, the target's topic is of its own make.
    let selected = source.topics.iter().filter(|(name, topic)| !config.translates() && selects(config, name, topic));
    selected.filter_map(told).collect()
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
