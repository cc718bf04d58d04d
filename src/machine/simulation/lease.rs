//! Leases in the simulation: starts are numbered in a log that all processes read, a process may be stopped for a while and go on with what
//! it holds, and requests that it had not finished writing go out when it wakes up, or not.
//!
//! Processes write to that log all the time, are told where it ends, and get nothing of it for as long as a quota is used up. Its end is
//! lost now and then, with what was acknowledged, when a replica that lagged behind becomes its leader.
//!
//! What a process decides from is the real [`Tenancy`], with shorter terms.

use std::ops::Range;
use std::time::Duration;

use super::history::{History, tell};
use super::network::{Connection, What};
use super::planted::Bug;
use super::world::SETTLE;
use crate::error::{Error, ErrorKind};
use crate::machine::lease::{Purpose, Standing, Start, Tenancy, Terms};

/// A history lasts some hundred milliseconds.
pub(super) const TERMS: Terms = Terms { term: Duration::from_millis(30), margin: Duration::from_millis(5) };
const RENEWAL: Duration = Duration::from_millis(8);

/// The log of starts. What a process writes besides says its own start once more.
#[derive(Debug, Default)]
pub(super) struct StartLog {
    records: Vec<Written>,
    epoch: u32,
}

#[derive(Debug, Clone, Copy)]
struct Written {
    start: Start,
    epoch: u32,
}

impl StartLog {
    fn append(&mut self, start: Start) -> usize {
        self.records.push(Written { start, epoch: self.epoch });
        self.records.len()
    }

    /// Where it ends, and in which epoch.
    fn end(&self) -> Told {
        Told { end: self.records.len(), epoch: self.epoch }
    }

    /// Where an epoch ends.
    fn end_of(&self, epoch: u32) -> usize {
        self.records.iter().position(|written| written.epoch > epoch).unwrap_or(self.records.len())
    }
}

/// What the leader says of the end of the log.
#[derive(Debug, Clone, Copy)]
struct Told {
    end: usize,
    epoch: u32,
}

/// The lease of one process.
#[derive(Debug)]
pub(super) struct Claim {
    tenancy: Tenancy,
    start: Start,
    /// How much of the log of starts is known, and in which epoch it ended when that was asked last.
    heard: usize,
    epoch: u32,
    /// Offsets that this process has written in that epoch.
    own: Vec<usize>,
    /// When it was asked whether another process has started, and where the log ended then.
    asked: Option<(Duration, Told)>,
    /// Its start is not in the log any more.
    is_gone: bool,
    next_question: Duration,
    /// No process before it can write any more.
    has_waited: bool,
    /// It does nothing until then.
    stopped_until: Option<Duration>,
}

impl Claim {
    /// What the leader has told is taken in, and what is new is read, unless a quota is used up.
    fn hear(&mut self, log: &StartLog, told: Told, may_read: bool, now: Duration, bug: Option<Bug>) {
        if told.epoch > self.epoch {
            if log.end_of(self.epoch) < self.heard && bug != Some(Bug::IgnoresLostStarts) {
                let starts = || log.records.iter().map(|written| written.start);
                if !starts().any(|start| start.number >= self.start.number) {
                    self.is_gone = true;
                    return;
                }
                self.tenancy.handle_cut(now);
                starts().for_each(|start| self.tenancy.handle_start(start));
                self.heard = log.records.len();
            }
            self.epoch = told.epoch;
            if bug != Some(Bug::KeepsOwnOffsets) {
                self.own.clear();
            }
        }
        while self.heard < told.end && self.own.contains(&self.heard) {
            self.heard += 1;
        }
        if let Some(last) = self.own.last().filter(|_| bug == Some(Bug::PassesOthersStarts)) {
            self.heard = self.heard.max((last + 1).min(told.end));
        }
        if may_read && self.epoch == log.epoch && self.heard < told.end {
            log.records[self.heard..told.end].iter().for_each(|written| self.tenancy.handle_start(written.start));
            self.heard = told.end;
        }
    }

    fn knows(&self, told: Told) -> bool {
        told.epoch == self.epoch && self.heard >= told.end
    }
}

