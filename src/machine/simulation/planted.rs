//! Bugs that a mirror could have, put around the real machine: the simulation must find each of them.
//!
//! [`Machine`] passes everything through unchanged, or, with a [`Bug`], changes what goes in or comes out in the way a
//! machine with that bug would. So the code that ships has no switch for tests.

use std::time::Duration;

use super::network::{Answer, Outcome};
use super::source::SourceBatch;
use super::world::SETTLE;
use crate::batch::Stamp;
use crate::error::Error;
use crate::machine::partition::{
    Content, Fill, Filled, Identity, Likeness, Limits, Mapping, Partition, Phase, Produced, Reading, Tail, TargetLog,
    Ticket,
};

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
    /// Fills a hole without waiting whether the log stands still.
    FillsAtOnce,
    /// Writes markers with the same fence in every process and attempt.
    FencesNobody,
    /// Counts a hole as filled when the order was sent.
    CountsUnfilled,
    /// Believes that all markers were written when an answer came.
    IgnoresLogEnd,
    /// Asks for markers again when no answer came.
    FillsAgain,
    /// Fills one offset too few.
    FillsShort,
    /// Sends the records behind a hole before it is filled.
    PassesHoles,
    /// A hole at the end is not filled: the next records are asked for as if it were not there.
    SwallowsHoles,
    /// Sequence numbers count offsets, also those of markers.
    SequenceCountsMarkers,
    /// Does not compare what both logs hold at the target's end.
    IgnoresLikeness,
    /// Does not follow leader epochs.
    IgnoresEpochs,
    /// Writes down only the new holes, as if those before were all copied and kept.
    ForgetsHoles,
    /// Believes that the target still has what it had.
    KeepsLostRecords,
    /// Does not look in the log for records of its own that the broker has forgotten.
    DoesNotScan,
    /// Does not mind that another process has started since.
    IgnoresLaterStart,
    /// Counts on the records of others, too, when it looks how far it has come.
    CountsOthers,
    /// Takes an answer without records for a log without records up to its end.
    BelievesSilence,
    /// Takes a comparison of both logs that failed for one that found nothing to compare.
    TakesFailureForNothing,
    /// Does not look who wrote the records before the markers at the end.
    BelievesMarkers,
    /// Takes a record for lost that is not where it was.
    ForgetsWhatIsCompacted,
    /// Counts the records that the cleaner has left of a batch.
    CountsRecordsLeft,
    /// Begins at the end of the target when it remembers nothing, whatever is there.
    BeginsAnew,
    /// Writes for however long it has not asked whether another process has started.
    NoLease,
    /// Finishes the requests that it was writing when it was stopped, however long ago.
    FinishesHeldRequests,
    /// Writes at once, whoever else may still hold a lease.
    DoesNotWaitForLeases,
    /// Counts its lease from the answer on, instead of from the question.
    LeaseFromTheAnswer,
    /// Does not mind that the log of starts was cut back, and with it starts that nobody has heard of.
    IgnoresLostStarts,
    /// Takes offsets of the log of starts for its own that another leader has given away again.
    KeepsOwnOffsets,
    /// Believes that it knows the log of starts up to what it has written itself.
    PassesOthersStarts,
    /// A new connection leaves partitions as they are that have nothing to send.
    IdleIsNotReopened,
}

