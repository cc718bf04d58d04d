//! Processes of a mirror that are stopped at random for up to a minute, while others follow them. Whoever wakes up holds what
//! it had fetched, and the target's brokers have forgotten the mirror: only the lease keeps it from writing.
//!
//! What has happened is counted, and what has not happened at all is a failure: a test that stops nobody shows nothing.

use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use super::{FENCED, LIMIT, copied, expect_fenced, expect_the_same, forgetful, mode};
use crate::support::cluster::{Pair, unique};
use crate::support::failure::Context;
use crate::support::mirroring::Mirroring;
use crate::support::process::Kmirror;
use crate::support::records::{Load, Writing};
use crate::support::{Outcome, fail, wait_for};

/// Minutes of the test; `KMIRROR_TWO_PROCESSES_MINUTES` changes them.
const MINUTES: u64 = 30;
const PARTITIONS: i32 = 8;
/// Of each mirror.
const RECORDS_PER_SECOND: u32 = 240;
/// So many processes of a mirror are stopped at the same time at most.
const MOST_ASLEEP: usize = 3;

#[test]
#[ignore = "half an hour: make nightly"]
fn half_an_hour_of_processes_that_are_stopped_and_followed() -> Outcome {
    let minutes = std::env::var("KMIRROR_TWO_PROCESSES_MINUTES").ok().and_then(|minutes| minutes.parse().ok());
    let duration = Duration::from_secs(60 * minutes.unwrap_or(MINUTES));
    let seed = fastrand::u64(..);
    println!("{} s, seed {seed}", duration.as_secs());
    let pair = forgetful(1000)?;
    std::thread::scope(|scope| {
        let kinds = [(false, false), (true, false), (false, true), (true, true)];
        let tests: Vec<_> = (seed..)
            .zip(kinds)
            .map(|(seed, kind)| {
                let pair = &pair;
                scope.spawn(move || torment(pair, kind, seed, duration))
            })
            .collect();
        let outcomes: Vec<Outcome> =
            tests.into_iter().map(|test| test.join().unwrap_or_else(|_| fail("it panicked"))).collect();
        outcomes.into_iter().collect()
    })
}

/// One mirror, from its start until both sides are compared.
fn torment(pair: &Pair, (translates, promotes): (bool, bool), seed: u64, duration: Duration) -> Outcome {
    let topic = unique("half-an-hour");
    pair.source.create_topic(&topic, PARTITIONS, &[])?;
    // Records are years old.
    let load =
        Load::start(&pair.source.bootstrap(), &topic, PARTITIONS, RECORDS_PER_SECOND, seed, &Writing::default())?;
    let mirroring = mode(Mirroring::pair(pair, &topic), translates);
    let mut mirror = Tormented {
        pair,
        newest: mirroring.start()?,
        mirroring,
        topic,
        asleep: Vec::new(),
        random: fastrand::Rng::with_seed(seed),
        counts: Counts::default(),
    };
    let what = format!("translates: {translates}, with promotions: {promotes}, seed {seed}");
    let outcome = mirror.run(promotes, Instant::now() + duration);
    let counts = format!("{what}: {:?}", mirror.counts);
    // Also when it has failed: others go on.
    let written = load.stop()?.values().map(Vec::len).sum();
    outcome.context(&counts)?;
    mirror.newest.kill9()?;
    mirror.mirroring.catch_up()?;
    expect_the_same(pair, &mirror.topic, translates, written).context(&counts)?;
    println!("{counts}, {written} records: nothing lost, nothing twice, nothing shifted");
    mirror.counts.expect_all(promotes).context(&counts)
}

#[derive(Debug, Default)]
struct Counts {
    stops: usize,
    /// Of those the ones of a process that was just seen to write.
    stops_while_writing: usize,
    stopped_seconds: u64,
    /// Woken up when another process had been started, and had written something.
    woken_behind_a_writer: usize,
    /// Woken up when another process had been started, and had not written yet.
    woken_in_a_change: usize,
    /// Ended because another process was started, after they were woken up.
    fenced: usize,
    /// Of those the ones that another one has woken up behind: it had not said yet that it starts.
    overtaken: usize,
    /// Woken up when nobody had followed: they went on.
    went_on: usize,
    followed_while_running: usize,
    kills: usize,
    promotions_refused: usize,
    promotions_stopped: usize,
    promotions_killed: usize,
}

