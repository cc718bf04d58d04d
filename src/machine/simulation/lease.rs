//! Leases in the simulation: starts are numbered in a log that all processes read, a process may be stopped for a while and go on with what
//! it holds, and requests that it had not finished writing go out when it wakes up, or not.
//!
//! What a process decides from is the real [`Tenancy`], with shorter terms.

use std::time::Duration;

use super::history::{History, tell};
use super::network::{Connection, What};
use super::planted::Bug;
use crate::error::{Error, ErrorKind};
use crate::machine::lease::{Purpose, Standing, Start, Tenancy, Terms};

/// A history lasts some hundred milliseconds.
pub(super) const TERMS: Terms = Terms { term: Duration::from_millis(30), margin: Duration::from_millis(5) };
const RENEWAL: Duration = Duration::from_millis(8);

/// The lease of one process.
#[derive(Debug)]
pub(super) struct Claim {
    tenancy: Tenancy,
    /// How much of the log of starts was read.
    heard: usize,
    /// When it was asked whether another process has started, and how long the log was then.
    asked: Option<(Duration, usize)>,
    next_question: Duration,
    /// It does nothing until then.
    stopped_until: Option<Duration>,
}

impl History {
    /// A process starts. The ones before it are dead or alive, nobody knows.
    pub(super) fn claim(&mut self) -> Claim {
        self.starts += 1;
        let start = Start { number: self.starts, purpose: Purpose::Run, ended: false };
        let before = if self.bug == Some(Bug::DoesNotWaitForLeases) { Vec::new() } else { self.start_log.clone() };
        self.start_log.push(start);
        Claim {
            tenancy: Tenancy::new(TERMS, start, before, self.now),
            heard: self.start_log.len(),
            asked: None,
            next_question: self.now,
            stopped_until: None,
        }
    }

    /// The process asks for the starts, or hears the answer: `false` if it has nothing to do yet, or ever again.
    pub(super) fn keep_lease(&mut self, at: usize) -> bool {
        let now = self.now;
        let claim = &mut self.processes[at].claim;
        if claim.asked.is_none() && now >= claim.next_question {
            claim.asked = Some((now, self.start_log.len()));
            claim.next_question = now + RENEWAL;
        }
        if (self.healing || self.rng.u32(0..3) > 0)
            && let Some((asked_at, length)) = claim.asked.take()
        {
            // The answer was given at any time since.
            let length = if self.rng.bool() { length } else { self.start_log.len() };
            for start in &self.start_log[claim.heard.min(length)..length] {
                claim.tenancy.handle_start(*start);
            }
            claim.heard = claim.heard.max(length);
            let counted = if self.bug == Some(Bug::LeaseFromTheAnswer) { now } else { asked_at };
            claim.tenancy.handle_read(counted);
        }
        let tenancy = &claim.tenancy;
        if let Standing::Succeeded { by } = tenancy.standing()
            && self.bug != Some(Bug::IgnoresLaterStart)
        {
            if !self.processes[at].machine.is_parked() {
                tell!(self, "process {at} hears of start {by} and ends");
                self.cut_all(at, usize::MAX);
                let error = Error::new(ErrorKind::Fenced, "another process of this mirror has started since");
                self.processes[at].machine.park(error);
            }
            return false;
        }
        tenancy.waits_until(now).is_none()
    }

    /// Whether another process has followed this one, which may be started again.
    pub(super) fn is_followed(&self, at: usize) -> bool {
        let error = self.processes[at].machine.get().error();
        self.processes[at].machine.is_parked() && error.is_some_and(|error| error.kind() == ErrorKind::Fenced)
    }

