//! `kmirror demo`: what the engine promises, seen in a few seconds and without a cluster at hand.
//!
//! Two clusters live in this process, and a writer that does not stop for anything. The mirror is a process of its own,
//! because it is going to be killed. At the end a client that shares no code with the engine reads both clusters and
//! compares every record. Nothing is written to disk.

use std::ffi::OsString;
use std::time::{Duration, Instant};

use kmirror::{Error, ErrorKind};

use crate::args::DemoOptions;
use crate::exit::ExitCode;
use crate::output;
use crate::signals::{Signal, Signals};
use crate::text::{counted, grouped};

mod clusters;
mod compare;
mod mirror;
mod report;
mod writer;

use clusters::{BROKERS, Clusters, PARTITIONS};
use compare::Comparison;
use mirror::MirrorProcess;
use writer::Writer;

/// Records that a mirror has to copy until it is killed: enough to be in full flight.
const UNTIL_KILLED: u64 = 20_000;
/// How long nobody mirrors after a kill.
const DEAD_TIME: Duration = Duration::from_millis(700);
/// A step that takes longer than this never ends.
const LIMIT: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_millis(20);

/// What ends a demo early.
pub(crate) enum Halt {
    Signal(Signal),
    Failed(Error),
}

impl From<Error> for Halt {
    fn from(error: Error) -> Self {
        Halt::Failed(error)
    }
}

type Outcome<T = ()> = Result<T, Halt>;

/// An error of the demo itself, which has no cluster but its own to blame.
fn broken(what: &str, why: impl std::fmt::Display) -> Halt {
    Halt::Failed(Error::new(ErrorKind::Internal, format!("demo: {what}: {why}")))
}

pub(crate) fn command(options: &DemoOptions, program: &[OsString]) -> ExitCode {
    match play(options, program) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(ErrorKind::VerificationFailed.exit_code()),
        Err(Halt::Signal(signal)) => signal.exit_code(),
        Err(Halt::Failed(error)) => {
            output::complain(error.message());
            ExitCode::from(error.kind().exit_code())
        }
    }
}

/// Plays everything; whether both clusters are the same at the end.
fn play(options: &DemoOptions, program: &[OsString]) -> Outcome<bool> {
    let started = Instant::now();
    let (json, program) = (options.json, program.to_vec());
    let demo = Demo { json, program, started, signals: Signals::listen()?, clusters: Clusters::start()? };
    let (source, target) = (demo.clusters.source(), demo.clusters.target());
    demo.say(&format!("two clusters of {BROKERS} brokers: source {source}, target {target}"));
    let writer = Writer::start(&source)?;
    demo.say(&format!("a writer fills {} and does not stop", topics_in_words()));
    for kill in 0..options.kills {
        demo.kill_in_flight(&writer, kill == 0)?;
        demo.wait(DEAD_TIME)?;
    }
    let written = demo.stop(writer)?;
    demo.catch_up(options.kills == 0)?;
    let comparison = demo.compare(written)?;
    if options.json {
        report::print_json(&comparison, written, started.elapsed());
    } else {
        report::print_text(&comparison);
    }
    Ok(comparison.is_identical())
}

struct Demo {
    json: bool,
    /// How this program is started.
    program: Vec<OsString>,
    started: Instant,
    signals: Signals,
    clusters: Clusters,
}

impl Demo {
    /// A line of the story. It is not the result, so it makes way for JSON.
    fn say(&self, line: &str) {
        let line = format!("{:5.1} s  {line}", self.started.elapsed().as_secs_f64());
        if self.json { output::note(&line) } else { output::print(&format!("{line}\n")) }
    }

    /// Starts the mirror, and kills it when it is in full flight.
    fn kill_in_flight(&self, writer: &Writer, first: bool) -> Outcome {
        let before = self.clusters.copied()?;
        let mut mirror = MirrorProcess::start(&self.program, &self.clusters, &[])?;
        let id = mirror.id();
        if first {
            self.say(&format!("$ {}", mirror.command_line()));
        } else {
            let before = counted(before, "record");
            self.say(&format!("the same command again, process {id}, goes on after {before}"));
        }
        let limit = Limit::new(&self.signals, "the mirror copies too slowly");
        let mut copied = before;
        while copied < before + UNTIL_KILLED {
            limit.check()?;
            writer.check()?;
            mirror.check()?;
            std::thread::sleep(PAUSE);
            copied = self.clusters.copied()?;
        }
        mirror.kill()?;
        let (copied, written) = (grouped(self.clusters.copied()?), counted(writer.written(), "record"));
        self.say(&format!("kill -9 {id} in mid-flight: {copied} of {written} are copied"));
        Ok(())
    }

    fn wait(&self, time: Duration) -> Outcome {
        let limit = Limit::new(&self.signals, "the clock stands still");
        let end = Instant::now() + time;
        while Instant::now() < end {
            limit.check()?;
            std::thread::sleep(PAUSE);
        }
        Ok(())
    }

    /// Ends the writer, and returns how much it has written.
    fn stop(&self, writer: Writer) -> Outcome<u64> {
        let limit = Limit::new(&self.signals, "the writer is too slow");
        while writer.written() < UNTIL_KILLED {
            limit.check()?;
            writer.check()?;
            std::thread::sleep(PAUSE);
        }
        let written = writer.stop()?;
        self.say(&format!("the writer stops after {}", counted(written, "record")));
        Ok(written)
    }

    fn catch_up(&self, first: bool) -> Outcome {
        let limit = Limit::new(&self.signals, "the mirror has not caught up");
        let mirror = MirrorProcess::start(&self.program, &self.clusters, &["--until-caught-up"])?;
        if first {
            self.say(&format!("$ {}", mirror.command_line()));
        } else {
            self.say(&format!("the same command with --until-caught-up, process {}", mirror.id()));
        }
        mirror.wait_for_success(|| limit.check())?;
        self.say("the mirror has caught up and ended with exit code 0");
        Ok(())
    }

    fn compare(&self, written: u64) -> Outcome<Comparison> {
        self.say("librdkafka's consumer reads both clusters and compares every record");
        let limit = Limit::new(&self.signals, "the clusters were not read");
        let comparison = compare::compare(&self.clusters, || limit.check())?;
        match comparison.records() {
            records if records == written => Ok(comparison),
            records => Err(broken("the source lost records", format!("{records} of {written} are there"))),
        }
    }
}

/// Ends a wait that takes too long, or that a signal ends.
struct Limit<'a> {
    signals: &'a Signals,
    end: Instant,
    what: &'static str,
}

impl<'a> Limit<'a> {
    fn new(signals: &'a Signals, what: &'static str) -> Self {
        Limit { signals, end: Instant::now() + LIMIT, what }
    }

    fn check(&self) -> Outcome {
        if let Some(signal) = self.signals.received() {
            return Err(Halt::Signal(signal));
        }
        if Instant::now() > self.end {
            let message = format!("demo: {} in {LIMIT:?}", self.what);
            return Err(Halt::Failed(Error::new(ErrorKind::TimedOut, message)));
        }
        Ok(())
    }
}

fn topics_in_words() -> String {
    let partitions: i32 = PARTITIONS.iter().map(|(_, partitions)| partitions).sum();
    format!("{} topics, {partitions} partitions (lz4, zstd)", PARTITIONS.len())
}
