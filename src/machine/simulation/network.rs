//! Connections between mirror processes and the target's brokers, and what can happen to a request on its way.
//!
//! A connection keeps its requests and its answers in order. When it is cut, the process loses all answers that are
//! under way, while the broker may still work off requests that it has received: also when the process is long dead.

use std::collections::VecDeque;

use super::world::{FOREIGN, Kind, MIN_IN_SYNC, Sequence, SourceBatch, Target};
use crate::batch::Stamp;
use crate::machine::partition::{Produced, Ticket};
use crate::wire::errors::BrokerError;

/// A batch on its way to the target.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) ticket: Ticket,
    pub(super) stamp: Stamp,
    pub(super) batch: SourceBatch,
    /// What the world does to it on arrival.
    pub(super) fault: Option<Fault>,
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
    /// Source offset of the batch it is about.
    pub(super) base: i64,
    pub(super) produced: Produced,
}

/// A request that the broker has handled but not answered: acks=all waits for the replicas.
#[derive(Debug)]
struct Waiting {
    ticket: Ticket,
    base: i64,
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
}

pub(super) fn refused(code: i16) -> Produced {
    match BrokerError::of(code) {
        Some(error) => Produced::Refused(error, None),
        None => panic!("0 is no error"),
    }
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
        }
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
        let lost = |ticket, base| Answer { ticket, base, produced: Produced::Lost };
        let mut open: Vec<Answer> = self.answers.drain(..).map(|answer| lost(answer.ticket, answer.base)).collect();
        open.extend(self.waiting.iter().map(|waiting| lost(waiting.ticket, waiting.base)));
        open.extend(self.requests.iter().map(|request| lost(request.ticket, request.batch.base)));
        self.requests.truncate(received);
        open
    }

    /// The broker works on the next request. Returns whether it wrote anything.
    ///
    /// Kafka takes the next request of a connection only after it has answered the one before (`one_at_a_time`).
    pub(super) fn serve(&mut self, target: &mut Target, one_at_a_time: bool) -> bool {
        if one_at_a_time && !self.waiting.is_empty() {
            return false;
        }
        let Some(request) = self.requests.pop_front() else { return false };
        let before = target.leader().log.len();
        let (refused, appended_at) = match append(target, self.broker, &request) {
            Ok(at) => ((request.fault == Some(Fault::FailsAfter)).then_some(-1), at),
            Err(code) => (Some(code), 0),
        };
        let committed_at = appended_at + i64::from(request.batch.count);
        self.waiting.push_back(Waiting {
            ticket: request.ticket,
            base: request.batch.base,
            appended_at,
            committed_at,
            refused,
        });
        target.leader().log.len() > before
    }

    /// The broker sends the next answer if it can be given.
    pub(super) fn answer(&mut self, target: &Target) {
        let Some(waiting) = self.waiting.front() else { return };
        let produced = match waiting.refused {
            Some(code) => refused(code),
            None if target.leader != self.broker => refused(6),
            None if target.leader().high_watermark < waiting.committed_at => return,
            None if target.in_sync_count() < MIN_IN_SYNC => refused(20),
            None => Produced::Appended { base_offset: waiting.appended_at },
        };
        let answer = Answer { ticket: waiting.ticket, base: waiting.base, produced };
        self.waiting.pop_front();
        if self.alive {
            self.answers.push_back(answer);
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

/// What a broker does with a batch: the offset it got, or an error code.
fn append(target: &mut Target, broker: usize, request: &Request) -> Result<i64, i16> {
    if target.leader != broker {
        return Err(6);
    }
    match request.fault {
        Some(Fault::Damaged) => return Err(2),
        Some(Fault::FailsBefore) => return Err(-1),
        Some(Fault::FailsAfter) | None => {}
    }
    if target.in_sync_count() < MIN_IN_SYNC {
        return Err(19);
    }
    if request.batch.kind == Kind::Poison {
        return Err(87);
    }
    let (stamp, count) = (request.stamp, request.batch.count);
    debug_assert_ne!(stamp.producer_id, FOREIGN);
    let at = match target.leader().check(stamp.producer_epoch, stamp.base_sequence, count) {
        Sequence::Duplicate { base } => Ok(base),
        Sequence::OutOfOrder => Err(45),
        Sequence::OldEpoch => Err(47),
        Sequence::Next => {
            let leader = target.leader_mut();
            let id = request.batch.id;
            Ok(leader.append(count, id, stamp.producer_id, stamp.producer_epoch, stamp.base_sequence).base)
        }
    };
    target.advance_high_watermark();
    at
}
