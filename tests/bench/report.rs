//! The numbers of one run of the bench, and how they come out: JSON, a table for the terminal, Markdown for the README.
//! A run on a machine that had other work to do says so, because its numbers mean little.

use std::fs;
use std::process::Command;

use serde::Serialize;

use crate::bars::Bar;
use crate::contender::Contender;
use crate::options::Options;
use crate::process::Used;
use crate::support::Outcome;
use crate::support::cluster::Version;
use crate::{machine, table};

/// Cores others may use on the average before a run is called disturbed.
const COMPANY_LIMIT: f64 = 0.15;

/// All there is to know about one run of the bench.
#[derive(Serialize)]
pub(crate) struct Results {
    pub(crate) quick: bool,
    pub(crate) machine: Machine,
    pub(crate) versions: Versions,
    pub(crate) workload: Option<Workload>,
    pub(crate) throughput: Vec<Throughput>,
    pub(crate) sweep: Vec<Cell>,
    pub(crate) latency: Vec<Latency>,
    pub(crate) partitions: Option<Partitions>,
    pub(crate) bars: Vec<Bar>,
}

#[derive(Serialize)]
pub(crate) struct Machine {
    pub(crate) cores: usize,
    pub(crate) processor: String,
    /// Of the minute before the bench began.
    pub(crate) load_average_before: f64,
}

#[derive(Serialize)]
pub(crate) struct Versions {
    pub(crate) kmirror: String,
    pub(crate) kafka: &'static str,
    pub(crate) librdkafka: String,
    pub(crate) java: String,
}

/// What was copied.
#[derive(Serialize)]
pub(crate) struct Workload {
    pub(crate) records: u64,
    pub(crate) record_bytes: usize,
    pub(crate) partitions: i32,
    /// The producer's `batch.size`.
    pub(crate) batch_bytes: usize,
    /// Of the source topic's log: compressed.
    pub(crate) log_bytes: u64,
}

/// One copy by one contender.
#[derive(Clone, Serialize)]
pub(crate) struct Run {
    pub(crate) cpu_seconds: f64,
    pub(crate) wall_seconds: f64,
    pub(crate) peak_bytes: u64,
    /// The part before the first record arrived, where the contender is watched from outside.
    pub(crate) start_cpu_seconds: Option<f64>,
    pub(crate) start_wall_seconds: Option<f64>,
    /// Cores that were busy with something else meanwhile.
    pub(crate) others_cores: f64,
}

impl Run {
    pub(crate) fn new(used: Used, start: Option<Used>, others_cores: f64) -> Self {
        Self {
            cpu_seconds: used.cpu_seconds,
            wall_seconds: used.wall_seconds,
            peak_bytes: used.peak_bytes,
            start_cpu_seconds: start.map(|start| start.cpu_seconds),
            start_wall_seconds: start.map(|start| start.wall_seconds),
            others_cores,
        }
    }
}

/// All copies by one contender; an incomplete one is an error long before.
#[derive(Serialize)]
pub(crate) struct Throughput {
    #[serde(skip)]
    pub(crate) contender: Contender,
    pub(crate) name: &'static str,
    pub(crate) complete: bool,
    /// Medians.
    pub(crate) cpu_seconds: f64,
    pub(crate) cpu_seconds_per_gb: f64,
    pub(crate) wall_seconds: f64,
    pub(crate) megabytes_per_second: f64,
    /// The highest of all runs.
    pub(crate) peak_bytes: u64,
    /// Without the part before the first record arrived, or before a program of the same language does anything.
    pub(crate) steady_cpu_seconds: Option<f64>,
    pub(crate) runs: Vec<Run>,
}

