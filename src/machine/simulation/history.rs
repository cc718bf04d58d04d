//! One seeded history: what happens in which order, and what must be true all the time and at the end.
//!
//! A [`Plan`] drawn from the seed says which trouble this history is about; then random steps are taken (a driver polls
//! its machine, a broker works, an answer arrives, something breaks), each followed by the checks. At last everything
//! heals, and the mirror has a bounded number of rounds to reach the end it must reach.

use std::time::Duration;

use super::lease::StartLog;
use super::network::{Connection, Fault, Request, What};
use super::plan::{Plan, Trouble};
use super::planted::Bug;
use super::process::Process;
use super::source::{Kind, Source};
use super::world::{Entry, MAX_RECORDS, MIRROR, Target, bytes_of};
use crate::error::ErrorKind;
use crate::machine::partition::Phase;
use crate::machine::translation::Note;

macro_rules! tell {
    ($history:expr, $($what:tt)*) => {
        if $history.verbose { println!("{:>5} ms  {}", $history.now.as_millis(), format_args!($($what)*)); }
    };
}
pub(super) use tell;

#[derive(Debug)]
pub(super) struct History {
    pub(super) rng: fastrand::Rng,
    pub(super) plan: Plan,
    pub(super) source: Source,
    pub(super) target: Target,
    /// What the mirror has written down on the target, with translated offsets.
    pub(super) internal: Vec<Note>,
    pub(super) connections: Vec<Connection>,
    pub(super) processes: Vec<Process>,
    pub(super) now: Duration,
    pub(super) verbose: bool,
    pub(super) bug: Option<Bug>,
    /// Starts of the mirror, and what was written down of them.
    pub(super) starts: i32,
    pub(super) start_log: StartLog,
    /// Since when everything heals.
    pub(super) healed_at: Option<Duration>,
    /// Something was appended that no mirror can keep from being appended.
    pub(super) accident: Option<String>,
    /// When the brokers have forgotten the producer id last, or the target everything else that makes an append conditional.
    pub(super) forgot_at: Option<Duration>,
    /// When an unclean election has cut the target's log.
    pub(super) cut_at: Option<Duration>,
    /// A broker has appended a request that had waited there for longer than a lease, and that nothing showed to be late.
    pub(super) took_late: bool,
    /// A process has stopped because nothing told how far it had come.
    unclear: bool,
    /// A checksum error twice at the same batch is bad luck, three times is another history.
    damages_left: u32,
    violation: Option<String>,
}

/// How a history came out in which no promise was broken.
#[derive(Debug, Clone, Copy)]
pub(super) struct Outcome {
    pub(super) trouble: Trouble,
    /// Something was appended that no mirror can keep from being appended; and whether the mirror has found it.
    pub(super) accident: Option<bool>,
    /// A process has stopped because nothing told how far it had come.
    pub(super) unclear: bool,
}

/// Runs the history of a seed. The error says which promise was broken.
pub(super) fn run(seed: u64, bug: Option<Bug>, verbose: bool) -> Result<Outcome, String> {
    let mut history = History::new(seed, bug, verbose);
    history.live();
    history.heal();
    history.check_end();
    let trouble = history.plan.trouble;
    match history.violation {
        Some(violation) => Err(format!("{trouble:?}: {violation}")),
        None => {
            let accident = history.accident.is_some().then(|| history.is_accident_found());
            Ok(Outcome { trouble, accident, unclear: history.unclear })
        }
    }
}

impl History {
    fn new(seed: u64, bug: Option<Bug>, verbose: bool) -> Self {
        let mut rng = fastrand::Rng::with_seed(seed);
        let plan = Plan::draw(&mut rng);
        // Some logs begin where sequence numbers wrap.
        let first = if rng.u32(0..10) == 0 { (1 << 31) - rng.i64(1..40) } else { 0 };
        let mut history = History {
            source: Source::beginning_at(first),
            target: Target::beginning_at(first),
            internal: Vec::new(),
            connections: Vec::new(),
            processes: Vec::new(),
            starts: 0,
            start_log: StartLog::default(),
            accident: None,
            forgot_at: None,
            cut_at: None,
            took_late: false,
            unclear: false,
            now: Duration::ZERO,
            verbose,
            bug,
            healed_at: None,
            damages_left: 2,
            violation: None,
            rng,
            plan,
        };
        history.start_process();
        if history.plan.trouble == Trouble::TargetTakesSmall {
            history.target.max_records = history.rng.i32(1..MAX_RECORDS);
        }
        tell!(history, "{:?}", history.plan);
        for _ in 0..history.rng.u32(0..8) {
            history.grow();
        }
        history
    }

