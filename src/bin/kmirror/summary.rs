//! How a run ended: the exit code, the lines for people, the JSON document for programs.
//! Text and JSON tell the same, and one of them is printed however the run ended.

use std::time::Duration;

use kmirror::text::printable;
use kmirror::{Error, ErrorKind, State, Status};
use serde::Serialize;

use crate::exit::ExitCode;
use crate::output;
use crate::progress::{groups, parked, partitions};
use crate::signals::Signal;
use crate::text::{counted, megabytes, milliseconds};

/// Parked partitions and refused topics that are listed for people; JSON has them all.
const LISTED: usize = 20;

/// Why a run ended.
pub(crate) enum End {
    /// Everything was copied, as `--until-caught-up` asks for.
    CaughtUp,
    /// Another process has promoted the mirror.
    Promoted,
    /// A signal asked for it.
    Signal(Signal),
    /// `--timeout` has passed.
    TimedOut(Duration),
    /// It cannot go on.
    Failed(Error),
}

/// How a mirror ended, and what it said of itself then; nothing if it could not start.
pub(crate) type Ended = (End, Option<Status>);

/// Of several mirrors that of the first that failed, else of the first that did not end by itself.
pub(crate) fn exit_code(ended: &[Ended]) -> ExitCode {
    ExitCode::from(decisive(ended).map_or(0, End::code))
}

fn decisive(ended: &[Ended]) -> Option<&End> {
    let mut ends = ended.iter().map(|(end, _)| end);
    let failed = ends.clone().find(|end| matches!(end, End::Failed(_)));
    failed.or_else(|| ends.clone().find(|end| end.code() != 0)).or_else(|| ends.next())
}

impl End {
    fn code(&self) -> u8 {
        match self {
            End::CaughtUp => 0,
            // As a start of it would: no restart helps, and whoever watches the process has to notice.
            End::Promoted => ErrorKind::Config.exit_code(),
            End::Signal(signal) => signal.code(),
            End::TimedOut(_) => ErrorKind::TimedOut.exit_code(),
            End::Failed(error) => error.kind().exit_code(),
        }
    }

    fn outcome(&self) -> &'static str {
        match self {
            End::CaughtUp => "caught_up",
            End::Promoted => "promoted",
            End::Signal(_) => "stopped",
            End::TimedOut(_) => "timed_out",
            End::Failed(_) => "failed",
        }
    }

    /// The sentence for the user, if there is something wrong.
    pub(crate) fn error(&self, status: Option<&Status>) -> Option<Error> {
        match self {
            End::CaughtUp | End::Signal(_) => None,
            End::Promoted => {
                let name = status.map(|status| status.name.as_str()).unwrap_or_default();
                let message = format!(
                    "the mirror '{name}' was promoted by another process: it has ended and copies nothing any more; do not start it \
                     again, or take the switch-over back with kmirror promote --undo"
                );
                Some(Error::new(ErrorKind::Config, message))
            }
            End::Failed(error) => Some(error.clone()),
            End::TimedOut(timeout) => {
                let timeout = milliseconds(timeout.as_millis() as u64);
                let message = match status {
                    None => format!("not started after {timeout}"),
                    Some(status) => {
                        format!("stopped after {timeout}: {} behind", behind(status))
                    }
                };
                Some(Error::new(ErrorKind::TimedOut, message))
            }
        }
    }
}

/// How many records, in words.
fn behind(status: &Status) -> String {
    match status.lag.records {
        Some(records) => counted(records, "record"),
        None => "an unknown number of records".to_owned(),
    }
}

#[derive(Serialize)]
struct Document<'a> {
    outcome: &'static str,
    exit_code: u8,
    signal: Option<&'static str>,
    error: Option<ErrorDocument>,
    seconds: f64,
    /// Of the only mirror.
    status: Option<&'a Status>,
    /// Where there are several.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    mirrors: Vec<Document<'a>>,
}

#[derive(Serialize)]
pub(crate) struct ErrorDocument {
    code: i32,
    kind: &'static str,
    message: String,
    topic: Option<String>,
    partition: Option<i32>,
    source_offset: Option<i64>,
}