impl Bug {
    pub(super) const ALL: [Bug; 43] = [
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
        Bug::FillsAtOnce,
        Bug::FencesNobody,
        Bug::CountsUnfilled,
        Bug::IgnoresLogEnd,
        Bug::FillsAgain,
        Bug::FillsShort,
        Bug::PassesHoles,
        Bug::SwallowsHoles,
        Bug::SequenceCountsMarkers,
        Bug::IgnoresLikeness,
        Bug::IgnoresEpochs,
        Bug::ForgetsHoles,
        Bug::KeepsLostRecords,
        Bug::DoesNotScan,
        Bug::IgnoresLaterStart,
        Bug::CountsOthers,
        Bug::BelievesSilence,
        Bug::TakesFailureForNothing,
        Bug::BelievesMarkers,
        Bug::ForgetsWhatIsCompacted,
        Bug::CountsRecordsLeft,
        Bug::BeginsAnew,
        Bug::NoLease,
        Bug::FinishesHeldRequests,
        Bug::DoesNotWaitForLeases,
        Bug::LeaseFromTheAnswer,
        Bug::IgnoresLostStarts,
        Bug::KeepsOwnOffsets,
        Bug::PassesOthersStarts,
        Bug::IdleIsNotReopened,
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
    /// What was ordered to be filled last, and whether it is asked for again.
    ordered: Option<Fill>,
    again: bool,
}

impl Machine {
    pub(super) fn new(identity: Identity, limits: Limits, bug: Option<Bug>) -> Self {
        let settle = if bug == Some(Bug::FillsAtOnce) { Duration::ZERO } else { SETTLE };
        Machine {
            inner: Partition::new(identity, Limits { settle, ..limits }),
            bug,
            openings: 0,
            began_at: None,
            shift: 0,
            fresh: None,
            held_back: None,
            ordered: None,
            again: false,
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

    /// The order, and the fence that it should have.
    pub(super) fn poll_fill(&mut self, now: Duration) -> Option<(Fill, i32)> {
        if self.again {
            self.again = false;
            return self.ordered.map(|fill| (fill, fill.fence));
        }
        let mut fill = self.inner.poll_fill(now)?;
        let order = fill.fence;
        match self.bug {
            Some(Bug::CountsUnfilled) => {
                let next = fill.from + i64::from(fill.count);
                self.inner.handle_filled(fill.ticket, Filled::LogEnd(next), now);
            }
            Some(Bug::FencesNobody) => fill.fence = 0,
            Some(Bug::FillsShort) if fill.count > 1 => fill.count -= 1,
            _ => {}
        }
        self.ordered = Some(fill);
        Some((fill, order))
    }

    /// The order to write down where holes are.
    pub(super) fn poll_map(&mut self, now: Duration) -> Option<Mapping> {
        let mapping = self.inner.poll_map(now)?;
        if self.bug == Some(Bug::CountsUnfilled) {
            self.inner.handle_filled(mapping.ticket, Filled::Mapped, now);
        }
        Some(mapping)
    }

    pub(super) fn park(&mut self, error: Error) {
        self.inner.park(error);
    }

    fn handle_filled(&mut self, fill_ticket: Ticket, from: i64, mut filled: Filled, now: Duration) {
        match (self.bug, &filled) {
            (Some(Bug::IgnoresLogEnd | Bug::FillsShort), Filled::LogEnd(_)) => {
                if let Some(next) = self.inner.fill_under_way(from) {
                    filled = Filled::LogEnd(next);
                }
            }
            (Some(Bug::FillsAgain), Filled::Lost) if self.ordered.is_some_and(|fill| fill.ticket == fill_ticket) => {
                self.again = true;
                return;
            }
            (Some(Bug::IgnoresLogEnd), Filled::Refused(error)) if error.code == -1 => {
                if let Some(next) = self.inner.fill_under_way(from) {
                    filled = Filled::LogEnd(next);
                }
            }
            _ => {}
        }
        self.inner.handle_filled(fill_ticket, filled, now);
    }

    fn take(&mut self) -> Option<Sent> {
        let produce = self.inner.poll_produce()?;
        Some(Sent { ticket: produce.ticket, stamp: produce.stamp, batch: *produce.payload })
    }

    pub(super) fn handle_opened(&mut self, mut reading: Reading, now: Duration) {
        self.openings += 1;
        self.held_back = None;
        self.again = false;
        let (source, target) = (&mut reading.source, &mut reading.target);
        let end = target.log_end_offset;
        match self.bug {
            Some(Bug::SkipsOneBatch) => self.shift = 0,
            Some(Bug::SequenceStands) => self.fresh = None,
            Some(Bug::SequenceFromZero) => self.shift = -*self.began_at.get_or_insert(end),
            Some(Bug::ResumesAtHighWatermark) => {
                let watermark = target.high_watermark;
                pretend_end(target, watermark);
                reading.likeness = Likeness::Unknown;
            }
            Some(Bug::PositionFromSource) if self.openings == 1 => {
                pretend_end(target, source.log_end_offset);
                reading.likeness = Likeness::Unknown;
            }
            Some(Bug::IgnoresWriter) => {
                pretend_end(target, end);
                reading.likeness = Likeness::Unknown;
            }
            Some(Bug::DoesNotWaitForReplicas) => target.high_watermark = end,
            Some(Bug::SequenceCountsMarkers) => {
                target.last_record = target.last_record.map(|(epoch, _)| (epoch, sequence_before(end)));
                if let Tail::Records { last_sequence, .. } = &mut target.tail {
                    *last_sequence = sequence_before(end);
                }
            }
            Some(Bug::BelievesMarkers) => target.last_writer = None,
            Some(Bug::IgnoresLikeness) => reading.likeness = Likeness::Unknown,
            Some(Bug::IgnoresEpochs) => (source.last_epoch, source.epoch_end_offset) = (-1, None),
            _ => {}
        }
        self.inner.handle_opened(reading, now);
        if self.bug == Some(Bug::FirstBatchNotAlone) {
            self.inner.pretend_producer_state();
        }
    }

    pub(super) fn handle_open_failed(&mut self, error: Error, now: Duration) {
        self.inner.handle_open_failed(error, now);
    }

    pub(super) fn handle_fetched(&mut self, offset: i64, contents: Vec<Content<SourceBatch>>) {
        let contents = contents.into_iter().filter_map(|content| match (self.bug, content) {
            (Some(Bug::SwallowsHoles), Content::Nothing { .. }) => None,
            (_, content) => Some(Ok(content)),
        });
        self.inner.handle_fetched(offset, contents.collect::<Vec<_>>());
        if self.bug == Some(Bug::PassesHoles) {
            self.inner.pretend_no_holes();
        }
    }

    pub(super) fn fetch_epoch(&self) -> i32 {
        if self.bug == Some(Bug::IgnoresEpochs) { -1 } else { self.inner.fetch_epoch() }
    }

    pub(super) fn handle_diverged(&mut self, offset: i64, now: Duration) {
        self.inner.handle_diverged(offset, now);
    }

    pub(super) fn handle_silence(&mut self, offset: i64, error: Error) {
        self.inner.handle_silence(offset, error);
    }

    pub(super) fn handle_out_of_range(&mut self, offset: i64, now: Duration) {
        self.inner.handle_out_of_range(offset, now);
    }

    /// `base` is the source offset of the batch that the answer is about.
    fn handle_produced(&mut self, ticket: Ticket, base: i64, mut produced: Produced, now: Duration) {
        match (self.bug, &produced) {
            (Some(Bug::IgnoresBaseOffset), Produced::Appended { .. }) => produced = appended(base),
            (Some(Bug::CountsUncommitted), Produced::Refused(error, _)) if [7, 20].contains(&error.code) => {
                produced = appended(base);
            }
            _ => {}
        }
        self.inner.handle_produced(ticket, produced, now);
    }

    pub(super) fn handle_answer(&mut self, answer: Answer, now: Duration) {
        match answer.outcome {
            Outcome::Produced(produced) => self.handle_produced(answer.ticket, answer.base, produced, now),
            Outcome::Filled(filled) => self.handle_filled(answer.ticket, answer.base, filled, now),
        }
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

fn sequence_before(offset: i64) -> i32 {
    shifted((offset % (1 << 31)) as i32, -1)
}

/// A reading as if the target ended there, with nothing in it that looks wrong.
fn pretend_end(target: &mut TargetLog, end: i64) {
    let behind = target.log_end_offset - end;
    target.log_end_offset = end;
    target.high_watermark = end;
    let last_sequence = target.last_record.map_or(sequence_before(end), |(_, last)| shifted(last, -behind));
    target.last_record = target.last_record.map(|(epoch, _)| (epoch, last_sequence));
    target.last_writer = None;
    if target.tail != Tail::Empty {
        target.tail = Tail::Marker { meant_for: None };
    }
}
