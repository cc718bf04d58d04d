//! The command line of the bench, and how large each part is.
//!
//! `--quick` is the smoke test: every contender really runs and must copy everything, but the amounts are too small for
//! ratios to mean anything, so the bars are not judged.

use std::path::PathBuf;

use crate::contender::Contender;
use crate::support::failure::Context;
use crate::support::{Outcome, fail};

const USAGE: &str = "\
cargo bench --bench mirror -- [OPTIONS]
  --records N      records of the throughput part (2000000)
  --rounds N       runs per contender, the median counts; MirrorMaker 2 runs once (3)
  --quick          a smoke test: little data, no bars
  --only NAME,...  contenders: kmirror, kmirror-c, kmirror-python, rdkafka, relay, mm2-tuned, mm2-defaults
  --parts NAME,... throughput, sweep, latency, partitions
  --sizes N,...    records in a batch, of the sweep (1,10,100,1000)
  --codecs NAME,.. codecs of the sweep (none,gzip,snappy,lz4,zstd)
  --kmirror PATH   the kmirror to measure (the one built with this bench), with libkmirror.so and lib_kmirror.so beside it
  --baseline PATH  another kmirror, measured in turn with it: throughput and latency may be 3 % worse at the most
  --output DIR     where results.json and results.md go (target/bench)";

const SIZES: [u32; 4] = [1, 10, 100, 1000];
const CODECS: [&str; 5] = ["none", "gzip", "snappy", "lz4", "zstd"];

/// A part of the bench.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    Throughput,
    Sweep,
    Latency,
    Partitions,
}

impl Part {
    const ALL: [Self; 4] = [Self::Throughput, Self::Sweep, Self::Latency, Self::Partitions];

    fn name(self) -> &'static str {
        match self {
            Self::Throughput => "throughput",
            Self::Sweep => "sweep",
            Self::Latency => "latency",
            Self::Partitions => "partitions",
        }
    }
}

/// What to measure, and how much of it.
#[derive(Debug)]
pub(crate) struct Options {
    pub(crate) records: u64,
    pub(crate) rounds: usize,
    pub(crate) quick: bool,
    pub(crate) contenders: Vec<Contender>,
    pub(crate) parts: Vec<Part>,
    pub(crate) kmirror: PathBuf,
    pub(crate) baseline: Option<PathBuf>,
    pub(crate) output: PathBuf,
    /// Records in a batch, and codecs, of the sweep.
    pub(crate) sizes: Vec<u32>,
    pub(crate) codecs: Vec<&'static str>,
    /// Of the latency part, without its beginning that is left out.
    pub(crate) latency_seconds: u64,
    /// Topics of a hundred partitions each.
    pub(crate) many_topics: usize,
    pub(crate) idle_seconds: u64,
}

impl Options {
    pub(crate) fn parse(arguments: &[String]) -> Outcome<Self> {
        let tmp = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
        let mut options = Self {
            records: 2_000_000,
            rounds: 3,
            quick: arguments.iter().any(|argument| argument == "--quick"),
            contenders: Contender::ALL.to_vec(),
            parts: Part::ALL.to_vec(),
            kmirror: env!("CARGO_BIN_EXE_kmirror").into(),
            baseline: None,
            output: tmp.with_file_name("bench"),
            sizes: SIZES.to_vec(),
            codecs: CODECS.to_vec(),
            latency_seconds: 25,
            many_topics: 50,
            idle_seconds: 20,
        };
        if options.quick {
            options.records = 60_000;
            options.rounds = 1;
            options.sizes = vec![1, 1000];
            options.codecs = vec!["none", "zstd"];
            options.latency_seconds = 5;
            options.many_topics = 2;
            options.idle_seconds = 3;
        }
        let mut arguments = arguments.iter();
        while let Some(flag) = arguments.next() {
            let mut value = || match arguments.next() {
                Some(value) => Ok(value.as_str()),
                None => fail(format!("{flag} needs a value\n{USAGE}")),
            };
            match flag.as_str() {
                // Cargo passes the first one to every bench.
                "--bench" | "--quick" => {}
                "--records" => options.records = value()?.parse().context("--records")?,
                "--rounds" => options.rounds = value()?.parse().context("--rounds")?,
                "--only" => options.contenders = choose(value()?, &Contender::ALL, Contender::name)?,
                "--parts" => options.parts = choose(value()?, &Part::ALL, Part::name)?,
                "--sizes" => {
                    let sizes = value()?.split(',').map(|size| size.parse().context("--sizes"));
                    options.sizes = sizes.collect::<Outcome<_>>()?;
                }
                "--codecs" => options.codecs = choose(value()?, &CODECS, |codec| codec)?,
                "--kmirror" => options.kmirror = value()?.into(),
                "--baseline" => options.baseline = Some(value()?.into()),
                "--output" => options.output = value()?.into(),
                other => return fail(format!("{other} is not an option\n{USAGE}")),
            }
        }
        if options.records == 0 || options.rounds == 0 || options.sizes.contains(&0) {
            return fail("--records, --rounds and --sizes begin at 1");
        }
        if options.baseline.is_some() {
            // Beside the one it is held against, so that both meet the same moments of the machine.
            let at = options.contenders.iter().position(|contender| *contender == Contender::Kmirror);
            options.contenders.insert(at.map_or(0, |at| at + 1), Contender::KmirrorBefore);
        }
        Ok(options)
    }

    pub(crate) fn has(&self, part: Part) -> bool {
        self.parts.contains(&part)
    }
}

fn choose<T: Copy>(names: &str, all: &[T], name_of: fn(T) -> &'static str) -> Outcome<Vec<T>> {
    let find = |name: &str| all.iter().copied().find(|candidate| name_of(*candidate) == name);
    names
        .split(',')
        .map(|name| match find(name) {
            Some(found) => Ok(found),
            None => {
                let known: Vec<_> = all.iter().copied().map(name_of).collect();
                fail(format!("{name} is none of {}", known.join(", ")))
            }
        })
        .collect()
}
