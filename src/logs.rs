//! What a mirror logs, for a callback of its host: the engine's threads carry a subscriber of `tracing` of their own.
//!
//! So nothing global is installed in the host's process, and two mirrors do not hear each other. What listened on the thread that
//! started the mirror hears as much as it would without.

use std::fmt;

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::subscriber::Interest;
use tracing::{Dispatch, Level, Metadata, Subscriber};

use crate::event::{Callbacks, now_ms};
use crate::text;

/// How much something that is logged matters; the lower, the more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(i32)]
#[non_exhaustive]
pub enum LogLevel {
    /// Somebody has to do something.
    Error = 1,
    /// It may pass.
    Warn = 2,
    /// What happens.
    Info = 3,
    /// For those who look for the cause of something.
    Debug = 4,
    /// Everything.
    Trace = 5,
}

impl LogLevel {
    /// Every level, from what matters most.
    pub const ALL: &'static [LogLevel] =
        &[LogLevel::Error, LogLevel::Warn, LogLevel::Info, LogLevel::Debug, LogLevel::Trace];

    /// The stable number, also that of `KMIRROR_LOG_*` in C.
    pub fn code(self) -> i32 {
        self as i32
    }

    /// The name, in lower case.
    pub fn name(self) -> &'static str {
        match self {
            LogLevel::Error => "error",
            LogLevel::Warn => "warn",
            LogLevel::Info => "info",
            LogLevel::Debug => "debug",
            LogLevel::Trace => "trace",
        }
    }

    fn of(level: &Level) -> Self {
        match *level {
            Level::ERROR => LogLevel::Error,
            Level::WARN => LogLevel::Warn,
            Level::INFO => LogLevel::Info,
            Level::DEBUG => LogLevel::Debug,
            Level::TRACE => LogLevel::Trace,
        }
    }
}

/// Something a mirror logs. As text it is the message with its fields.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct LogRecord {
    /// When, in milliseconds since 1970.
    pub timestamp_ms: i64,
    /// How much it matters.
    pub level: LogLevel,
    /// Which part of the library says it, for example `kmirror::control`.
    pub target: String,
    /// The sentence.
    pub message: String,
    /// What belongs to it, by name.
    pub fields: Vec<(&'static str, String)>,
}

impl LogRecord {
    pub(crate) fn new(level: LogLevel, target: &str, message: &str) -> Self {
        let (target, message) = (target.to_owned(), message.to_owned());
        LogRecord { timestamp_ms: now_ms(), level, target, message, fields: Vec::new() }
    }
}

impl fmt::Display for LogRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        self.fields.iter().try_for_each(|(name, value)| write!(f, " {name}={value}"))
    }
}

impl Visit for LogRecord {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == "message" {
            self.message = text::sentence(format!("{value:?}"), false);
        } else {
            self.fields.push((field.name(), text::sentence(format!("{value:?}"), false)));
        }
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.record_debug(field, &format_args!("{value}"));
    }
}

/// Tells callbacks what is logged on the threads that carry this, and whoever listens now on the calling one.
pub(crate) fn dispatch(callbacks: &Callbacks) -> Dispatch {
    let before = tracing::dispatcher::get_default(Dispatch::clone);
    Dispatch::new(Forwarding { callbacks: callbacks.clone(), before })
}

struct Forwarding {
    callbacks: Callbacks,
    before: Dispatch,
}

impl Subscriber for Forwarding {
    fn register_callsite(&self, _: &'static Metadata<'static>) -> Interest {
        // What is wanted changes while the mirror runs.
        Interest::sometimes()
    }

    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        self.callbacks.wants_log(LogLevel::of(metadata.level())) || self.before.enabled(metadata)
    }

    fn new_span(&self, span: &Attributes<'_>) -> Id {
        self.before.new_span(span)
    }

    fn record(&self, span: &Id, values: &Record<'_>) {
        self.before.record(span, values);
    }

    fn record_follows_from(&self, span: &Id, follows: &Id) {
        self.before.record_follows_from(span, follows);
    }

    fn event(&self, event: &tracing::Event<'_>) {
        let level = LogLevel::of(event.metadata().level());
        if self.callbacks.wants_log(level) {
            let mut record = LogRecord::new(level, event.metadata().target(), "");
            event.record(&mut record);
            self.callbacks.hear_log(record);
        }
        if self.before.enabled(event.metadata()) {
            self.before.event(event);
        }
    }

    fn enter(&self, span: &Id) {
        self.before.enter(span);
    }

    fn exit(&self, span: &Id) {
        self.before.exit(span);
    }

    fn clone_span(&self, id: &Id) -> Id {
        self.before.clone_span(id)
    }

    fn try_close(&self, id: Id) -> bool {
        self.before.try_close(id)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::time::Duration;

    use super::*;
    use crate::clock::Instant;

    #[test]
    fn callbacks_hear_their_own_threads_at_their_level_and_who_listened_before_hears_all() -> crate::Result<()> {
        let (outer, inner) = (Callbacks::new(), Callbacks::new());
        let heard = [(&outer, LogLevel::Debug), (&inner, LogLevel::Warn)].map(|(callbacks, level)| {
            let (sender, heard) = mpsc::channel();
            let on_log = move |record: &LogRecord| drop(sender.send(format!("{}: {record}", record.level.name())));
            callbacks.set_log(level, Some(Box::new(on_log))).map(|()| heard)
        });
        let logged = || {
            tracing::debug!("unnoticed");
            tracing::warn!(topic = "orders", partition = 3, "waits");
        };
        logged();
        let of_outer = dispatch(&outer);
        tracing::dispatcher::with_default(&of_outer, || {
            let of_inner = dispatch(&inner);
            tracing::dispatcher::with_default(&of_inner, logged);
        });
        for callbacks in [&outer, &inner] {
            callbacks.end(Instant::now() + Duration::from_secs(20));
        }
        let [outer, inner] = heard;
        let waits = "warn: waits topic=orders partition=3".to_owned();
        assert_eq!(inner?.iter().collect::<Vec<_>>(), std::slice::from_ref(&waits));
        assert_eq!(outer?.iter().collect::<Vec<_>>(), ["debug: unnoticed".to_owned(), waits]);
        Ok(())
    }
}
