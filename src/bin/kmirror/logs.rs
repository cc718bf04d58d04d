//! Log lines on standard error, as text or as JSON objects.
//!
//! The engine and the command line both speak through `tracing`. Where a display is shown, lines are written above it.
//! `KMIRROR_LOG` says what is logged; without it `info`, and beside a display, which tells the rest, `warn`.

use std::io::{self, IsTerminal as _};

use kmirror::{Error, ErrorKind, Result};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::fmt::time::uptime;

use crate::args::LogFormat;
use crate::output;
use crate::progress::Display;

const FILTER: &str = "KMIRROR_LOG";

/// Logs from now on, above this display.
pub(crate) fn start(format: LogFormat, display: &Display) -> Result<()> {
    let default = if display.is_shown() { "warn" } else { "info" };
    let wanted = std::env::var(FILTER).ok().filter(|wanted| !wanted.trim().is_empty());
    let filter = EnvFilter::try_new(wanted.as_deref().unwrap_or(default))
        .map_err(|error| Error::new(ErrorKind::Config, format!("{FILTER}: {error}")))?;
    let writer = AboveDisplay(display.clone());
    let ansi = io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
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

/// Writes whole log lines to standard error. A reader that has gone away is no error.
struct AboveDisplay(Display);

impl<'a> MakeWriter<'a> for AboveDisplay {
    type Writer = &'a AboveDisplay;

    fn make_writer(&'a self) -> Self::Writer {
        self
    }
}

impl io::Write for &AboveDisplay {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.above(|| {
            let _ = io::Write::write_all(&mut io::stderr().lock(), bytes);
        });
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
