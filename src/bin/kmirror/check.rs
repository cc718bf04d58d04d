//! `kmirror check`: whether a mirror would run, a line for each thing that was looked at, with what to do where something is wrong.
//! Asks both clusters and writes nothing; its exit code is the one that a start would come to.

use kmirror::{CheckLine, CheckOutcome, CheckReport};

use crate::args::{LogFormat, PlanOptions};
use crate::exit::ExitCode;
use crate::progress::Display;
use crate::{logs, output, settings};

pub(crate) fn command(options: &PlanOptions) -> ExitCode {
    let reports = logs::start(LogFormat::Text, &Display::new())
        .and_then(|()| settings::configure(&options.mirror))
        .and_then(|configs| configs.into_iter().map(kmirror::check).collect::<kmirror::Result<Vec<CheckReport>>>());
    match reports.as_deref() {
        Ok([report]) if options.json => output::print_json(report),
        Ok(reports) if options.json => output::print_json(&reports),
        Ok(reports) => output::print(&reports.iter().map(text).collect::<Vec<_>>().join("\n")),
        Err(error) => {
            output::complain(error.message());
            return ExitCode::from(error.kind().exit_code());
        }
    }
    let error = reports.iter().flatten().find_map(CheckReport::error);
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
    format!("{outcome:7}  {:11} {line}\n{fix}", line.subject.name())
}
