//! Bugs that a mirror could have, put around the real machine: the simulation must find each of them.
//!
//! [`Machine`] passes everything through unchanged, or, with a [`Bug`], changes what goes in or comes out in the way a
//! machine with that bug would. So the code that ships has no switch for tests.

use std::time::Duration;

use super::world::{MIRROR, SourceBatch};
use crate::batch::Stamp;
use crate::error::Error;
use crate::machine::partition::{Fetched, Limits, Partition, Phase, Produced, SourceLog, TargetLog, Ticket, Writer};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Bug {
    /// A batch is left out, the sequence numbers go on as if it had never been.
    SkipsOneBatch,
    /// After the position was read again, two batches change places.
    WrongOrderOnRetry,
    /// Counted as replicated when it was sent.
    CountsBeforeTheAnswer,
    /// Appended by the leader but not replicated in time, and counted all the same.
    CountsUncommitted,
    /// A new process counts from 0 again.
    SequenceFromZero,
    /// The sequence number stays where it was when the position was read.
    SequenceStands,
    /// Goes on from the high watermark although the leader has more.
    ResumesAtHighWatermark,
    /// What is sent again gets the next sequence number instead of its own.
    FreshSequenceOnRetry,
    /// After a crash the position is the source's end.
    PositionFromSource,
    /// More than one batch under way while the broker cannot check the first.
    FirstBatchNotAlone,
    /// Does not look where the target appended the batch.
    IgnoresBaseOffset,
    /// Does not look who wrote the target's log.
    IgnoresWriter,
    /// Goes on from the leader's log end without waiting for the replicas.
    DoesNotWaitForReplicas,
}

impl Bug {
    pub(super) const ALL: [Bug; 13] = [
        Bug::SkipsOneBatch,
        Bug::WrongOrderOnRetry,
        Bug::CountsBeforeTheAnswer,
        Bug::CountsUncommitted,
        Bug::SequenceFromZero,
        Bug::SequenceStands,
        Bug::ResumesAtHighWatermark,
        Bug::FreshSequenceOnRetry,
        Bug::PositionFromSource,
        Bug::FirstBatchNotAlone,
        Bug::IgnoresBaseOffset,
        Bug::IgnoresWriter,
        Bug::DoesNotWaitForReplicas,
    ];
}

/// A batch that the machine wants sent.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sent {
    pub(super) ticket: Ticket,
    pub(super) stamp: Stamp,
    pub(super) batch: SourceBatch,
}

/// One process's machine, with a bug or without.
#[derive(Debug)]
pub(super) struct Machine {
    inner: Partition<SourceBatch>,
    bug: Option<Bug>,
    openings: u32,
    /// First offset of this process.
    began_at: Option<i64>,
    /// Sequence numbers that the bug is off by.
    shift: i64,
    /// The next sequence number of a machine that never goes back.
    fresh: Option<i32>,
    held_back: Option<Sent>,
}

impl Machine {
    pub(super) fn new(limits: Limits, bug: Option<Bug>) -> Self {
        Machine {
            inner: Partition::new(MIRROR, limits),
            bug,
            openings: 0,
            began_at: None,
            shift: 0,
            fresh: None,
            held_back: None,
        }
    }

    pub(super) fn get(&self) -> &Partition<SourceBatch> {
        &self.inner
    }

    pub(super) fn poll_open(&mut self, now: Duration) -> bool {
        self.inner.poll_open(now)
    }

    pub(super) fn poll_produce(&mut self, now: Duration) -> Option<Sent> {
        if let Some(held) = self.held_back.take() {
            return Some(held);
        }
        let mut sent = self.take()?;
        match self.bug {
            Some(Bug::SkipsOneBatch) if sent.batch.id % 8 == 5 => {
                self.shift -= i64::from(sent.batch.count);
                self.inner.handle_produced(sent.ticket, appended(sent.batch.base), now);
                return None;
            }
            Some(Bug::WrongOrderOnRetry) if self.openings > 1 => {
                if let Some(second) = self.take() {
                    let first = std::mem::replace(&mut sent, second);
                    sent.stamp.base_sequence = first.stamp.base_sequence;
                    let base_sequence = shifted(first.stamp.base_sequence, i64::from(sent.batch.count));
                    self.held_back = Some(Sent { stamp: Stamp { base_sequence, ..first.stamp }, ..first });
                }
            }
            Some(Bug::CountsBeforeTheAnswer) => {
                self.inner.handle_produced(sent.ticket, appended(sent.batch.base), now);
            }
            Some(Bug::SequenceStands) => {
                sent.stamp.base_sequence = *self.fresh.get_or_insert(sent.stamp.base_sequence);
            }
            Some(Bug::FreshSequenceOnRetry) => {
                let fresh = *self.fresh.get_or_insert(sent.stamp.base_sequence);
                self.fresh = Some(shifted(fresh, i64::from(sent.batch.count)));
                sent.stamp.base_sequence = fresh;
            }
            _ => {}
        }
        sent.stamp.base_sequence = shifted(sent.stamp.base_sequence, self.shift);
        Some(sent)
    }

