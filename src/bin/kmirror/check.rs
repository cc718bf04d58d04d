//! `kmirror check`: whether a mirror would run, a line for each thing that was looked at, with what to do where something is wrong.
//! Asks both clusters and writes nothing; its exit code is the one that a start would come to.

use kmirror::text::escaped;
use kmirror::{CheckLine, CheckOutcome, CheckReport};

use crate::args::LookOptions;
use crate::exit::ExitCode;
use crate::looking;

pub(crate) fn command(options: &LookOptions) -> ExitCode {
    let error = match looking::at_each(options, kmirror::check, text) {
        Ok(reports) => reports.iter().find_map(CheckReport::error),
        Err(code) => return code,
    };
    error.map_or(ExitCode::SUCCESS, |error| ExitCode::from(error.kind().exit_code()))
}

fn text(report: &CheckReport) -> String {
    report.lines.iter().map(line).collect()
}

fn line(line: &CheckLine) -> String {
    let outcome = match line.outcome {
        CheckOutcome::Ok => "ok",
        CheckOutcome::Warning => "warning",
        _ => "FAILED",
    };
    let fix = line.fix.as_ref().map(|fix| format!("{:21}-> {fix}\n", "")).unwrap_or_default();
    format!("{outcome:7}  {:11} {}\n{fix}", line.subject.name(), escaped(&line.to_string()))
}