impl History {
    /// A process starts. The ones before it are dead or alive, nobody knows.
    pub(super) fn claim(&mut self) -> Claim {
        self.starts += 1;
        let start = Start { number: self.starts, purpose: Purpose::Run, ended: false };
        let log = &mut self.start_log;
        let last = log.records.iter().max_by_key(|written| written.start.number).map_or(0, |written| written.epoch);
        let before: Vec<Start> = log.records.iter().map(|written| written.start).collect();
        let heard = log.append(start);
        let waits = self.bug != Some(Bug::DoesNotWaitForLeases);
        let mut tenancy = Tenancy::new(TERMS, start, before.into_iter().filter(|_| waits), self.now);
        if log.epoch > last && waits && self.bug != Some(Bug::IgnoresLostStarts) {
            tenancy.handle_cut(self.now);
        }
        Claim {
            tenancy,
            start,
            heard,
            epoch: log.epoch,
            own: Vec::new(),
            asked: None,
            is_gone: false,
            next_question: self.now,
            has_waited: false,
            stopped_until: None,
        }
    }

    /// A replica that lagged behind becomes the leader of the log of starts.
    fn cut_starts(&mut self) {
        let kept = self.rng.usize(0..=self.start_log.records.len());
        tell!(self, "the log of starts loses all but {kept} of {} records", self.start_log.records.len());
        self.start_log.records.truncate(kept);
        self.start_log.epoch += 1;
    }

    /// Where every process waits for the lease of another one or is stopped, steps would bring nothing: mostly time goes on at once.
    pub(super) fn pass_idle_time(&mut self) {
        let waits = self.processes.iter().map(|process| {
            let Claim { tenancy, stopped_until, .. } = &process.claim;
            stopped_until.or(tenancy.waits_until(self.now))
        });
        let Some(until) = waits.min().flatten() else { return };
        if self.rng.u32(0..4) > 0 {
            self.now = until;
        }
    }

    /// Leases are kept beside the driver: a process writes something, asks where the log of starts ends, or hears the answer.
    pub(super) fn renew(&mut self, at: usize) {
        if self.is_stopped(at) {
            return;
        }
        let (now, healing) = (self.now, self.healing());
        // With translated offsets, what is written down of them would be lost too: that is another history.
        let may_lose = self.plan.other_starts_at.is_some() && !self.plan.translates && !healing;
        if may_lose && self.rng.u32(0..150) == 0 {
            self.cut_starts();
        }
        let claim = &mut self.processes[at].claim;
        if self.rng.u32(0..4) == 0 && claim.tenancy.writes_until(now) > now {
            let end = self.start_log.append(claim.start);
            if claim.epoch == self.start_log.epoch {
                claim.own.push(end - 1);
            }
        }
        if claim.asked.is_none() && now >= claim.next_question {
            claim.asked = Some((now, self.start_log.end()));
            claim.next_question = now + RENEWAL;
        }
        if (healing || self.rng.u32(0..3) > 0)
            && let Some((asked_at, told)) = claim.asked.take()
        {
            // The answer was given at any time since.
            let told = if self.rng.bool() { told } else { self.start_log.end() };
            let counted = if self.bug == Some(Bug::LeaseFromTheAnswer) { now } else { asked_at };
            claim.hear(&self.start_log, told, self.rng.bool() || healing, now, self.bug);
            if claim.knows(told) {
                claim.tenancy.handle_read(counted);
            }
        }
    }

    /// Whether the process may go on: `false` if it has nothing to do yet, or ever again.
    pub(super) fn keep_lease(&mut self, at: usize) -> bool {
        let now = self.now;
        if self.healing() {
            self.renew(at);
        }
        if self.processes[at].claim.is_gone {
            if !self.processes[at].machine.is_parked() {
                tell!(self, "process {at} does not find its start any more and ends");
                self.end_process(at);
            }
            // Whoever watches over it starts it again, at the latest when it is the last one.
            if self.healing() && !self.someone_goes_on() {
                self.crash(at);
            }
            return false;
        }
        let tenancy = &self.processes[at].claim.tenancy;
        if let Standing::Succeeded { by } = tenancy.standing()
            && self.bug != Some(Bug::IgnoresLaterStart)
        {
            if !self.processes[at].machine.is_parked() {
                tell!(self, "process {at} hears of start {by} and ends");
                self.end_process(at);
            }
            return false;
        }
        let goes_on = tenancy.waits_until(now).is_none();
        if goes_on && !std::mem::replace(&mut self.processes[at].claim.has_waited, true) {
            self.hear_of_predecessors(at);
        }
        goes_on
    }

