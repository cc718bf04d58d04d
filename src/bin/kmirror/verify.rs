//! `kmirror verify`: compares what consumers would read from both clusters, and says "identical" or where not.
//!
//! The result goes to standard output, and its last line is the sentence that counts. The exit code is 0 only if everything was seen
//! and is equal, and 6 for differences as well as for what could not be compared and was not allowed to be missing.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use kmirror::config::{Config, TopicSelection};
use kmirror::text::escaped;
use kmirror::{
    Error, ErrorKind, Finding, FindingKind, Result, VerifyOptions, VerifyOutcome, VerifyProgress, VerifyReport,
};
use serde::Serialize;

use crate::args::VerifyArguments;
use crate::exit::ExitCode;
use crate::progress::Display;
use crate::signals::{Signal, Signals};
use crate::summary::ErrorDocument;
use crate::text::{clock, counted, grouped, megabytes};
use crate::{logs, output, settings};

/// How often the display is redrawn.
const FRAME: Duration = Duration::from_millis(250);
/// How often there is a log line where there is no display.
const LOG_INTERVAL: Duration = Duration::from_secs(10);

pub(crate) fn command(arguments: &VerifyArguments) -> ExitCode {
    let started = Instant::now();
    let display = Display::new();
    let ends: Vec<End> = match prepare(arguments, display) {
        Ok((configs, options, signals)) => {
            let one = |config| verify(arguments, config, options.clone(), &signals, display, started);
            configs.into_iter().map(one).collect()
        }
        Err(error) => vec![End::Failed(error)],
    };
    display.clear();
    if arguments.json && ends.len() > 1 {
        output::print_json(&ends.iter().map(|end| document(end, started.elapsed())).collect::<Vec<_>>());
    }
    for end in &ends {
        tell(arguments, end, started.elapsed(), ends.len() == 1);
    }
    // Of several flows the first that is not as it should be.
    ExitCode::from(ends.iter().map(End::code).find(|code| *code != 0).unwrap_or(0))
}

fn tell(arguments: &VerifyArguments, end: &End, running: Duration, alone: bool) {
    let error = end.error();
    // What a report finds is the result, and told with it.
    if let Some(error) = error.as_ref().filter(|_| !matches!(end, End::Finished(_))) {
        logs::complain(arguments.log_format, error);
    }
    if arguments.json && alone {
        output::print_json(&document(end, running));
    } else if let (End::Finished(report), false) = (end, arguments.json) {
        output::print(&text(report, running));
    }
}

/// Why it ended.
enum End {
    Finished(Box<VerifyReport>),
    Signal(Signal),
    Failed(Error),
}

impl End {
    fn error(&self) -> Option<Error> {
        match self {
            End::Finished(report) => report.error(),
            End::Signal(_) => None,
            End::Failed(error) => Some(error.clone()),
        }
    }

    fn code(&self) -> u8 {
        match self {
            End::Signal(signal) => signal.code(),
            _ => self.error().map_or(0, |error| error.kind().exit_code()),
        }
    }

    fn outcome(&self) -> &'static str {
        match self {
            End::Finished(report) => report.outcome.name(),
            End::Signal(_) => "stopped",
            End::Failed(error) if error.kind() == ErrorKind::TimedOut => "timed_out",
            End::Failed(_) => "failed",
        }
    }
}

/// All that can be wrong before a cluster is asked.
fn prepare(arguments: &VerifyArguments, display: Display) -> Result<(Vec<Config>, VerifyOptions, Signals)> {
    logs::start(arguments.log_format, display)?;
    let signals = Signals::listen()?;
    let configs = settings::configure(&arguments.mirror)?;
    let mut options = VerifyOptions::default();
    if let Some(topics) = &arguments.topics {
        options.topics = Some(TopicSelection::new(topics, "").map_err(|error| error.context("--topics"))?);
    }
    options.sample = arguments.sample.unwrap_or_default();
    options.sample_seed = arguments.sample_seed;
    options.max_differences = arguments.differences;
    options.wait = arguments.wait;
    (options.allow_behind, options.allow_expired) = (arguments.allow_behind, arguments.allow_expired);
    options.max_keys = arguments.max_keys;
    Ok((configs, options, signals))
}

