//! `kmirror run`: starts a mirror, watches it, stops it cleanly.
//!
//! It ends for one of five reasons, [`End`], and each has its exit code. A mirror that runs is always stopped before the
//! process ends, unless a second signal comes.

use std::time::{Duration, Instant};

use kmirror::config::Config;
use kmirror::{Callbacks, Error, ErrorKind, Event, EventKind, Mirror, Result, State, Status};

use crate::args::RunOptions;
use crate::exit::ExitCode;
use crate::flows::{Flow, Flows};
use crate::progress::{Display, Progress};
use crate::signals::Signals;
use crate::summary::{self, End, Ended};
use crate::{logs, reverse, settings};

/// How long answers under way are waited for.
const STOP_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a wait may be until signals and the time are looked at again.
const SLICE: Duration = Duration::from_millis(50);
/// More than anybody waits, and no overflow when it is added to a time.
const FOR_EVER: Duration = Duration::from_secs(100 * 365 * 86_400);

pub(crate) fn command(options: &RunOptions) -> ExitCode {
    if let Some(name) = &options.reverse {
        return reverse::command(options, name);
    }
    let started = Instant::now();
    let display = Display::new();
    let ended: Vec<Ended> = match prepare(options, display) {
        Ok((configs, signals)) => run_all(options, configs, &signals, display, started),
        Err(error) => vec![(End::Failed(error), None)],
    };
    display.clear();
    for error in ended.iter().filter_map(|(end, status)| end.error(status.as_ref())) {
        logs::complain(options.log_format, &error);
    }
    if options.json {
        summary::print_json(&ended, started.elapsed());
    } else {
        for (end, status) in &ended {
            summary::print_text(end, status.as_ref(), started.elapsed());
        }
    }
    summary::exit_code(&ended)
}

/// Runs the mirrors at the same time, each to its own end: what ends one leaves the others alone.
fn run_all(
    options: &RunOptions,
    configs: Vec<Config>,
    signals: &Signals,
    display: Display,
    started: Instant,
) -> Vec<Ended> {
    // One display shows one mirror; of several there are log lines.
    let display = if configs.len() == 1 { display } else { Display::hidden() };
    let flows = Flows::new(configs.len());
    let is_alone = configs.len() == 1;
    let run = |config, flow| {
        let run = Run { options, signals: signals.clone(), started, progress: Progress::new(display), flow };
        run.mirror(config)
    };
    let lost = |_| (End::Failed(Error::new(ErrorKind::Internal, "the thread of a mirror ended unexpectedly")), None);
    let mut configs = configs;
    if is_alone {
        return configs.pop().map(|config| run(config, None)).into_iter().collect();
    }
    std::thread::scope(|scope| {
        let start = |config: Config| {
            let flow = Some(flows.flow(config.name.as_deref()));
            std::thread::Builder::new().spawn_scoped(scope, move || run(config, flow))
        };
        let running: Vec<_> = configs.into_iter().map(start).collect();
        let no_thread = |error| (End::Failed(Error::no_thread("a mirror of several", &error)), None);
        let join = |thread: std::io::Result<std::thread::ScopedJoinHandle<'_, Ended>>| match thread {
            Ok(thread) => thread.join().unwrap_or_else(lost),
            Err(error) => no_thread(error),
        };
        running.into_iter().map(join).collect()
    })
}

/// All that can be wrong before a cluster is asked.
fn prepare(options: &RunOptions, display: Display) -> Result<(Vec<Config>, Signals)> {
    logs::start(options.log_format, display)?;
    let signals = Signals::listen()?;
    let objections = options.obsolete.objections();
    if !objections.errors.is_empty() {
        return Err(Error::new(ErrorKind::Config, objections.errors.join("\n  ")));
    }
    for warning in objections.warnings {
        tracing::warn!("{warning}");
    }
    let configs = settings::configure(&options.mirror)?;
    Ok((configs, signals))
}

struct Run<'a> {
    options: &'a RunOptions,
    signals: Signals,
    started: Instant,
    progress: Progress,
    /// Where there are several.
    flow: Option<Flow<'a>>,
}

