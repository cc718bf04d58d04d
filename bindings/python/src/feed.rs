//! What a mirror has to tell, for the Python thread that calls callbacks.
//!
//! That thread is one of Python's own, because the interpreter may end while a callback runs: it ends threads it has started
//! without harm, and no frame of Rust is on their stacks then.

use std::time::Duration;

use engine::{Callbacks, LogLevel, Told};
use pyo3::prelude::*;
use pyo3::types::PyList;

use crate::enter;
use crate::event::Event;

/// How many things are taken at once.
const BATCH: usize = 256;

/// What a mirror tells its callbacks: events, and what it logs.
#[pyclass(frozen, module = "kmirror._kmirror")]
pub(crate) struct Feed {
    pub(crate) callbacks: Callbacks,
    /// Of events only the lag of the whole mirror is wanted.
    only_lag: bool,
}

impl Feed {
    fn is_wanted(&self, told: &Told) -> bool {
        match told {
            Told::Event(event) if self.only_lag => event.kind == engine::EventKind::Lag && event.topic.is_none(),
            _ => true,
        }
    }

    fn next(&self, timeout: Duration) -> Option<Told> {
        let mut told = self.callbacks.take(timeout)?;
        while !self.is_wanted(&told) {
            told = self.callbacks.take(Duration::ZERO)?;
        }
        Some(told)
    }

    fn batch(&self, timeout: Duration) -> Vec<Told> {
        let first = self.next(timeout);
        let more = || std::iter::from_fn(|| self.next(Duration::ZERO)).take(BATCH - 1);
        first.into_iter().flat_map(|first| std::iter::once(first).chain(more())).collect()
    }
}

/// The level of Python's `logging`: what has its number and above is wanted.
fn level(number: u32) -> Option<LogLevel> {
    match number {
        0..=9 => Some(LogLevel::Trace),
        10..=19 => Some(LogLevel::Debug),
        20..=29 => Some(LogLevel::Info),
        30..=39 => Some(LogLevel::Warn),
        40..=49 => Some(LogLevel::Error),
        _ => None,
    }
}

fn number(level: LogLevel) -> u32 {
    match level {
        LogLevel::Error => 40,
        LogLevel::Warn => 30,
        LogLevel::Info => 20,
        LogLevel::Debug => 10,
        // Python has no name for less than DEBUG.
        _ => 5,
    }
}

#[pymethods]
impl Feed {
    /// Of all events, of the lag of the whole mirror only, or of none; and of what is logged at this level and above.
    #[new]
    fn new(events: bool, lag: bool, log_level: u32) -> Self {
        let callbacks = Callbacks::new();
        if events || lag {
            callbacks.take_events(!events);
        }
        callbacks.take_logs(level(log_level));
        Feed { callbacks, only_lag: !events }
    }

    /// Changes what is logged.
    fn set_log_level(&self, log_level: u32) {
        self.callbacks.take_logs(level(log_level));
    }

    /// No more is to come: the mirror has not started.
    fn close(&self) {
        self.callbacks.close();
    }

    /// Waits so many seconds for something, and takes what there is: events, and for what is logged its level, milliseconds
    /// since 1970, where it comes from and the text. None when the mirror has ended and everything was taken.
    fn take<'py>(&self, py: Python<'py>, timeout: f64) -> PyResult<Option<Bound<'py, PyList>>> {
        let timeout = enter::timeout(Some(timeout))?;
        let batch = enter::call(py, || {
            let batch = self.batch(timeout);
            Ok((!batch.is_empty() || !self.callbacks.is_closed()).then_some(batch))
        })?;
        let Some(batch) = batch else { return Ok(None) };
        let items = PyList::empty(py);
        for told in batch {
            match told {
                Told::Event(event) => items.append(Event::new(py, &event)?)?,
                Told::Log(record) => {
                    items.append((number(record.level), record.timestamp_ms, &record.target, record.to_string()))?;
                }
                _ => {}
            }
        }
        Ok(Some(items))
    }
}