    pub(super) fn healing(&self) -> bool {
        self.healed_at.is_some()
    }

    fn live(&mut self) {
        for step in 0..self.plan.steps {
            if step == self.plan.at {
                self.trouble();
            } else if step > self.plan.at && self.plan.trouble.is_forgetful() && self.rng.u32(0..20) == 0 {
                self.expire();
            }
            if self.plan.other_starts_at == Some(step) {
                // Nobody starts another one without a reason: mostly the one before seems to hang.
                if self.rng.u32(0..3) > 0 {
                    self.stop_process(0, 40..300);
                }
                self.start_process();
            }
            self.step();
            self.check();
            if self.violation.is_some() || self.accident.is_some() {
                return;
            }
        }
    }

    fn step(&mut self) {
        self.now += Duration::from_millis(self.rng.u64(0..4));
        self.pass_idle_time();
        self.wake_processes();
        (0..self.processes.len()).for_each(|at| self.renew(at));
        if self.rng.u32(0..1000) < self.plan.faults {
            return self.fault();
        }
        let process = self.rng.usize(0..self.processes.len());
        if self.is_followed(process) && self.rng.u32(0..50) == 0 {
            self.crash(process);
        }
        for _ in 0..self.plan.pace {
            self.act();
        }
    }

    /// Somebody does something.
    fn act(&mut self) {
        let process = self.rng.usize(0..self.processes.len());
        match self.rng.u32(0..100) {
            0..60 if self.is_stopped(process) => {}
            0..25 => self.drive(process),
            25..45 => self.deliver_fetch(process),
            45..60 => (0..self.rng.u32(1..5)).for_each(|_| self.read_next(process)),
            60..70 => self.target.replicate(self.rng.usize(0..3), self.rng.usize(1..4)),
            70..94 => self.work_on_a_connection(),
            94..96 => self.target.expand(self.rng.usize(0..3)),
            // In bursts, so that there are pauses after which more than one batch is ready to be sent.
            96..98 if self.rng.u32(0..self.plan.calm) == 0 => (0..self.rng.u32(1..5)).for_each(|_| self.grow()),
            98..100 if self.plan.translates => self.others_go_on(process),
            _ => {}
        }
    }

    /// The source gets another batch.
    pub(super) fn grow(&mut self) {
        if self.source.batches.len() >= 60 && !self.healing() {
            return;
        }
        let kind = match self.plan.trouble {
            Trouble::SourceHasPoison if self.source.batches.len() == self.plan.clean_batches => Kind::Poison,
            _ if self.rng.u32(0..100) >= self.plan.holes => Kind::Records,
            _ => [Kind::Marker, Kind::Marker, Kind::Aborted, Kind::Compacted][self.rng.usize(0..self.hole_kinds())],
        };
        if self.rng.u32(0..400) < self.plan.holes && self.hole_kinds() == 4 {
            self.source.leave_hole(self.rng.i64(1..6));
        }
        let fewest = if kind == Kind::Compacted { 2 } else { 1 };
        let count = if kind == Kind::Marker { 1 } else { self.rng.i32(fewest..=MAX_RECORDS) };
        self.source.append(count, kind);
    }

    /// Where the source's record was compacted away, nobody can tell whose the target's record is.
    fn hole_kinds(&self) -> usize {
        if matches!(self.plan.trouble, Trouble::ForeignWriter | Trouble::SourceUnclean) { 3 } else { 4 }
    }

    fn work_on_a_connection(&mut self) {
        if self.connections.is_empty() {
            return;
        }
        let at = self.rng.usize(0..self.connections.len());
        match self.rng.u32(0..4) {
            0 => self.serve(at),
            1 => self.connections[at].answer(&self.target),
            2 => {
                self.serve(at);
                self.connections[at].answer(&self.target);
            }
            _ if self.is_stopped(self.connections[at].process) => {}
            _ => {
                self.deliver_answer(at);
            }
        }
    }

