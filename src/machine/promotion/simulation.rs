//! Switch-overs against a source that is written to, with and without transactions, a copy that follows it, and a target that loses
//! what it had: whatever happens between two questions, what is reported as copied is on the target.
//!
//! Bugs are put around what decides, as in [`simulation`](crate::machine::simulation); each of them has to be found.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use fastrand::Rng;

use super::*;
use crate::machine::simulation::histories;

/// Milliseconds that a switch-over may take.
const TIMEOUT: u64 = 20_000;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Bug {
    /// Everything is what readers of committed records can see.
    LastStableIsEverything,
    /// How far the target is, is what the mirror remembers.
    BelievesMemory,
    /// One look is enough.
    DoesNotWait,
    /// Before the mark nobody looks again.
    MarksWithoutALook,
    /// What an open transaction hides is not missing.
    CountsVisible,
}

const BUGS: [Bug; 5] =
    [Bug::LastStableIsEverything, Bug::BelievesMemory, Bug::DoesNotWait, Bug::MarksWithoutALook, Bug::CountsVisible];

/// A partition on both sides.
#[derive(Debug, Clone, Default)]
struct Log {
    high_watermark: i64,
    /// First offsets of open transactions.
    open: Vec<i64>,
    /// Where the target's log ends, and what the mirror remembers of that.
    copied: i64,
    remembered: i64,
    /// When something was written to the source last, in milliseconds.
    written_at: u64,
}

impl Log {
    fn last_stable(&self) -> i64 {
        self.open.iter().copied().min().unwrap_or(self.high_watermark)
    }
}

struct History {
    rng: Rng,
    now: u64,
    logs: Vec<Log>,
    /// When writers stop, and when transactions that are open then end; never, if they hang.
    writers_until: u64,
    open_until: u64,
    loses: bool,
    bug: Option<Bug>,
}

impl History {
    fn new(seed: u64, bug: Option<Bug>) -> Self {
        let mut rng = Rng::with_seed(seed);
        let logs = (0..rng.usize(1..4)).map(|_| Log::default()).collect();
        let writers_until = rng.u64(0..TIMEOUT);
        let open_until = if rng.u32(0..3) == 0 { u64::MAX } else { writers_until + rng.u64(0..6000) };
        let loses = rng.u32(0..4) == 0;
        History { rng, now: 0, logs, writers_until, open_until, loses, bug }
    }

    /// Lets time pass, in which others do what they do.
    fn pass(&mut self, milliseconds: u64) {
        for _ in 0..milliseconds.div_ceil(50) {
            self.now += milliseconds.min(50);
            for log in &mut self.logs {
                let writes = self.now < self.writers_until && self.rng.u32(0..20) == 0;
                match self.rng.u32(0..10) {
                    0 if writes => log.open.push(log.high_watermark),
                    1 if !log.open.is_empty() && self.now < self.open_until => {
                        log.open.swap_remove(self.rng.usize(0..log.open.len()));
                    }
                    _ if writes => {}
                    _ => {
                        if self.now >= self.open_until && !log.open.is_empty() {
                            log.open.clear();
                        } else {
                            Self::copy(&mut self.rng, log, self.loses);
                            continue;
                        }
                    }
                }
                // A record, the first of a transaction, or its marker.
                log.high_watermark += self.rng.i64(1..5);
                log.written_at = self.now;
            }
        }
    }

    fn copy(rng: &mut Rng, log: &mut Log, loses: bool) {
        if log.remembered == log.copied {
            log.copied = (log.copied + rng.i64(0..20)).min(log.last_stable());
            log.remembered = log.copied;
        }
        if loses && rng.u32(0..400) == 0 {
            // An idle mirror does not hear of it.
            log.copied -= rng.i64(0..=log.copied);
        }
    }

