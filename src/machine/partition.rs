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
//! is not yet replicated.

use std::collections::VecDeque;
use std::time::Duration;

use crate::batch::{Header, Malformed, Stamp};
use crate::error::{Error, ErrorKind};
use crate::machine::opening::{Fit, check_logs, check_source, other_writer, sequence_after};
pub use crate::machine::opening::{Identity, SourceLog, TargetLog, Writer};
use crate::status::Replicated;
use crate::wire::errors::{BrokerError, Class};

/// How much one partition may have under way.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Batches sent and not acknowledged; a broker remembers the last five of a producer, more could not be told apart.
    pub max_in_flight: usize,
    /// Bytes fetched and not acknowledged, above which no more are fetched.
    pub queued_bytes: usize,
    /// The first pause after a failure, doubled for each further one.
    pub backoff: Duration,
    /// The longest pause.
    pub backoff_max: Duration,
}

/// A batch as the machine sees it; the payload is never looked at.
#[derive(Debug, Clone)]
pub struct Fetched<P> {
    /// Its header.
    pub header: Header,
    /// Bytes it keeps in memory.
    pub size: usize,
    /// What is produced.
    pub payload: P,
}

/// A batch to be sent to the leader on the target.
#[derive(Debug)]
pub struct Produce<'a, P> {
    /// To be handed back with the answer.
    pub ticket: Ticket,
    /// Identity and sequence number to write into its header.
    pub stamp: Stamp,
    /// What to send.
    pub payload: &'a P,
    /// Bytes of it.
    pub size: usize,
}

/// Which request an answer belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ticket {
    generation: u32,
    base_offset: i64,
}

/// What became of a produce request for one partition.
#[derive(Debug, Clone)]
pub enum Produced {
    /// The target appended it, at this offset.
    Appended {
        /// Offset of the first record on the target.
        base_offset: i64,
    },
    /// The target said no.
    Refused(BrokerError, Option<String>),
    /// No answer came: it may have been appended or not.
    Lost,
}

/// Where a partition is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// The position is to be read, not before `due`.
    Closed {
        /// Time since the stream began.
        due: Duration,
    },
    /// The position is being read.
    Opening,
    /// Fetching and producing.
    Running,
    /// Stopped by an error, see [`Partition::error`].
    Parked,
}

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
    /// Sequence number of the next batch to be sent.
    next_sequence: i32,
    /// Fetched and not acknowledged, in offset order; the first `sent` are in flight.
    window: VecDeque<Entry<P>>,
    sent: usize,
    queued_bytes: usize,
    /// The broker may hold no producer state to check a first sequence number against: one batch alone. A broker forgets
    /// a producer whose last record is older than a day, which for old records is at once, so this is so after every
    /// pause.
    alone: bool,
    /// The reading of both logs before, if it did not fit together.
    doubt: Option<TargetLog>,
    /// What is being read is of no use any more.
    discard_reading: bool,
    failures: u32,
    replicated: Replicated,
    /// Times that the batch at this offset arrived damaged at the target.
    corrupt: (i64, u32),
    /// Why nothing from `next_fetch` on can be copied; what was fetched before it still is.
    end: Option<Error>,
    error: Option<Error>,
}

#[derive(Debug)]
struct Entry<P> {
    fetched: Fetched<P>,
    acknowledged: bool,
    refused: Option<Error>,
}

/// A batch that arrives damaged this many times is damaged at the source.
const CORRUPT_ATTEMPTS: u32 = 3;

