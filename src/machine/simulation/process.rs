//! A mirror process: the machine, and the driver that reads, fetches and sends for it as the engine's driver must.
//!
//! The driver's duties are written down at `Partition::handle_opened`; here is the shortest driver that keeps them. Nothing
//! of a process survives its crash but the requests that its brokers have already received.

use std::time::Duration;

use super::history::{History, tell};
use super::lease::Claim;
use super::network::{Connection, What};
use super::planted::{Bug, Machine};
use super::source::{Kind, SourceBatch};
use super::translated::Lens;
use super::world::{Entry, MIRROR};
use crate::batch::marker;
use crate::error::{Error, ErrorKind};
use crate::machine::partition::{
    Content, Fetched, Identity, Likeness, Limits, Phase, Reading, SourceLog, Tail, TargetLog,
};
use crate::machine::translation::search::Unclear;

/// The answer to a fetch, on its way.
#[derive(Debug, Clone)]
pub(super) struct Fetch {
    pub(super) offset: i64,
    /// The source's end when it answered.
    pub(super) end: i64,
    /// `None`: out of range.
    pub(super) batches: Option<Vec<SourceBatch>>,
    /// The leader epoch that was asked with is not one of this log up to there.
    pub(super) diverges: bool,
}

/// Where the driver is with reading the position.
#[derive(Debug)]
pub(super) struct Opening {
    /// The broker it asks: the leader when it began.
    broker: usize,
    began: Duration,
    /// What is still to be read, last first.
    reads: Vec<Read>,
    pub(super) reading: Reading,
    /// The target lost data meanwhile.
    outdated: bool,
}

#[derive(Debug)]
pub(super) struct Process {
    pub(super) machine: Machine,
    /// The number of its start.
    pub(super) start: i32,
    pub(super) claim: Claim,
    /// With translated offsets: what it knows of them.
    pub(super) lens: Option<Lens>,
    limits: Limits,
    opening: Option<Opening>,
    /// When reading the position began that it goes on from.
    pub(super) read_at: Duration,
    fetches: Vec<Fetch>,
    /// The connection that this generation sends records on, and the one for what it fills.
    pub(super) connection: Option<usize>,
    pub(super) filler: Option<usize>,
    /// Sent in this generation and not answered.
    pub(super) in_flight: usize,
    position: Option<i64>,
    /// The position it knows of may be beyond what the target has since lost.
    outdated: bool,
}

#[derive(Debug, Clone, Copy)]
pub(super) enum Read {
    TargetEnd,
    TargetWriter,
    TargetWatermark,
    /// A log that moved meanwhile counts as one that is not replicated yet.
    TargetEndAgain,
    SourceEnds,
    /// Whether both hold the same at the target's end.
    Likeness,
}

impl Process {
    /// `start` counts the starts of the mirror.
    pub(super) fn new(start: i32, claim: Claim, limits: Limits, lens: Option<Lens>, bug: Option<Bug>) -> Self {
        Process {
            start,
            claim,
            lens,
            machine: Machine::new(Identity { fence: start * 256, ..MIRROR }, limits, bug),
            limits,
            opening: None,
            read_at: Duration::ZERO,
            fetches: Vec::new(),
            connection: None,
            filler: None,
            in_flight: 0,
            position: None,
            outdated: false,
        }
    }

    /// `empty`: nothing is left, and with it no producer state that would show that a reading is old.
    pub(super) fn target_lost_data(&mut self, empty: bool) {
        self.outdated = true;
        if let Some(opening) = &mut self.opening {
            opening.outdated = true;
            if empty {
                opening.broker = usize::MAX;
            }
        }
    }

    /// What must be true of a process after every step.
    pub(super) fn check(&mut self, durable: i64, queue_limit: usize, may_write: bool) -> Result<(), String> {
        let machine = self.machine.get();
        let position = machine.position();
        // One that was overtaken while it was stopped knows less than its successor has done, and writes nothing any more.
        if position < self.position && !self.outdated && may_write {
            return Err(format!("the position went back from {:?} to {position:?}", self.position));
        }
        if position > Some(durable) && !self.outdated {
            return Err(format!("position {position:?}, but only {durable} is on all in-sync replicas"));
        }
        self.position = position;
        if machine.queued_bytes() > queue_limit {
            return Err(format!("{} bytes queued", machine.queued_bytes()));
        }
        if self.in_flight > self.limits.max_in_flight {
            return Err(format!("{} batches in flight", self.in_flight));
        }
        let idle = machine.poll_fetch().is_none() && !machine.can_produce() && !machine.can_fill();
        if self.machine.is_parked() && !(idle && machine.error().is_some()) {
            return Err("parked, but goes on or does not say why".to_string());
        }
        Ok(())
    }
}