fn verify(
    arguments: &VerifyArguments,
    config: Config,
    options: VerifyOptions,
    signals: &Signals,
    display: Display,
    started: Instant,
) -> End {
    let mut next = if display.is_shown() { started } else { started + LOG_INTERVAL };
    let report = kmirror::verify_or(config, options, |progress| {
        let now = Instant::now();
        if now >= next {
            next = now + if display.is_shown() { FRAME } else { LOG_INTERVAL };
            show(display, progress, now - started);
        }
        signals.received().is_some() || arguments.timeout.is_some_and(|timeout| started.elapsed() >= timeout)
    });
    match (report, signals.received()) {
        (Ok(report), _) => End::Finished(Box::new(report)),
        (Err(_), Some(signal)) => End::Signal(signal),
        (Err(error), None) => End::Failed(error),
    }
}

fn show(display: Display, progress: &VerifyProgress, running: Duration) {
    if !display.is_shown() {
        tracing::info!(
            partitions = progress.partitions,
            partitions_done = progress.partitions_done,
            records = progress.records,
            bytes = progress.bytes,
            differences = progress.differences,
            "verifying"
        );
        return;
    }
    let seconds = running.as_secs_f64().max(0.001);
    let rate = |count: u64| count as f64 / seconds;
    display.draw(&[
        format!("verifying  {}", clock(running)),
        format!("{} of {}", grouped(progress.partitions_done), counted(progress.partitions, "partition")),
        format!("{}, {}", counted(progress.records, "record"), megabytes(progress.bytes as f64)),
        format!("{} records/s  {}/s", grouped(rate(progress.records) as u64), megabytes(rate(progress.bytes))),
        counted(progress.differences, "difference"),
    ]);
}

#[derive(Serialize)]
struct Document<'a> {
    command: &'static str,
    outcome: &'static str,
    exit_code: u8,
    signal: Option<&'static str>,
    error: Option<ErrorDocument>,
    seconds: f64,
    result: Option<&'a VerifyReport>,
    /// The same, under the name that it had first: scripts know it.
    report: Option<&'a VerifyReport>,
}

fn document(end: &End, running: Duration) -> Document<'_> {
    let (signal, report) = match end {
        End::Signal(signal) => (Some(signal.name()), None),
        End::Finished(report) => (None, Some(&**report)),
        End::Failed(_) => (None, None),
    };
    Document {
        command: "verify",
        outcome: end.outcome(),
        exit_code: end.code(),
        signal,
        error: end.error().map(ErrorDocument::from),
        seconds: (running.as_secs_f64() * 1000.0).round() / 1000.0,
        result: report,
        report,
    }
}

/// Findings that are listed for people; JSON has them all.
const LISTED: usize = 20;

/// The result for people: what is wrong, line by line, what to do, and at last the sentence that counts.
fn text(report: &VerifyReport, running: Duration) -> String {
    let mut lines: Vec<String> =
        report.differences().iter().map(|difference| escaped(&difference.to_string()).into_owned()).collect();
    if report.more_differences {
        lines.push("and more differences (--differences lists more of them)".to_owned());
    }
    let allowed = |finding: &Finding| if finding.allowed { " (allowed)" } else { "" };
    lines.extend(
        report
            .findings
            .iter()
            .take(LISTED)
            .map(|finding| format!("{}{}", escaped(&finding.to_string()), allowed(finding))),
    );
    if report.findings.len() > LISTED {
        lines.push(format!("and {} more of the kind (--json lists them all)", report.findings.len() - LISTED));
    }
    lines.extend(report.unread.iter().map(|unread| unread.error.message().to_owned()));
    let classes: BTreeSet<FindingKind> = report.not_allowed().map(|finding| finding.kind).collect();
    lines.extend(classes.into_iter().map(|class| format!("{}: {}", class.words(), class.help())));
    let bytes = megabytes(report.bytes_compared as f64);
    let opened = report.decoded_share() * 100.0;
    lines.push(format!("{bytes} compared in {:.1} s, {opened:.0}% of them opened", running.as_secs_f64()));
    lines.push(verdict(report));
    lines.join("\n") + "\n"
}

fn verdict(report: &VerifyReport) -> String {
    let sample = if report.sample_seed.is_some() { " in a sample" } else { "" };
    let what = match report.outcome {
        VerifyOutcome::Identical | VerifyOutcome::IdenticalInASample => "identical",
        VerifyOutcome::Different => "different",
        _ => "incomplete",
    };
    let mut text = format!(
        "{what}{sample}: {} in {} of {}",
        counted(report.records_compared, "record"),
        counted(report.partitions, "partition"),
        counted(report.topics, "topic"),
    );
    let classes = report.counts.to_string();
    if !classes.is_empty() {
        text.push_str("; ");
        text.push_str(&classes);
    }
    if !report.unread.is_empty() {
        text.push_str(&format!("; {} could not be compared", report.unread.len()));
    }
    text
}
