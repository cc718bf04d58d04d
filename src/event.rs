//! The one way out of the engine: a bounded queue of events that the host drains.
//!
//! No user code ever runs on an engine thread. When nobody drains the queue the oldest event is dropped and counted, so that a
//! host that does not listen costs no memory; what matters for ever is in the status too.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crossbeam_channel::{Receiver, Sender, TrySendError};
use serde::Serialize;

use crate::error::Error;
use crate::status::{Lag, State};

/// Events that wait to be drained, at most.
const QUEUE_LENGTH: usize = 10_000;

macro_rules! event_kinds {
    ($($(#[$doc:meta])* $variant:ident = $number:literal, $name:literal;)*) => {
        /// What an [`Event`] tells.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
        #[serde(rename_all = "snake_case")]
        #[non_exhaustive]
        #[repr(i32)]
        pub enum EventKind { $($(#[$doc])* $variant = $number,)* }

        impl EventKind {
            /// Every kind, in the order of the table.
            pub const ALL: &'static [EventKind] = &[$(EventKind::$variant,)*];

            /// The stable number, also the value of `kmirror_event_kind` in C. Never 0, which means no event.
            pub fn code(self) -> i32 { self as i32 }

            /// The name in snake_case.
            pub fn name(self) -> &'static str { match self { $(EventKind::$variant => $name,)* } }
        }
    };
}

event_kinds! {
    /// The mirror is in another state.
    StateChanged = 1, "state_changed";
    /// The lag of a topic, or of all without a topic, every `lag.interval.ms`.
    Lag = 2, "lag";
    /// The lag went above `lag.threshold.records` or `lag.threshold.ms`.
    LagAbove = 3, "lag_above";
    /// The lag is well below the threshold again.
    LagBelow = 4, "lag_below";
    /// A topic is mirrored from now on.
    TopicAdded = 5, "topic_added";
    /// A topic is gone at the source; what was copied stays on the target.
    TopicRemoved = 6, "topic_removed";
    /// A partition stopped because of an error; the others go on.
    PartitionParked = 7, "partition_parked";
    /// A partition that had stopped goes on.
    PartitionResumed = 8, "partition_resumed";
    /// Records were lost at the source before they were replicated.
    DataLoss = 9, "data_loss";
    /// The offsets of a consumer group were copied.
    GroupSynced = 10, "group_synced";
    /// The offsets of a consumer group were not copied, with the reason.
    GroupSkipped = 11, "group_skipped";
    /// Trouble that is being retried, or a topic that cannot be mirrored.
    Error = 12, "error";
}

/// Something the mirror has to tell.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Event {
    /// What it tells.
    pub kind: EventKind,
    /// When it happened, in milliseconds since 1970.
    pub timestamp_ms: i64,
    /// The sentence for a person.
    pub message: String,
    /// The state, in [`EventKind::StateChanged`].
    pub state: Option<State>,
    /// The topic it is about; `None` for all.
    pub topic: Option<Arc<str>>,
    /// The partition it is about.
    pub partition: Option<i32>,
    /// The lag, in the events about it.
    pub lag: Option<Lag>,
    /// The error, where one is the reason.
    pub error: Option<Error>,
}

impl Event {
    /// An event of a kind, now.
    pub(crate) fn new(kind: EventKind, message: impl Into<String>) -> Self {
        let (message, timestamp_ms) = (message.into(), now_ms());
        Event { kind, timestamp_ms, message, state: None, topic: None, partition: None, lag: None, error: None }
    }

    /// An event whose reason is an error.
    pub(crate) fn of_error(kind: EventKind, error: &Error) -> Self {
        Event {
            topic: error.topic().map(Arc::from),
            partition: error.partition(),
            error: Some(error.clone()),
            ..Event::new(kind, error.message())
        }
    }
}

/// Milliseconds since 1970.
pub(crate) fn now_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as i64)
}

/// Both ends of the queue. Clones share it.
#[derive(Debug, Clone)]
pub(crate) struct Events {
    sender: Sender<Event>,
    receiver: Receiver<Event>,
    dropped: Arc<AtomicU64>,
}

impl Events {
    pub(crate) fn new() -> Self {
        let (sender, receiver) = crossbeam_channel::bounded(QUEUE_LENGTH);
        Events { sender, receiver, dropped: Arc::default() }
    }

    pub(crate) fn send(&self, mut event: Event) {
        while let Err(TrySendError::Full(back)) = self.sender.try_send(event) {
            event = back;
            if self.receiver.try_recv().is_ok() {
                self.dropped.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    /// The next event, waiting for it at most so long.
    pub(crate) fn poll(&self, timeout: Duration) -> Option<Event> {
        self.receiver.recv_timeout(timeout).ok()
    }

    /// How many were dropped because nobody drained the queue.
    pub(crate) fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_goes_when_nobody_listens() {
        let events = Events::new();
        for number in 0..QUEUE_LENGTH + 3 {
            events.send(Event::new(EventKind::Error, number.to_string()));
        }
        assert_eq!(events.dropped(), 3);
        assert_eq!(events.poll(Duration::ZERO).map(|event| event.message), Some("3".to_owned()));
    }
}
