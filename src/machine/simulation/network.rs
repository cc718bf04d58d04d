//! Connections between mirror processes and the target's brokers, and what can happen to a request on its way.
//!
//! A connection keeps its requests and its answers in order. When it is cut, the process loses all answers that are
//! under way, while the broker may still work off requests that it has received: also when the process is long dead.

use std::collections::VecDeque;
use std::time::Duration;

use super::source::{Kind, SourceBatch};
use super::world::{FOREIGN, MIN_IN_SYNC, Sequence, Target};
use crate::batch::Stamp;
use crate::machine::partition::{Fill, Filled, Mapping, Produced, Ticket};
use crate::machine::translation::{Note, Numbered};
use crate::terms::broker_error::BrokerError;

/// Something on its way to the target.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) what: What,
    /// What the world does to it on arrival.
    pub(super) fault: Option<Fault>,
    pub(super) sent_at: Duration,
    /// When reading the position began that it goes on from.
    pub(super) read_at: Duration,
    /// It has been under way for longer than any request is, and does not arrive.
    pub(super) expired: bool,
    /// The process was stopped before it had written all of it.
    pub(super) held: bool,
}

#[derive(Debug, Clone)]
pub(super) enum What {
    Produce {
        ticket: Ticket,
        stamp: Stamp,
        batch: SourceBatch,
    },
    Fill {
        fill: Fill,
        /// The fence that a machine without bugs would have given it.
        order: i32,
    },
    /// Goes to the internal topic, not to the partition.
    Map {
        mapping: Mapping,
        anchors: Vec<Numbered>,
        /// The number of the process's start.
        start: i32,
    },
}

impl What {
    fn ticket(&self) -> Ticket {
        match self {
            What::Produce { ticket, .. } => *ticket,
            What::Fill { fill, .. } => fill.ticket,
            What::Map { mapping, .. } => mapping.ticket,
        }
    }

    fn base(&self) -> i64 {
        match self {
            What::Produce { batch, .. } => batch.base,
            What::Fill { fill, .. } => fill.from,
            What::Map { mapping, .. } => mapping.anchors[0].source_offset,
        }
    }

    fn records(&self) -> Option<(i32, i32)> {
        match self {
            What::Produce { stamp, batch, .. } => Some((stamp.base_sequence, batch.count)),
            What::Fill { .. } | What::Map { .. } => None,
        }
    }

    pub(super) fn is_fill(&self) -> bool {
        matches!(self, What::Fill { .. } | What::Map { .. })
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    /// A bit flipped: the checksum does not fit.
    Damaged,
    /// The broker fails before appending.
    FailsBefore,
    /// The broker fails after appending.
    FailsAfter,
}

#[derive(Debug, Clone)]
pub(super) struct Answer {
    pub(super) ticket: Ticket,
    /// Source offset of the batch or the hole it is about.
    pub(super) base: i64,
    /// Sequence number and count of the records it is about.
    pub(super) records: Option<(i32, i32)>,
    pub(super) outcome: Outcome,
}

#[derive(Debug, Clone)]
pub(super) enum Outcome {
    Produced(Produced),
    Filled(Filled),
}

/// What a process hears that is not the latest.
const FENCED: i16 = 47;

/// A request that the broker has handled but not answered: acks=all waits for the replicas.
#[derive(Debug)]
struct Waiting {
    what: What,
    appended_at: i64,
    committed_at: i64,
    refused: Option<i16>,
}

#[derive(Debug)]
pub(super) struct Connection {
    pub(super) process: usize,
    /// The process still holds its end.
    pub(super) alive: bool,
    pub(super) broker: usize,
    pub(super) requests: VecDeque<Request>,
    waiting: VecDeque<Waiting>,
    answers: VecDeque<Answer>,
    /// The broker has not appended a batch that came before others.
    pub(super) has_failed: bool,
    /// The broker does not come to what it has received before that.
    pub(super) stuck_until: Duration,
}

fn refused(what: &What, code: i16) -> Outcome {
    let Some(error) = BrokerError::of(code) else { panic!("0 is no error") };
    match what {
        What::Produce { .. } => Outcome::Produced(Produced::Refused(error, None)),
        What::Fill { .. } => Outcome::Filled(Filled::Refused(error)),
        // Whatever goes wrong, it may have been written down.
        What::Map { .. } if code != FENCED => Outcome::Filled(Filled::Lost),
        What::Map { .. } => Outcome::Filled(Filled::Refused(error)),
    }
}

fn lost(what: &What) -> Answer {
    let outcome = match what {
        What::Produce { .. } => Outcome::Produced(Produced::Lost),
        What::Fill { .. } | What::Map { .. } => Outcome::Filled(Filled::Lost),
    };
    Answer { ticket: what.ticket(), base: what.base(), records: what.records(), outcome }
}

impl Connection {
    pub(super) fn new(process: usize, broker: usize) -> Self {
        Connection {
            process,
            alive: true,
            broker,
            requests: VecDeque::new(),
            waiting: VecDeque::new(),
            answers: VecDeque::new(),
            has_failed: false,
            stuck_until: Duration::ZERO,
        }
    }

