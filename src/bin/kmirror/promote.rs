//! `kmirror promote`: ends a mirror for a switch-over, and says what was and what was not copied; or takes that back.
//! The report goes to standard output. Whatever it says, exit code 0 means that the mirror is marked.

use kmirror::config::{Config, utc};
use kmirror::text::printable;
use kmirror::{
    Error, ErrorKind, MovedEnd, PromoteOptions, PromoteReport, PromotedGroups, PromotedPartition, PromotionUndone,
    Result,
};
use serde::Serialize;

use crate::args::PromoteArguments;
use crate::exit::ExitCode;
use crate::progress::Display;
use crate::signals::{Signal, Signals};
use crate::summary::ErrorDocument;
use crate::text::{counted, grouped, milliseconds};
use crate::{logs, output, settings};

/// Partitions that are listed for people; JSON has them all.
const LISTED: usize = 20;

pub(crate) fn command(arguments: &PromoteArguments) -> ExitCode {
    let display = Display::new();
    let end = match prepare(arguments, display) {
        Ok((config, signals)) if !arguments.undo => promote(arguments, config, &signals),
        Ok((config, _)) => kmirror::undo_promotion(config).map_or_else(End::Failed, End::Undone),
        Err(error) => End::Failed(error),
    };
    display.clear();
    if let End::Failed(error) = &end {
        logs::complain(arguments.log_format, error);
    }
    match &end {
        _ if arguments.json => print_json(&end),
        End::Promoted(report) => output::print(&text(report)),
        End::Undone(undone) => output::print(&format!(
            "{}: not promoted any more: all {} of the target end where they did at {}\n",
            undone.name,
            counted(undone.partitions as u64, "partition"),
            utc(undone.promoted_at_ms)
        )),
        End::Signal(_) | End::Failed(_) => {}
    }
    ExitCode::from(end.code())
}

/// Why it ended.
enum End {
    Promoted(Box<PromoteReport>),
    Undone(PromotionUndone),
    /// Before anything was marked.
    Signal(Signal),
    Failed(Error),
}

impl End {
    fn code(&self) -> u8 {
        match self {
            End::Promoted(_) | End::Undone(_) => 0,
            End::Signal(signal) => signal.code(),
            End::Failed(error) => error.kind().exit_code(),
        }
    }

    fn outcome(&self) -> &'static str {
        match self {
            End::Promoted(_) => "promoted",
            End::Undone(_) => "undone",
            End::Signal(_) => "stopped",
            End::Failed(error) if error.kind() == ErrorKind::TimedOut => "timed_out",
            End::Failed(_) => "failed",
        }
    }
}

/// All that can be wrong before a cluster is asked.
fn prepare(arguments: &PromoteArguments, display: Display) -> Result<(Config, Signals)> {
    logs::start(arguments.log_format, display)?;
    let signals = Signals::listen()?;
    Ok((settings::configure_one(&arguments.mirror)?, signals))
}

fn promote(arguments: &PromoteArguments, config: Config, signals: &Signals) -> End {
    let mut options = PromoteOptions::default();
    options.timeout = arguments.timeout;
    options.force = arguments.force;
    match (kmirror::promote_or(config, options, || signals.received().is_some()), signals.received()) {
        (Ok(report), _) => End::Promoted(Box::new(report)),
        (Err(error), Some(signal)) if error.kind() == ErrorKind::TimedOut => End::Signal(signal),
        (Err(error), _) => End::Failed(error),
    }
}

#[derive(Serialize)]
struct Document<'a> {
    outcome: &'static str,
    exit_code: u8,
    signal: Option<&'static str>,
    error: Option<ErrorDocument>,
    report: Option<&'a PromoteReport>,
    undone: Option<&'a PromotionUndone>,
}

fn print_json(end: &End) {
    let mut document = Document {
        outcome: end.outcome(),
        exit_code: end.code(),
        signal: None,
        error: None,
        report: None,
        undone: None,
    };
    match end {
        End::Promoted(report) => document.report = Some(report),
        End::Undone(undone) => document.undone = Some(undone),
        End::Signal(signal) => document.signal = Some(signal.name()),
        End::Failed(error) => document.error = Some(error.clone().into()),
    }
    output::print_json(&document);
}