impl Run<'_> {
    /// Runs the mirror to its end; the status is missing if it could not start.
    fn mirror(mut self, config: Config) -> Ended {
        let ended = match self.start_of_several(config) {
            Ok(mirror) => self.run_to_its_end(&mirror),
            Err(end) => (end, None),
        };
        if let Some(flow) = &mut self.flow {
            flow.has_ended(ended.0.error(ended.1.as_ref()).as_ref());
        }
        ended
    }

    fn run_to_its_end(&mut self, mirror: &Mirror) -> Ended {
        let end = if self.options.until_caught_up { self.catch_up(mirror) } else { self.watch(mirror) };
        if let Err(error) = mirror.stop(STOP_TIMEOUT) {
            tracing::warn!("{error}; what was not finished is copied by the next start");
        }
        drain(mirror);
        (end, Some(mirror.status()))
    }

    /// Starts; one of several again and again, as long as another one runs.
    fn start_of_several(&mut self, config: Config) -> std::result::Result<Mirror, End> {
        loop {
            let end = match self.start(config.clone()) {
                Ok(mirror) => {
                    self.flow.iter_mut().for_each(Flow::has_started);
                    return Ok(mirror);
                }
                Err(end) => end,
            };
            let (Some(flow), End::Failed(error)) = (&mut self.flow, &end) else { return Err(end) };
            let Some(next) = flow.next_attempt(error) else { return Err(end) };
            while Instant::now() < next {
                if let Some(interrupted) = self.interrupted() {
                    return Err(interrupted);
                }
                if self.flow.as_ref().is_some_and(Flow::is_last) {
                    return Err(end);
                }
                std::thread::sleep(SLICE);
            }
        }
    }

    /// Starts, unless something ends it before.
    fn start(&mut self, config: Config) -> std::result::Result<Mirror, End> {
        let mut end = None;
        let outcome = Mirror::start_or(config, Callbacks::new(), || {
            end = self.interrupted();
            self.progress.tick_connecting();
            end.is_some()
        });
        outcome.map_err(|error| end.unwrap_or(End::Failed(error)))
    }

    /// Runs until something ends it.
    fn watch(&mut self, mirror: &Mirror) -> End {
        loop {
            if let Some(event) = mirror.poll(SLICE) {
                report(&event);
            }
            if let Some(end) = self.look(mirror) {
                return end;
            }
        }
    }

    /// Runs until everything is copied, or what can be copied is and the rest never will.
    fn catch_up(&mut self, mirror: &Mirror) -> End {
        let mut end = None;
        let outcome = mirror.wait_until_caught_up_or(FOR_EVER, || {
            drain(mirror);
            // Partitions that failed are waited for by the engine: the others shall finish first.
            end = self.interrupted().or_else(|| failed_as_a_whole(mirror));
            self.progress.tick(|| mirror.status());
            end.is_some()
        });
        match (end, outcome) {
            (_, Ok(())) => End::CaughtUp,
            (Some(end), Err(_)) => end,
            (None, Err(_)) if mirror.state() == State::Promoted => {
                let message = "the mirror was promoted before it had caught up; it writes nothing any more";
                End::Failed(Error::new(ErrorKind::Config, message))
            }
            (None, Err(error)) => End::Failed(error),
        }
    }

    fn look(&mut self, mirror: &Mirror) -> Option<End> {
        self.progress.tick(|| mirror.status());
        match mirror.state() {
            State::Failed => Some(End::Failed(why_failed(&mirror.status()))),
            State::Promoted => Some(End::Promoted),
            _ => self.interrupted(),
        }
    }

    fn interrupted(&self) -> Option<End> {
        let timed_out = || self.options.timeout.filter(|timeout| self.started.elapsed() >= *timeout);
        self.signals.received().map(End::Signal).or_else(|| timed_out().map(End::TimedOut))
    }
}

fn failed_as_a_whole(mirror: &Mirror) -> Option<End> {
    if mirror.state() != State::Failed {
        return None;
    }
    mirror.status().error.map(End::Failed)
}

/// The error of a mirror in the state `failed`: its own, or that of a partition when all of them are parked.
fn why_failed(status: &Status) -> Error {
    let partitions = status.topics.iter().flat_map(|topic| &topic.partitions);
    let mut errors = partitions.filter_map(|partition| partition.error.clone());
    match (&status.error, errors.next(), errors.count()) {
        (Some(error), ..) => error.clone(),
        (None, Some(first), 0) => first,
        (None, Some(first), more) => {
            first.context(format!("all {} partitions are parked, the first of them", more + 1))
        }
        (None, None, _) => Error::new(ErrorKind::Internal, "the mirror failed without an error"),
    }
}

fn drain(mirror: &Mirror) {
    while let Some(event) = mirror.poll(Duration::ZERO) {
        report(&event);
    }
}

/// Logs what the engine does not log itself.
fn report(event: &Event) {
    let topic = event.topic.as_deref();
    match event.kind {
        EventKind::LagAbove | EventKind::TopicRemoved | EventKind::GroupSkipped => {
            tracing::warn!(topic, partition = event.partition, "{}", event.message);
        }
        EventKind::LagBelow | EventKind::PartitionResumed | EventKind::GroupSynced => {
            tracing::info!(topic, partition = event.partition, "{}", event.message);
        }
        _ => {}
    }
}