    fn take(&mut self) -> Option<Sent> {
        let produce = self.inner.poll_produce()?;
        Some(Sent { ticket: produce.ticket, stamp: produce.stamp, batch: *produce.payload })
    }

    pub(super) fn handle_opened(&mut self, source: SourceLog, mut target: TargetLog, now: Duration) {
        self.openings += 1;
        self.held_back = None;
        let end = target.log_end_offset;
        match self.bug {
            Some(Bug::SkipsOneBatch) => self.shift = 0,
            Some(Bug::SequenceStands) => self.fresh = None,
            Some(Bug::SequenceFromZero) => self.shift = -*self.began_at.get_or_insert(end),
            Some(Bug::ResumesAtHighWatermark) => {
                let watermark = target.high_watermark;
                self.shift = end - watermark;
                pretend_end(&mut target, watermark);
            }
            Some(Bug::PositionFromSource) if self.openings == 1 => pretend_end(&mut target, source.log_end_offset),
            Some(Bug::IgnoresWriter) => pretend_end(&mut target, end),
            Some(Bug::DoesNotWaitForReplicas) => target.high_watermark = end,
            _ => {}
        }
        self.inner.handle_opened(source, target, now);
        if self.bug == Some(Bug::FirstBatchNotAlone) {
            self.inner.pretend_producer_state();
        }
    }

    pub(super) fn handle_open_failed(&mut self, error: Error, now: Duration) {
        self.inner.handle_open_failed(error, now);
    }

    pub(super) fn handle_fetched(&mut self, offset: i64, batches: &[SourceBatch], aborted: &[(i64, i64)]) {
        let fetched = |batch: &SourceBatch| Ok(Fetched { header: batch.header(), size: batch.size(), payload: *batch });
        self.inner.handle_fetched(offset, batches.iter().map(fetched), aborted);
    }

    pub(super) fn handle_out_of_range(&mut self, offset: i64, now: Duration) {
        self.inner.handle_out_of_range(offset, now);
    }

    /// `base` is the source offset of the batch that the answer is about.
    pub(super) fn handle_produced(&mut self, ticket: Ticket, base: i64, mut produced: Produced, now: Duration) {
        match (self.bug, &produced) {
            (Some(Bug::IgnoresBaseOffset), Produced::Appended { .. }) => produced = appended(base),
            (Some(Bug::CountsUncommitted), Produced::Refused(error, _)) if [7, 20].contains(&error.code) => {
                produced = appended(base);
            }
            _ => {}
        }
        self.inner.handle_produced(ticket, produced, now);
    }

    pub(super) fn reopen(&mut self, now: Duration) {
        self.held_back = None;
        self.inner.reopen(now);
    }

    pub(super) fn is_parked(&self) -> bool {
        self.inner.phase() == Phase::Parked
    }
}

fn appended(base_offset: i64) -> Produced {
    Produced::Appended { base_offset }
}

fn shifted(sequence: i32, by: i64) -> i32 {
    (i64::from(sequence) + by).rem_euclid(1 << 31) as i32
}

/// A reading as if the target ended there, with nothing in it that looks wrong.
fn pretend_end(target: &mut TargetLog, end: i64) {
    let last_sequence = shifted((end % (1 << 31)) as i32, -1);
    target.log_end_offset = end;
    target.high_watermark = end;
    if target.writer != Writer::Nobody {
        target.writer = Writer::Mirror { producer_epoch: MIRROR.producer_epoch, last_sequence };
    }
}
