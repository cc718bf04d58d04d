//! Finds out whether the mirror has reached the source's end as it was when somebody asked.
//! The end is fixed when it is asked for: a source that never rests would otherwise never be caught up with.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use super::Control;
use crate::error::{Error, ErrorKind, Result};
use crate::status::Progress;
use crate::terms::state::State;
use crate::terms::topic::TopicPartition;
use crate::waiting::{Answer, GivenUp, given_up};
use crate::wire::positions::{self, ByPartition, Which};

/// How often the progress is compared with what a host waits for.
const CATCH_UP_TICK: Duration = Duration::from_millis(10);

/// A partition and the offset it has to reach.
pub(super) type End = (Arc<Progress>, i64);

impl Control {
    /// Answers when all partitions have reached the source's end as it is now, or one of them never will, and the offsets of
    /// groups are copied as they were then or later.
    pub(super) async fn catch_up(self: Rc<Self>, answer: Answer<()>) {
        let outcome = tokio::select! {
            biased;
            outcome = self.reach_ends(answer.given_up()) => outcome,
            // It stands by, and goes on later, or it fails and that is the answer.
            () = self.is_over() => return self.keeping.unanswered.borrow_mut().push(answer),
        };
        if !answer.given_up().is_set() {
            self.copy_groups_once().await;
            self.emit_rest().await;
            self.show_state();
        }
        if !answer.given_up().is_set()
            && let Err(error) = self.write_down_ends_once().await
        {
            tracing::warn!(%error, "it is not written down that the copies are level");
        }
        if outcome.is_ok() && !answer.given_up().is_set() {
            self.warn_of_open_transactions().await;
        }
        answer.send(outcome);
    }

    /// When nobody waits any more it ends between two looks: what it does about topics is never broken off in the middle.
    pub(super) async fn reach_ends(&self, abandoned: &GivenUp) -> Result<()> {
        self.refresh().await?;
        // What the target has is what it says now, not what it had once.
        self.look().await;
        let ends = self.source_ends().await?;
        loop {
            let (mut behind, mut failed) = (0, Vec::new());
            for (progress, end) in &ends {
                match progress.state() {
                    State::Failed => failed.extend(progress.error()),
                    // What stands before its start is no copy of anything.
                    _ if self.prefixes.has(progress) => match self.prefixes.refusal(progress) {
                        Some(error) => failed.push(error),
                        None => behind += 1,
                    },
                    _ if progress.is_in_doubt() => behind += 1,
                    _ if progress.target_next().is_none_or(|next| next < *end) => behind += 1,
                    _ => {}
                }
            }
            let acls_are_open = self.config.sync_topic_acls && !self.acls_were_seen_to.get();
            if behind == 0 && !acls_are_open {
                self.follow_configs_once().await;
                failed.extend(self.shared.refused().into_values());
                return self.all_reached(failed, ends.len());
            }
            if matches!(self.shared.state(), State::Stopped | State::Promoted) {
                return Err(Error::new(ErrorKind::State, "the mirror was stopped before it had caught up"));
            }
            if abandoned.is_set() {
                return Err(given_up("the wait until it has caught up"));
            }
            tokio::time::sleep(CATCH_UP_TICK).await;
        }
    }

    fn all_reached(&self, failed: Vec<Error>, partitions: usize) -> Result<()> {
        let count = failed.len();
        match failed.into_iter().next() {
            None => {
                tracing::info!(partitions, "caught up");
                Ok(())
            }
            Some(first) if count == 1 => Err(first),
            Some(first) => {
                Err(first.context(format!("{count} topics or partitions cannot be mirrored, the first of them")))
            }
        }
    }

    /// The end of every mirrored partition, as consumers see it now.
    async fn source_ends(&self) -> Result<Vec<End>> {
        let visible = Which::visible_to(self.config.isolation_level);
        let deadline = tokio::time::Instant::now() + self.source.config().request_timeout;
        let mut open = self.shared.partitions();
        let mut ends = Vec::with_capacity(open.len());
        loop {
            open = self.ask_for_ends(open, visible, &mut ends).await;
            if open.is_empty() {
                return Ok(ends);
            }
            if tokio::time::Instant::now() > deadline {
                let message = format!("the source does not tell the end of {} partitions", open.len());
                return Err(Error::new(ErrorKind::Broker, message));
            }
            tokio::time::sleep(self.config.source.retry_backoff).await;
            // Left open: the older one is gone on with until the time is over.
            if let Ok(metadata) = self.source.metadata(None, false).await {
                *self.source_metadata.borrow_mut() = metadata;
            }
        }
    }

    /// Asks the leaders once; returns the partitions of which no end came.
    pub(super) async fn ask_for_ends(
        &self,
        open: Vec<Arc<Progress>>,
        which: Which,
        ends: &mut Vec<End>,
    ) -> Vec<Arc<Progress>> {
        let mut missing = Vec::new();
        let mut groups: BTreeMap<i32, Vec<Arc<Progress>>> = BTreeMap::new();
        for progress in open {
            match self.source_leader(&progress) {
                Some(leader) => groups.entry(leader).or_default().push(progress),
                // A partition that is parked is judged by its error, not by its end.
                None if progress.state() == State::Failed => ends.push((progress, 0)),
                None => missing.push(progress),
            }
        }
        for (leader, group) in groups {
            let name = |progress: &Arc<Progress>| (Rc::from(&*progress.topic), progress.partition);
            let names: Vec<TopicPartition> = group.iter().map(name).collect();
            let offsets = match self.source.broker(leader).await {
                // Left open: what is missing is asked for again, or missing in the answer of this function.
                Ok(connection) => positions::list_offsets(&connection, &names, which).await.unwrap_or_default(),
                Err(_) => ByPartition::default(), // Left open: as above.
            };
            for (progress, name) in group.into_iter().zip(names) {
                if let Some(Ok(offset)) = offsets.get(&name) {
                    if which == Which::visible_to(self.config.isolation_level) {
                        progress.set_source_next(*offset);
                    }
                    if which == Which::HighWatermark {
                        progress.set_source_high_watermark(*offset);
                    }
                    ends.push((progress, *offset));
                } else {
                    missing.push(progress);
                }
            }
        }
        missing
    }

    pub(super) fn source_leader(&self, progress: &Progress) -> Option<i32> {
        self.source_leader_of(&progress.topic, progress.partition)
    }

    pub(super) fn source_leader_of(&self, topic: &str, partition: i32) -> Option<i32> {
        let metadata = self.source_metadata.borrow();
        let leaders = &metadata.topics.get(topic)?.leaders;
        leaders.get(partition as usize).copied().filter(|leader| *leader >= 0)
    }
}
