//! Learns how long the source keeps deletions of keys in the topics that are compacted, so that a copy that comes too late is told of.
//! Decides nothing: that is done where records are fetched, by `machine::deletions`.

use std::collections::BTreeSet;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use super::Control;
use crate::error::Result;
use crate::event::now_ms;
use crate::machine::deletions::DEFAULT_KEPT_MS;
use crate::status::Progress;
use crate::wire::cluster::Cluster;
use crate::wire::configs::{self, ByTopic};

/// How often it is asked again: somebody may set it anew.
const INTERVAL: Duration = Duration::from_secs(60);
const CLEANUP: &str = "cleanup.policy";
const KEPT: &str = "delete.retention.ms";

/// How long deletions of keys are kept in topics, in milliseconds; `None` of topics that are not compacted.
pub(crate) async fn kept(source: &Cluster, topics: &[String]) -> Result<ByTopic<Option<i64>>> {
    configs::describe_keys(source, topics, Some(&[CLEANUP, KEPT]), false, |configs| {
        let value = |key: &str| configs.iter().find(|config| config.name.as_str() == key)?.value.as_ref();
        // What is not told may be compacted, and then as brokers do it by default.
        let is_compacted = value(CLEANUP).is_none_or(|policy| policy.contains("compact"));
        // Left open: what is no number is taken for the default.
        let kept = value(KEPT).and_then(|kept| kept.parse().ok()).unwrap_or(DEFAULT_KEPT_MS);
        is_compacted.then_some(kept)
    })
    .await
}

impl Control {
    /// Keeps it known for ever.
    pub(super) async fn keep_learning_of_deletions(self: Rc<Self>) {
        loop {
            tokio::time::sleep(INTERVAL).await;
            let partitions = self.shared.partitions();
            self.learn_of_deletions(&partitions).await;
        }
    }

    /// Asks for the topics of these partitions.
    pub(super) async fn learn_of_deletions(&self, partitions: &[Arc<Progress>]) {
        let topics: BTreeSet<&str> = partitions.iter().map(|progress| &*progress.topic).collect();
        let topics: Vec<String> = topics.into_iter().map(str::to_owned).collect();
        let answers = kept(&self.source, &topics).await.unwrap_or_else(|error| {
            tracing::debug!(%error, "the source does not tell how long it keeps deletions of keys");
            ByTopic::new()
        });
        for progress in partitions {
            match answers.get(&*progress.topic) {
                Some(Ok(kept)) => progress.deletions().set_kept(*kept),
                // A topic of which it was known before goes on as it is.
                _ => progress.deletions().expect_kept(DEFAULT_KEPT_MS),
            }
        }
    }

    /// Takes over from when on the copy of a new partition was begun and level, by what was written down.
    pub(super) fn recall_level(&self, progress: &Progress) {
        let recalled = self.recalled.borrow();
        let topic = &*progress.topic;
        let level = recalled.levels.get(topic).and_then(|levels| levels.get(progress.partition as usize)).copied();
        let begun = match recalled.begun.get(topic) {
            Some(at_ms) => *at_ms,
            // The mirror has met it before, and did not note when: not before there was a mirror.
            None if level.is_some() || self.lives.borrow().remembers(topic, progress.ids) => recalled.claimed_at_ms,
            None => now_ms(),
        };
        progress.deletions().set_begun_at(begun);
        if let Some(level) = level.filter(|level| *level >= 0) {
            progress.deletions().set_level_at(level);
        }
    }
}