const NOTHING_READ: Reading = Reading {
    source: SourceLog { log_start_offset: 0, log_end_offset: 0, epoch_end_offset: None, last_epoch: -1 },
    target: TargetLog {
        log_start_offset: 0,
        log_end_offset: 0,
        high_watermark: 0,
        last_record: None,
        last_writer: None,
        tail: Tail::Unknown,
        begun: false,
    },
    likeness: Likeness::Unknown,
};

fn tail_of(entry: &Entry) -> Tail {
    match entry.is_marker() {
        true => Tail::Marker { meant_for: marker::offset_of(entry.producer_id, entry.epoch) },
        false => Tail::Records {
            producer_id: entry.producer_id,
            producer_epoch: entry.epoch,
            last_sequence: entry.last_sequence(),
        },
    }
}

/// What a fetch brought, cut as the machine wants it.
fn contents(batches: &[SourceBatch], fetch: &Fetch, batch_bytes: usize) -> Vec<Content<SourceBatch>> {
    let mut contents = Vec::new();
    for batch in batches {
        let pieces = batch.pieces(fetch.offset, batch_bytes);
        let next_offset = pieces.last().map_or(batch.base, SourceBatch::end);
        contents.extend(
            pieces
                .into_iter()
                .map(|piece| Content::Records(Fetched { header: piece.header(), size: piece.size(), payload: piece })),
        );
        if next_offset < batch.end() && batch.kind != Kind::Poison {
            contents.push(Content::Nothing { next_offset: batch.end(), leader_epoch: batch.epoch });
        }
    }
    contents
}

impl History {
    /// The driver asks its machine for everything that it may want.
    pub(super) fn drive(&mut self, at: usize) {
        let now = self.now;
        if !self.keep_lease(at) {
            return;
        }
        if self.processes[at].machine.poll_open(now) {
            let mut reads = match self.rng.bool() {
                true => vec![Read::TargetWatermark, Read::TargetWriter, Read::TargetEnd],
                false => vec![Read::TargetWriter, Read::TargetWatermark, Read::TargetEnd],
            };
            reads.insert(self.rng.usize(0..=reads.len()), Read::SourceEnds);
            reads.insert(0, Read::Likeness);
            reads.insert(0, Read::TargetEndAgain);
            self.processes[at].opening =
                Some(Opening { broker: self.target.leader, began: now, reads, reading: NOTHING_READ, outdated: false });
        }
        self.produce(at);
        self.fill(at);
        self.map(at);
        let process = &self.processes[at];
        if let Some(offset) = process.machine.get().poll_fetch().filter(|_| process.fetches.len() < 3) {
            let fetch = self.fetch(at, offset);
            self.processes[at].fetches.push(fetch);
        }
    }

    fn fetch(&mut self, at: usize, offset: i64) -> Fetch {
        let epoch = self.processes[at].machine.fetch_epoch();
        // The source sees that its log is not the one that was fetched from before.
        let diverges = epoch >= 0 && self.source.epoch_end(epoch) < offset;
        // A broker whose remote store is slow, or whose quota is used up, has no error and no records.
        let says_nothing = self.fails();
        let batches = self.source.fetch(offset).map(|batches| if says_nothing { Vec::new() } else { batches });
        Fetch { offset, end: self.source.end, batches, diverges }
    }

    fn fill(&mut self, at: usize) {
        if !self.may_write(at) {
            return;
        }
        let process = &mut self.processes[at];
        let Some(connection) = process.filler else {
            // Over a new connection nothing is filled that was not read since.
            if process.machine.get().can_fill() {
                process.machine.reopen(self.now);
            }
            return;
        };
        let Some((fill, order)) = process.machine.poll_fill(self.now) else { return };
        self.processes[at].in_flight += 1;
        let what = What::Fill { fill, order };
        self.request(at, connection, what);
    }