    /// Whether the broker has something to work on.
    pub(super) fn has_received(&self) -> bool {
        !self.waiting.is_empty() || self.requests.front().is_some_and(|request| !request.held)
    }

    /// Whether nobody will ever hear of it again.
    pub(super) fn is_over(&self) -> bool {
        !self.alive && self.requests.is_empty() && self.waiting.is_empty()
    }

    pub(super) fn is_quiet(&self) -> bool {
        self.requests.is_empty() && self.waiting.is_empty() && self.answers.is_empty()
    }

    /// Cuts it: all that was not answered is lost to the process; the first `received` requests are with the broker.
    pub(super) fn cut(&mut self, received: usize) -> Vec<Answer> {
        self.alive = false;
        let unheard = |mut answer: Answer| {
            answer.outcome = match answer.outcome {
                Outcome::Produced(_) => Outcome::Produced(Produced::Lost),
                Outcome::Filled(_) => Outcome::Filled(Filled::Lost),
            };
            answer
        };
        let mut open: Vec<Answer> = self.answers.drain(..).map(unheard).collect();
        open.extend(self.waiting.iter().map(|waiting| lost(&waiting.what)));
        open.extend(self.requests.iter().map(|request| lost(&request.what)));
        self.requests.truncate(received);
        // What it had not written to its end never arrives.
        self.requests.retain(|request| !request.held);
        open
    }

    /// The broker works on the next request. Returns whether it wrote anything.
    ///
    /// Kafka takes the next request of a connection only after it has answered the one before (`one_at_a_time`).
    pub(super) fn serve(&mut self, target: &mut Target, internal: &mut Vec<Note>, one_at_a_time: bool) -> bool {
        if one_at_a_time && !self.waiting.is_empty() {
            return false;
        }
        if self.requests.front().is_none_or(|request| request.held) {
            return false;
        }
        let Some(request) = self.requests.pop_front() else { return false };
        let before = target.leader().log.len();
        let (refused, appended_at, count) = match append(target, internal, self.broker, &request) {
            Ok((at, count)) => ((request.fault == Some(Fault::FailsAfter)).then_some(-1), at, count),
            Err(code) => {
                self.has_failed = true;
                (Some(code), 0, 0)
            }
        };
        let committed_at = appended_at + i64::from(count);
        self.waiting.push_back(Waiting { what: request.what, appended_at, committed_at, refused });
        target.leader().log.len() > before
    }

    /// The broker sends the next answer if it can be given.
    pub(super) fn answer(&mut self, target: &Target) {
        let Some(waiting) = self.waiting.front() else { return };
        let what = &waiting.what;
        let outcome = match waiting.refused {
            Some(code) => refused(what, code),
            None if target.leader != self.broker => refused(what, 6),
            None if target.leader().high_watermark < waiting.committed_at => return,
            None if target.in_sync_count() < MIN_IN_SYNC => refused(what, 20),
            None if matches!(what, What::Map { .. }) => Outcome::Filled(Filled::Mapped),
            None if what.is_fill() => Outcome::Filled(Filled::LogEnd(target.leader().end())),
            None => Outcome::Produced(Produced::Appended { base_offset: waiting.appended_at }),
        };
        let answer = Answer { ticket: what.ticket(), base: what.base(), records: what.records(), outcome };
        self.waiting.pop_front();
        if self.alive {
            self.answers.push_back(answer);
        }
    }

