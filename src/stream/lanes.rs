//! What the tasks of a stream work off: the slots that each has to look at, and its tries to get on with a cluster.
//! Nothing here knows what a task does.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;

use tokio::sync::Notify;

use super::{Side, Stream};
use crate::error::{Error, ErrorKind};
use crate::event::{Event, EventKind};

/// Slots that a task has to look at.
#[derive(Default)]
pub(super) struct Lane {
    pub(super) slots: RefCell<BTreeSet<usize>>,
    pub(super) changed: Notify,
    /// Of a source broker: answers to fetches that could have held more, counted.
    pub(super) answers_with_room: Cell<u32>,
    /// How many connections the task has opened, and whether it has tried.
    pub(super) connections: Cell<u32>,
    pub(super) has_dialed: Cell<bool>,
    /// Of a target broker: connections that it has closed after a request.
    pub(super) closings: RefCell<Closings>,
}

/// Requests after which a broker has closed the connection, each time another one, and has answered none as large since.
#[derive(Debug, Default)]
pub(super) struct Closings {
    times: u32,
    /// The last connection that was closed, counted.
    dial: u32,
    /// The smallest of the requests.
    size: usize,
}

impl Closings {
    /// One may be an accident, and two.
    pub(super) const TOLD_AFTER: u32 = 3;

    /// A request was not answered because the connection is closed: how often that was so. Of several on a connection it was the first.
    pub(super) fn lost(&mut self, dial: u32, size: usize) -> Option<u32> {
        if self.times > 0 && self.dial == dial {
            return None;
        }
        self.size = if self.times == 0 { size } else { self.size.min(size) };
        (self.times, self.dial) = (self.times.saturating_add(1), dial);
        Some(self.times)
    }

    /// A request of this size was answered.
    pub(super) fn answered(&mut self, size: usize) {
        if size >= self.size {
            self.times = 0;
        }
    }
}

/// What writes to a broker of the target, each over a connection of its own.
#[derive(Clone, Copy)]
pub(super) enum Task {
    Produce = 0,
    Fill = 1,
}

impl Lane {
    pub(super) fn put(&self, slot: usize) {
        if self.slots.borrow_mut().insert(slot) {
            self.changed.notify_one();
        }
    }

    pub(super) fn take(&self) -> BTreeSet<usize> {
        self.slots.take()
    }

    /// The task has tried to open a connection.
    pub(super) fn dialed(&self, is_open: bool) {
        self.has_dialed.set(true);
        self.connections.set(self.connections.get() + u32::from(is_open));
    }
}

/// Tries of one task to get on with a cluster: a first failure is told, and each in a row makes the pause before the next try
/// twice as long, up to the longest.
pub(super) struct Tries {
    pub(super) side: Side,
    pub(super) failures: u32,
}

impl Tries {
    pub(super) fn of(side: Side) -> Self {
        Tries { side, failures: 0 }
    }

    pub(super) fn succeeded(&mut self) {
        self.failures = 0;
    }

    /// The next pause is longer. The error is told if it is the first in a row.
    pub(super) fn failed(&mut self, stream: &Stream, error: Option<&Error>) {
        // What keeps a cluster from being reached has been told by who met it.
        if let Some(error) = error.filter(|error| self.failures == 0 && error.kind() != ErrorKind::Connect) {
            tracing::warn!(cluster = stream.cluster(self.side).side, %error, "will be tried again");
            stream.events.send(Event::of_error(EventKind::Error, error));
        }
        self.failures += 1;
    }

    pub(super) async fn pause(&self, stream: &Stream) {
        let config = stream.cluster(self.side).config();
        let doubled = 1 << self.failures.saturating_sub(1).min(16);
        tokio::time::sleep(config.retry_backoff.saturating_mul(doubled).min(config.retry_backoff_max)).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn closings_in_a_row_are_counted_until_a_request_as_large_is_answered() {
        let mut closings = Closings::default();
        assert_eq!(closings.lost(1, 5000), Some(1));
        assert_eq!(closings.lost(1, 9000), None, "the same connection");
        closings.answered(100);
        assert_eq!((closings.lost(2, 4000), closings.lost(3, 7000)), (Some(2), Some(3)));
        closings.answered(3999);
        assert_eq!(closings.lost(4, 4000), Some(4));
        closings.answered(4000);
        assert_eq!(closings.lost(5, 4000), Some(1));
    }
}
