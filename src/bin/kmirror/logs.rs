//! Log lines on standard error, as text or as JSON objects.
//!
//! The engine and the command line both speak through `tracing`. Where a display is shown, lines are written above it. Whatever is
//! logged is one line: what names and brokers' texts could do to a terminal, or to who reads lines, is escaped here.
//! `KMIRROR_LOG` says what is logged; without it `info`, and beside a display, which tells the rest, `warn`.

use std::io::{self, IsTerminal as _};

use kmirror::text::escaped;
use kmirror::{Error, ErrorKind, Result};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::fmt::time::uptime;

use crate::args::LogFormat;
use crate::progress::Display;
use crate::{output, screen};

const FILTER: &str = "KMIRROR_LOG";

/// Logs from now on, above this display.
pub(crate) fn start(format: LogFormat, display: Display) -> Result<()> {
    let default = if display.is_shown() { "warn" } else { "info" };
    let wanted = std::env::var(FILTER).ok().filter(|wanted| !wanted.trim().is_empty());
    let filter = EnvFilter::try_new(wanted.as_deref().unwrap_or(default))
        .map_err(|error| Error::new(ErrorKind::Config, format!("{FILTER}: {error}")))?;
    let ansi = io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let writer = Lines { colours: ansi, plain: format == LogFormat::Text };
    let logs = tracing_subscriber::fmt().with_env_filter(filter).with_writer(writer).with_ansi(ansi);
    let started = match format {
        LogFormat::Json => logs.json().flatten_event(true).with_ansi(false).try_init(),
        LogFormat::Text if display.is_shown() => logs.with_target(false).with_timer(uptime()).try_init(),
        LogFormat::Text => logs.with_target(false).try_init(),
    };
    started.map_err(|error| Error::new(ErrorKind::Internal, format!("logs cannot be written: {error}")))
}

/// Says why the command failed, in the form that whoever reads the logs expects.
pub(crate) fn complain(format: LogFormat, error: &Error) {
    if format == LogFormat::Json && tracing::enabled!(tracing::Level::ERROR) {
        tracing::error!(kind = error.kind().name(), exit_code = error.kind().exit_code(), "{error}");
    } else {
        output::complain(error.message());
    }
}

/// Writes whole log lines to standard error.
struct Lines {
    /// Whether there are colours in them.
    colours: bool,
    /// Whether they are text; JSON is escaped already.
    plain: bool,
}

impl<'a> MakeWriter<'a> for Lines {
    type Writer = &'a Lines;

    fn make_writer(&'a self) -> Self::Writer {
        self
    }
}

impl io::Write for &Lines {
    /// What is written at a time is one event.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let line = if self.plain { one_line(bytes, self.colours) } else { bytes.to_vec() };
        screen::write(line);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// An event as one line without anything that a terminal would obey, but colours where there are some.
fn one_line(event: &[u8], colours: bool) -> Vec<u8> {
    let text = String::from_utf8_lossy(event);
    let mut rest = text.strip_suffix('\n').unwrap_or(&text);
    let mut line = String::with_capacity(text.len());
    while colours && let Some(at) = rest.find("\x1b[") {
        let parameters = rest[at + 2..].trim_start_matches(|c: char| c.is_ascii_digit() || c == ';');
        let end = rest.len() - parameters.len();
        // Only colours end with an m; what else there is begins behind the two characters.
        let (colour, next) =
            if parameters.starts_with('m') { (&rest[at..=end], end + 1) } else { ("\\u{1b}[", at + 2) };
        line.push_str(&escaped(&rest[..at]));
        line.push_str(colour);
        rest = &rest[next..];
    }
    line.push_str(&escaped(rest));
    line.push('\n');
    line.into_bytes()
}

#[cfg(test)]
mod tests {
    use super::one_line;

    #[test]
    fn an_event_is_one_line_and_keeps_its_colours_only() {
        let told = |text: &str, colours| String::from_utf8(one_line(text.as_bytes(), colours)).expect("is text");
        let event = "\x1b[31mERROR\x1b[0m group 'a\n2026 ERROR forged\x1b[2J\x1b]0;x\x07'\n";
        assert_eq!(
            told(event, true),
            "\x1b[31mERROR\x1b[0m group 'a\\n2026 ERROR forged\\u{1b}[2J\\u{1b}]0;x\\u{7}'\n"
        );
        assert_eq!(
            told(event, false),
            "\\u{1b}[31mERROR\\u{1b}[0m group 'a\\n2026 ERROR forged\\u{1b}[2J\\u{1b}]0;x\\u{7}'\n"
        );
        assert_eq!(told("\x1b[", true), "\\u{1b}[\n");
    }
}