    fn produce(&mut self, at: usize) {
        if !self.may_write(at) {
            return;
        }
        while let Some(sent) = self.processes[at].machine.poll_produce(self.now) {
            if self.processes[at].machine.is_parked() {
                return self.violate(format!("process {at} writes although it is parked"));
            }
            let Some(connection) = self.processes[at].connection else {
                return self.violate(format!("process {at} writes before it has read the position"));
            };
            let process = &mut self.processes[at];
            process.in_flight += 1;
            let unchecked = self.target.leader().producer_state().is_none();
            if unchecked
                && self.forgot_at.is_none()
                && process.in_flight > 1
                && self.connections[connection].broker == self.target.leader
            {
                self.violate(format!("process {at} sends more than one batch while the broker knows nothing"));
            }
            let what = What::Produce { ticket: sent.ticket, stamp: sent.stamp, batch: sent.batch };
            self.request(at, connection, what);
            if self.rng.u32(0..4) == 0 {
                return;
            }
        }
    }

    /// The driver's next read of the position; after the last one the machine gets the result.
    pub(super) fn read_next(&mut self, at: usize) {
        let now = self.now;
        let process = &mut self.processes[at];
        let Some(mut opening) = process.opening.take() else { return };
        if opening.broker != self.target.leader {
            tell!(self, "process {at} asks a broker that leads no more");
            let error = Error::new(ErrorKind::Broker, "not the leader");
            return self.processes[at].machine.handle_open_failed(error, now);
        }
        if let Some(read) = opening.reads.pop() {
            // Where a failure looks like nothing, comparisons that fail often are what shows it, to the end.
            if self.bug == Some(Bug::TakesFailureForNothing) && matches!(read, Read::Likeness) && self.rng.bool() {
                self.processes[at].opening = Some(opening);
                return;
            }
            if self.fails() {
                tell!(self, "process {at} cannot read {read:?}");
                let error = Error::new(ErrorKind::Broker, "the read fails");
                return self.processes[at].machine.handle_open_failed(error, now);
            }
            let read = match self.processes[at].lens {
                Some(_) => self.read_translated(at, &mut opening, read),
                None => self.read(at, &mut opening, read),
            };
            if read.is_none() {
                let error = Error::new(ErrorKind::Broker, "the end of the log went away while it was read");
                return self.processes[at].machine.handle_open_failed(error, now);
            }
            self.processes[at].opening = Some(opening);
            return;
        }
        tell!(self, "process {at} read {:?}", opening.reading);
        self.drop_connection(at);
        let [connection, filler] = [0, 1].map(|_| {
            self.connections.push(Connection::new(at, opening.broker));
            self.connections.len() - 1
        });
        let process = &mut self.processes[at];
        (process.connection, process.filler) = (Some(connection), Some(filler));
        process.in_flight = 0;
        process.read_at = opening.began;
        let unclear = self.processes[at].lens.as_mut().and_then(|lens| lens.unclear.take());
        match unclear {
            Some(Unclear::Now(error)) => return self.processes[at].machine.handle_open_failed(error, now),
            Some(Unclear::Ever(error)) => return self.processes[at].machine.park(error),
            None => {}
        }
        let process = &mut self.processes[at];
        process.machine.handle_opened(opening.reading, now);
        if process.machine.get().phase() == Phase::Running && process.outdated {
            process.outdated = opening.outdated;
            process.position = None;
        }
        let machine = self.processes[at].machine.get();
        tell!(self, "process {at} is {:?} at {:?}", machine.phase(), machine.position());
    }

    /// `None` if it cannot be answered.
    fn read(&mut self, at: usize, opening: &mut Opening, read: Read) -> Option<()> {
        let leader = self.target.leader();
        let target = &mut opening.reading.target;
        match read {
            Read::TargetEnd => {
                target.log_start_offset = leader.start;
                target.log_end_offset = leader.end();
            }
            Read::TargetWatermark => target.high_watermark = leader.high_watermark,
            Read::TargetEndAgain if target.log_end_offset != leader.end() => target.high_watermark = -1,
            Read::TargetEndAgain => {}
            Read::SourceEnds => opening.reading.source = self.source_log(at),
            Read::TargetWriter => {
                let kept = |entry: &&Entry| {
                    entry.end() > leader.start
                        && entry.end() <= target.log_end_offset
                        && entry.producer_id == MIRROR.producer_id
                };
                let last = leader.producer_state().or_else(|| leader.log.iter().rev().find(kept));
                target.last_record = last.map(|entry| (entry.epoch, entry.last_sequence()));
                let is_record = |entry: &&Entry| {
                    entry.end() > leader.start && entry.end() <= target.log_end_offset && !entry.is_marker()
                };
                target.last_writer = leader.log.iter().rev().find(is_record).map(|entry| entry.producer_id);
                target.begun = last.is_some() || leader.start > leader.first;
                target.tail = match leader.log.iter().find(|entry| entry.end() == target.log_end_offset) {
                    _ if leader.start >= target.log_end_offset => Tail::Empty,
                    Some(entry) => tail_of(entry),
                    None => return None,
                };
            }
            Read::Likeness => self.compare_ends(&mut opening.reading),
        }
        Some(())
    }

