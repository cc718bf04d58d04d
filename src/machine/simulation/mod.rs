//! Thousands of seeded histories of the partition machine against simulated clusters, without a clock or a network.
//!
//! `KMIRROR_HISTORIES=1000000 cargo test --release machine::simulation` runs more of them;
//! `KMIRROR_SEED=17 cargo test replays_one_seed -- --nocapture` tells the history of one seed, step by step.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod history;
mod network;
mod plan;
mod planted;
mod process;
mod translated;
mod world;

use std::collections::HashMap;

use history::run;
use planted::Bug;

fn histories() -> u64 {
    std::env::var("KMIRROR_HISTORIES").ok().and_then(|number| number.parse().ok()).unwrap_or(10_000)
}

#[test]
fn every_history_keeps_the_promises() {
    let mut seen = HashMap::new();
    for seed in 0..histories() {
        match run(seed, None, false) {
            Ok(trouble) => *seen.entry(format!("{trouble:?}")).or_insert(0u64) += 1,
            Err(broken) => {
                panic!("{broken}\nstep by step: KMIRROR_SEED={seed} cargo test --lib replays_one_seed -- --nocapture")
            }
        }
    }
    assert!(seen.len() >= 11 || histories() < 10_000, "some kinds of history did not come up: {seen:?}");
}

#[test]
fn every_planted_bug_is_found() {
    for bug in Bug::ALL {
        let found = (0..histories()).find_map(|seed| run(seed, Some(bug), false).err().map(|broken| (seed, broken)));
        match found {
            Some((seed, broken)) => println!("{bug:?} is found after {} histories: {broken}", seed + 1),
            None => panic!("{bug:?} is not found in {} histories", histories()),
        }
    }
}

#[test]
fn replays_one_seed() {
    let Some(seed) = std::env::var("KMIRROR_SEED").ok().and_then(|seed| seed.parse().ok()) else { return };
    let bug = std::env::var("KMIRROR_BUG").ok();
    let bug = Bug::ALL.into_iter().find(|known| bug.as_deref() == Some(&format!("{known:?}")));
    println!("{:?}", run(seed, bug, true));
}