    /// Whether the request that a connection has in front has waited at the broker for longer than the lease, and is taken wherever the log
    /// ends: the broker knows nothing of the producer, or it is an order to write markers, and none with a higher fence came before. A
    /// batch behind one that the broker has refused, both sent before anything of that was known, is the other thing that no mirror
    /// can guard against once the producer is forgotten.
    pub(super) fn takes_anything_late(&self, at: usize) -> bool {
        let Some(request) = self.connections[at].requests.front() else { return false };
        // While everything heals, time goes on in steps that are longer than a lease: only what was held up is late then.
        let was_held_up = !self.connections[at].stuck_until.is_zero() || !self.healing;
        let is_late = was_held_up && request.sent_at + TERMS.term + TERMS.margin < self.now;
        let leader = self.target.leader();
        is_late
            && match &request.what {
                What::Produce { .. } => leader.producer_state().is_none(),
                What::Fill { order, .. } => !leader.has_marker_of_later(*order),
                What::Map { .. } => false,
            }
    }

    /// Whether no process goes on over what was appended by an accident.
    pub(super) fn is_accident_found(&self) -> bool {
        self.processes.iter().all(|process| process.machine.is_parked())
    }

    /// The broker forgets the producer id, at any time: mostly when it has nothing to work on, as that is nearly always so.
    pub(super) fn expire(&mut self) {
        let is_busy = self.connections.iter().any(Connection::has_received);
        // With translated offsets the mirror writes down every second what it has learned, and that is there when it counts.
        (0..self.processes.len()).for_each(|at| self.keep(at));
        let is_rest = self.connections.iter().all(Connection::is_quiet)
            && self.processes.iter().all(|process| process.machine.get().queued_bytes() == 0);
        let too_early = self.plan.translates && !(is_rest && self.has_kept_all());
        if self.target.leader().log.is_empty() || too_early || (is_busy && self.rng.u32(0..4) > 0) {
            self.plan.at += 1;
            return;
        }
        self.forgot = true;
        tell!(self, "the brokers forget the producer id");
        let all = self.rng.bool();
        let leader = self.target.leader;
        for (at, broker) in self.target.brokers.iter_mut().enumerate() {
            if all || at != leader || self.rng.bool() {
                broker.forget_producers();
            }
        }
    }

    /// Whether what the process sends may leave it.
    pub(super) fn may_write(&self, at: usize) -> bool {
        let tenancy = &self.processes[at].claim.tenancy;
        match self.bug {
            Some(Bug::NoLease) => tenancy.waits_until(self.now).is_none(),
            Some(Bug::IgnoresLaterStart) => true,
            _ => tenancy.writes_until(self.now) > self.now,
        }
    }

    pub(super) fn is_stopped(&self, at: usize) -> bool {
        self.processes[at].claim.stopped_until.is_some()
    }

    /// The process is not scheduled for a while: it holds what it has fetched, and requests that it has not finished writing.
    pub(super) fn stop_process(&mut self, at: usize) {
        if self.is_stopped(at) {
            return;
        }
        let until = self.now + Duration::from_millis(self.rng.u64(5..120));
        self.processes[at].claim.stopped_until = Some(until);
        let mut held = 0;
        for connection in self.connections.iter_mut().filter(|connection| connection.process == at && connection.alive)
        {
            let written = self.rng.usize(0..=connection.requests.len());
            for request in connection.requests.iter_mut().skip(written) {
                request.held = true;
                held += 1;
            }
        }
        tell!(self, "process {at} is stopped until {} ms and holds {held} requests", until.as_millis());
    }

    /// Processes whose time has come go on; with a lease that is over, their connections are closed before anything else is written.
    pub(super) fn wake_processes(&mut self) {
        for at in 0..self.processes.len() {
            let claim = &mut self.processes[at].claim;
            if claim.stopped_until.is_none_or(|until| until > self.now && !self.healing) {
                continue;
            }
            claim.stopped_until = None;
            let goes_on = self.may_write(at) || self.bug == Some(Bug::FinishesHeldRequests);
            tell!(self, "process {at} wakes up, its lease is {}", if goes_on { "held" } else { "over" });
            for number in 0..self.connections.len() {
                let connection = &mut self.connections[number];
                if connection.process != at || !connection.alive {
                    continue;
                }
                let holds = connection.requests.iter().any(|request| request.held);
                let written = connection.requests.iter().take_while(|request| !request.held).count();
                connection.requests.iter_mut().for_each(|request| request.held = false);
                if holds && !goes_on {
                    self.cut_one(number, written);
                }
            }
        }
    }
}
