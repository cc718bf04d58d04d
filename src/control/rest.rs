//! Looks whether the source rests, by both logs and not by what this process remembers, and says in words what a switch-over, or
//! somebody who has caught up, has to know: what is not copied, and whose open transactions are in the way.

use std::collections::BTreeMap;
use std::time::Duration;

use super::Control;
use super::open_transactions::Whose;
use crate::config::IsolationLevel;
use crate::error::{Error, ErrorKind, Result};
use crate::machine::promotion::{Hindrance, Look, Rest};
use crate::machine::topics::{names_on_target, under_source_names};
use crate::wire::log_ends::{self, Ends};
use crate::wire::positions::Which;

/// A partition, by its topic's name at the source.
pub(super) type Key = (String, i32);

/// Partitions that are named in an error or a warning.
const NAMED: usize = 3;
/// How long it may take to find out why not everything is copied.
const PATIENCE: Duration = Duration::from_secs(5);

impl Control {
    /// One look at all partitions that hold data. What a cluster does not tell is an error, or not known: never level.
    pub(super) async fn look_at_both_ends(&self) -> Result<BTreeMap<Key, Look>> {
        let topics = self.topics_of_data();
        let last_stable = match self.config.isolation_level {
            IsolationLevel::ReadCommitted => Some(log_ends::read(&self.source, &topics, Which::LastStable).await?),
            // Records of open transactions are copied like all others.
            IsolationLevel::ReadUncommitted => None,
        };
        let high_watermarks = log_ends::read(&self.source, &topics, Which::HighWatermark).await?;
        let copied = self.copied(&topics).await?;
        let mut looks = BTreeMap::new();
        for (topic, ends) in &high_watermarks {
            for (partition, end) in (0..).zip(ends) {
                let at = |ends: &Ends| ends.get(topic).and_then(|ends| ends.get(partition as usize)).copied();
                // One that was not there a moment ago has nothing yet that can be read.
                let stable = last_stable.as_ref().map_or(*end, |ends| at(ends).unwrap_or(0));
                let look = Look { last_stable: stable, high_watermark: *end, copied: at(&copied).filter(|n| *n >= 0) };
                looks.insert((topic.clone(), partition), look);
            }
        }
        Ok(looks)
    }

    /// Up to which offset of the source the target's logs go, -1 where that is not known.
    async fn copied(&self, topics: &[String]) -> Result<Ends> {
        let names = names_on_target(&self.config, topics);
        let ends = log_ends::read(&self.target, &names, Which::LogEnd).await?;
        let mut ends = under_source_names(&self.config, topics, ends);
        if !self.translates() {
            return Ok(ends);
        }
        // Others write there as well: how far this mirror is says its map, if the log is as long as the map says.
        let mut copied = Ends::new();
        for progress in self.shared.partitions() {
            let index = progress.partition as usize;
            let Some(end) = ends.get_mut(&*progress.topic).and_then(|ends| ends.get(index)).copied() else { continue };
            let last = progress.translation.get().and_then(|translation| translation.map().last_record());
            let is_there = last.is_none_or(|(on_target, _)| on_target < end);
            let of_topic = copied.entry(progress.topic.to_string()).or_default();
            of_topic.resize(of_topic.len().max(index + 1), -1);
            of_topic[index] = progress.target_next().filter(|_| is_there).unwrap_or(-1);
        }
        Ok(copied)
    }

    /// What a switch-over says that has waited too long.
    pub(super) async fn why_not_drained(&self, waited: Duration) -> Error {
        let before = self.switch_over.hindrances.take();
        let now = tokio::time::timeout(PATIENCE, self.look_at_both_ends()).await;
        let hindrances = match now {
            // Which of them moves is known by those who have looked before.
            Ok(Ok(looks)) => {
                let moved = |(key, hindrance): &(Key, Hindrance)| {
                    !matches!(hindrance, Hindrance::Moving(_)) || before.iter().any(|(moved, _)| moved == key)
                };
                Rest::default().handle_look(Duration::ZERO, looks).into_iter().filter(moved).collect()
            }
            _ => before,
        };
        let first = hindrances.iter().min_by_key(|(_, hindrance)| rank(hindrance)).cloned();
        let what = match hindrances.is_empty() {
            true => "it is not known how far the source and its copy are".to_owned(),
            false => self.in_words(hindrances).await,
        };
        let message = format!(
            "not promoted: after {} ms not everything that the source has is copied, or it is still written to: {what}; stop its \
             writers, wait longer, or force it",
            waited.as_millis()
        );
        let error = Error::new(ErrorKind::TimedOut, message);
        match first {
            Some(((topic, partition), hindrance)) => {
                error.with_partition(topic.as_str(), partition).with_offset(offset_of(&hindrance))
            }
            None => error,
        }
    }