impl From<Error> for ErrorDocument {
    fn from(error: Error) -> Self {
        ErrorDocument {
            code: error.kind().code(),
            kind: error.kind().name(),
            message: error.message().to_owned(),
            topic: error.topic().map(str::to_owned),
            partition: error.partition(),
            source_offset: error.offset(),
        }
    }
}

/// Prints the result of a run as one JSON document: of several mirrors the one that decides, with all of them in a list.
pub(crate) fn print_json(ended: &[Ended], running: Duration) {
    match (ended, decisive(ended)) {
        ([(end, status)], _) => output::print_json(&document(end, status.as_ref(), running)),
        (several, Some(end)) => {
            let mirrors = several.iter().map(|(end, status)| document(end, status.as_ref(), running)).collect();
            output::print_json(&Document { mirrors, ..document(end, None, running) });
        }
        (_, None) => {}
    }
}

fn document<'a>(end: &End, status: Option<&'a Status>, running: Duration) -> Document<'a> {
    let signal = match end {
        End::Signal(signal) => Some(signal.name()),
        _ => None,
    };
    Document {
        outcome: end.outcome(),
        exit_code: end.code(),
        signal,
        error: end.error(status).map(ErrorDocument::from),
        seconds: (running.as_secs_f64() * 1000.0).round() / 1000.0,
        status,
        mirrors: Vec::new(),
    }
}

/// Prints the result of a run for people. Without a status there is none.
pub(crate) fn print_text(end: &End, status: Option<&Status>, running: Duration) {
    let Some(status) = status else { return };
    let what = match end {
        End::CaughtUp => "caught up".to_owned(),
        End::Promoted => "ended, as the mirror was promoted and writes nothing any more".to_owned(),
        End::Signal(signal) => format!("stopped by {}", signal.name()),
        End::TimedOut(_) => "stopped by --timeout".to_owned(),
        End::Failed(_) => "failed".to_owned(),
    };
    let mut text = format!(
        "{}: {what}: {}, {} in {:.1} s; {}, {}",
        status.name,
        counted(status.replicated_records, "record"),
        megabytes(status.replicated_bytes as f64),
        running.as_secs_f64(),
        counted(status.topics.len() as u64, "topic"),
        counted(partitions(status) as u64, "partition"),
    );
    // What the source received after it was asked for its end is no news to somebody who asked to stop there.
    if !matches!(end, End::CaughtUp) {
        text.push_str(&format!("; {} behind", behind(status)));
    }
    if status.groups.matching > 0 {
        text.push_str(&format!("; {}", groups(&status.groups)));
    }
    let partitions = status.topics.iter().flat_map(|topic| &topic.partitions);
    let echo: u64 = partitions.map(|partition| partition.left_out_as_echo).sum();
    if echo > 0 {
        text.push_str(&format!("; {} left out that came from the target", counted(echo, "record")));
    }
    let stuck = stuck(status);
    let counts = [
        (parked(status), "partition", "parked"),
        (status.refused.len(), "topic", "refused"),
        (status.troubles.len(), "item", "not in step"),
    ];
    for (count, noun, how) in counts {
        if count > 0 {
            text.push_str(&format!("; {} {how}", counted(count as u64, noun)));
        }
    }
    for line in stuck.iter().take(LISTED) {
        text.push_str("\n  ");
        text.push_str(line);
    }
    if stuck.len() > LISTED {
        text.push_str(&format!("\n  and {} more", stuck.len() - LISTED));
    }
    output::print(&format!("{text}\n"));
}

/// A line for everything that is not mirrored or not in step.
fn stuck(status: &Status) -> Vec<String> {
    let refused = status.refused.iter().map(|(topic, why)| about(topic, topic, why));
    let parked = status.topics.iter().flat_map(|topic| {
        let parked = topic.partitions.iter().filter(|partition| partition.state == State::Failed);
        parked.map(|partition| {
            let why = partition.error.as_ref().map_or("parked", |error| error.message());
            about(&topic.topic, &format!("{}-{}", topic.topic, partition.partition), why)
        })
    });
    let troubles = status.troubles.iter().map(|trouble| about(&trouble.name, &trouble.name, &trouble.message));
    refused.chain(parked).chain(troubles).collect()
}

/// Most sentences name their topic themselves.
fn about(topic: &str, name: &str, why: &str) -> String {
    if why.contains(&*printable(topic)) { why.to_owned() } else { format!("{}: {why}", printable(name)) }
}
