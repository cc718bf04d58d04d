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