    /// Whether the broker does not come to the connection for a while.
    fn is_stuck(&self, at: usize) -> bool {
        self.connections[at].stuck_until > self.now
    }

    pub(super) fn serve(&mut self, at: usize) {
        if self.is_stuck(at) {
            return;
        }
        let was_late = self.takes_anything_late(at);
        let connection = &mut self.connections[at];
        let had_failed = connection.has_failed;
        if !connection.serve(&mut self.target, &mut self.internal, self.plan.one_at_a_time) {
            return;
        }
        let (broker, process) = (connection.broker, connection.process);
        let Some(&entry) = self.target.leader().log.last() else { return };
        tell!(self, "broker {broker} appends {entry:?} of process {process}");
        if self.plan.translates {
            self.check_translated(false);
        } else if !self.fits(&entry) && !self.target.leader().has_foreign() {
            // Behind a foreign batch nothing is where it should be; then what counts is that it ends soon.
            self.violate(format!("the target got {entry:?}, which is not what the source has there"));
        }
        self.took_late |= was_late;
        if self.took_late || (self.forgot_at.is_some() && had_failed) {
            self.accident = self.accident.take().or(self.violation.take());
        }
    }

    /// Whether an entry of the target is what the source has there, or had, or what a policy made of it.
    fn fits(&self, entry: &Entry) -> bool {
        let by_policy = |offset: i64| match self.plan.trouble {
            Trouble::SourceRetention | Trouble::ForeignWriter => {
                let before = self.target.leader().log.iter().take_while(|entry| entry.base < offset);
                offset < self.source.start && (self.plan.limits.go_on_after_loss || { before }.all(Entry::is_marker))
            }
            Trouble::SourceHasPoison => {
                let poison = self.source.batches.iter().find(|batch| batch.kind == Kind::Poison);
                self.plan.limits.skip_refused && poison.is_some_and(|batch| batch.end() - 1 == offset)
            }
            _ => false,
        };
        self.source.had(entry) || (entry.is_marker() && by_policy(entry.base))
    }

    /// Something breaks.
    fn fault(&mut self) {
        let process = self.rng.usize(0..self.processes.len());
        let broker = self.rng.usize(0..3);
        match self.rng.u32(0..100) {
            0..15 => self.crash(process),
            15..40 => self.cut_connection(process),
            40..52 => {
                tell!(self, "broker {broker} falls behind");
                self.target.shrink(broker);
            }
            52..70 if self.target.in_sync[broker] => {
                tell!(self, "broker {broker} is elected, log end {}", self.target.brokers[broker].end());
                self.step_down();
                self.target.elect(broker);
            }
            70..78 => {
                tell!(self, "the leader restarts");
                self.step_down();
                let all_replayed = self.plan.trouble != Trouble::TargetEmptied;
                self.target.leader_mut().restart(all_replayed);
            }
            78..90 => {
                if let Some(connection) = self.a_connection() {
                    connection.give_up(7);
                }
            }
            90..95 => self.stop_process(process, 5..120),
            _ => {
                tell!(self, "process {process}: its driver has reason to read again");
                self.reopen(process);
            }
        }
    }

    fn a_connection(&mut self) -> Option<&mut Connection> {
        let at = self.rng.usize(0..self.connections.len().max(1));
        self.connections.get_mut(at)
    }

    /// What happens to a request when it arrives.
    pub(super) fn fault_of_request(&mut self) -> Option<Fault> {
        if self.healing() || self.rng.u32(0..1000) >= self.plan.faults {
            return None;
        }
        match self.rng.u32(0..4) {
            0 => Some(Fault::FailsBefore),
            1 => Some(Fault::FailsAfter),
            _ => {
                self.damages_left = self.damages_left.saturating_sub(1);
                (self.damages_left > 0).then_some(Fault::Damaged)
            }
        }
    }

    /// Whether a read fails, or says nothing.
    pub(super) fn fails(&mut self) -> bool {
        !self.healing() && self.rng.u32(0..1000) < self.plan.unread
    }

