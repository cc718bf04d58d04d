//! One partition of a mirror: decides what is fetched, what is produced under which sequence number, and when to stop.
//!
//! The target's log is the only memory. Before anything is written the position is read from both logs
//! ([`Partition::handle_opened`]); while all is well, batches are sent in order, at most
//! [`Limits::max_in_flight`] at a time, each with the sequence number that makes its append conditional on all before
//! it. Whatever goes wrong on the way, the answer is the same: forget who was asked what (a new *generation*), read
//! the position again, go on from there. What this module must never do: count a batch as replicated before the
//! target said so, or send a batch whose offset on the target would not be its offset on the source.
//!
//! Source and target offsets are the same numbers here; `position` is always the *next* offset, the first one that
//! is not yet replicated. With `offsets=translate` ([`Holes::Mapped`]) the machine sees the target through
//! [`OffsetMap`](super::translation::OffsetMap), which shows the mirror's own records at their offsets of the source and nothing else: a
//! hole is then not filled but written down, and the target's log end is where the next record comes from.

use std::time::Duration;

use crate::batch::{Malformed, Stamp};
use crate::error::{Error, ErrorKind};
use crate::machine::opening::{Doubt, first_sequence_at, sequence_after};
pub use crate::machine::opening::{Identity, Likeness, Reading, SourceLog, Tail, TargetLog, is_end_of_filler};
use crate::terms::state::Replicated;
use window::{Done, Window};

mod answers;
mod holes;
mod resume;
mod types;
mod window;

pub use answers::{Filled, Produced};
pub use holes::{LONG_FILL, MARKERS_PER_SECOND, TRANSACTIONS_PER_SECOND, estimate};
pub use types::{Anchor, Content, Fetched, Fill, Holes, LeftOut, Limits, Mapping, Phase, Produce, Ticket};

/// The machine of one partition. `P` is the payload of a batch.
#[derive(Debug)]
pub struct Partition<P> {
    identity: Identity,
    limits: Limits,
    phase: Phase,
    generation: u32,
    /// First offset that the target has not acknowledged; `None` before the first opening.
    position: Option<i64>,
    /// Next source offset to fetch.
    next_fetch: i64,
    /// Leader epochs of the source's record before `position` and before `next_fetch`; -1 if not known.
    position_epoch: i32,
    fetch_epoch: i32,
    /// Sequence number of the next batch to be sent: one after this mirror's last record, so that every process that reads the
    /// log finds the same number. `None` if there is no such record: then it is the offset of the batch.
    next_sequence: Option<i32>,
    /// Fetched and not acknowledged.
    window: Window<P>,
    /// The broker may hold no producer state to check a first sequence number against: one batch alone. A broker forgets
    /// a producer whose last record is older than a day, which for old records is at once, so this is so after every
    /// pause.
    alone: bool,
    filling: Filling,
    /// Something was given up that may still be written, and the log was not seen to stand still since.
    given_up: bool,
    /// Orders to fill with a raised fence have reached up to here.
    fenced_until: i64,
    /// There is no higher fence for the next order to fill.
    has_no_fence_left: bool,
    /// Batches above this size are to be cut; below the limit when the target has refused one as too large.
    batch_bytes: usize,
    /// Up to this offset every record is to come as a batch of its own, to find the one that the target refuses.
    singly_until: i64,
    /// Something of the source was copied, whatever the target has of it now.
    begun: bool,
    /// The reading of both logs before, if it did not fit together.
    doubt: Option<Doubt>,
    /// How often in a row the source's leader did not know the leader epoch of what was replicated.
    unknown_epochs: u32,
    /// How often in a row the target's log was not at rest, or not replicated, when it was read.
    unsettled: u32,
    /// What is being read is of no use any more.
    discard_reading: bool,
    failures: u32,
    replicated: Replicated,
    /// Times that the batch at this offset arrived damaged at the target.
    corrupt: (i64, u32),
    /// Times in a row that the target failed inside on the batch at this offset.
    failing: (i64, u32),
    /// Where an order to fill was fenced.
    fenced_at: Option<i64>,
    /// Ranges of the source that were left out by a policy and not yet told of.
    left_out: Vec<LeftOut>,
    left_out_until: i64,
    /// Up to this offset it was told that deletions of keys may be missing.
    lost_deletions_until: i64,
    /// Why nothing from `next_fetch` on can be copied; what was fetched before it still is.
    end: Option<Error>,
    error: Option<Error>,
    /// The source gives nothing from `next_fetch` on, although it goes on there.
    silence: Option<Error>,
}

