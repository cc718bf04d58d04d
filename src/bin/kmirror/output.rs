//! Writes to standard output and standard error without ever panicking, as `println!` would. A reader that has gone away,
//! `kmirror ... | head`, is no error of ours; a result that cannot be written for another reason, as on a full disk, is no success.

use std::io::{ErrorKind, Write as _};
use std::sync::atomic::{AtomicBool, Ordering};

use serde::Serialize;

use crate::exit::ExitCode;

/// Prints a result.
pub(crate) fn print(text: &str) {
    let mut stdout = std::io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            WAS_LOST.store(true, Ordering::Relaxed);
            complain(&format!("the result cannot be written to standard output: {error}"));
        }
        _ => {}
    }
}

/// Whether a result could not be written since this was asked the last time.
static WAS_LOST: AtomicBool = AtomicBool::new(false);

/// What a command ends with: a success whose result nobody has got is none.
pub(crate) fn settle(code: ExitCode) -> ExitCode {
    let was_lost = WAS_LOST.swap(false, Ordering::Relaxed);
    if was_lost && code == ExitCode::SUCCESS { ExitCode::from(1) } else { code }
}

/// Prints a result as one JSON document.
pub(crate) fn print_json(document: &impl Serialize) {
    match serde_json::to_string_pretty(document) {
        Ok(text) => print(&format!("{text}\n")),
        Err(error) => complain(&format!("the result cannot be written as JSON: {error}")),
    }
}

/// Says what is wrong.
pub(crate) fn complain(sentence: &str) {
    note(&format!("kmirror: {sentence}"));
}

/// A line of what is going on.
pub(crate) fn note(line: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{line}");
}