impl Throughput {
    pub(crate) fn of(contender: Contender, runs: Vec<Run>, log_bytes: u64) -> Self {
        let cpu_seconds = median(runs.iter().map(|run| run.cpu_seconds));
        let wall_seconds = median(runs.iter().map(|run| run.wall_seconds));
        let steady: Vec<_> = runs.iter().filter_map(|run| Some(run.cpu_seconds - run.start_cpu_seconds?)).collect();
        Self {
            contender,
            name: contender.name(),
            complete: true,
            cpu_seconds,
            cpu_seconds_per_gb: cpu_seconds / (log_bytes as f64 / 1e9),
            wall_seconds,
            megabytes_per_second: log_bytes as f64 / 1e6 / wall_seconds,
            peak_bytes: runs.iter().map(|run| run.peak_bytes).max().unwrap_or(0),
            steady_cpu_seconds: (!steady.is_empty()).then(|| median(steady.into_iter())),
            runs,
        }
    }
}

/// What one contender needed for each unit of another: the median over pairs of rounds that follow each other, as in every other
/// round the second of the two ran first.
pub(crate) fn paired(ours: &Throughput, theirs: &Throughput, value: fn(&Run) -> f64) -> f64 {
    let ratios: Vec<f64> =
        ours.runs.iter().zip(&theirs.runs).map(|(ours, theirs)| value(ours) / value(theirs)).collect();
    match ratios.len() {
        1 => ratios[0],
        _ => median(ratios.windows(2).map(|both| (both[0] * both[1]).sqrt())),
    }
}

/// One batch size in one codec.
#[derive(Serialize)]
pub(crate) struct Cell {
    pub(crate) batch_records: u32,
    pub(crate) codec: &'static str,
    pub(crate) records: u64,
    pub(crate) log_bytes: u64,
    pub(crate) copies: Vec<Copy>,
}

/// The better of the copies of one contender.
#[derive(Serialize)]
pub(crate) struct Copy {
    #[serde(skip)]
    pub(crate) contender: Contender,
    pub(crate) name: &'static str,
    pub(crate) cpu_seconds: f64,
    pub(crate) wall_seconds: f64,
    pub(crate) others_cores: f64,
}

impl Copy {
    pub(crate) fn of(contender: Contender, runs: &[Run]) -> Self {
        let least = |value: fn(&Run) -> f64| runs.iter().map(value).fold(f64::INFINITY, f64::min);
        Self {
            contender,
            name: contender.name(),
            cpu_seconds: least(|run| run.cpu_seconds),
            wall_seconds: least(|run| run.wall_seconds),
            others_cores: least(|run| run.others_cores),
        }
    }
}

impl Cell {
    pub(crate) fn copy_by(&self, contender: Contender) -> Option<&Copy> {
        self.copies.iter().find(|copy| copy.contender == contender)
    }

    /// What kmirror needs for each unit of the rdkafka loop, if both were measured: CPU and wall time.
    pub(crate) fn ratios(&self) -> Option<(f64, f64)> {
        let (ours, theirs) = (self.copy_by(Contender::Kmirror)?, self.copy_by(Contender::Rdkafka)?);
        Some((ours.cpu_seconds / theirs.cpu_seconds, ours.wall_seconds / theirs.wall_seconds))
    }

    pub(crate) fn title(&self) -> String {
        format!("{} x {}", self.batch_records, self.codec)
    }
}

/// How late records arrive, at the source and at the target.
#[derive(Serialize)]
pub(crate) struct Latency {
    #[serde(skip)]
    pub(crate) contender: Contender,
    pub(crate) name: &'static str,
    pub(crate) records: usize,
    pub(crate) direct: Percentiles,
    pub(crate) mirrored: Percentiles,
    pub(crate) added_p50_ms: f64,
    pub(crate) cpu_percent: f64,
    pub(crate) others_cores: f64,
}

impl Latency {
    pub(crate) fn new(
        contender: Contender,
        (records, direct): (usize, Percentiles),
        (_, mirrored): (usize, Percentiles),
        cpu_percent: f64,
        others_cores: f64,
    ) -> Self {
        let added_p50_ms = mirrored.p50_ms - direct.p50_ms;
        Self { contender, name: contender.name(), records, direct, mirrored, added_p50_ms, cpu_percent, others_cores }
    }
}

