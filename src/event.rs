//! The one way out of the engine: events, which wait in a bounded queue for who polls and in another one for the callbacks.
//!
//! No user code ever runs on an engine thread. When nobody drains a queue the oldest event is dropped and counted, lag first, so
//! that a host that does not listen costs no memory; what matters for ever is in the status too.

mod callbacks;
mod queue;
#[cfg(unix)]
mod wake;

use std::sync::Arc;
use std::time::Duration;

use serde::{Serialize, Serializer};

use crate::clock;
use crate::error::Error;
use crate::terms::state::{Lag, State};
use crate::text;
pub use callbacks::{Callbacks, Told};
use queue::Queue;

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
#[derive(Debug, Clone, Serialize)]
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
    /// The consumer group it is about.
    pub group: Option<Arc<str>>,
    /// The lag, in the events about it.
    pub lag: Option<Lag>,
    /// The error, where one is the reason; its kind's name when it is serialized, as the message is that of the event.
    #[serde(serialize_with = "kind_name")]
    pub error: Option<Error>,
}

fn kind_name<S: Serializer>(error: &Option<Error>, serializer: S) -> Result<S::Ok, S::Error> {
    error.as_ref().map(|error| error.kind().name()).serialize(serializer)
}

impl Event {
    /// An event of a kind, now.
    pub(crate) fn new(kind: EventKind, message: impl Into<String>) -> Self {
        let (message, timestamp_ms) = (text::sentence(message.into(), false), now_ms());
        Event {
            kind,
            timestamp_ms,
            message,
            state: None,
            topic: None,
            partition: None,
            group: None,
            lag: None,
            error: None,
        }
    }

    /// An event whose reason is an error.
    pub fn of_error(kind: EventKind, error: &Error) -> Self {
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
    clock::since_1970().as_millis() as i64
}

/// Where events go. Clones share it.
#[derive(Debug, Clone)]
pub(crate) struct Events {
    polled: Arc<Queue>,
    callbacks: Callbacks,
}

impl Events {
    pub(crate) fn new(callbacks: Callbacks) -> Self {
        Events { polled: Arc::default(), callbacks }
    }

    pub(crate) fn send(&self, event: Event) {
        let event = Arc::new(event);
        let listened = self.callbacks.hear_event(&event);
        self.polled.push(event, listened);
    }

    /// No more comes; what waits can still be taken.
    pub(crate) fn close(&self) {
        self.polled.close();
        self.callbacks.close();
    }

    /// The next event, waiting for it at most so long.
    pub(crate) fn poll(&self, timeout: Duration) -> Option<Event> {
        self.polled.take(timeout).map(Arc::unwrap_or_clone)
    }

    /// A descriptor that is readable while events wait to be polled.
    #[cfg(unix)]
    pub(crate) fn descriptor(&self) -> std::io::Result<std::os::fd::RawFd> {
        self.polled.descriptor()
    }

    /// What is to be called for.
    pub(crate) fn callbacks(&self) -> &Callbacks {
        &self.callbacks
    }

    /// How many were dropped because nobody drained the queue, or callbacks took too long.
    pub(crate) fn dropped(&self) -> u64 {
        self.polled.dropped() + self.callbacks.dropped()
    }
}
