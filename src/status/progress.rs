//! One partition, as its stream and the looks at both clusters tell the rest of the world. It is written without locks but where
//! somebody is in trouble; what it means together is for [`status`](super).

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use super::PartitionStatus;
use super::heard::{Heard, Side, UNKNOWN, known};
use crate::error::Error;
use crate::event::now_ms;
use crate::identity::offsets::Place;
use crate::machine::deletions::Deletions;
use crate::machine::topics::TopicIds;
use crate::machine::translation::OffsetMap;
use crate::terms::state::{Lag, Replicated, State};

/// Under load the source is always a little ahead; a partition that was level so short a time ago is no news.
const STILL_IN_SYNC_MS: i64 = 3000;

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
    heard: Heard,
    source_next: AtomicI64,
    source_high_watermark: AtomicI64,
    target_next: AtomicI64,
    deletions: KnownDeletions,
    /// Where the target's log was seen to end before what it had acknowledged, until it was read again.
    lost_to: AtomicI64,
    last_timestamp: AtomicI64,
    /// When the record was produced that was the last on the target when it was read.
    found_timestamp: AtomicI64,
    /// The source's first record, of partitions that have nothing on the target.
    first_record: [AtomicI64; 2],
    left_out: AtomicU64,
    echo: AtomicU64,
    records: AtomicU64,
    bytes: AtomicU64,
    error: Mutex<Option<Error>>,
    /// Why nobody knows at the moment where a side ends.
    troubles: Mutex<[Option<Error>; 2]>,
    is_in_trouble: AtomicBool,
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

/// What is known of the deletions of keys in a compacted topic. Times are milliseconds since 1970: unlike those of [`Heard`] they count while
/// a machine is suspended, and they are compared with what another process has written down.
#[derive(Debug)]
pub(crate) struct KnownDeletions {
    /// How long the source keeps them, in milliseconds.
    kept: AtomicI64,
    /// When the copy was begun, when it was level last by what the source had told, and when the source told where it ends.
    begun_at: AtomicI64,
    level_at: AtomicI64,
    source_told_at: AtomicI64,
}

/// Nobody was asked yet.
const NOT_ASKED: i64 = -2;

impl KnownDeletions {
    fn new() -> Self {
        let unknown = || AtomicI64::new(UNKNOWN);
        KnownDeletions {
            kept: AtomicI64::new(NOT_ASKED),
            begun_at: unknown(),
            level_at: unknown(),
            source_told_at: unknown(),
        }
    }

    /// The copy has all that the source has told of.
    fn is_level(&self) {
        self.level_at.store(self.source_told_at.load(Ordering::Relaxed), Ordering::Relaxed);
    }

    pub(crate) fn set_level_at(&self, at_ms: i64) {
        self.level_at.store(at_ms, Ordering::Relaxed);
    }

    /// When the copy was level last; `None` if that is not known.
    pub(crate) fn level_at(&self) -> Option<i64> {
        known(self.level_at.load(Ordering::Relaxed))
    }

    pub(crate) fn source_told_at(&self) -> i64 {
        self.source_told_at.load(Ordering::Relaxed)
    }

    pub(crate) fn set_begun_at(&self, at_ms: i64) {
        self.begun_at.store(at_ms, Ordering::Relaxed);
    }

    /// `None` if the topic is not compacted.
    pub(crate) fn set_kept(&self, kept_ms: Option<i64>) {
        self.kept.store(kept_ms.unwrap_or(UNKNOWN), Ordering::Relaxed);
    }

    /// If it was never told.
    pub(crate) fn expect_kept(&self, kept_ms: i64) {
        let _ = self.kept.compare_exchange(NOT_ASKED, kept_ms, Ordering::Relaxed, Ordering::Relaxed);
    }

