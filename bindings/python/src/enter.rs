//! The one door from Python into the engine.
//!
//! Whoever waits in it has let go of the interpreter, so that other Python threads run, and looks for signals every 50 ms,
//! so that Ctrl-C works. A panic becomes an `InternalError`, never a `PanicException`.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

use engine::{Error, ErrorKind, Result};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use crate::cancel::{Cancel, flag};
use crate::errors::to_python;

/// How long a wait may be until signals are looked for.
const SLICE: Duration = Duration::from_millis(50);
/// More than anybody waits, and no overflow when it is added to a time.
const FOR_EVER: Duration = Duration::from_secs(100 * 365 * 86_400);

/// Seconds as Python counts them; `None` is without limit.
pub(crate) fn timeout(seconds: Option<f64>) -> PyResult<Duration> {
    match seconds {
        None => Ok(FOR_EVER),
        Some(seconds) if seconds >= 0.0 => Ok(Duration::from_secs_f64(seconds.min(FOR_EVER.as_secs_f64()))),
        Some(_) => Err(PyValueError::new_err("a timeout is a number of seconds from 0, or None")),
    }
}

/// Runs a short call.
pub(crate) fn call<T: Send>(py: Python<'_>, body: impl FnOnce() -> Result<T> + Send) -> PyResult<T> {
    let outcome = py.detach(|| catch_unwind(AssertUnwindSafe(body)));
    outcome.unwrap_or_else(|_| Err(bug())).map_err(|error| to_python(py, &error))
}

/// Runs a wait that asks again and again whether to give up: because of a signal, because it was cancelled, or because what
/// watches it raises.
pub(crate) fn wait<T: Send>(
    py: Python<'_>,
    cancelled: &AtomicBool,
    watch: impl Fn(Python<'_>) -> PyResult<()> + Send + Sync,
    body: impl FnOnce(&mut dyn FnMut() -> bool) -> Result<T> + Send,
) -> PyResult<T> {
    let mut interrupt = None;
    let outcome = call(py, || {
        let mut give_up = || match Python::try_attach(|py| py.check_signals().and_then(|()| watch(py))) {
            Some(checked) => {
                interrupt = checked.err();
                interrupt.is_some() || cancelled.load(Ordering::Relaxed)
            }
            // The interpreter is ending.
            None => true,
        };
        body(&mut give_up)
    });
    interrupt.map_or(outcome, Err)
}

/// Asks for something, for a slice of the time at once, until it is there, the time has passed, or it can never be there.
pub(crate) fn poll<T: Send>(
    py: Python<'_>,
    timeout: Duration,
    cancelled: &AtomicBool,
    mut body: impl FnMut(Duration) -> Polled<T> + Send,
) -> PyResult<Option<T>> {
    let started = Instant::now();
    loop {
        let left = timeout.saturating_sub(started.elapsed());
        match call(py, || Ok(body(left.min(SLICE))))? {
            Polled::Found(found) => return Ok(Some(found)),
            Polled::Never => return Ok(None),
            Polled::NotYet if left.is_zero() || cancelled.load(Ordering::Relaxed) => return Ok(None),
            Polled::NotYet => py.check_signals()?,
        }
    }
}

/// What came of asking for something.
pub(crate) enum Polled<T> {
    /// It is there.
    Found(T),
    /// It may be there later.
    NotYet,
    /// It will not be there.
    Never,
}

/// Runs a long call on a thread of its own. A signal or a cancellation ends the wait at once, and then the flag is set; what the call
/// still does and returns is dropped there. The call can ask whether nobody waits any more.
pub(crate) fn interruptible<T: Send + 'static>(
    py: Python<'_>,
    cancel: Option<&Cancel>,
    body: impl FnOnce(&mut dyn FnMut() -> bool) -> Result<T> + Send + 'static,
) -> PyResult<T> {
    let cancelled = flag(cancel);
    let (sender, outcome) = mpsc::channel();
    let of_body = cancelled.clone();
    let run = move || {
        // Nobody listens any more after a signal.
        let _ = sender.send(body(&mut || of_body.load(Ordering::Relaxed)));
    };
    let thread = std::thread::Builder::new().name("kmirror-call".to_owned()).spawn(run);
    thread.map_err(|error| to_python(py, &Error::no_thread("the call", &error)))?;
    let mut receive = move |slice| match outcome.recv_timeout(slice) {
        Ok(outcome) => Polled::Found(outcome),
        Err(RecvTimeoutError::Timeout) => Polled::NotYet,
        Err(RecvTimeoutError::Disconnected) => Polled::Found(Err(bug())),
    };
    let outcome = poll(py, FOR_EVER, &cancelled, &mut receive);
    if !matches!(outcome, Ok(Some(_))) {
        cancelled.store(true, Ordering::Relaxed);
    }
    let given_up = || Err(Error::new(ErrorKind::TimedOut, "the call was given up"));
    outcome?.unwrap_or_else(given_up).map_err(|error| to_python(py, &error))
}

/// The panic has printed what it was.
fn bug() -> Error {
    Error::new(ErrorKind::Internal, "a bug in kmirror: please report it with what was written to standard error")
}