    pub(super) fn source_log(&self, at: usize) -> SourceLog {
        let epoch = self.processes[at].machine.get().position_epoch();
        SourceLog {
            log_start_offset: self.source.start,
            log_end_offset: self.source.end,
            epoch_end_offset: (epoch >= 0).then(|| self.source.epoch_end(epoch)),
            last_epoch: -1,
        }
    }

    /// Looks at the last record of the target, and at what the source has there.
    fn compare_ends(&self, reading: &mut Reading) {
        let leader = self.target.leader();
        let before_end = reading.target.log_end_offset - 1;
        let at_end = self.source.batch_at(before_end).filter(|batch| before_end < batch.end());
        reading.source.last_epoch = at_end.map_or(-1, |batch| batch.epoch);
        let kept = |entry: &&Entry| {
            entry.end() <= reading.target.log_end_offset && entry.end() > leader.start && !entry.is_marker()
        };
        let Some(last) = leader.log.iter().rev().find(kept) else { return };
        let offset = last.end() - 1;
        if offset < self.source.start || offset >= self.source.end {
            return;
        }
        match self.source.batch_at(offset).filter(|_| self.source.record_at(offset).is_some()) {
            Some(batch) if batch.id == last.id => {
                reading.likeness = Likeness::Same;
            }
            Some(_) => reading.likeness = Likeness::Different { offset },
            // What compaction has removed may have been there; a marker or an aborted record never was one.
            None => {
                let never = |batch: SourceBatch| matches!(batch.kind, Kind::Marker | Kind::Aborted);
                if self.source.batch_at(offset).is_some_and(never) {
                    reading.likeness = Likeness::Different { offset };
                }
            }
        }
    }

    /// A fetch answer arrives: in any order, sometimes twice.
    pub(super) fn deliver_fetch(&mut self, at: usize) {
        let process = &mut self.processes[at];
        if process.fetches.is_empty() {
            return;
        }
        let which = self.rng.usize(0..process.fetches.len());
        let fetch = match self.rng.u32(0..20) {
            0 => process.fetches[which].clone(),
            _ => process.fetches.swap_remove(which),
        };
        tell!(self, "process {at} gets {fetch:?}");
        let process = &mut self.processes[at];
        match &fetch.batches {
            _ if fetch.diverges => process.machine.handle_diverged(fetch.offset, self.now),
            Some(batches) => {
                let mut contents = contents(batches, &fetch, process.machine.get().batch_bytes());
                if batches.is_empty() && fetch.end > fetch.offset {
                    if self.bug == Some(Bug::BelievesSilence) {
                        contents.push(Content::Nothing { next_offset: fetch.end, leader_epoch: -1 });
                    }
                    let error = Error::new(ErrorKind::Broker, "the source says nothing");
                    process.machine.handle_silence(fetch.offset, error);
                }
                process.machine.handle_fetched(fetch.offset, contents);
            }
            None => process.machine.handle_out_of_range(fetch.offset, self.now),
        }
    }

    /// An answer of the target arrives. Whether there was one.
    pub(super) fn deliver_answer(&mut self, at: usize) -> bool {
        let connection = &mut self.connections[at];
        let process = connection.process;
        if !connection.alive {
            self.forget_if_over(at);
            return false;
        }
        let Some(answer) = connection.next_answer() else { return false };
        tell!(self, "process {process} hears of what it sent for {}: {:?}", answer.base, answer.outcome);
        let answer = self.translated(process, answer);
        let process = &mut self.processes[process];
        let is_of_batch = process.lens.is_none() || answer.records.is_some();
        if [process.connection, process.filler].contains(&Some(at)) && is_of_batch {
            process.in_flight = process.in_flight.saturating_sub(1);
        }
        process.machine.handle_answer(answer, self.now);
        true
    }

