//! The measuring bench: the same work on the same brokers in one run, by kmirror and by its peers.
//!
//! Four parts: copying a topic as fast as possible (CPU, memory), the same for batches of all sizes and codecs, added latency
//! at a steady trickle, and thousands of partitions. Only ratios within one run mean anything; absolute numbers are those of the machine. A table is printed,
//! `target/bench` gets `results.json` with every number and `results.md` for the README, and the exit code is 1 when
//! kmirror misses one of its bars. The contenders run as child processes, the rdkafka loop and the blind relay by
//! executing this program again with another first argument, so that `/proc` tells each one's CPU time apart.
#![allow(unused_imports, reason = "the harness of the tests is shared, and brings tests of its own along")]

mod bars;
mod c_copier;
mod contender;
mod latency;
mod machine;
mod mirror_maker;
mod options;
mod partitions;
mod process;
mod python_copier;
mod rdkafka_loop;
mod relay;
mod report;
mod stage;
#[path = "../it/support/mod.rs"]
mod support;
mod sweep;
mod table;
mod throughput;

use std::process::ExitCode;

use options::{Options, Part};
use report::Results;
use stage::Stage;
use support::Outcome;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let child = match arguments.first().map(String::as_str) {
        Some(rdkafka_loop::ROLE) => Some(rdkafka_loop::child(&arguments[1..])),
        Some(relay::ROLE) => Some(relay::child(&arguments[1..])),
        _ => None,
    };
    let outcome = match child {
        Some(outcome) => outcome.map(|()| true),
        None => Options::parse(&arguments).and_then(|options| measure(&options)),
    };
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(failure) => {
            eprintln!("bench: {failure}");
            ExitCode::from(2)
        }
    }
}

/// Runs the chosen parts; whether every bar was met.
fn measure(options: &Options) -> Outcome<bool> {
    let mut results = Results::new(options)?;
    let stage = Stage::build(options)?;
    if options.has(Part::Throughput) {
        results.throughput = throughput::measure(options, &stage, &mut results.workload)?;
    }
    if options.has(Part::Sweep) {
        results.sweep = sweep::measure(options, &stage)?;
    }
    if options.has(Part::Latency) {
        results.latency = latency::measure(options, &stage)?;
    }
    if options.has(Part::Partitions) {
        results.partitions = Some(partitions::measure(options, &stage)?);
    }
    results.bars = bars::judge(&results);
    results.publish(options)?;
    Ok(results.bars.iter().all(bars::Bar::is_met))
}
