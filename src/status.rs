//! What a mirror shows of itself: states, lag, and a status of every topic and partition.
//!
//! Streams write their partitions' [`Progress`] without locks; a status is put together from it by whoever asks.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use serde::{Serialize, Serializer};

use crate::error::Error;
use crate::event::now_ms;
use crate::identity::offsets::Place;
use crate::machine::topics::TopicIds;
use crate::machine::translation::OffsetMap;

macro_rules! states {
    ($($(#[$doc:meta])* $variant:ident = $name:literal,)*) => {
        /// The state of a mirror, or of one partition where it applies.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
        #[serde(rename_all = "snake_case")]
        #[non_exhaustive]
        #[repr(u8)]
        pub enum State { $($(#[$doc])* $variant,)* }

        impl State {
            const ALL: &'static [State] = &[$(State::$variant,)*];

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

/// How far the target is behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[non_exhaustive]
pub struct Lag {
    /// Offsets that the source has and the target has not.
    pub records: u64,
    /// Bytes of them, estimated from the size of what was replicated so far.
    pub bytes: u64,
    /// Milliseconds since the newest replicated record was produced, 0 when nothing is behind.
    pub ms: u64,
}

/// What a mirror shows of itself.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct Status {
    /// The mirror's name.
    pub name: String,
    /// Its state.
    pub state: State,
    /// The lag of all topics together; milliseconds are those of the worst partition.
    pub lag: Lag,
    /// Records replicated since the start.
    pub replicated_records: u64,
    /// Bytes replicated since the start, as compressed.
    pub replicated_bytes: u64,
    /// Events dropped because nobody drained them.
    pub events_dropped: u64,
    /// Why it failed.
    #[serde(serialize_with = "error_text")]
    pub error: Option<Error>,
    /// Its topics, by name.
    pub topics: Vec<TopicStatus>,
    /// The offsets of consumer groups.
    pub groups: GroupsStatus,
    /// Topics that match but are not mirrored, and why.
    pub refused: BTreeMap<String, String>,
    /// What beside the records cannot be kept in step at the moment; each is tried again with every refresh.
    pub troubles: Vec<Trouble>,
}

/// How far the offsets of consumer groups are copied. Groups that are not copied are among the [troubles](Status::troubles).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[non_exhaustive]
pub struct GroupsStatus {
    /// Groups of the source that match and have offsets in mirrored topics.
    pub matching: usize,
    /// Those that are on the target what they are at the source.
    pub synced: usize,
    /// Those that are not yet, because the mirror has not come as far, or because a coordinator did not answer.
    pub behind: usize,
    /// Those that are left alone or cannot be copied at the moment.
    pub skipped: usize,
    /// Offsets that the groups on the target are behind those at the source, without those that are skipped.
    pub behind_offsets: u64,
    /// When all groups were looked at last, in milliseconds since 1970; `None` before the first time, and for ever with
    /// `sync.group.offsets=false`.
    pub last_round_ms: Option<i64>,
}

/// Something beside the records that cannot be kept in step at the moment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Trouble {
    /// What it is.
    pub subject: Subject,
    /// Which one.
    pub name: String,
    /// Why.
    pub message: String,
}

/// What a mirror keeps in step beside the records.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Subject {
    /// The configuration of a topic.
    TopicConfig,
    /// The offsets of a consumer group.
    Group,
    /// Access control lists.
    Acl,
    /// What is written in MirrorMaker 2's formats.
    #[serde(rename = "mirror_maker_2")]
    MirrorMaker2,
}

impl Subject {
    /// The name in snake_case.
    pub fn name(self) -> &'static str {
        match self {
            Subject::TopicConfig => "topic_config",
            Subject::Group => "group",
            Subject::Acl => "acl",
            Subject::MirrorMaker2 => "mirror_maker_2",
        }
    }
}

/// One topic of a [`Status`].
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct TopicStatus {
    /// Its name at the source.
    pub topic: Arc<str>,
    /// Its name on the target, where that differs.
    pub target_topic: Option<Arc<str>>,
    /// The lag of its partitions together.
    pub lag: Lag,
    /// Its partitions, by number.
    pub partitions: Vec<PartitionStatus>,
}

/// One partition of a [`Status`].
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct PartitionStatus {
    /// Its number.
    pub partition: i32,
    /// Its state.
    pub state: State,
    /// Next offset of the source that consumers can see; `None` until it is known.
    pub source_offset_next: Option<i64>,
    /// Next offset of the source behind its high watermark: more than `source_offset_next` while a transaction is open and
    /// `isolation.level` is `read_committed`; `None` until it is known.
    pub source_high_watermark: Option<i64>,
    /// Next offset to be replicated, the same number on source and target; `None` until it is known.
    pub target_offset_next: Option<i64>,
    /// How far it is behind.
    pub lag: Lag,
    /// Whose transaction has been open for so long that it holds this partition up.
    pub open_transaction: Option<String>,
    /// Offsets of the source that `on.data.loss` or `on.record.refused` has left out since the start: on the target they have
    /// no record.
    pub left_out_offsets: u64,
    /// Why it does not progress.
    #[serde(serialize_with = "error_text")]
    pub error: Option<Error>,
}

fn error_text<S: Serializer>(error: &Option<Error>, serializer: S) -> Result<S::Ok, S::Error> {
    error.as_ref().map(Error::message).serialize(serializer)
}

/// Under load the source is always a little ahead; a partition that was level so short a time ago is no news.
const STILL_IN_SYNC_MS: i64 = 3000;
/// Not known yet.
const UNKNOWN: i64 = -1;

/// One partition, as its stream tells the rest of the world.
#[derive(Debug)]
pub(crate) struct Progress {
    /// The name at the source.
    pub(crate) topic: Arc<str>,
    /// The name on the target.
    pub(crate) target_topic: Arc<str>,
    /// The topic's ids on both sides: one of another id is another topic.
    pub(crate) ids: TopicIds,
    pub(crate) partition: i32,
    state: AtomicU8,
    source_next: AtomicI64,
    /// When the source told its end last, in milliseconds since 1970.
    source_told_at: AtomicI64,
    source_high_watermark: AtomicI64,
    target_next: AtomicI64,
    last_timestamp: AtomicI64,
    left_out: AtomicU64,
    records: AtomicU64,
    bytes: AtomicU64,
    /// When the target had all the source had, in milliseconds since 1970.
    in_sync_at: AtomicI64,
    error: Mutex<Option<Error>>,
    open_transaction: Mutex<Option<String>>,
    /// Whether something was sent and not answered.
    in_flight: AtomicBool,
    /// Where records are on the target, if offsets are translated, once the partition has begun.
    pub(crate) translation: OnceLock<Translation>,
}

/// Where the records of a partition are on the target.
#[derive(Debug)]
pub(crate) struct Translation {
    /// Under which it is kept.
    pub(crate) place: Place,
    pub(crate) map: Mutex<OffsetMap>,
}

/// What was replicated since the start.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Replicated {
    /// Records.
    pub(crate) records: u64,
    /// Bytes, as compressed.
    pub(crate) bytes: u64,
    /// When the newest of them was produced, in milliseconds since 1970.
    pub(crate) last_timestamp: i64,
}

impl Default for Replicated {
    fn default() -> Self {
        Replicated { records: 0, bytes: 0, last_timestamp: UNKNOWN }
    }
}

impl Progress {
    /// Of a topic with its names and ids on source and target.
    pub(crate) fn new([topic, target_topic]: [Arc<str>; 2], ids: TopicIds, partition: i32) -> Arc<Self> {
        Arc::new(Progress {
            topic,
            target_topic,
            ids,
            partition,
            state: AtomicU8::new(State::Starting as u8),
            source_next: AtomicI64::new(UNKNOWN),
            source_told_at: AtomicI64::new(UNKNOWN),
            source_high_watermark: AtomicI64::new(UNKNOWN),
            target_next: AtomicI64::new(UNKNOWN),
            last_timestamp: AtomicI64::new(UNKNOWN),
            left_out: AtomicU64::new(0),
            records: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            in_sync_at: AtomicI64::new(UNKNOWN),
            error: Mutex::new(None),
            open_transaction: Mutex::new(None),
            in_flight: AtomicBool::new(true),
            translation: OnceLock::new(),
        })
    }

    pub(crate) fn set_source_next(&self, offset: i64) {
        self.source_next.store(offset, Ordering::Relaxed);
        self.source_told_at.store(now_ms(), Ordering::Relaxed);
    }

    pub(crate) fn source_told_at(&self) -> i64 {
        self.source_told_at.load(Ordering::Relaxed)
    }

    pub(crate) fn set_source_high_watermark(&self, offset: i64) {
        self.source_high_watermark.store(offset, Ordering::Relaxed);
    }

    /// The last stable offset, if an open transaction holds readers of committed records up there.
    pub(crate) fn held_up_at(&self) -> Option<i64> {
        let stable = self.source_next()?;
        (self.source_high_watermark.load(Ordering::Relaxed) > stable).then_some(stable)
    }

    /// Where the source ends as far as it has told, also behind an open transaction.
    pub(crate) fn source_end(&self) -> Option<i64> {
        self.source_next().max(known(self.source_high_watermark.load(Ordering::Relaxed)))
    }

    pub(crate) fn set_open_transaction(&self, whose: Option<String>) {
        *self.open_transaction.lock().unwrap_or_else(PoisonError::into_inner) = whose;
    }

    pub(crate) fn add_left_out(&self, offsets: i64) {
        self.left_out.fetch_add(offsets.max(0) as u64, Ordering::Relaxed);
    }

    pub(crate) fn set_replicated(&self, target_next: Option<i64>, replicated: Replicated) {
        self.target_next.store(target_next.unwrap_or(UNKNOWN), Ordering::Relaxed);
        self.records.store(replicated.records, Ordering::Relaxed);
        self.bytes.store(replicated.bytes, Ordering::Relaxed);
        self.last_timestamp.store(replicated.last_timestamp, Ordering::Relaxed);
        if self.has_reached_source() {
            self.in_sync_at.store(now_ms(), Ordering::Relaxed);
        }
    }

    /// How far it is, if nothing was sent that has not been answered: what is sent later comes behind all that the target has now.
    pub(crate) fn target_next_at_rest(&self) -> Option<i64> {
        let before = self.target_next();
        before.filter(|_| !self.in_flight.load(Ordering::Acquire)).filter(|_| before == self.target_next())
    }

    pub(crate) fn set_in_flight(&self, in_flight: bool) {
        self.in_flight.store(in_flight, Ordering::Release);
    }

    fn has_reached_source(&self) -> bool {
        matches!((self.source_next(), self.target_next()), (Some(source), Some(target)) if target >= source)
    }

    pub(crate) fn set_state(&self, state: State, error: Option<&Error>) {
        let before = self.state.swap(state as u8, Ordering::Relaxed);
        if error.is_some() || before != state as u8 {
            *self.error.lock().unwrap_or_else(PoisonError::into_inner) = error.cloned();
        }
    }

    /// Starting, stalled and failed are said by the stream; how far a running partition is follows from its offsets.
    pub(crate) fn state(&self) -> State {
        let said = State::ALL.get(usize::from(self.state.load(Ordering::Relaxed))).copied().unwrap_or(State::Starting);
        let fresh = || now_ms() - self.in_sync_at.load(Ordering::Relaxed) < STILL_IN_SYNC_MS;
        if said == State::CatchingUp && (self.has_reached_source() || fresh()) { State::InSync } else { said }
    }

    pub(crate) fn error(&self) -> Option<Error> {
        self.error.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn source_next(&self) -> Option<i64> {
        known(self.source_next.load(Ordering::Relaxed))
    }

    pub(crate) fn target_next(&self) -> Option<i64> {
        known(self.target_next.load(Ordering::Relaxed))
    }

    pub(crate) fn replicated(&self) -> Replicated {
        Replicated {
            records: self.records.load(Ordering::Relaxed),
            bytes: self.bytes.load(Ordering::Relaxed),
            last_timestamp: self.last_timestamp.load(Ordering::Relaxed),
        }
    }

    pub(crate) fn lag(&self, now_ms: i64) -> Lag {
        let Some(source) = self.source_next() else { return Lag::default() };
        let target = self.target_next().unwrap_or(0);
        let records = source.saturating_sub(target).max(0) as u64;
        let replicated = self.replicated();
        let record_size = replicated.bytes.checked_div(replicated.records).unwrap_or(0);
        let behind_since = known(replicated.last_timestamp).filter(|_| records > 0);
        let ms = behind_since.map_or(0, |timestamp| now_ms.saturating_sub(timestamp).max(0) as u64);
        Lag { records, bytes: records * record_size, ms }
    }

    pub(crate) fn status(&self, now_ms: i64) -> PartitionStatus {
        PartitionStatus {
            partition: self.partition,
            state: self.state(),
            source_offset_next: self.source_next(),
            source_high_watermark: known(self.source_high_watermark.load(Ordering::Relaxed)),
            target_offset_next: self.target_next(),
            lag: self.lag(now_ms),
            open_transaction: self.open_transaction.lock().unwrap_or_else(PoisonError::into_inner).clone(),
            left_out_offsets: self.left_out.load(Ordering::Relaxed),
            error: self.error(),
        }
    }
}

fn known(value: i64) -> Option<i64> {
    Some(value).filter(|value| *value != UNKNOWN)
}

impl Lag {
    /// Both together: counts add up, the time is that of the worse one.
    pub(crate) fn and(self, other: Lag) -> Lag {
        Lag { records: self.records + other.records, bytes: self.bytes + other.bytes, ms: self.ms.max(other.ms) }
    }
}

/// Groups partitions by topic.
pub(crate) fn topics(partitions: &[Arc<Progress>], now_ms: i64) -> Vec<TopicStatus> {
    let mut topics: BTreeMap<[&Arc<str>; 2], Vec<PartitionStatus>> = BTreeMap::new();
    for partition in partitions {
        let names = [&partition.topic, &partition.target_topic];
        topics.entry(names).or_default().push(partition.status(now_ms));
    }
    let topic = |([topic, target_topic], mut partitions): ([&Arc<str>; 2], Vec<PartitionStatus>)| {
        partitions.sort_by_key(|partition| partition.partition);
        let lag = partitions.iter().map(|partition| partition.lag).fold(Lag::default(), Lag::and);
        let target_topic = (target_topic != topic).then(|| target_topic.clone());
        TopicStatus { topic: topic.clone(), target_topic, lag, partitions }
    };
    topics.into_iter().map(topic).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_knows_how_late_a_target_is_that_has_nothing_yet() {
        let ids = TopicIds { source: 1, target: 2 };
        let progress = Progress::new([Arc::from("orders"), Arc::from("orders")], ids, 0);
        progress.set_source_next(10);
        progress.set_replicated(Some(0), Replicated::default());
        assert_eq!(progress.lag(1_700_000_000_000), Lag { records: 10, bytes: 0, ms: 0 });
        let replicated = Replicated { records: 4, bytes: 400, last_timestamp: 1_700_000_000_000 - 250 };
        progress.set_replicated(Some(4), replicated);
        assert_eq!(progress.lag(1_700_000_000_000), Lag { records: 6, bytes: 600, ms: 250 });
    }
}
