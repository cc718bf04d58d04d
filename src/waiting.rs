//! What a host waits for: an answer of a thread of the engine. Every 50 ms the host is asked whether it still wants it.
//!
//! Whoever works on an answer can see that nobody waits for it any more, and knows what may be left undone then.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender};

use crate::error::{Error, ErrorKind, Result};
use crate::limits;
use crate::signals::leave_signals_to_the_host;

/// How long a host waits until it is asked again.
const SLICE: Duration = Duration::from_millis(50);

/// The host's side.
pub(crate) struct Waiter<T> {
    outcome: Receiver<Result<T>>,
    given_up: GivenUp,
}

/// The engine's side.
pub(crate) struct Answer<T> {
    outcome: Sender<Result<T>>,
    given_up: GivenUp,
}

/// Whether nobody waits any more.
#[derive(Clone, Default)]
pub(crate) struct GivenUp(Arc<AtomicBool>);

/// Why there is no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NoAnswer {
    /// The host has given up.
    GivenUp,
    /// The thread that worked on it has ended without one.
    Lost,
}

/// Both sides of a wait.
pub(crate) fn pair<T>() -> (Waiter<T>, Answer<T>) {
    let (sender, receiver) = crossbeam_channel::bounded(1);
    let given_up = GivenUp::default();
    (Waiter { outcome: receiver, given_up: given_up.clone() }, Answer { outcome: sender, given_up })
}

impl<T> Waiter<T> {
    /// Waits until there is an answer or the host gives up.
    pub(crate) fn wait(self, mut give_up: impl FnMut() -> bool) -> std::result::Result<Result<T>, NoAnswer> {
        loop {
            match self.outcome.recv_timeout(SLICE) {
                Ok(outcome) => return Ok(outcome),
                Err(RecvTimeoutError::Disconnected) => return Err(NoAnswer::Lost),
                Err(RecvTimeoutError::Timeout) if give_up() => return Err(NoAnswer::GivenUp),
                Err(RecvTimeoutError::Timeout) => {}
            }
        }
    }

    /// The answer, if it is there.
    #[cfg(test)]
    pub(crate) fn now(&self) -> Option<Result<T>> {
        self.outcome.try_recv().ok()
    }

    /// Waits for the answer also when the host has given up: whoever works on it says whether it is too late for that. `None` if the
    /// thread has ended without one.
    pub(crate) fn wait_to_the_end(self, mut give_up: impl FnMut() -> bool) -> Option<Result<T>> {
        loop {
            match self.outcome.recv_timeout(SLICE) {
                Ok(outcome) => return Some(outcome),
                Err(RecvTimeoutError::Disconnected) => return None,
                Err(RecvTimeoutError::Timeout) => self.given_up.0.store(give_up(), Ordering::Relaxed),
            }
        }
    }
}

impl<T> Drop for Waiter<T> {
    fn drop(&mut self) {
        self.given_up.set();
    }
}

impl<T> Answer<T> {
    /// Answers; that nobody waits any more is no error.
    pub(crate) fn send(self, outcome: Result<T>) {
        let _ = self.outcome.send(outcome);
    }

    pub(crate) fn given_up(&self) -> &GivenUp {
        &self.given_up
    }
}

impl GivenUp {
    pub(crate) fn set(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    pub(crate) fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// Ends when nobody waits any more.
    pub(crate) async fn wait(&self) {
        while !self.is_set() {
            tokio::time::sleep(SLICE / 2).await;
        }
    }
}

/// What a host hears that has given up.
pub(crate) fn given_up(what: &str) -> Error {
    Error::new(ErrorKind::TimedOut, format!("{what} was given up"))
}

/// Does something on this thread of the engine, with a runtime of its own.
pub(crate) fn block_on<F: Future>(work: F) -> std::io::Result<F::Output> {
    leave_signals_to_the_host();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let output = tokio::task::LocalSet::new().block_on(&runtime, work);
    // A name that is just being looked up would be waited for otherwise.
    runtime.shutdown_background();
    Ok(output)
}

/// Does something on a thread with a runtime of its own, because the caller may be inside a runtime, where another one cannot be
/// waited for. `what` is what it does, for errors.
pub(crate) fn on_a_thread<T, F>(
    what: &'static str,
    give_up: impl FnMut() -> bool,
    work: impl FnOnce(GivenUp) -> F + Send + 'static,
) -> Result<T>
where
    T: Send + 'static,
    F: Future<Output = Result<T>>,
{
    let no_thread = move |error: std::io::Error| limits::no_thread(what, &error);
    let (waiter, answer) = pair();
    let run = move || {
        let outcome = block_on(work(answer.given_up().clone()));
        answer.send(outcome.unwrap_or_else(|error| Err(no_thread(error))));
    };
    std::thread::Builder::new().name("kmirror-call".to_owned()).spawn(run).map_err(no_thread)?;
    let lost = || Err(Error::new(ErrorKind::Internal, format!("{what} ended unexpectedly")));
    waiter.wait_to_the_end(give_up).unwrap_or_else(lost)
}

/// As [`on_a_thread`], for what writes nothing: it is broken off when the host gives up.
pub(crate) fn look_on_a_thread<T, F>(
    what: &'static str,
    give_up: impl FnMut() -> bool,
    look: impl FnOnce() -> F + Send + 'static,
) -> Result<T>
where
    T: Send + 'static,
    F: Future<Output = Result<T>>,
{
    on_a_thread(what, give_up, move |abandoned| async move {
        tokio::select! {
            outcome = look() => outcome,
            () = abandoned.wait() => Err(given_up(what)),
        }
    })
}