/// Where the filling of holes is. A request to write markers is not conditional on what is in the log, so one of a dead process,
/// or one of our own that was given up, could still land when the position was read. Therefore the log must stand
/// still for [`Limits::settle`] before the first hole after an opening is filled. From then on markers with an older fence
/// are refused, and an answer that came is an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Filling {
    /// The log has not been seen to stand still.
    Unsettled,
    /// It is being waited whether the log ends where it did, by [`Partition::end_of_log`].
    Settling { end: i64 },
    /// It stood still; what was read then is good for a hole that is filled soon after.
    StoodStill { read_at: Duration },
    /// Holes can be filled.
    Settled,
    /// Markers from this offset up to another are under way, or the note where the holes between them are.
    UnderWay { from: i64, next: i64 },
}

impl<P> Partition<P> {
    /// A partition whose position is not known yet.
    pub fn new(identity: Identity, limits: Limits) -> Self {
        Partition {
            identity,
            limits,
            phase: Phase::Closed { due: Duration::ZERO },
            generation: 0,
            position: None,
            next_fetch: 0,
            position_epoch: -1,
            fetch_epoch: -1,
            next_sequence: None,
            window: Window::new(),
            alone: true,
            filling: Filling::Unsettled,
            given_up: false,
            fenced_until: 0,
            has_no_fence_left: false,
            batch_bytes: limits.batch_bytes,
            singly_until: 0,
            begun: false,
            doubt: None,
            unknown_epochs: 0,
            unsettled: 0,
            discard_reading: false,
            failures: 0,
            replicated: Replicated::default(),
            corrupt: (-1, 0),
            failing: (-1, 0),
            fenced_at: None,
            left_out: Vec::new(),
            left_out_until: 0,
            lost_deletions_until: 0,
            end: None,
            error: None,
            silence: None,
        }
    }

    /// Where it is.
    pub fn phase(&self) -> Phase {
        self.phase
    }

    /// First offset not yet replicated, `None` until it was read for the first time.
    pub fn position(&self) -> Option<i64> {
        self.position
    }

    /// The error it is parked with, or that it is waiting to pass.
    pub fn error(&self) -> Option<&Error> {
        self.error.as_ref().or(self.silence.as_ref())
    }

    /// Whether it has failed since it last made progress, or waits for a source that says nothing.
    pub fn is_failing(&self) -> bool {
        self.failures > 0 || self.silence.is_some()
    }

    /// Whether nothing more will be fetched because what comes next cannot be copied.
    pub fn has_ended(&self) -> bool {
        self.end.is_some()
    }

    /// Bytes fetched and not acknowledged.
    #[cfg(test)]
    pub fn queued_bytes(&self) -> usize {
        self.window.queued_bytes()
    }

    /// What the target has acknowledged since the start.
    pub fn replicated(&self) -> Replicated {
        self.replicated
    }

    /// What a policy has left out since the last call.
    pub fn take_left_out(&mut self) -> Vec<LeftOut> {
        std::mem::take(&mut self.left_out)
    }

    /// The leader epoch of the source's record before the position, -1 if it is not known.
    pub fn position_epoch(&self) -> i32 {
        self.position_epoch
    }

    /// Whether an answer would be listened to: it is about what was sent since the position was read.
    pub fn is_awaited(&self, ticket: Ticket) -> bool {
        self.phase == Phase::Running && ticket.generation == self.generation
    }

    /// Whether nothing is in flight, so that a stop loses no answer.
    pub fn is_idle(&self) -> bool {
        self.window.sent() == 0 && !self.is_filling()
    }

    /// Whether it has nothing to send and waits for no answer.
    #[cfg(test)]
    pub fn is_empty(&self) -> bool {
        self.window.is_empty()
    }

    fn is_filling(&self) -> bool {
        matches!(self.filling, Filling::UnderWay { .. })
    }