impl Counts {
    /// Everything has happened, or nothing was shown.
    fn expect_all(&self, promotes: bool) -> Outcome {
        let woken = self.woken_behind_a_writer + self.woken_in_a_change;
        assert_eq!(self.fenced, woken + self.followed_while_running, "of two one is fenced");
        let of_all = [self.stops_while_writing, self.woken_behind_a_writer, self.woken_in_a_change, self.went_on];
        let of_promotions = [self.promotions_refused, self.promotions_stopped, self.promotions_killed];
        let wanted = of_all.iter().chain(of_promotions.iter().filter(|_| promotes));
        match wanted.into_iter().all(|count| *count > 0) {
            true => Ok(()),
            false => fail("something was not tried"),
        }
    }
}

/// A process that was stopped.
struct Asleep {
    process: Kmirror,
    wakes_at: Instant,
    /// Where the target ended when another process was started.
    followed_at: i64,
}

/// A mirror whose processes are stopped.
struct Tormented<'a> {
    pair: &'a Pair,
    topic: String,
    mirroring: Mirroring,
    /// The process that was started last.
    newest: Kmirror,
    /// Those before it that sleep still.
    asleep: Vec<Asleep>,
    random: fastrand::Rng,
    counts: Counts,
}

impl Tormented<'_> {
    fn run(&mut self, promotes: bool, deadline: Instant) -> Outcome {
        while Instant::now() < deadline {
            match self.random.u32(0..10) {
                0 => {
                    self.newest.kill9()?;
                    self.newest = self.mirroring.start()?;
                    self.counts.kills += 1;
                }
                1 => self.follow_while_running()?,
                2 => self.stop_alone()?,
                3..6 if promotes => self.promote()?,
                _ => self.stop_and_follow()?,
            }
            self.pass(0..2_000)?;
        }
        while let Some(next) = self.asleep.iter().map(|asleep| asleep.wakes_at).min() {
            self.pass_until(next)?;
        }
        self.expect_progress()
    }

    /// Stops the newest process, wherever it is, and starts another one some time later. When the first wakes up, this one or one
    /// behind it is there.
    fn stop_and_follow(&mut self) -> Outcome {
        while self.asleep.len() >= MOST_ASLEEP {
            self.pass(500..501)?;
        }
        self.choose_moment()?;
        // Short ones are more frequent than long ones, and those longer than the lease are most of them.
        let longest = [2_000, 8_000, 20_000, 60_000][self.random.usize(0..4)];
        let time = self.random.u64(1_000..longest);
        let wakes_at = self.stop(time)?;
        // Mostly soon, so that the one behind it is at work when it wakes up.
        let latest = if self.random.u32(0..3) == 0 { time } else { time.min(1_500) };
        self.sleep(0..latest);
        let followed_at = copied(self.pair, &self.topic);
        let process = std::mem::replace(&mut self.newest, self.mirroring.start()?);
        self.asleep.push(Asleep { process, wakes_at, followed_at });
        Ok(())
    }

    /// Stops the newest process, and nobody follows: it goes on.
    fn stop_alone(&mut self) -> Outcome {
        self.choose_moment()?;
        let time = self.random.u64(1_000..20_000);
        let wakes_at = self.stop(time)?;
        std::thread::sleep(wakes_at.saturating_duration_since(Instant::now()));
        self.newest.signal(Signal::SIGCONT)?;
        self.counts.went_on += 1;
        self.expect_progress()
    }

    /// Starts another process while the newest one runs.
    fn follow_while_running(&mut self) -> Outcome {
        let before = std::mem::replace(&mut self.newest, self.mirroring.start()?);
        self.counts.followed_while_running += 1;
        self.expect_one_fenced(before)
    }

    /// Of the newest process and this one, one is fenced: the one that has said first that it starts.
    fn expect_one_fenced(&mut self, mut other: Kmirror) -> Outcome {
        let waited = wait_for("one of two processes ends", LIMIT, || {
            let ended = [self.newest.exited()?.is_some(), other.exited()?.is_some()];
            Ok(ended.contains(&true).then_some(ended[0]))
        });
        let said = format!("the newest one:\n{}\nthe other one:\n{}", self.newest.stderr(), other.stderr());
        if waited.context(said)? {
            std::mem::swap(&mut self.newest, &mut other);
            self.counts.overtaken += 1;
        }
        self.counts.fenced += 1;
        expect_fenced(&mut other)
    }

    /// A promotion, which is refused because the source is written to, or because nothing was heard of it for too long.
    fn promote(&mut self) -> Outcome {
        self.choose_moment()?;
        let mut promotion = self.mirroring.command("promote", &["--timeout", "3"])?;
        self.sleep(0..5_000);
        let goes_on = promotion.exited()?.is_none();
        match self.random.u32(0..3) {
            0 if goes_on => {
                promotion.signal(Signal::SIGSTOP)?;
                self.sleep(1_000..20_000);
                promotion.signal(Signal::SIGCONT)?;
                self.counts.promotions_stopped += 1;
            }
            1 if goes_on => {
                promotion.kill9()?;
                self.counts.promotions_killed += 1;
                return self.expect_progress();
            }
            _ => {}
        }
        let code = promotion.wait(LIMIT)?.code();
        if ![Some(7), Some(FENCED)].contains(&code) {
            return fail(format!("a promotion under load ended with {code:?}:\n{}", promotion.stderr()));
        }
        self.counts.promotions_refused += 1;
        self.expect_progress()
    }

    /// Waits until the newest process writes, or for a while, in which it may have its turn still before it.
    fn choose_moment(&mut self) -> Outcome {
        if self.random.bool() {
            return self.pass(0..4_000);
        }
        self.expect_progress()?;
        self.counts.stops_while_writing += 1;
        Ok(())
    }

    /// For so many milliseconds; returns when it is to be woken up. Nobody else is, until somebody has followed.
    fn stop(&mut self, milliseconds: u64) -> Outcome<Instant> {
        self.newest.signal(Signal::SIGSTOP)?;
        self.counts.stops += 1;
        self.counts.stopped_seconds += milliseconds / 1000;
        Ok(Instant::now() + Duration::from_millis(milliseconds))
    }

    fn sleep(&mut self, milliseconds: std::ops::Range<u64>) {
        std::thread::sleep(Duration::from_millis(self.random.u64(milliseconds)));
    }

    /// The mirror goes on: the newest process writes. Sleepers are woken up meanwhile: one of them may have been
    /// stopped while it sent word of its start, and that word may arrive late.
    fn expect_progress(&mut self) -> Outcome {
        let before = copied(self.pair, &self.topic);
        let more = wait_for("more is copied", LIMIT, || {
            self.pass(100..101)?;
            Ok((copied(self.pair, &self.topic) > before).then_some(()))
        });
        more.context(self.newest.stderr())?;
        match self.newest.exited()? {
            None => Ok(()),
            Some(status) => fail(format!("the newest process ended with {status}:\n{}", self.newest.stderr())),
        }
    }

    /// Lets some milliseconds pass, and wakes those up meanwhile whose time has come.
    fn pass(&mut self, milliseconds: std::ops::Range<u64>) -> Outcome {
        let time = Duration::from_millis(self.random.u64(milliseconds));
        self.pass_until(Instant::now() + time)
    }

    fn pass_until(&mut self, time: Instant) -> Outcome {
        loop {
            let now = Instant::now();
            if let Some(index) = self.asleep.iter().position(|asleep| asleep.wakes_at <= now) {
                let asleep = self.asleep.swap_remove(index);
                self.wake_up(asleep)?;
            }
            match time.checked_duration_since(now) {
                Some(left) if !left.is_zero() => std::thread::sleep(left.min(Duration::from_millis(50))),
                _ => return Ok(()),
            }
        }
    }

    fn wake_up(&mut self, mut asleep: Asleep) -> Outcome {
        let written = copied(self.pair, &self.topic) > asleep.followed_at;
        asleep.process.signal(Signal::SIGCONT)?;
        *(if written { &mut self.counts.woken_behind_a_writer } else { &mut self.counts.woken_in_a_change }) += 1;
        self.expect_one_fenced(asleep.process)
    }
}
