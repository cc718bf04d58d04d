//! Writes to standard output and standard error without ever panicking, as `println!` would. A reader that has gone away,
//! `kmirror ... | head`, is no error of ours; a result that cannot be written for another reason, as on a full disk, is no success.
//!
//! No character of a name or of what a broker says moves the terminal's cursor: it is escaped here, and line breaks where such a text
//! is put into a line, by [`printable`](kmirror::text::printable).

use std::io::{ErrorKind, Write as _};
use std::sync::atomic::{AtomicBool, Ordering};

use serde::Serialize;

use crate::exit::ExitCode;
use crate::screen;

/// Prints a result.
pub(crate) fn print(text: &str) {
    write(&kmirror::text::escaped_lines(text));
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
        Ok(text) => write(&(escaped_json(&text) + "\n")),
        Err(error) => complain(&format!("the result cannot be written as JSON: {error}")),
    }
}

/// JSON leaves characters beyond ASCII as they are, of which terminals obey some. They are inside of strings only.
fn escaped_json(text: &str) -> String {
    let escaped = |c: char| match c {
        '\u{7f}'.. if kmirror::text::is_obeyed(c) => format!("\\u{:04x}", u32::from(c)),
        _ => c.to_string(),
    };
    if text.is_ascii() && !text.contains('\u{7f}') { text.to_owned() } else { text.chars().map(escaped).collect() }
}

fn write(text: &str) {
    let mut stdout = std::io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            WAS_LOST.store(true, Ordering::Relaxed);
            complain(&format!("the result cannot be written to standard output: {error}"));
        }
        _ => {}
    }
}

/// Says what is wrong.
pub(crate) fn complain(sentence: &str) {
    note(&format!("kmirror: {sentence}"));
}

/// A line of what is going on.
pub(crate) fn note(line: &str) {
    screen::write(format!("{}\n", kmirror::text::escaped_lines(line)).into_bytes());
}

#[cfg(test)]
mod tests {
    use super::escaped_json;

    #[test]
    fn json_is_the_same_document_and_moves_no_cursor() {
        let evil = serde_json::json!({ "group": "ü\u{9b}31m\u{202e}\u{1b}\u{7f}" });
        let text = escaped_json(&evil.to_string());
        assert_eq!(text, r#"{"group":"ü\u009b31m\u202e\u001b"#.to_owned() + r#"\u007f"}"#);
        assert_eq!(serde_json::from_str::<serde_json::Value>(&text).expect("is JSON"), evil);
    }
}