#[derive(Serialize)]
pub(crate) struct Percentiles {
    pub(crate) p50_ms: f64,
    pub(crate) p99_ms: f64,
    pub(crate) max_ms: f64,
}

impl Percentiles {
    /// Of nanoseconds; and how many there were.
    pub(crate) fn of(mut nanoseconds: Vec<u64>) -> (usize, Self) {
        nanoseconds.sort_unstable();
        let last = nanoseconds.len().saturating_sub(1);
        let at = |share: f64| nanoseconds.get((last as f64 * share) as usize).map_or(0.0, |found| *found as f64 / 1e6);
        (nanoseconds.len(), Self { p50_ms: at(0.5), p99_ms: at(0.99), max_ms: at(1.0) })
    }
}

/// kmirror with many partitions.
#[derive(Serialize)]
pub(crate) struct Partitions {
    pub(crate) topics: usize,
    pub(crate) partitions: usize,
    pub(crate) start_creating_seconds: f64,
    pub(crate) start_creating_cpu_seconds: f64,
    pub(crate) start_existing_seconds: f64,
    pub(crate) start_existing_cpu_seconds: f64,
    pub(crate) idle_seconds: u64,
    pub(crate) idle_cpu_percent: f64,
    pub(crate) peak_bytes: u64,
    pub(crate) others_cores: f64,
}

impl Results {
    pub(crate) fn new(options: &Options) -> Outcome<Self> {
        let (cores, processor, load_average_before) = machine::describe();
        let (_, librdkafka) = rdkafka::util::get_rdkafka_version();
        Ok(Self {
            quick: options.quick,
            machine: Machine { cores, processor, load_average_before },
            versions: Versions {
                kmirror: first_line(Command::new(&options.kmirror).arg("--version"))?,
                kafka: Version::Latest.number(),
                librdkafka,
                java: first_line(Command::new("java").arg("-version"))?,
            },
            workload: None,
            throughput: Vec::new(),
            sweep: Vec::new(),
            latency: Vec::new(),
            partitions: None,
            bars: Vec::new(),
        })
    }

    pub(crate) fn copy_by(&self, contender: Contender) -> Option<&Throughput> {
        self.throughput.iter().find(|found| found.contender == contender)
    }

    pub(crate) fn latency_of(&self, contender: Contender) -> Option<&Latency> {
        self.latency.iter().find(|found| found.contender == contender)
    }

    /// Names of measurements during which others kept the machine busy.
    pub(crate) fn disturbed(&self) -> Vec<String> {
        let copies = self.throughput.iter().flat_map(|copy| copy.runs.iter().map(|run| (copy.name, run.others_cores)));
        let latencies = self.latency.iter().map(|latency| (latency.name, latency.others_cores));
        let partitions = self.partitions.iter().map(|partitions| ("partitions", partitions.others_cores));
        let sweep = self.sweep.iter().flat_map(|cell| cell.copies.iter().map(|copy| copy.others_cores));
        let sweep = sweep.reduce(f64::max).map(|most| ("sweep, at the most", most));
        copies
            .chain(sweep)
            .chain(latencies)
            .chain(partitions)
            .filter(|(_, cores)| *cores > COMPANY_LIMIT)
            .map(|(name, cores)| format!("{name} ({cores:.2} cores)"))
            .collect()
    }

    /// Prints the table and writes the files.
    pub(crate) fn publish(&self, options: &Options) -> Outcome {
        fs::create_dir_all(&options.output)?;
        fs::write(options.output.join("results.json"), serde_json::to_string_pretty(self)?)?;
        fs::write(options.output.join("results.md"), table::markdown(self))?;
        println!("{}", table::text(self));
        Ok(())
    }
}

/// What the bench is doing now.
pub(crate) fn progress(what: &str) {
    eprintln!("bench: {what}");
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(0.0)
}

/// Of what a command prints, wherever it does.
fn first_line(command: &mut Command) -> Outcome<String> {
    let output = command.output()?;
    let text = [output.stdout, output.stderr].concat();
    Ok(String::from_utf8_lossy(&text).lines().next().unwrap_or_default().to_owned())
}