    pub(super) fn step_down(&mut self) {
        let leader = self.target.leader;
        for connection in self.connections.iter_mut().filter(|connection| connection.broker == leader) {
            connection.broker_steps_down();
        }
    }

    pub(super) fn violate(&mut self, what: String) {
        if self.accident.is_some() {
            return;
        }
        tell!(self, "BROKEN: {what}");
        // What was taken late may show only later.
        if self.took_late {
            self.accident = Some(what);
            return;
        }
        self.violation.get_or_insert(what);
    }

    fn check(&mut self) {
        let durable = if self.plan.translates { self.durable_at_source() } else { self.target.durable_end() };
        for at in 0..self.processes.len() {
            // Cut into single records, a fetch takes the most room; one that was asked for before the position was read
            // again may come on top.
            let limit =
                self.plan.limits.queued_bytes + 2 * super::world::FETCH_BATCHES * MAX_RECORDS as usize * bytes_of(1);
            let may_write = self.may_write(at);
            if let Err(what) = self.processes[at].check(durable, limit, may_write) {
                return self.violate(format!("process {at}: {what}"));
            }
            if self.processes[at].machine.is_parked() {
                self.check_parked(at);
            }
        }
    }

    /// A partition stops only for the reason that this history has, and says where.
    fn check_parked(&mut self, at: usize) {
        let Some(error) = self.processes[at].machine.get().error() else {
            return self.violate(format!("process {at} is parked without an error"));
        };
        let offset = error.offset();
        let poison = self.source.batches.iter().find(|batch| batch.kind == Kind::Poison).map(|batch| batch.end() - 1);
        let right = match (self.plan.trouble, error.kind()) {
            (Trouble::ForeignWriter, ErrorKind::TargetConflict | ErrorKind::Diverged | ErrorKind::DataLoss) => true,
            (_, ErrorKind::Fenced) if self.plan.other_starts_at.is_some() => true,
            (Trouble::NewOwner, ErrorKind::Fenced) => true,
            (Trouble::SourceHasPoison, ErrorKind::RecordRefused) => offset == poison && !self.plan.limits.skip_refused,
            (Trouble::SourceRetention, ErrorKind::DataLoss) => offset < Some(self.source.start),
            (Trouble::SourceUnclean, ErrorKind::DataLoss | ErrorKind::Diverged) => true,
            (Trouble::MemoryLost, ErrorKind::TargetConflict) => true,
            // It cannot be told whether a record was compacted or lost: to stop is right, to do so often is not.
            (Trouble::TargetCleaned, ErrorKind::TargetConflict) => {
                self.unclear = true;
                true
            }
            _ => false,
        };
        if !right {
            let error = format!("{error:?} at offset {offset:?}");
            self.violate(format!("process {at} stopped for no good reason: {error}"));
        }
    }

    /// All faults end; the mirror gets its time to do what is left.
    fn heal(&mut self) {
        if self.violation.is_some() {
            return;
        }
        tell!(self, "everything heals");
        self.healed_at = Some(self.now);
        for round in 0..400 {
            // Everybody writes once more, so that nobody can overlook a foreign writer.
            if round == 0 && self.plan.trouble != Trouble::SourceUnclean {
                self.grow();
                self.grow();
            }
            self.now += Duration::from_millis(60);
            self.wake_processes();
            self.target.heal();
            // In the end a broker forgets whose records are old, also what it has read of them after a restart.
            if round % 100 == 50 && self.plan.trouble == Trouble::TargetCleaned {
                self.expire();
            }
            for at in 0..self.connections.len() {
                while !self.is_stuck(at) && !self.connections[at].requests.is_empty() && self.violation.is_none() {
                    self.serve(at);
                    self.target.heal();
                    self.connections[at].answer(&self.target);
                }
                self.connections[at].answer(&self.target);
                while self.connections[at].alive && self.deliver_answer(at) {}
            }
            for at in 0..self.processes.len() {
                self.keep(at);
                self.deliver_fetch(at);
                for _ in 0..7 {
                    self.read_next(at);
                }
                self.drive(at);
            }
            self.check();
            if self.violation.is_some() || self.is_at_rest() {
                return;
            }
        }
    }