    /// Whether all have ended, and one of them because its start was lost: it is started again.
    pub(super) fn awaits_a_start(&self) -> bool {
        let is_gone = self.processes.iter().any(|process| process.claim.is_gone);
        is_gone && self.processes.iter().all(|process| process.machine.is_parked())
    }

    fn end_process(&mut self, at: usize) {
        self.cut_all(at, usize::MAX);
        let error = Error::new(ErrorKind::Fenced, "another process of this mirror has started since");
        self.processes[at].machine.park(error);
    }

    /// Whether another process has followed this one, which may be started again.
    pub(super) fn is_followed(&self, at: usize) -> bool {
        let error = self.processes[at].machine.get().error();
        self.processes[at].machine.is_parked() && error.is_some_and(|error| error.kind() == ErrorKind::Fenced)
    }

    /// Whether the request that a connection has in front is taken wherever the log ends, although it was sent under other circumstances:
    /// the broker has forgotten the producer since the position was read, or it has waited there for longer than the lease and nothing shows that. A
    /// batch behind one that the broker has refused, both sent before anything of that was known, is the other thing that no mirror
    /// can guard against once the producer is forgotten.
    pub(super) fn takes_anything_late(&self, at: usize) -> bool {
        let Some(request) = self.connections[at].requests.front() else { return false };
        // While everything heals, time goes on in steps that are longer than a lease: only what was held up is late then.
        let was_held_up = !self.connections[at].stuck_until.is_zero();
        let until = if was_held_up { self.now } else { self.healed_at.unwrap_or(self.now) };
        // Orders to write markers are waited for while the log stands still, of whichever process they are.
        let waited = if request.what.is_fill() { SETTLE } else { TERMS.term + TERMS.margin };
        let is_late = request.sent_at + waited < until;
        let leader = self.target.leader();
        // No condition is in an order to write markers: an unclean election just before it goes unnoticed.
        let cut_at = self.cut_at.filter(|_| request.what.is_fill());
        let knew_nothing = self.forgot_at.max(cut_at).is_some_and(|at| request.read_at <= at);
        (is_late || knew_nothing)
            && match &request.what {
                What::Produce { .. } if leader.producer_state().is_none() => true,
                // Its place is a hole by now, or its number somebody else's.
                What::Produce { batch, .. } if batch.base < self.source.start => true,
                // An election has lost it at the source, and the one that is there instead passes for its duplicate.
                What::Produce { batch, .. }
                    if self.source.batch_at(batch.base).is_none_or(|now| now.id != batch.id) =>
                {
                    true
                }
                // Sequence numbers do not count markers: a batch may be the next one in another place.
                What::Produce { batch, .. } => !self.plan.translates && leader.end() != batch.base,
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
        let is_quiet = self.connections.iter().all(Connection::is_quiet);
        let too_early = self.plan.translates && !(is_quiet && self.has_kept_all());
        if self.target.leader().log.is_empty() || too_early || (is_busy && self.rng.u32(0..4) > 0) {
            self.plan.at += 1;
            return;
        }
        self.forgot_at = Some(self.now);
        tell!(self, "the brokers forget the producer id");
        let all = self.healing() || self.rng.bool();
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
    pub(super) fn stop_process(&mut self, at: usize, milliseconds: Range<u64>) {
        if self.is_stopped(at) {
            return;
        }
        let until = self.now + Duration::from_millis(self.rng.u64(milliseconds));
        let claim = &mut self.processes[at].claim;
        claim.stopped_until = Some(until);
        // It may just have asked.
        if self.rng.bool() {
            claim.asked = Some((self.now, self.start_log.end()));
        }
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
            let (now, healing) = (self.now, self.healing());
            let claim = &mut self.processes[at].claim;
            if claim.stopped_until.is_none_or(|until| until > now && !healing) {
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