    /// Whether a batch could be sent now.
    pub fn can_produce(&self) -> bool {
        let allowed = if self.alone { 1 } else { self.limits.max_in_flight };
        self.phase == Phase::Running && self.window.sent() < allowed && self.window.next_records().is_some()
    }

    /// Whether it is a hole's turn.
    pub fn can_fill(&self) -> bool {
        let stood_still = matches!(self.filling, Filling::StoodStill { .. } | Filling::Settled);
        let is_turn = match self.limits.holes {
            Holes::Mapped if stood_still => self.window.has_open_hole(),
            Holes::Mapped | Holes::Filled { .. } => self.window.next_hole().is_some(),
        };
        self.phase == Phase::Running && !self.is_filling() && is_turn
    }

    /// The next source offset to fetch, if more is wanted now.
    pub fn poll_fetch(&self) -> Option<i64> {
        let room = self.window.queued_bytes() < self.limits.queued_bytes;
        let wanted = self.phase == Phase::Running && self.end.is_none() && room;
        wanted.then_some(self.next_fetch)
    }

    /// The leader epoch of the source's record before the offset to fetch, -1 if it is not known: with it the source can
    /// tell that its log is not the one that was fetched from (KIP-320, KIP-595).
    pub fn fetch_epoch(&self) -> i32 {
        self.fetch_epoch
    }

    /// How large a batch may be at the offset to fetch; larger ones of more than one record are to be cut.
    pub fn batch_bytes(&self) -> usize {
        if self.next_fetch < self.singly_until { 1 } else { self.batch_bytes }
    }

    /// Whether the position is to be read now; the answer comes by `handle_opened` or `handle_open_failed`.
    pub fn poll_open(&mut self, now: Duration) -> bool {
        let due = matches!(self.phase, Phase::Closed { due } if due <= now);
        if due {
            self.phase = Phase::Opening;
        }
        due
    }

    /// The bytes of the batch that could be sent now.
    pub fn next_size(&self) -> Option<usize> {
        self.window.next_records().filter(|_| self.can_produce()).map(|fetched| fetched.size)
    }