/// Pause before asking again whether all replicas have what the leader has.
const REPLICATION_PAUSE: Duration = Duration::from_millis(20);

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
            next_sequence: 0,
            window: VecDeque::new(),
            sent: 0,
            queued_bytes: 0,
            alone: true,
            doubt: None,
            discard_reading: false,
            failures: 0,
            replicated: Replicated::default(),
            corrupt: (-1, 0),
            end: None,
            error: None,
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
        self.error.as_ref()
    }

    /// Whether it has failed since it last made progress.
    pub fn is_failing(&self) -> bool {
        self.failures > 0
    }

    /// Whether nothing more will be fetched because what comes next cannot be copied.
    pub fn has_ended(&self) -> bool {
        self.end.is_some()
    }

    /// Bytes fetched and not acknowledged.
    pub fn queued_bytes(&self) -> usize {
        self.queued_bytes
    }

    /// What the target has acknowledged since the start.
    pub fn replicated(&self) -> Replicated {
        self.replicated
    }

    /// Whether nothing is in flight, so that a stop loses no answer.
    pub fn is_idle(&self) -> bool {
        self.sent == 0
    }

    /// Whether a batch could be sent now.
    pub fn can_produce(&self) -> bool {
        let allowed = if self.alone { 1 } else { self.limits.max_in_flight };
        self.phase == Phase::Running
            && self.sent < allowed
            && self.sent < self.window.len()
            && !self.window.iter().take(self.sent).any(|entry| entry.refused.is_some())
    }

    /// The next source offset to fetch, if more is wanted now.
    pub fn poll_fetch(&self) -> Option<i64> {
        let wanted = self.phase == Phase::Running && self.end.is_none() && self.queued_bytes < self.limits.queued_bytes;
        wanted.then_some(self.next_fetch)
    }

    /// Whether the position is to be read now; the answer comes by `handle_opened` or `handle_open_failed`.
    pub fn poll_open(&mut self, now: Duration) -> bool {
        let due = matches!(self.phase, Phase::Closed { due } if due <= now);
        if due {
            self.phase = Phase::Opening;
        }
        due
    }

    /// The next batch to send, if there is one and it may be sent.
    pub fn poll_produce(&mut self) -> Option<Produce<'_, P>> {
        if !self.can_produce() {
            return None;
        }
        let base_sequence = self.next_sequence;
        let fetched = &self.window.get(self.sent)?.fetched;
        self.sent += 1;
        self.next_sequence = sequence_after(base_sequence, fetched.header.record_count);
        Some(Produce {
            ticket: Ticket { generation: self.generation, base_offset: fetched.header.base_offset },
            stamp: Stamp {
                producer_id: self.identity.producer_id,
                producer_epoch: self.identity.producer_epoch,
                base_sequence,
            },
            payload: &fetched.payload,
            size: fetched.size,
        })
    }

    /// Both logs were read. Goes on from the target's end, or parks if that cannot be right.
    ///
    /// The reading is several requests, and a late request of a dead process, another process of this mirror or an election
    /// may come between them. What is asked of the driver, so that a reading can be judged:
    ///
    /// - The target's log end is read first and again last, the high watermark and the writer in between, all from one leader. If
    ///   the log end moved, the high watermark is to be given as -1. The source's ends may be read at any time.
    /// - Where the broker has no producer state for the mirror, the writer is that of the target's batch just before the log end
    ///   that was read; [`Writer::Nobody`] only if the log start is that log end.
    /// - Every `poll_open` gets one answer, also if `reopen` or `park` was called meanwhile.
    /// - All batches of a generation, which is what is sent between two openings, go to that leader over one
    ///   connection. A new connection, also to the same broker, begins with `reopen`: what was sent over the old one may still
    ///   arrive, and a broker that has forgotten the producer would take a later batch in the place of an earlier one.
    /// - A partition that was silent for minutes is told to `reopen` before it sends: if another process has written
    ///   meanwhile, a broker that has forgotten the producer would not refuse.
    pub fn handle_opened(&mut self, source: SourceLog, target: TargetLog, now: Duration) {
        if self.phase != Phase::Opening {
            return;
        }
        if std::mem::take(&mut self.discard_reading) {
            self.phase = Phase::Closed { due: now };
            return;
        }
        // Until every replica has what the leader has, the log end is a promise that a dying leader can break. More than
        // the log end was replicated only if the log grew while it was read.
        if target.high_watermark != target.log_end_offset {
            self.phase = Phase::Closed { due: now + REPLICATION_PAUSE };
            return;
        }
        match check_logs(self.identity, &source, &target, self.doubt.as_ref()) {
            Fit::Fits { next_sequence } => self.next_sequence = next_sequence,
            Fit::ReadAgain => {
                self.doubt = Some(target);
                self.phase = Phase::Closed { due: now + REPLICATION_PAUSE };
                return;
            }
            Fit::Wrong(error) => return self.park(error),
        }
        self.doubt = None;
        self.resume_at(target.log_end_offset);
        if self.next_fetch > source.log_end_offset {
            // The source was cut back: what it has lost must not be written to the target.
            self.forget_window();
            self.next_fetch = target.log_end_offset;
        }
        if let Err(error) = check_source(&source, self.next_fetch) {
            if self.window.is_empty() {
                return self.park(error);
            }
            self.end = Some(error);
        }
        self.alone = true;
        self.phase = Phase::Running;
    }

    /// The position could not be read.
    pub fn handle_open_failed(&mut self, error: Error, now: Duration) {
        if self.phase == Phase::Opening {
            self.discard_reading = false;
            self.close(Some(error), now);
        }
    }

    /// Batches of a fetch that asked for `fetch_offset`. An answer to an older question is left out.
    ///
    /// `aborted` are the aborted transactions the broker named: producer id and first offset.
    pub fn handle_fetched(
        &mut self,
        fetch_offset: i64,
        batches: impl IntoIterator<Item = Result<Fetched<P>, Malformed>>,
        aborted: &[(i64, i64)],
    ) {
        if self.phase != Phase::Running || self.end.is_some() || fetch_offset != self.next_fetch {
            return;
        }
        for batch in batches {
            match batch.map_err(Error::from).and_then(|fetched| self.accept(fetched, aborted)) {
                Ok(()) => {}
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

    /// The source says that the offset asked for is not in its log: both logs are to be compared.
    pub fn handle_out_of_range(&mut self, fetch_offset: i64, now: Duration) {
        if self.phase == Phase::Running && fetch_offset == self.next_fetch {
            self.reopen(now);
        }
    }

    /// An answer, or the loss of one, to a batch that was sent.
    pub fn handle_produced(&mut self, ticket: Ticket, produced: Produced, now: Duration) {
        if self.phase != Phase::Running || ticket.generation != self.generation {
            return;
        }
        let sent = self.sent;
        let Some(entry) =
            self.window.iter_mut().take(sent).find(|entry| entry.fetched.header.base_offset == ticket.base_offset)
        else {
            return;
        };
        match produced {
            Produced::Appended { base_offset } if base_offset == ticket.base_offset => entry.acknowledged = true,
            Produced::Appended { base_offset } => {
                return self.park(other_writer(format!(
                    "the batch of source offset {} was appended at target offset {base_offset}",
                    ticket.base_offset
                )));
            }
            Produced::Refused(broker, detail) => {
                return self.handle_refused(ticket.base_offset, broker, detail, now);
            }
            Produced::Lost => return self.close(None, now),
        }
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
                self.sent = 0;
                self.phase = Phase::Closed { due: now };
            }
            Phase::Opening => self.discard_reading = true,
            Phase::Closed { .. } | Phase::Parked => {}
        }
    }

    fn handle_refused(&mut self, base_offset: i64, broker: BrokerError, detail: Option<String>, now: Duration) {
        let detail = detail.map(|text| format!(" ({text})")).unwrap_or_default();
        let message = |what: &str| format!("the target {what} the batch at offset {base_offset}: {broker}{detail}");
        let error = |kind, what| Error::new(kind, message(what)).with_offset(base_offset).with_kafka_code(broker.code);
        match broker.class {
            Class::Fenced => self.park(error(ErrorKind::Fenced, "gave to a newer owner")),
            Class::Refused | Class::Unsupported => {
                // Those before it may still land; it is the partition's end only when it is their turn no more.
                let sent = self.sent;
                let refused =
                    self.window.iter_mut().take(sent).find(|entry| entry.fetched.header.base_offset == base_offset);
                if let Some(entry) = refused {
                    entry.refused = Some(error(ErrorKind::RecordRefused, "refuses"));
                }
                self.settle();
            }
            Class::Corrupt => {
                let times = if self.corrupt.0 == base_offset { self.corrupt.1 + 1 } else { 1 };
                self.corrupt = (base_offset, times);
                if times >= CORRUPT_ATTEMPTS {
                    return self.park(error(ErrorKind::RecordRefused, "refuses as damaged, again and again,"));
                }
                // The copy in memory may be what is damaged; it is fetched again.
                self.close(Some(error(ErrorKind::Broker, "refuses as damaged")), now);
            }
            Class::Unauthorized | Class::Unauthenticated => {
                self.close(Some(error(ErrorKind::Authorization, "does not allow")), now);
            }
            // Once, this is how a lost answer shows; in a row, reading again at once would be a busy loop.
            Class::Position if self.failures == 0 => {
                self.failures = 1;
                self.reopen(now);
            }
            Class::Position => self.close(Some(error(ErrorKind::Broker, "does not expect")), now),
            Class::Leader | Class::Wait | Class::OutOfRange | Class::Session => {
                self.close(Some(error(ErrorKind::Broker, "did not take")), now);
            }
        }
    }

    fn accept(&mut self, fetched: Fetched<P>, aborted: &[(i64, i64)]) -> Result<(), Error> {
        let header = &fetched.header;
        if header.last_offset() < self.next_fetch {
            return Ok(()); // brokers answer with whole batches, also those before the offset that was asked for
        }
        let gap = |from: i64, next: i64, why: &str| {
            let message = format!(
                "source offsets {from} to {} hold no record ({why}); this version cannot reproduce such a gap at the same offsets",
                next - 1
            );
            Err(Error::new(ErrorKind::OffsetGap, message).with_offset(from))
        };
        if header.base_offset > self.next_fetch {
            return gap(self.next_fetch, header.base_offset, "removed by compaction or deletion");
        }
        if header.is_control() {
            return gap(header.base_offset, header.last_offset() + 1, "a transaction marker");
        }
        let is_aborted =
            |&(producer_id, first): &(i64, i64)| header.producer_id == producer_id && header.base_offset >= first;
        if header.attributes & crate::batch::attributes::TRANSACTIONAL != 0 && aborted.iter().any(is_aborted) {
            return gap(header.base_offset, header.last_offset() + 1, "an aborted transaction");
        }
        if !header.is_dense() {
            return gap(header.base_offset, header.last_offset() + 1, "some were removed by compaction");
        }
        if header.base_offset < self.next_fetch {
            let message = format!(
                "offset {} is inside the source's batch {} to {}, of which the target has the first part already: the \
                 source's log was cut back and went on differently, or its topic was deleted and created again",
                self.next_fetch,
                header.base_offset,
                header.last_offset()
            );
            return Err(Error::new(ErrorKind::DataLoss, message).with_offset(self.next_fetch));
        }
        if header.is_log_append_time() && header.record_count > 1 {
            let message = format!(
                "the batch at offset {} carries the source broker's append time for {} records, which this version cannot keep; \
                 set message.timestamp.type=CreateTime on the source topic for new records",
                header.base_offset, header.record_count
            );
            return Err(Error::new(ErrorKind::RecordRefused, message).with_offset(header.base_offset));
        }
        self.next_fetch = header.last_offset() + 1;
        self.queued_bytes += fetched.size;
        self.window.push_back(Entry { fetched, acknowledged: false, refused: None });
        Ok(())
    }

    /// Takes what is acknowledged from the front of the window.
    fn settle(&mut self) {
        let mut progressed = false;
        while let Some(front) = self.window.front() {
            if !front.acknowledged {
                break;
            }
            let header = &front.fetched.header;
            let last = header.last_offset();
            self.replicated.records += header.record_count as u64;
            self.replicated.bytes += front.fetched.size as u64;
            self.replicated.last_timestamp = header.max_timestamp;
            self.queued_bytes -= front.fetched.size;
            self.window.pop_front();
            self.sent -= 1;
            self.position = Some(last + 1);
            self.alone = false;
            progressed = true;
        }
        if progressed {
            self.recover();
        }
        if let Some(error) = self.window.front_mut().and_then(|front| front.refused.take()) {
            return self.park(error);
        }
        if self.window.is_empty() {
            self.alone = true;
            if let Some(error) = self.end.take() {
                self.park(error);
            }
        }
    }

    /// It goes on: what went wrong before is over.
    fn recover(&mut self) {
        self.failures = 0;
        self.error = None;
    }

    /// Keeps what of the window still has to be sent from `position` on.
    fn resume_at(&mut self, position: i64) {
        self.generation = self.generation.wrapping_add(1);
        self.sent = 0;
        while let Some(front) = self.window.front() {
            if front.fetched.header.last_offset() >= position {
                break;
            }
            self.queued_bytes -= front.fetched.size;
            self.window.pop_front();
        }
        for entry in &mut self.window {
            entry.acknowledged = false;
            entry.refused = None;
        }
        let fits = self.window.front().is_some_and(|front| front.fetched.header.base_offset == position);
        if !fits {
            self.forget_window();
            self.next_fetch = position;
            self.end = None;
        }
        self.position = Some(position);
    }

    fn forget_window(&mut self) {
        self.generation = self.generation.wrapping_add(1);
        self.window.clear();
        self.sent = 0;
        self.queued_bytes = 0;
        self.end = None;
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