    /// All of it; `None` if there are no deletions that could be missing.
    pub(crate) fn get(&self) -> Option<Deletions> {
        let kept_ms = self.kept.load(Ordering::Relaxed);
        let begun_at_ms = known(self.begun_at.load(Ordering::Relaxed))?;
        (kept_ms >= 0).then(|| Deletions { kept_ms, begun_at_ms, level_at_ms: self.level_at() })
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
            heard: Heard::new(),
            source_next: AtomicI64::new(UNKNOWN),
            source_high_watermark: AtomicI64::new(UNKNOWN),
            target_next: AtomicI64::new(UNKNOWN),
            deletions: KnownDeletions::new(),
            lost_to: AtomicI64::new(UNKNOWN),
            last_timestamp: AtomicI64::new(UNKNOWN),
            found_timestamp: AtomicI64::new(UNKNOWN),
            first_record: [AtomicI64::new(UNKNOWN), AtomicI64::new(UNKNOWN)],
            left_out: AtomicU64::new(0),
            echo: AtomicU64::new(0),
            records: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            error: Mutex::new(None),
            troubles: Mutex::new([None, None]),
            is_in_trouble: AtomicBool::new(false),
            open_transaction: Mutex::new(None),
            in_flight: AtomicBool::new(true),
            translation: OnceLock::new(),
        })
    }

    /// The source says where it ends, for consumers.
    pub(crate) fn set_source_next(&self, offset: i64) {
        self.source_next.store(offset, Ordering::Relaxed);
        let now = self.hear(Side::Source);
        self.heard.see_end(offset, self.target_next(), now);
        self.deletions.source_told_at.store(now_ms(), Ordering::Relaxed);
        if self.has_reached_source() {
            self.heard.is_level(now);
            self.deletions.is_level();
        }
    }

    /// What is known of the deletions of keys, or is to be.
    pub(crate) fn deletions(&self) -> &KnownDeletions {
        &self.deletions
    }

    /// When the source told its end last, in milliseconds since 1970; -1 if it never has.
    pub(crate) fn source_told_at(&self) -> i64 {
        self.heard.as_of(now_ms()).source_ms.unwrap_or(UNKNOWN)
    }

    /// The target says that it has what it had acknowledged.
    pub(crate) fn hear_target(&self) {
        self.lost_to.store(UNKNOWN, Ordering::Relaxed);
        self.hear(Side::Target);
    }

    /// A side was heard: what kept it from being heard is over. Returns the time.
    fn hear(&self, side: Side) -> i64 {
        let now = self.heard.now();
        self.heard.hear(side, now);
        if self.is_in_trouble.load(Ordering::Relaxed) {
            let mut troubles = self.troubles.lock().unwrap_or_else(PoisonError::into_inner);
            troubles[side as usize] = None;
            self.is_in_trouble.store(troubles.iter().any(Option::is_some), Ordering::Relaxed);
        }
        now
    }

    /// Whether a side could not be asked at the last look, or has lost what it had.
    pub(crate) fn is_in_doubt(&self) -> bool {
        self.is_in_trouble.load(Ordering::Relaxed)
    }

    /// Nobody knows where a side ends now.
    pub(crate) fn set_trouble(&self, side: Side, error: Error) {
        let mut troubles = self.troubles.lock().unwrap_or_else(PoisonError::into_inner);
        troubles[side as usize] = Some(error);
        self.is_in_trouble.store(true, Ordering::Relaxed);
    }

    /// The target's log ends before what it had acknowledged; `true` if that is news.
    pub(crate) fn lose_target(&self, end: i64, error: &Error) -> bool {
        // Offsets of the target say nothing of the source's where they are translated.
        let lost_to = if self.translation.get().is_some() { i64::MAX } else { end };
        let is_news = self.lost_to.swap(lost_to, Ordering::Relaxed) == UNKNOWN;
        self.set_trouble(Side::Target, error.clone());
        is_news
    }

    /// The last record on the target, when it was read, was produced at this time.
    pub(crate) fn set_found_timestamp(&self, timestamp: i64) {
        self.found_timestamp.store(timestamp, Ordering::Relaxed);
    }

    /// Where the source's first record is, and when it was produced.
    pub(crate) fn set_first_record(&self, offset: i64, timestamp: i64) {
        self.first_record[0].store(offset, Ordering::Relaxed);
        self.first_record[1].store(timestamp, Ordering::Relaxed);
    }

    /// Whether it is behind and nothing tells how old what it lacks is.
    pub(crate) fn lacks_times(&self) -> bool {
        let times = [&self.last_timestamp, &self.found_timestamp, &self.first_record[0]];
        let is_behind =
            matches!((self.source_next(), self.target_next()), (Some(source), Some(target)) if target < source);
        is_behind && times.into_iter().all(|time| time.load(Ordering::Relaxed) == UNKNOWN)
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

    /// Counts records that had come from the target; `true` if they are the first.
    pub(crate) fn add_echo(&self, records: u64) -> bool {
        self.echo.fetch_add(records, Ordering::Relaxed) == 0
    }

    pub(crate) fn add_left_out(&self, offsets: i64) {
        self.left_out.fetch_add(offsets.max(0) as u64, Ordering::Relaxed);
    }

    pub(crate) fn set_replicated(&self, target_next: Option<i64>, replicated: Replicated) {
        let next = target_next.unwrap_or(UNKNOWN);
        let has_moved = self.target_next.swap(next, Ordering::Relaxed) != next;
        self.records.store(replicated.records, Ordering::Relaxed);
        self.bytes.store(replicated.bytes, Ordering::Relaxed);
        self.last_timestamp.store(replicated.last_timestamp, Ordering::Relaxed);
        if has_moved && next != UNKNOWN {
            // An acknowledgement, or the log that was read.
            self.lost_to.store(UNKNOWN, Ordering::Relaxed);
            let now = self.hear(Side::Target);
            if self.has_reached_source() {
                self.heard.is_level(now);
                self.deletions.is_level();
            }
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

    pub(crate) fn has_reached_source(&self) -> bool {
        matches!((self.source_next(), self.target_next()), (Some(source), Some(target)) if target >= source)
    }

    pub(crate) fn set_state(&self, state: State, error: Option<&Error>) {
        let before = self.state.swap(state as u8, Ordering::Relaxed);
        if error.is_some() || before != state as u8 {
            *self.error.lock().unwrap_or_else(PoisonError::into_inner) = error.cloned();
        }
    }

    /// Says why a partition that runs is slow, or that it is so no more.
    pub(crate) fn note(&self, why: Option<Error>) {
        *self.error.lock().unwrap_or_else(PoisonError::into_inner) = why;
    }

    /// Starting, stalled and failed are said by the stream; how far a running partition is follows from its offsets, as long as
    /// both sides can be asked for them.
    pub(crate) fn state(&self) -> State {
        match self.said() {
            State::CatchingUp if self.is_in_trouble.load(Ordering::Relaxed) => State::Stalled,
            State::CatchingUp if self.has_reached_source() || self.heard.was_level_within(STILL_IN_SYNC_MS) => {
                State::InSync
            }
            said => said,
        }
    }

    fn said(&self) -> State {
        State::ALL.get(usize::from(self.state.load(Ordering::Relaxed))).copied().unwrap_or(State::Starting)
    }

    pub(crate) fn error(&self) -> Option<Error> {
        let said = self.error.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if said.is_some() || self.said() != State::CatchingUp {
            return said;
        }
        let [source, target] = self.troubles.lock().unwrap_or_else(PoisonError::into_inner).clone();
        target.or(source)
    }

    pub(crate) fn source_next(&self) -> Option<i64> {
        known(self.source_next.load(Ordering::Relaxed))
    }

    /// What the target has: what it has acknowledged, unless it was seen to have less since.
    pub(crate) fn target_next(&self) -> Option<i64> {
        let acknowledged = self.acknowledged()?;
        Some(known(self.lost_to.load(Ordering::Relaxed)).map_or(acknowledged, |lost_to| acknowledged.min(lost_to)))
    }

    /// What the target has acknowledged, or had when its log was read.
    pub(crate) fn acknowledged(&self) -> Option<i64> {
        known(self.target_next.load(Ordering::Relaxed))
    }

    /// For how long it has not been known how far it is behind.
    pub(crate) fn unknown_for(&self) -> Option<Duration> {
        let is_known = self.source_next().is_some() && self.target_next().is_some();
        (!is_known).then(|| Duration::from_millis(self.heard.now().unsigned_abs()))
    }

    pub(crate) fn replicated(&self) -> Replicated {
        Replicated {
            records: self.records.load(Ordering::Relaxed),
            bytes: self.bytes.load(Ordering::Relaxed),
            last_timestamp: self.last_timestamp.load(Ordering::Relaxed),
        }
    }

    pub(crate) fn lag(&self, now_ms: i64) -> Lag {
        let as_of = self.heard.as_of(now_ms);
        let (Some(source), Some(target)) = (self.source_next(), self.target_next()) else {
            return Lag { as_of, ..Lag::default() };
        };
        let records = source.saturating_sub(target).max(0) as u64;
        if records == 0 {
            return Lag { as_of, ..Lag::NOTHING };
        }
        let replicated = self.replicated();
        let record_size = replicated.bytes.checked_div(replicated.records);
        Lag {
            records: Some(records),
            bytes: record_size.map(|size| records.saturating_mul(size)),
            ms: Some(self.age_of_next(target, now_ms)),
            as_of,
        }
    }

    /// How old the record at the target's end is. It is about as old as the one before it, if that is known, and the times at
    /// which the source was seen to end before and behind it are its bounds.
    fn age_of_next(&self, target: i64, now_ms: i64) -> u64 {
        let (least, most) = self.heard.age_at(target, self.heard.now());
        let load = |time: &AtomicI64| known(time.load(Ordering::Relaxed));
        let [first_offset, first_timestamp] = &self.first_record;
        let first = load(first_offset).filter(|first| *first >= target).and_then(|_| load(first_timestamp));
        let produced = load(&self.last_timestamp).or_else(|| load(&self.found_timestamp)).or(first);
        let age = produced.map_or(least, |produced| now_ms.saturating_sub(produced));
        age.min(most.unwrap_or(i64::MAX)).max(least).max(0) as u64
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
            left_out_as_echo: self.echo.load(Ordering::Relaxed),
            error: self.error(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_700_000_000_000;

    fn progress() -> Arc<Progress> {
        let ids = TopicIds { source: 1, target: 2 };
        let progress = Progress::new([Arc::from("orders"), Arc::from("orders")], ids, 0);
        progress.set_state(State::CatchingUp, None);
        progress
    }

    /// Without the times of the looks.
    fn lag(progress: &Progress) -> [Option<u64>; 3] {
        let lag = progress.lag(NOW);
        [lag.records, lag.bytes, lag.ms]
    }

    fn trouble() -> Error {
        Error::new(crate::error::ErrorKind::Connect, "the target is down")
    }

    #[test]
    fn lag_is_unknown_until_both_sides_were_heard_and_then_as_old_as_what_is_missing() {
        let progress = progress();
        assert_eq!(lag(&progress), [None; 3]);
        assert!(progress.unknown_for().is_some());
        progress.set_source_next(10);
        assert_eq!(lag(&progress), [None; 3], "nobody knows what the target has");
        assert_eq!(Lag::of_all([Lag::NOTHING, progress.lag(NOW)]).records, None, "a sum is not known either");
        progress.set_replicated(Some(0), Replicated::default());
        assert!(progress.lacks_times() && progress.unknown_for().is_none());
        assert_eq!(lag(&progress)[..2], [Some(10), None], "the size of a record is not known");
        progress.set_first_record(0, NOW - 90_000);
        assert_eq!(lag(&progress), [Some(10), None, Some(90_000)]);
        assert!(!progress.lacks_times());
        let replicated = Replicated { records: 4, bytes: 400, last_timestamp: NOW - 250 };
        progress.set_replicated(Some(4), replicated);
        assert_eq!(lag(&progress), [Some(6), Some(600), Some(250)]);
        let as_of = progress.lag(NOW).as_of;
        assert!(as_of.source_ms.is_some() && as_of.target_ms.is_some());
        progress.set_replicated(Some(10), replicated);
        assert_eq!(lag(&progress), [Some(0); 3]);
    }

    #[test]
    fn a_record_that_comes_after_a_long_silence_is_not_as_old_as_the_one_before() {
        let progress = progress();
        let replicated = Replicated { records: 4, bytes: 400, last_timestamp: NOW - 86_400_000 };
        progress.set_replicated(Some(4), replicated);
        progress.set_source_next(4);
        progress.set_source_next(5);
        assert!(progress.lag(NOW).ms.is_some_and(|ms| ms < 60_000), "{:?}", progress.lag(NOW));
    }

    #[test]
    fn a_side_that_cannot_be_asked_is_not_in_sync_and_a_target_that_has_lost_records_is_behind() {
        let progress = progress();
        progress.set_replicated(Some(10), Replicated::default());
        progress.set_source_next(10);
        assert_eq!(progress.state(), State::InSync);
        for side in [Side::Source, Side::Target] {
            progress.set_trouble(side, trouble());
            assert_eq!(progress.state(), State::Stalled);
            assert_eq!(progress.error().map(|error| error.to_string()), Some("the target is down".to_owned()));
            progress.set_source_next(10);
            progress.hear_target();
            assert_eq!((progress.state(), progress.error().is_some()), (State::InSync, false));
        }
        assert!(progress.lose_target(3, &trouble()) && !progress.lose_target(3, &trouble()), "it is news once");
        // What the stream still believes changes nothing.
        progress.set_replicated(Some(10), Replicated::default());
        assert_eq!((progress.state(), progress.target_next(), lag(&progress)[0]), (State::Stalled, Some(3), Some(7)));
        // It was read again, and copied again.
        progress.set_replicated(Some(3), Replicated::default());
        progress.set_replicated(Some(10), Replicated::default());
        assert_eq!((progress.state(), lag(&progress)[0]), (State::InSync, Some(0)));
    }
}