    /// The process's connection breaks, and the machine hears of it.
    pub(super) fn cut_connection(&mut self, at: usize) {
        let received = self.rng.usize(0..6);
        tell!(self, "process {at} loses its connection, {received} requests may have arrived");
        let process = &self.processes[at];
        match self.rng.u32(0..4) {
            0 => process.filler.into_iter().for_each(|filler| self.cut_one(filler, received)),
            _ => self.cut_all(at, received),
        }
    }

    /// Both connections of a process break.
    pub(super) fn cut_all(&mut self, at: usize, received: usize) {
        let process = &self.processes[at];
        for number in [process.connection, process.filler].into_iter().flatten() {
            self.cut_one(number, received);
        }
    }

    /// A connection breaks, and the process that uses it hears of it.
    pub(super) fn cut_one(&mut self, number: usize, received: usize) {
        let at = self.connections[number].process;
        let broker = self.connections[number].broker;
        let lost = self.connections[number].cut(received);
        let process = &mut self.processes[at];
        let had_nothing = lost.is_empty();
        for answer in lost {
            process.machine.handle_answer(answer, self.now);
        }
        if process.filler == Some(number) {
            process.filler = None;
        } else if process.connection == Some(number) {
            process.connection = None;
            process.in_flight = 0;
            // Where nothing was under way no answer tells the machine: the next connection may lead to another broker, or to one that has
            // lost its log meanwhile.
            let idle = self.bug == Some(Bug::IdleIsNotReopened) && process.machine.get().is_empty();
            if idle && process.machine.get().phase() == Phase::Running {
                self.connections.push(Connection::new(at, broker));
                self.processes[at].connection = Some(self.connections.len() - 1);
            } else if had_nothing {
                process.machine.reopen(self.now);
            }
        }
    }

    /// Before new connections are used, the old ones are let go, or still bring answers that are of no interest.
    fn drop_connection(&mut self, at: usize) {
        let process = &mut self.processes[at];
        for connection in [process.connection.take(), process.filler.take()].into_iter().flatten() {
            if self.rng.bool() {
                let received = self.rng.usize(0..6);
                self.connections[connection].cut(received);
            }
        }
    }

    pub(super) fn reopen(&mut self, at: usize) {
        self.processes[at].machine.reopen(self.now);
    }

    /// The process dies and another one of the same name starts.
    pub(super) fn crash(&mut self, at: usize) {
        tell!(self, "process {at} crashes");
        let received = self.rng.usize(0..6);
        // Some of what it has sent waits at the broker for however long.
        let stuck = if self.rng.u32(0..3) == 0 { self.rng.u64(30..1000) } else { 0 };
        let stuck_until = self.now + Duration::from_millis(stuck);
        for connection in self.connections.iter_mut().filter(|connection| connection.process == at) {
            if connection.alive {
                connection.stuck_until = stuck_until;
            }
            connection.cut(received);
        }
        self.processes[at] = self.new_process(self.processes[at].limits);
    }

    /// Another process starts, beside those that there are.
    pub(super) fn start_process(&mut self) {
        let process = self.new_process(self.plan.limits);
        self.processes.push(process);
    }

    /// A process of the mirror that starts now.
    pub(super) fn new_process(&mut self, limits: Limits) -> Process {
        let refused = self.must_not_begin();
        let claim = self.claim();
        let lens = self.start_translating(self.starts);
        let mut process = Process::new(self.starts, claim, limits, lens, self.bug);
        if refused {
            process
                .machine
                .park(Error::new(ErrorKind::TargetConflict, "its copies are there, and nothing is remembered of them"));
        }
        process
    }

    /// Connections that nobody will hear of again make room.
    fn forget_if_over(&mut self, at: usize) {
        let last = self.connections.len() - 1;
        if !self.connections[at].is_over() {
            return;
        }
        self.connections.swap_remove(at);
        for process in &mut self.processes {
            for connection in [&mut process.connection, &mut process.filler] {
                if *connection == Some(last) {
                    *connection = Some(at);
                }
            }
        }
    }
}