fn text(report: &PromoteReport) -> String {
    let partitions = report.topics.iter().map(|topic| topic.partitions.len() as u64).sum();
    let how = match (&report.source_error, &report.not_drained_because) {
        (Some(error), _) => format!("without its source, which cannot be reached: {error}"),
        (None, Some(why)) => format!("by force, though not everything is copied: {why}"),
        (None, None) => "everything the source had is copied".to_owned(),
    };
    let mut lines = vec![
        format!("{}: promoted at {}: {how}", report.name, utc(report.promoted_at_ms)),
        format!(
            "{}, {}; {}",
            counted(report.topics.len() as u64, "topic"),
            counted(partitions, "partition"),
            missing(report)
        ),
    ];
    let behind = report.topics.iter().flat_map(|topic| {
        let behind = topic.partitions.iter().filter(|partition| partition.records_not_copied > 0);
        behind.map(|partition| line(&topic.topic, partition))
    });
    push_some(&mut lines, behind.collect());
    let refused =
        report.not_mirrored.iter().map(|(topic, why)| format!("{} was not mirrored: {why}", printable(topic)));
    push_some(&mut lines, refused.collect());
    lines.extend(report.groups.as_ref().map(groups));
    let skipped = report.groups.iter().flat_map(|groups| &groups.not_copied);
    push_some(&mut lines, skipped.map(|(name, why)| format!("{}: {why}", printable(name))).collect());
    push_some(&mut lines, report.written_afterwards.iter().map(afterwards).collect());
    lines.join("\n") + "\n"
}

fn groups(groups: &PromotedGroups) -> String {
    let at = groups.looked_at_ms.map(|at| format!(", looked at {}", utc(at))).unwrap_or_default();
    format!(
        "offsets of {} are those of the source, {} behind, {} not copied{at}",
        counted(groups.copied as u64, "group"),
        grouped(groups.behind as u64),
        grouped(groups.not_copied.len() as u64)
    )
}

/// The RPO in one phrase.
fn missing(report: &PromoteReport) -> String {
    let known = match report.source_known_at_ms {
        Some(at) => format!("as the source was known at {}", utc(at)),
        None => "and of some partitions the source's end was never known".to_owned(),
    };
    if report.records_not_copied == 0 {
        return format!("no record is known that is not copied, {known}");
    }
    let ms = report.ms_not_copied.map(|ms| format!(", up to {} of data", milliseconds(ms))).unwrap_or_default();
    format!(
        "at least {} not copied in {}{ms}, {known}",
        counted(report.records_not_copied, "record"),
        counted(report.partitions_behind as u64, "partition")
    )
}

fn line(topic: &str, partition: &PromotedPartition) -> String {
    let known = partition.source_offset_next.unwrap_or_default();
    let at = partition.source_known_at_ms.map(|at| format!(" at {}", utc(at))).unwrap_or_default();
    let ms = partition.ms_not_copied.map(|ms| format!(", up to {} of data", milliseconds(ms))).unwrap_or_default();
    format!(
        "{}-{}: target next offset {}, source had at least {}{at}: {} not copied{ms}",
        printable(topic),
        partition.partition,
        grouped(partition.target_offset_next.unsigned_abs()),
        grouped(known.unsigned_abs()),
        counted(partition.records_not_copied, "record")
    )
}

fn afterwards(moved: &MovedEnd) -> String {
    let from = grouped(moved.from.unsigned_abs());
    match moved.to {
        Some(to) => format!(
            "{}-{} was written to after this mirror had ended: it ended at {from} and ends at {}",
            printable(&moved.topic),
            moved.partition,
            grouped(to.unsigned_abs())
        ),
        None => format!("{}-{} ended at {from} and is gone", printable(&moved.topic), moved.partition),
    }
}

fn push_some(lines: &mut Vec<String>, all: Vec<String>) {
    let more = all.len().saturating_sub(LISTED);
    lines.extend(all.into_iter().take(LISTED).map(|line| format!("  {line}")));
    if more > 0 {
        lines.push(format!("  and {more} more"));
    }
}