    /// The next batch to send, if there is one and it may be sent.
    pub fn poll_produce(&mut self) -> Option<Produce<'_, P>> {
        if !self.can_produce() {
            return None;
        }
        let (generation, next_sequence) = (self.generation, self.next_sequence);
        let Identity { producer_id, producer_epoch, .. } = self.identity;
        let fetched = self.window.send()?;
        let base_sequence = next_sequence.unwrap_or_else(|| first_sequence_at(fetched.header.base_offset));
        self.next_sequence = Some(sequence_after(base_sequence, fetched.header.record_count));
        Some(Produce {
            ticket: Ticket { generation, base_offset: fetched.header.base_offset },
            stamp: Stamp { producer_id, producer_epoch, base_sequence },
            payload: &fetched.payload,
        })
    }

    /// The next order to fill a hole, if it is a hole's turn and the target's log has stood still before.
    pub fn poll_fill(&mut self, now: Duration) -> Option<Fill> {
        let Holes::Filled { at_once } = self.limits.holes else { return None };
        let (from, next) = self.window.next_hole().filter(|_| self.can_fill())?;
        if !self.is_settled(now) {
            return None;
        }
        let next = self.fill_within_fence(from, next);
        let count = (next - from).min(i64::from(at_once)) as i32;
        self.filling = Filling::UnderWay { from, next: from + i64::from(count) };
        let ticket = Ticket { generation: self.generation, base_offset: from };
        Some(Fill { ticket, from, count, fence: self.identity.fence })
    }

    /// The next order to write down where holes are, if there are any and the target's log has stood still before. Unlike
    /// filling it does not wait for what is before them.
    pub fn poll_map(&mut self, now: Duration) -> Option<Mapping> {
        if self.limits.holes != Holes::Mapped || !self.can_fill() || !self.is_settled(now) {
            return None;
        }
        let holes = self.window.write_holes(self.next_sequence);
        let (from, next) = (holes.first()?.0, holes.last()?.1.source_offset);
        self.filling = Filling::UnderWay { from, next };
        let ticket = Ticket { generation: self.generation, base_offset: from };
        let anchors = holes.into_iter().map(|(_, anchor)| anchor).collect();
        Some(Mapping { ticket, anchors, fence: self.identity.fence })
    }

    /// What tells that the target has got nothing more: its log end, or the next sequence number where others write to the log, too. There
    /// an offset of the source tells nothing: it goes on when it is read that a hole was written down before.
    fn end_of_log(&self, log_end_offset: i64) -> i64 {
        match self.limits.holes {
            Holes::Filled { .. } => log_end_offset,
            Holes::Mapped => self.next_sequence.map_or(-1, i64::from),
        }
    }

    /// Whether the log has stood still. Where it is not known, the partition waits for that as soon as a hole is all there is
    /// to do.
    fn is_settled(&mut self, now: Duration) -> bool {
        let settled = match self.filling {
            Filling::StoodStill { read_at } => now.saturating_sub(read_at) < self.limits.settle,
            filling => filling == Filling::Settled,
        };
        if settled {
            return true;
        }
        self.filling = Filling::Unsettled;
        if let Some((from, _)) = self.window.next_hole() {
            self.generation = self.generation.wrapping_add(1);
            self.filling = Filling::Settling { end: self.end_of_log(from) };
            self.phase = Phase::Closed { due: now + self.limits.settle };
        }
        false
    }

    /// What a fetch brought that asked for `fetch_offset`. An answer to an older question is left out.
    pub fn handle_fetched(
        &mut self,
        fetch_offset: i64,
        contents: impl IntoIterator<Item = Result<Content<P>, Malformed>>,
    ) {
        if self.phase != Phase::Running || self.end.is_some() || fetch_offset != self.next_fetch {
            return;
        }
        for content in contents {
            self.silence = None;
            let damaged = matches!(content, Err(Malformed::Damaged { offset }) if self.is_damaged_again(offset));
            match content.map_err(Error::from).and_then(|content| self.accept(content)) {
                Ok(()) => {}
                // What came may have been damaged on the way; it is fetched again.
                Err(_) if damaged => break,
                Err(error) => {
                    self.end = Some(error);
                    break;
                }
            }
        }
        if self.window.is_empty() {
            self.recover();
        }
        self.settle();
    }

    /// The source says that its log is not the one that was fetched from before: its leader epochs went another way. What
    /// was fetched may be what it has lost.
    pub fn handle_diverged(&mut self, fetch_offset: i64, now: Duration) {
        if self.phase == Phase::Running && fetch_offset == self.next_fetch {
            self.reopen(now);
            self.forget_window();
            // A batch of the old log that is under way would be taken for the new one's at the same offset.
            self.given_up = true;
        }
    }

    /// The source has said nothing, for long, of the offset that was asked for, although its log goes on there. That proves nothing: the
    /// partition waits, and says so.
    pub fn handle_silence(&mut self, fetch_offset: i64, error: Error) {
        if self.phase == Phase::Running && fetch_offset == self.next_fetch {
            self.silence = Some(error);
        }
    }

    /// The source says that the offset asked for is not in its log: both are to be compared.
    pub fn handle_out_of_range(&mut self, fetch_offset: i64, now: Duration) {
        if self.phase == Phase::Running && fetch_offset == self.next_fetch {
            self.reopen(now);
        }
    }

    /// What comes from `fetch_offset` on tells that the source has removed records from an offset on, after so long that deletions of keys may
    /// be among them: it ends there or, by policy, goes on, and tells once what lies up to `until`. To be said before what was
    /// fetched is handed out.
    pub fn handle_lost_deletions(&mut self, fetch_offset: i64, until: i64, error: &Error) {
        let Some(from) = error.offset().filter(|from| *from >= self.lost_deletions_until) else { return };
        if self.phase != Phase::Running || self.end.is_some() || fetch_offset != self.next_fetch {
            return;
        }
        if self.limits.go_on_after_loss {
            self.lost_deletions_until = until.max(from + 1);
            let next = self.lost_deletions_until;
            self.left_out.push(LeftOut { from, next, offsets: 0, error: error.clone() });
            return;
        }
        self.end = Some(error.clone());
        self.settle();
    }

    /// Stops it with an error that somebody else found.
    pub fn park(&mut self, error: Error) {
        self.discard_reading |= self.phase == Phase::Opening;
        self.forget_window();
        self.phase = Phase::Parked;
        self.error = Some(error);
    }

    /// The target's leader cannot be reached: nothing was sent, or its answer will not come.
    pub fn handle_unreachable(&mut self, error: Error, now: Duration) {
        if self.phase == Phase::Running {
            self.close(Some(error), now);
        }
    }

    /// Goes on after a stop whose reason is over, from what both logs say then.
    pub fn resume(&mut self, now: Duration) {
        if self.phase == Phase::Parked {
            self.error = None;
            self.phase = Phase::Closed { due: now };
        }
    }

    /// Reads the position again, at once. What is being read already is not enough.
    pub fn reopen(&mut self, now: Duration) {
        match self.phase {
            Phase::Running => {
                self.generation = self.generation.wrapping_add(1);
                self.give_up_fill();
                self.window.unsend();
                self.silence = None;
                self.phase = Phase::Closed { due: now };
            }
            Phase::Opening => self.discard_reading = true,
            Phase::Closed { .. } | Phase::Parked => {}
        }
    }

    fn accept(&mut self, content: Content<P>) -> Result<(), Error> {
        let fetched = match content {
            Content::Nothing { next_offset, leader_epoch } => {
                return self.leave_hole(next_offset, leader_epoch);
            }
            Content::Records(fetched) => fetched,
        };
        let header = &fetched.header;
        if header.base_offset < self.next_fetch || !header.is_dense() || header.is_control() {
            let what = "is not what the position asks for";
            let message = format!("the batch at offset {} {what} (offset {})", header.base_offset, self.next_fetch);
            return Err(Error::new(ErrorKind::Internal, message).with_offset(header.base_offset));
        }
        if header.base_offset > self.next_fetch {
            self.leave_hole(header.base_offset, header.partition_leader_epoch)?;
        }
        self.next_fetch = header.last_offset() + 1;
        self.fetch_epoch = header.partition_leader_epoch;
        self.window.push_records(fetched);
        Ok(())
    }

    /// Takes what is acknowledged from the front of the window.
    fn settle(&mut self) {
        let mut progressed = false;
        while let Some(done) = self.window.pop_done() {
            progressed = true;
            match done {
                Done::Records(fetched) => {
                    let header = &fetched.header;
                    self.replicated.records += header.record_count as u64;
                    self.replicated.bytes += fetched.size as u64;
                    self.replicated.last_timestamp = header.max_timestamp;
                    self.position = Some(header.last_offset() + 1);
                    self.position_epoch = header.partition_leader_epoch;
                    self.alone = false;
                }
                Done::Hole { next } => self.pass_hole(next),
            }
        }
        if progressed {
            self.recover();
        }
        self.look_at_refused();
        if self.window.is_empty() {
            self.alone = true;
            if let Some(error) = self.end.take() {
                self.park(error);
            }
        }
    }

    /// What was a hole is replicated.
    fn pass_hole(&mut self, next: i64) {
        self.position = Some(next);
        // The epoch at the end of a hole in front of records is not later than theirs.
        self.position_epoch = if self.window.is_empty() { self.fetch_epoch } else { -1 };
    }

    /// It goes on: what went wrong before is over.
    fn recover(&mut self) {
        self.failures = 0;
        self.error = None;
    }

    fn fetch_from(&mut self, position: i64) {
        self.next_fetch = position;
        self.fetch_epoch = self.position_epoch;
    }

    fn forget_window(&mut self) {
        self.generation = self.generation.wrapping_add(1);
        self.give_up_fill();
        self.window.clear();
        self.end = None;
        self.silence = None;
    }

    /// Stops sending until the position was read again, after a pause that grows with every failure in a row.
    fn close(&mut self, error: Option<Error>, now: Duration) {
        let factor = 1u32 << self.failures.min(16);
        let pause = self.limits.backoff.saturating_mul(factor).min(self.limits.backoff_max);
        self.failures += 1;
        // A partition that cannot get rid of its batches must not keep memory from those that can.
        self.forget_window();
        if error.is_some() {
            self.error = error;
        }
        self.phase = Phase::Closed { due: now + pause };
    }
}

#[cfg(test)]
mod tests;