    /// Requests that are too old to arrive, now that somebody else writes down where holes are: those to do the same, or all.
    pub(super) fn expire(&mut self, older_than: Duration, all: bool) {
        for request in &mut self.requests {
            let old = request.sent_at <= older_than;
            request.expired |= old && (all || matches!(request.what, What::Map { .. }));
        }
    }

    /// The oldest request has waited too long for the replicas, or its broker leads no more.
    pub(super) fn give_up(&mut self, code: i16) {
        if let Some(waiting) = self.waiting.iter_mut().find(|waiting| waiting.refused.is_none()) {
            waiting.refused = Some(code);
        }
    }

    /// A broker that stops leading answers everything that waits for replicas.
    pub(super) fn broker_steps_down(&mut self) {
        for waiting in &mut self.waiting {
            waiting.refused.get_or_insert(6);
        }
    }

    pub(super) fn next_answer(&mut self) -> Option<Answer> {
        self.answers.pop_front()
    }
}

/// What a broker does with a request: the offset it got and how many it took, or an error code.
fn append(target: &mut Target, internal: &mut Vec<Note>, broker: usize, request: &Request) -> Result<(i64, i32), i16> {
    if target.leader != broker {
        return Err(6);
    }
    match request.fault {
        Some(Fault::Damaged) if !request.what.is_fill() => return Err(2),
        Some(Fault::FailsBefore | Fault::Damaged) => return Err(-1),
        Some(Fault::FailsAfter) | None => {}
    }
    if target.in_sync_count() < MIN_IN_SYNC {
        return Err(19);
    }
    let appended = match &request.what {
        What::Produce { .. } | What::Map { .. } if request.expired => Err(-1),
        What::Produce { stamp, batch, .. } => append_records(target, *stamp, *batch).map(|at| (at, batch.count)),
        What::Fill { fill, order, .. } => append_markers(target, *fill, *order, request.fault.is_some()),
        What::Map { mapping, anchors, start } => {
            internal.push(Note::Anchors { fence: mapping.fence, anchors: anchors.clone() });
            let later = |note: &Note| matches!(note, Note::Start(number) if number > start);
            if internal.iter().any(later) { Err(FENCED) } else { Ok((0, 0)) }
        }
    };
    target.advance_high_watermark();
    appended
}

fn append_records(target: &mut Target, stamp: Stamp, batch: SourceBatch) -> Result<i64, i16> {
    if batch.kind == Kind::Poison {
        return Err(87);
    }
    if batch.count > target.max_records {
        return Err(10);
    }
    debug_assert_ne!(stamp.producer_id, FOREIGN);
    match target.leader().check(stamp.producer_epoch, stamp.base_sequence, batch.count) {
        Sequence::Duplicate { base } => Ok(base),
        Sequence::OutOfOrder => Err(45),
        Sequence::OldEpoch => Err(47),
        Sequence::Next => {
            let leader = target.leader_mut();
            let (count, id) = (batch.count, batch.id);
            let entry = leader.append(count, id, stamp.producer_id, stamp.producer_epoch, stamp.base_sequence);
            leader.came_from(batch.base);
            Ok(entry.base)
        }
    }
}

/// `partly`: the broker fails in the middle.
fn append_markers(target: &mut Target, fill: Fill, order: i32, partly: bool) -> Result<(i64, i32), i16> {
    let leader = target.leader_mut();
    let at = leader.end();
    let count = if partly { (fill.count + 1) / 2 } else { fill.count };
    for offset in (fill.from..).take(count as usize) {
        leader.append_marker(offset, fill.fence, order)?;
    }
    Ok((at, count))
}
