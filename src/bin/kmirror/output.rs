//! Writes to standard output and standard error without ever failing: a reader that has gone away, `kmirror ... | head`, is no
//! error of ours, and `println!` would panic.

use std::io::Write as _;

use serde::Serialize;

/// Prints a result.
pub(crate) fn print(text: &str) {
    let mut stdout = std::io::stdout().lock();
    let _ = stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush());
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
