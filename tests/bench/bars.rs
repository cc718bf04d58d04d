//! What kmirror promises of itself, held against the numbers of one run.
//!
//! A bar whose numbers were not measured (`--only`, `--parts`) is not judged, and none is in a quick run.

use serde::Serialize;

use crate::contender::Contender;
use crate::report::{Results, paired};

/// The memory of a mirror beside its buffers, and the buffers by default.
const BASE_MEMORY: f64 = 64e6;
const BUFFER_MEMORY: f64 = (32 << 20) as f64;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Verdict {
    Pass,
    Fail,
    /// Reported, whatever it is.
    Aim,
}

/// One promise and what was found.
#[derive(Serialize)]
pub(crate) struct Bar {
    pub(crate) what: &'static str,
    pub(crate) limit: f64,
    pub(crate) value: f64,
    pub(crate) found: String,
    pub(crate) verdict: Verdict,
}

impl Bar {
    pub(crate) fn is_met(&self) -> bool {
        self.verdict != Verdict::Fail
    }

    fn at_most(what: &'static str, limit: f64, value: f64, unit: &str) -> Self {
        let verdict = if value <= limit { Verdict::Pass } else { Verdict::Fail };
        Self { what, limit, value, found: format!("{value:.3}{unit} (at most {limit:.3}{unit})"), verdict }
    }

    fn aim(self) -> Self {
        let met = if self.verdict == Verdict::Pass { "reached" } else { "not reached" };
        Self { found: format!("{}, {met}", self.found), verdict: Verdict::Aim, ..self }
    }
}

/// Holds the results against every bar there are numbers for.
pub(crate) fn judge(results: &Results) -> Vec<Bar> {
    if results.quick {
        return Vec::new();
    }
    let mut bars = throughput(results);
    bars.extend(sweep(results));
    if let Some(kmirror) = results.latency_of(Contender::Kmirror) {
        bars.push(Bar::at_most("added latency, p50", 1.0, kmirror.added_p50_ms, " ms"));
    }
    bars.extend(against_before(results));
    if let Some(found) = &results.partitions {
        bars.push(Bar::at_most("start with many partitions", 10.0, found.start_existing_seconds, " s"));
        bars.push(Bar::at_most("idle CPU with many partitions", 3.0, found.idle_cpu_percent, " %"));
        bars.push(Bar::at_most("memory with many partitions", 200.0, found.peak_bytes as f64 / 1e6, " MB"));
    }
    bars
}

/// A change makes nothing slower than the build before it, but for what two equal builds differ by from run to run.
fn against_before(results: &Results) -> Vec<Bar> {
    const NO_WORSE: f64 = 1.03;
    let mut bars = Vec::new();
    if let (Some(kmirror), Some(before)) =
        (results.copy_by(Contender::Kmirror), results.copy_by(Contender::KmirrorBefore))
    {
        let cpu = paired(kmirror, before, |run| run.cpu_seconds);
        bars.push(Bar::at_most("CPU against the build before", NO_WORSE, cpu, ""));
        let wall = paired(kmirror, before, |run| run.wall_seconds);
        bars.push(Bar::at_most("wall time against the build before", NO_WORSE, wall, ""));
    }
    if let (Some(kmirror), Some(before)) =
        (results.latency_of(Contender::Kmirror), results.latency_of(Contender::KmirrorBefore))
    {
        let ratio = kmirror.mirrored.p50_ms / before.mirrored.p50_ms;
        bars.push(Bar::at_most("latency at the target against the build before, p50", NO_WORSE, ratio, ""));
    }
    bars
}

/// The worst of all batch sizes and codecs counts: there is none at which a loop written by hand would be the better choice.
fn sweep(results: &Results) -> Vec<Bar> {
    let cells = || results.sweep.iter().filter_map(|cell| Some((cell, cell.ratios()?)));
    let worst = |what, ratio: fn((f64, f64)) -> f64| {
        let (cell, ratios) = cells().max_by(|(_, one), (_, other)| ratio(*one).total_cmp(&ratio(*other)))?;
        let bar = Bar::at_most(what, 1.0, ratio(ratios), "");
        Some(Bar { found: format!("{}, worst with batches of {}", bar.found, cell.title()), ..bar })
    };
    let cpu = worst("CPU against the rdkafka loop, at any batch size", |(cpu, _)| cpu);
    let wall = worst("wall time against the rdkafka loop, at any batch size", |(_, wall)| wall);
    cpu.into_iter().chain(wall).collect()
}

fn throughput(results: &Results) -> Vec<Bar> {
    let Some(kmirror) = results.copy_by(Contender::Kmirror) else { return Vec::new() };
    let mut bars = Vec::new();
    if let Some(rdkafka) = results.copy_by(Contender::Rdkafka) {
        let ratio = kmirror.cpu_seconds / rdkafka.cpu_seconds;
        bars.push(Bar::at_most("CPU against the rdkafka loop", 0.25, ratio, ""));
    }
    if let Some(tuned) = results.copy_by(Contender::MirrorMakerTuned) {
        let ratio = kmirror.cpu_seconds / tuned.cpu_seconds;
        bars.push(Bar::at_most("CPU against MirrorMaker 2, tuned", 0.1, ratio, ""));
        if let Some(steady) = tuned.steady_cpu_seconds {
            let ratio = kmirror.cpu_seconds / steady;
            bars.push(Bar::at_most("CPU against MirrorMaker 2, tuned, its start left out", 0.1, ratio, "").aim());
        }
    }
    if let Some(from_c) = results.copy_by(Contender::KmirrorC) {
        let ratio = from_c.cpu_seconds / kmirror.cpu_seconds;
        bars.push(Bar::at_most("CPU from a C program against the command line", 1.05, ratio, ""));
    }
    let from_python = results.copy_by(Contender::KmirrorPython).and_then(|copy| copy.steady_cpu_seconds);
    if let Some(steady) = from_python {
        let ratio = steady / kmirror.cpu_seconds;
        bars.push(Bar::at_most(
            "CPU from Python against the command line, the interpreter's start left out",
            1.05,
            ratio,
            "",
        ));
    }
    let limit = (BASE_MEMORY + BUFFER_MEMORY) / 1e6;
    bars.push(Bar::at_most("peak memory while copying", limit, kmirror.peak_bytes as f64 / 1e6, " MB"));
    if let Some(relay) = results.copy_by(Contender::Relay) {
        let ratio = kmirror.cpu_seconds / relay.cpu_seconds;
        bars.push(Bar::at_most("CPU against the blind relay", 1.5, ratio, "").aim());
    }
    bars
}
