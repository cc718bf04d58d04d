//! The real engine against clusters in this process: thousands of seeded histories, without a socket and in no time.
//!
//! Processes of the mirror run as they are, from `control::serve` on, on one thread whose clock is paused: it goes on
//! when nobody has anything to do. Their connections lead to brokers in memory ([`network`]) that keep logs as Kafka's
//! do ([`log`]). A process crashes when it is dropped, and is stopped while it is not polled.
//!
//! `KMIRROR_ENGINE_HISTORIES=100000 cargo test --release simulation::every` runs more of them;
//! `KMIRROR_ENGINE_SEED=17 cargo test simulation::replays -- --nocapture` tells the history of one seed, with
//! `KMIRROR_ENGINE_BUG=NoLease` that of a bug that is planted in the engine (`planted`).

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod broker;
mod cluster;
mod content;
mod contract;
mod data;
mod history;
mod log;
mod network;
mod plan;
mod process;
mod topics;
mod world;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

use history::run;
use plan::Trouble;

use crate::clock::Instant;
use crate::planted::Bug;

/// How many histories are simulated.
fn histories() -> u64 {
    number("KMIRROR_ENGINE_HISTORIES").unwrap_or(300)
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}

/// Runs histories on all processors; what was asked for of each, by seed.
fn each<T: Send>(count: u64, of_seed: impl Fn(u64) -> T + Sync) -> Vec<T> {
    let next = AtomicU64::new(0);
    let work = || {
        let seeds = std::iter::from_fn(|| Some(next.fetch_add(1, Ordering::Relaxed)).filter(|seed| *seed < count));
        seeds.map(|seed| (seed, of_seed(seed))).collect::<Vec<_>>()
    };
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let mut found: Vec<(u64, T)> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    found.sort_by_key(|(seed, _)| *seed);
    found.into_iter().map(|(_, found)| found).collect()
}

#[test]
fn every_history_of_the_engine_keeps_the_promises() {
    let began = Instant::now();
    let mut seen: BTreeMap<Trouble, (u64, u64)> = BTreeMap::new();
    let mut broken = Vec::new();
    for (seed, outcome) in each(histories(), |seed| run(seed, None, false)).into_iter().enumerate() {
        match outcome {
            Ok(outcome) => {
                let counts = seen.entry(outcome.trouble).or_default();
                counts.0 += 1;
                counts.1 += u64::from(outcome.stopped.is_some());
            }
            Err(what) => broken.push(format!("seed {seed}: {what}")),
        }
    }
    println!(
        "{} histories in {:?}; of each kind, and in how many of them the mirror has stopped: {seen:?}",
        histories(),
        began.elapsed()
    );
    assert!(
        broken.is_empty(),
        "{} of {} histories; KMIRROR_ENGINE_SEED=... cargo test --lib simulation::replays -- --nocapture\n{}",
        broken.len(),
        histories(),
        broken.join("\n")
    );
}

/// Bugs that have to be found, and within how many histories. The others are planted, too, and wait for histories
/// that show them: `KMIRROR_ENGINE_BUG=MarkersTwice` looks for one of them in 2 000.
const FOUND: [Bug; 8] = [
    Bug::AnyAnswer,
    Bug::CopiesAborted,
    Bug::FreshSequence,
    Bug::IgnoresBaseOffset,
    Bug::KeepsPositions,
    Bug::LeadersStay,
    Bug::NoEpochInFetch,
    Bug::NoLease,
];
const FOUND_WITHIN: u64 = 400;
const LOOKED_FOR_WITHIN: u64 = 2_000;

/// What a bug breaks in a history that is sound without it.
fn what_is_broken(seed: u64, bug: Bug) -> Option<String> {
    let broken = run(seed, Some(bug), false).err()?;
    run(seed, None, false).is_ok().then_some(broken)
}

/// The first history in which a bug shows.
fn first_found(bug: Bug) -> Option<(u64, String)> {
    let histories = if FOUND.contains(&bug) { FOUND_WITHIN } else { LOOKED_FOR_WITHIN };
    (0..histories).find_map(|seed| Some((seed, what_is_broken(seed, bug)?)))
}

#[test]
fn every_bug_that_is_planted_in_the_engine_is_found() {
    let bugs = wanted_bug().map_or(FOUND.to_vec(), |bug| vec![bug]);
    let found = each(bugs.len() as u64, |at| first_found(bugs[at as usize]));
    let mut not_found = Vec::new();
    for (bug, found) in bugs.into_iter().zip(found) {
        match found {
            Some((seed, broken)) => println!("{bug:?} is found after {} histories: {broken}", seed + 1),
            None => not_found.push(bug),
        }
    }
    assert!(not_found.is_empty(), "{not_found:?} are not found");
}

fn wanted_bug() -> Option<Bug> {
    let bug = std::env::var("KMIRROR_ENGINE_BUG").ok()?;
    Bug::ALL.into_iter().find(|known| format!("{known:?}") == bug)
}

#[test]
fn replays_one_seed() {
    let Some(seed) = number("KMIRROR_ENGINE_SEED") else { return };
    println!("{:?}", run(seed, wanted_bug(), true));
}

/// What cannot be replayed cannot be understood.
#[test]
fn a_seed_is_the_same_history_every_time() {
    for (seed, same) in each(40, |seed| run(seed, None, false) == run(seed, None, false)).into_iter().enumerate() {
        assert!(same, "seed {seed}");
    }
}