    /// The questions of a look come one after the other.
    fn look(&mut self) -> BTreeMap<usize, Look> {
        let pause = self.rng.u64(0..100);
        let stable: Vec<i64> = self.logs.iter().map(Log::last_stable).collect();
        self.pass(pause);
        let high: Vec<i64> = self.logs.iter().map(|log| log.high_watermark).collect();
        self.pass(pause);
        let look = |index: usize| {
            let remembers = self.bug == Some(Bug::BelievesMemory);
            let copied = if remembers { self.logs[index].remembered } else { self.logs[index].copied };
            let visible = self.bug == Some(Bug::LastStableIsEverything);
            let high_watermark = if visible { stable[index] } else { high[index] };
            (index, Look { last_stable: stable[index], high_watermark, copied: Some(copied) })
        };
        (0..self.logs.len()).map(look).collect()
    }

    /// What the report says is missing.
    fn missing(&self) -> u64 {
        let of = |log: &Log| {
            let hidden = [Some(Bug::CountsVisible), Some(Bug::LastStableIsEverything)].contains(&self.bug);
            let next = if hidden { log.last_stable() } else { log.high_watermark };
            let remembers = self.bug == Some(Bug::BelievesMemory);
            let target = if remembers { log.remembered } else { log.copied };
            missing(target, Some(Known { next, at_ms: 0 }), None).records
        };
        self.logs.iter().map(of).sum()
    }

    /// A switch-over; `Ok(true)` if it has found the source at rest.
    fn promote(&mut self, force: bool) -> Result<bool, String> {
        let mut rest = Rest::default();
        let mut rested = false;
        while self.now < TIMEOUT && !rested {
            let before: Vec<i64> = self.logs.iter().map(|log| log.high_watermark).collect();
            let began = self.now;
            let looks = self.look();
            let mut hindrances = rest.handle_look(Duration::from_millis(self.now), looks);
            if self.bug == Some(Bug::DoesNotWait) {
                hindrances.retain(|(_, hindrance)| !matches!(hindrance, Hindrance::Moving(_)));
            }
            rested = hindrances.is_empty();
            if rested {
                self.check_rest(&before, began)?;
            } else {
                self.pass(500);
            }
        }
        // The streams end, groups are copied.
        let pause = self.rng.u64(0..300);
        self.pass(pause);
        let is_complete = self.missing() == 0 || self.bug == Some(Bug::MarksWithoutALook);
        if !force && (!rested || !is_complete) {
            return Ok(false);
        }
        // The mark is written here, and the report made: whatever comes later, it says what is missing now.
        let really: i64 = self.logs.iter().map(|log| (log.high_watermark - log.copied).max(0)).sum();
        match self.missing() {
            said if i64::try_from(said).unwrap() != really => Err(format!("{said} are missing, and really {really}")),
            _ if !force && really > 0 => Err(format!("marked without force, and {really} are missing")),
            _ => Ok(rested),
        }
    }

    /// What the source had when the last look began is on the target, but for what that has lost since; and the source had rested.
    fn check_rest(&self, before: &[i64], began: u64) -> Result<(), String> {
        for (log, before) in self.logs.iter().zip(before) {
            if log.remembered < *before || (!self.loses && log.copied < *before) {
                return Err(format!("at rest, and the source had {before} of {log:?}"));
            }
            let still = began.saturating_sub(log.written_at);
            // A look takes up to 200 ms.
            if log.written_at > 0 && log.written_at <= began && still < 700 {
                return Err(format!("at rest {still} ms after a record: {log:?}"));
            }
        }
        Ok(())
    }
}

fn run(seed: u64, bug: Option<Bug>) -> Result<bool, String> {
    let force = seed.is_multiple_of(3);
    History::new(seed, bug).promote(force).map_err(|broken| format!("seed {seed}: {broken}"))
}

#[test]
fn what_is_reported_as_copied_is_on_the_target() {
    let (mut rested, mut waited) = (0, 0);
    for seed in 0..histories() {
        match run(seed, None) {
            Ok(true) => rested += 1,
            Ok(false) => waited += 1,
            Err(broken) => panic!("{broken}"),
        }
    }
    assert!(rested > histories() / 4 && waited > histories() / 10, "{rested} rested, {waited} did not");
}

#[test]
fn every_planted_bug_is_found() {
    for bug in BUGS {
        let found = (0..histories()).find_map(|seed| run(seed, Some(bug)).err());
        println!("{bug:?}: {}", found.unwrap_or_else(|| panic!("{bug:?} is not found")));
    }
}
