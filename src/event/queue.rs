//! A bounded queue of what a host may take, with a file descriptor for those who wait in `poll` or `epoll`.
//!
//! Its lock is held for a push or a pop only, never while somebody waits and never while code of the host runs. What is full
//! loses what is worth least: the oldest of what comes again by itself, else the oldest.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

#[cfg(unix)]
use super::wake::Wake;
use super::{Event, EventKind};

use crate::clock::Instant;

/// Events that wait to be taken, at most.
pub(super) const LENGTH: usize = 10_000;

/// Events that wait for whoever polls.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    inner: Mutex<Inner>,
    filled: Condvar,
}

#[derive(Debug, Default)]
struct Inner {
    events: VecDeque<Arc<Event>>,
    dropped: u64,
    /// No more comes.
    closed: bool,
    #[cfg(unix)]
    wake: Option<Wake>,
}

impl Queue {
    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds an event. With `listened` somebody else hears it too, so that a loss here is none.
    pub(super) fn push(&self, event: Arc<Event>, listened: bool) {
        let mut inner = self.inner();
        if make_room(&mut inner.events, LENGTH, |event| event.kind == EventKind::Lag) && !listened {
            inner.dropped += 1;
        }
        inner.events.push_back(event);
        inner.show();
        drop(inner);
        self.filled.notify_one();
    }

    /// No more comes: nobody has to wait any more.
    pub(super) fn close(&self) {
        self.inner().closed = true;
        self.filled.notify_all();
    }

    /// The next event, waiting for it at most so long, and no longer than there may be one.
    pub(super) fn take(&self, timeout: Duration) -> Option<Arc<Event>> {
        let started = Instant::now();
        let mut inner = self.inner();
        loop {
            if let Some(event) = inner.events.pop_front() {
                inner.show();
                return Some(event);
            }
            let left = timeout.checked_sub(started.elapsed()).filter(|left| !left.is_zero() && !inner.closed)?;
            inner = self.filled.wait_timeout(inner, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    pub(super) fn dropped(&self) -> u64 {
        self.inner().dropped
    }

    /// A descriptor that is readable while events wait. It lives as long as the queue.
    #[cfg(unix)]
    pub(super) fn descriptor(&self) -> std::io::Result<std::os::fd::RawFd> {
        let mut inner = self.inner();
        if inner.wake.is_none() {
            inner.wake = Some(Wake::new()?);
            inner.show();
        }
        inner.wake.as_ref().map(Wake::descriptor).ok_or_else(|| std::io::ErrorKind::Other.into())
    }
}

impl Inner {
    /// Makes the descriptor readable if something waits, and only then.
    fn show(&mut self) {
        #[cfg(unix)]
        if let Some(wake) = &mut self.wake {
            wake.set(!self.events.is_empty());
        }
    }
}

/// Takes one out of a queue that is full; returns whether it was.
pub(super) fn make_room<T>(waiting: &mut VecDeque<T>, length: usize, comes_again: impl Fn(&T) -> bool) -> bool {
    if waiting.len() < length {
        return false;
    }
    let least = waiting.iter().position(comes_again).unwrap_or(0);
    waiting.remove(least).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(kind: EventKind, message: usize) -> Arc<Event> {
        Arc::new(Event::new(kind, message.to_string()))
    }

    #[test]
    fn the_oldest_lag_goes_first_when_nobody_listens_then_the_oldest() {
        let queue = Queue::default();
        queue.push(event(EventKind::StateChanged, 0), false);
        for number in 1..LENGTH + 3 {
            queue.push(event(EventKind::Lag, number), false);
        }
        assert_eq!(queue.dropped(), 3);
        let messages: Vec<_> = std::iter::from_fn(|| queue.take(Duration::ZERO)).map(|e| e.message.clone()).collect();
        assert_eq!(messages[..3], ["0", "4", "5"]);
        assert_eq!(messages.len(), LENGTH);

        for number in 0..LENGTH + 2 {
            queue.push(event(EventKind::Error, number), true);
        }
        assert_eq!(queue.take(Duration::ZERO).map(|event| event.message.clone()), Some("2".to_owned()));
        assert_eq!(queue.dropped(), 3, "what somebody else has heard is not lost");
    }
    #[test]
    fn nobody_waits_for_what_never_comes() {
        let queue = Queue::default();
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| queue.take(Duration::from_secs(3600)));
            queue.push(event(EventKind::Error, 1), false);
            assert!(waiting.join().is_ok_and(|event| event.is_some()));
            let waiting = scope.spawn(|| queue.take(Duration::from_secs(3600)));
            queue.close();
            assert!(waiting.join().is_ok_and(|event| event.is_none()));
        });
        assert_eq!(queue.take(Duration::from_secs(3600)).map(|event| event.kind), None);
    }
}