    /// The worst few, and how many there are.
    async fn in_words(&self, mut hindrances: Vec<(Key, Hindrance)>) -> String {
        hindrances.sort_by_key(|(_, hindrance)| rank(hindrance));
        let count = hindrances.len();
        let mut said = Vec::new();
        for ((topic, partition), hindrance) in hindrances.into_iter().take(NAMED) {
            said.push(match hindrance {
                Hindrance::HeldUp(look) => self.held_up_in_words(&topic, partition, look).await,
                Hindrance::Behind(Look { high_watermark, copied: Some(copied), .. }) => format!(
                    "topic '{topic}' partition {partition} is copied up to offset {copied}, and the source ends at {high_watermark}"
                ),
                Hindrance::Behind(_) => {
                    format!("it is not known how far topic '{topic}' partition {partition} is copied")
                }
                Hindrance::Moving(look) => moving_in_words(&topic, partition, look),
            });
        }
        if count > NAMED {
            said.push(format!("and {} more partitions", count - NAMED));
        }
        said.join("; ")
    }

    /// The last stable offset is asked for before the high watermark, so that records that came in between look like a transaction:
    /// the broker knows better.
    async fn held_up_in_words(&self, topic: &str, partition: i32, look: Look) -> String {
        match self.whose_transaction(topic, partition, look.last_stable).await {
            Whose::Nobodys => moving_in_words(topic, partition, look),
            whose => {
                let end = look.high_watermark;
                self.open_in_words(topic, partition, (look.last_stable, Some(end)), &whose)
            }
        }
    }

    /// Who has caught up may take it for everything, which it is not where a transaction is open.
    pub(super) async fn warn_of_open_transactions(&self) {
        if self.config.isolation_level != IsolationLevel::ReadCommitted {
            return;
        }
        let looks = match tokio::time::timeout(PATIENCE, self.look_at_both_ends()).await {
            Ok(Ok(looks)) => looks,
            Ok(Err(error)) => {
                return tracing::warn!(%error, "it is not known whether transactions are open at the source");
            }
            // Left open: it is said, and asked again with the next look.
            Err(_) => return tracing::warn!("the source does not tell in time whether transactions are open"),
        };
        let held_up = looks.into_iter().filter(|(_, look)| look.last_stable < look.high_watermark);
        let mut named = 0;
        for ((topic, partition), look) in held_up {
            let whose = self.whose_transaction(&topic, partition, look.last_stable).await;
            let Some(name) = whose.name() else { continue };
            let all = self.shared.partitions();
            if let Some(progress) = all.iter().find(|one| *one.topic == *topic && one.partition == partition) {
                progress.set_source_high_watermark(look.high_watermark);
                progress.set_open_transaction(Some(name));
            }
            let end = (look.last_stable, Some(look.high_watermark));
            let message = self.open_in_words(&topic, partition, end, &whose);
            tracing::warn!(topic, partition, "caught up in front of an open transaction: {message}");
            named += 1;
            if named == NAMED {
                return tracing::warn!(
                    "more partitions may end in front of open transactions; the status has them later"
                );
            }
        }
    }
}

fn moving_in_words(topic: &str, partition: i32, look: Look) -> String {
    let end = look.high_watermark;
    format!("topic '{topic}' partition {partition} has not rested for a second (it ends at offset {end})")
}

/// What nobody can wait for comes first.
fn rank(hindrance: &Hindrance) -> u8 {
    match hindrance {
        Hindrance::HeldUp(_) => 0,
        Hindrance::Behind(_) => 1,
        Hindrance::Moving(_) => 2,
    }
}

fn offset_of(hindrance: &Hindrance) -> i64 {
    match hindrance {
        Hindrance::HeldUp(look) => look.last_stable,
        Hindrance::Behind(look) => look.copied.unwrap_or(0),
        Hindrance::Moving(look) => look.high_watermark,
    }
}