    fn is_at_rest(&self) -> bool {
        !self.awaits_a_start()
            && self.connections.iter().all(Connection::is_quiet)
            && self.processes.iter().all(|process| {
                let machine = process.machine.get();
                let level = machine.phase() == Phase::Running && machine.position() == Some(self.source.end);
                process.machine.is_parked() || level
            })
    }

    fn check_end(&mut self) {
        if self.violation.is_some() {
            return;
        }
        let foreign = self.target.leader().has_foreign() && !self.plan.translates;
        let newer = |entry: &Entry| entry.producer_id == MIRROR.producer_id && entry.epoch > MIRROR.producer_epoch;
        let fenced = self.target.leader().log.iter().any(newer);
        for at in 0..self.processes.len() {
            let machine = self.processes[at].machine.get();
            let parked = self.processes[at].machine.is_parked();
            let (phase, position, error) = (machine.phase(), machine.position(), machine.error().cloned());
            if !parked && (position != Some(self.source.end) || foreign || fenced) {
                let end = self.source.end;
                return self
                    .violate(format!("process {at} does not get on: {phase:?} at {position:?} of {end}, {error:?}"));
            }
            let other_process = error.as_ref().is_some_and(|error| error.kind() == ErrorKind::Fenced);
            if parked && self.must_go_on() && !foreign && !fenced && !(other_process && self.someone_goes_on()) {
                return self.violate(format!("process {at} stopped although it could go on: {error:?}"));
            }
        }
        if self.plan.translates {
            return self.check_translated(true);
        }
        self.check_logs(foreign);
        // A mirror that goes on has copied the source that is there, and nothing of what that has lost.
        let lost = |entry: &&Entry| !entry.is_marker() && !self.source.has(entry);
        let gone_on = self.processes.iter().filter(|process| !process.machine.is_parked());
        let farthest = gone_on.filter_map(|process| process.machine.get().position()).max();
        if self.plan.trouble == Trouble::SourceUnclean
            && let Some(entry) = self.target.leader().log.iter().find(lost).copied()
            && farthest > Some(entry.base)
        {
            self.violate(format!("the mirror goes on, but the target holds {entry:?}, which the source has lost"));
        }
    }

    /// Whether of several processes one is left.
    pub(super) fn someone_goes_on(&self) -> bool {
        self.processes.len() > 1 && self.processes.iter().any(|process| !process.machine.is_parked())
    }

    /// Whether what the trouble was about never came to matter.
    fn must_go_on(&self) -> bool {
        match self.plan.trouble {
            // What the source has lost and replaced before the mirror looked is not seen by offsets alone.
            Trouble::SourceUnclean => {
                self.source.cut.is_empty() && self.target.leader().log.iter().all(|entry| self.source.has(entry))
            }
            // A late batch may have landed after its process found that the source has it no more.
            Trouble::SourceRetention => false,
            // A foreign batch that was never replicated may have been seen before it was lost.
            Trouble::ForeignWriter | Trouble::NewOwner | Trouble::MemoryLost => false,
            Trouble::TargetCleaned => !self.unclear,
            Trouble::SourceHasPoison => {
                self.plan.limits.skip_refused || self.source.batches.len() <= self.plan.clean_batches
            }
            _ => true,
        }
    }

    /// The target is the source, from the first batch on, without anything left out, twice, or moved.
    fn check_logs(&mut self, foreign: bool) {
        let mut log = [&self.target.leader().log[..], &self.target.compacted[..]].concat();
        log.sort_by_key(|entry| entry.base);
        let mut next = log.first().map_or(0, |entry| entry.base);
        for entry in log {
            if entry.base != next || (!foreign && !self.fits(&entry)) {
                return self.violate(format!("the target has {entry:?} where {next} should follow"));
            }
            next = entry.end();
        }
    }

    /// A process sends a request over one of its connections.
    pub(super) fn request(&mut self, process: usize, connection: usize, what: What) {
        tell!(self, "process {process} sends {what:?}");
        let (fault, read_at) = (self.fault_of_request(), self.processes[process].read_at);
        let request = Request { what, fault, sent_at: self.now, read_at, expired: false, held: false };
        self.connections[connection].requests.push_back(request);
    }
}
