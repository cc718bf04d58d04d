//! Several mirrors in one process: who of them is under way, and what one does whose cluster cannot be reached at its start.
//!
//! A mirror alone ends when it cannot start. One of several waits for its cluster and is started again, as long as another one
//! runs: nobody would notice that a flow is missing while the process goes on.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use kmirror::Error;

/// The first pause between two starts; it doubles.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// How many mirrors run, or are being started for the first time.
pub(crate) struct Flows {
    under_way: AtomicUsize,
}

/// One mirror of several.
pub(crate) struct Flow<'a> {
    flows: &'a Flows,
    name: String,
    is_under_way: bool,
    pause: Duration,
}

impl Flows {
    /// All of them are about to be started.
    pub(crate) fn new(count: usize) -> Self {
        Flows { under_way: AtomicUsize::new(count) }
    }

    /// One of them.
    pub(crate) fn flow(&self, name: Option<&str>) -> Flow<'_> {
        let name = name.unwrap_or("without a name").to_owned();
        Flow { flows: self, name, is_under_way: true, pause: FIRST_PAUSE }
    }
}

impl Flow<'_> {
    /// It runs.
    pub(crate) fn has_started(&mut self) {
        if !std::mem::replace(&mut self.is_under_way, true) {
            self.flows.under_way.fetch_add(1, Ordering::SeqCst);
            tracing::info!(mirror = self.name, "the mirror '{}' runs now", self.name);
        }
    }

    /// It could not start: until when to wait for the next attempt, or `None` if there is none.
    pub(crate) fn next_attempt(&mut self, error: &Error) -> Option<Instant> {
        if !error.is_retriable() {
            return None;
        }
        if self.leave() {
            tracing::error!(
                mirror = self.name,
                %error,
                "the mirror '{}' cannot start; it is tried again as long as another one runs",
                self.name
            );
        }
        let next = Instant::now() + self.pause;
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
        Some(next)
    }

    /// Whether no other one runs any more.
    pub(crate) fn is_last(&self) -> bool {
        self.flows.under_way.load(Ordering::SeqCst) == 0
    }

    /// It has ended, with an error or well.
    pub(crate) fn has_ended(&mut self, error: Option<&Error>) {
        self.leave();
        if let Some(error) = error.filter(|_| !self.is_last()) {
            tracing::error!(mirror = self.name, %error, "the mirror '{}' has ended; others go on", self.name);
        }
    }

    /// `true` if it was under way until now.
    fn leave(&mut self) -> bool {
        let was = std::mem::replace(&mut self.is_under_way, false);
        if was {
            self.flows.under_way.fetch_sub(1, Ordering::SeqCst);
        }
        was
    }
}

impl Drop for Flow<'_> {
    fn drop(&mut self) {
        self.leave();
    }
}
