//! What is said of a mirror and of its partitions: states, lag, how much was replicated.
//! It is counted in `status` and shown by the bindings as it is.

use std::fmt;

use serde::Serialize;

macro_rules! states {
    ($($(#[$doc:meta])* $variant:ident = $name:literal,)*) => {
        /// The state of a mirror, or of one partition where it applies.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
        #[serde(rename_all = "snake_case")]
        #[non_exhaustive]
        #[repr(u8)]
        pub enum State { $($(#[$doc])* $variant,)* }

        impl State {
            pub(crate) const ALL: &'static [State] = &[$(State::$variant,)*];

            /// The name in snake_case.
            pub fn name(self) -> &'static str { match self { $(State::$variant => $name,)* } }
        }
    };
}

states! {
    /// Positions are being read.
    Starting = "starting",
    /// Replicating what the source has more than the target.
    CatchingUp = "catching_up",
    /// The target has what the source had a moment ago.
    InSync = "in_sync",
    /// Some partitions do not progress; the others do.
    Degraded = "degraded",
    /// Nothing progresses; it is being retried.
    Stalled = "stalled",
    /// Paused by the host.
    Paused = "paused",
    /// Waiting for the last answers.
    Stopping = "stopping",
    /// Stopped.
    Stopped = "stopped",
    /// Ended by a switch-over.
    Promoted = "promoted",
    /// Gave up; somebody has to look at the error.
    Failed = "failed",
}

/// How far the target is behind, as far as both clusters were heard. What is not known is `None`, also in sums; it is never 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[non_exhaustive]
pub struct Lag {
    /// Offsets that the source has and the target has not.
    pub records: Option<u64>,
    /// Bytes of them, estimated from the size of what was replicated so far.
    pub bytes: Option<u64>,
    /// How old the oldest record is that the source has and the target has not, in milliseconds, as far as that is known: at
    /// least as old as this while nothing is copied. 0 when nothing is behind.
    pub ms: Option<u64>,
    /// When both clusters were heard last.
    pub as_of: AsOf,
}

impl Lag {
    /// Nothing is behind.
    pub(crate) const NOTHING: Lag =
        Lag { records: Some(0), bytes: Some(0), ms: Some(0), as_of: AsOf { source_ms: None, target_ms: None } };

    /// Of all of them together: counts add up, the time is that of the worst. What is not known of one is not known of all.
    pub(crate) fn of_all(lags: impl IntoIterator<Item = Lag>) -> Lag {
        let add = |one: Option<u64>, other: Option<u64>| Some(one?.saturating_add(other?));
        let both = |one: Lag, other: Lag| Lag {
            records: add(one.records, other.records),
            bytes: add(one.bytes, other.bytes),
            ms: one.ms.zip(other.ms).map(|(one, other)| one.max(other)),
            as_of: one.as_of.and(other.as_of),
        };
        lags.into_iter().reduce(both).unwrap_or(Lag::NOTHING)
    }

    /// As words: "12 records", or that it is not known.
    pub(crate) fn in_records(&self) -> String {
        match self.records {
            None => "an unknown number of records".to_owned(),
            Some(1) => "1 record".to_owned(),
            Some(records) => format!("{records} records"),
        }
    }
}

impl fmt::Display for Lag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} behind", self.in_records())
    }
}

/// When each cluster was heard last, in milliseconds since 1970; `None` before the first time. Of several partitions it is the
/// one that was heard the longest ago.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[non_exhaustive]
pub struct AsOf {
    /// When a broker of the source said where the partition ends.
    pub source_ms: Option<i64>,
    /// When a broker of the target said where the partition ends, or that it has taken records.
    pub target_ms: Option<i64>,
}

impl AsOf {
    /// Both together: the older time counts.
    pub(crate) fn and(self, other: AsOf) -> AsOf {
        let older = |one: Option<i64>, other: Option<i64>| Some(one?.min(other?));
        AsOf { source_ms: older(self.source_ms, other.source_ms), target_ms: older(self.target_ms, other.target_ms) }
    }
}

/// What was replicated since the start.
#[derive(Debug, Clone, Copy)]
pub struct Replicated {
    /// Records.
    pub records: u64,
    /// Bytes, as compressed.
    pub bytes: u64,
    /// When the newest of them was produced, in milliseconds since 1970.
    pub last_timestamp: i64,
}

impl Default for Replicated {
    fn default() -> Self {
        Replicated { records: 0, bytes: 0, last_timestamp: -1 }
    }
}
