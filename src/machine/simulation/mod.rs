//! Thousands of seeded histories of the partition machine against simulated clusters, without a clock or a network.
//!
//! `KMIRROR_HISTORIES=1000000 cargo test --release machine::simulation` runs more of them;
//! `KMIRROR_SEED=17 cargo test replays_one_seed -- --nocapture` tells the history of one seed, step by step.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod history;
mod lease;
mod network;
mod plan;
mod planted;
mod process;
mod source;
mod translated;
mod trouble;
mod world;

use std::collections::HashMap;

use history::{Outcome, run};
use planted::Bug;

/// How many histories of each kind are simulated.
pub(super) fn histories() -> u64 {
    std::env::var("KMIRROR_HISTORIES").ok().and_then(|number| number.parse().ok()).unwrap_or(10_000)
}

#[test]
fn every_history_keeps_the_promises() {
    let mut seen = HashMap::new();
    let (mut accidents, mut not_found, mut stopped) = (0u64, 0u64, 0u64);
    for seed in 0..histories() {
        match run(seed, None, false) {
            Ok(Outcome { trouble, accident, unclear }) => {
                stopped += u64::from(unclear);
                *seen.entry(format!("{trouble:?}")).or_insert(0u64) += 1;
                accidents += u64::from(accident.is_some());
                not_found += u64::from(accident == Some(false));
            }
            Err(broken) => {
                panic!("{broken}\nstep by step: KMIRROR_SEED={seed} cargo test --lib replays_one_seed -- --nocapture")
            }
        }
    }
    println!(
        "{accidents} accidents that no mirror can prevent, {not_found} of them not found by it, and {stopped} stops because nothing \
         told how far the mirror had come, in {} histories",
        histories()
    );
    // A broker that forgets the producer within the milliseconds in which something is under way, or comes to it later than the lease
    // allows: these histories forget and hold up as often as they can, and still it is rare.
    assert!(accidents * 200 <= histories(), "{accidents} accidents in {} histories", histories());
    assert!(stopped * 1000 <= histories().max(1000), "{stopped} stops in {} histories", histories());
    assert!(seen.len() >= 11 || histories() < 10_000, "some kinds of history did not come up: {seen:?}");
}

/// What a bug breaks in a history. Only what does not happen without the bug counts, and is no accident then.
fn what_is_broken(seed: u64, bug: Bug) -> Option<String> {
    let broken = match run(seed, Some(bug), false) {
        Err(broken) => broken,
        Ok(Outcome { trouble, accident: Some(_), .. }) => {
            format!("{trouble:?}: what would pass for an accident, and does not happen without the bug")
        }
        Ok(_) => return None,
    };
    run(seed, None, false).is_ok_and(|outcome| outcome.accident.is_none()).then_some(broken)
}

#[test]
fn every_planted_bug_is_found() {
    let mut not_found = Vec::new();
    for bug in Bug::ALL {
        let found = (0..histories()).find_map(|seed| Some((seed, what_is_broken(seed, bug)?)));
        match found {
            Some((seed, broken)) => println!("{bug:?} is found after {} histories: {broken}", seed + 1),
            None => not_found.push(bug),
        }
    }
    assert!(not_found.is_empty(), "{not_found:?} are not found in {} histories", histories());
}

#[test]
fn replays_one_seed() {
    let Some(seed) = std::env::var("KMIRROR_SEED").ok().and_then(|seed| seed.parse().ok()) else { return };
    let bug = std::env::var("KMIRROR_BUG").ok();
    let bug = Bug::ALL.into_iter().find(|known| bug.as_deref() == Some(&format!("{known:?}")));
    println!("{:?}", run(seed, bug, true));
}
