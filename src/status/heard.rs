//! When each cluster was heard last about a partition, and for how long the target has lacked what the source has.
//!
//! Time is counted by a clock that nobody sets. What is shown as a time of day is worked out when somebody asks.

use std::sync::atomic::{AtomicI64, Ordering};

use crate::terms::state::AsOf;

use crate::clock::Instant;

/// Which cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    /// The one that is copied.
    Source = 0,
    /// The one that is copied to.
    Target = 1,
}

impl Side {
    /// Its name in sentences.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Side::Source => "source",
            Side::Target => "target",
        }
    }
}

/// Not known yet.
pub(super) const UNKNOWN: i64 = -1;

pub(super) fn known(value: i64) -> Option<i64> {
    Some(value).filter(|value| *value != UNKNOWN)
}

/// The times of one partition, in milliseconds since it was taken up.
#[derive(Debug)]
pub(super) struct Heard {
    began: Instant,
    /// When each side was heard last.
    at: [AtomicI64; 2],
    /// When the target had all that the source had.
    level_at: AtomicI64,
    /// Where the source was seen to end when the target had come to the mark before; that time, and the time of the mark before.
    mark: AtomicI64,
    mark_at: AtomicI64,
    mark_before_at: AtomicI64,
}

impl Heard {
    pub(super) fn new() -> Self {
        let unknown = || AtomicI64::new(UNKNOWN);
        Heard {
            began: Instant::now(),
            at: [unknown(), unknown()],
            level_at: unknown(),
            mark: unknown(),
            mark_at: unknown(),
            mark_before_at: unknown(),
        }
    }

    pub(super) fn now(&self) -> i64 {
        self.began.elapsed().as_millis() as i64
    }

    pub(super) fn hear(&self, side: Side, now: i64) {
        self.at[side as usize].store(now, Ordering::Relaxed);
    }

    /// When both sides were heard last, given the time of day.
    pub(super) fn as_of(&self, now_ms: i64) -> AsOf {
        let now = self.now();
        let of_day = |side: Side| known(self.at[side as usize].load(Ordering::Relaxed)).map(|at| now_ms - (now - at));
        AsOf { source_ms: of_day(Side::Source), target_ms: of_day(Side::Target) }
    }

    pub(super) fn is_level(&self, now: i64) {
        self.level_at.store(now, Ordering::Relaxed);
    }

    /// Whether the target had all that the source had, so short a time ago.
    pub(super) fn was_level_within(&self, span: i64) -> bool {
        known(self.level_at.load(Ordering::Relaxed)).is_some_and(|at| self.now() - at < span)
    }

    /// The source was seen to end somewhere, when the target had come to a position.
    pub(super) fn see_end(&self, end: i64, position: Option<i64>, now: i64) {
        let mark = self.mark.load(Ordering::Relaxed);
        if mark == UNKNOWN || position.is_some_and(|position| position >= mark) {
            self.mark_before_at.store(self.mark_at.load(Ordering::Relaxed), Ordering::Relaxed);
            self.mark_at.store(now, Ordering::Relaxed);
            self.mark.store(end, Ordering::Relaxed);
        }
    }

    /// For how long the source has had the record at a position: at least, and at most where that is known.
    pub(super) fn age_at(&self, position: i64, now: i64) -> (i64, Option<i64>) {
        let since = |at: &AtomicI64| known(at.load(Ordering::Relaxed)).map(|at| (now - at).max(0));
        if position >= self.mark.load(Ordering::Relaxed) {
            // It came after the mark.
            return (0, since(&self.mark_at));
        }
        (since(&self.mark_at).unwrap_or(0), since(&self.mark_before_at))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_age_of_what_is_missing_grows_while_nothing_moves_and_stays_small_under_load() {
        let heard = Heard::new();
        heard.see_end(0, Some(0), 100);
        // Ten records come at some time after 100, and are seen at 1000.
        heard.see_end(10, Some(0), 1000);
        assert_eq!(heard.age_at(0, 1500), (500, Some(1400)));
        // More come, and nothing is copied.
        heard.see_end(20, Some(0), 5000);
        assert_eq!(heard.age_at(0, 6000), (5000, Some(5900)));
        // What was there at 1000 is copied: the rest came later.
        assert_eq!(heard.age_at(12, 6000), (0, Some(5000)));
        heard.see_end(20, Some(12), 6000);
        assert_eq!(heard.age_at(12, 6100), (100, Some(5100)));
        // A target that is always a few records behind is never long behind.
        for now in 61..=100 {
            heard.see_end(now * 10, Some(now * 10 - 15), now * 100);
        }
        let (least, most) = heard.age_at(985, 10_000);
        assert!(least <= 200 && most.is_some_and(|most| most <= 300), "{least} {most:?}");
    }

    #[test]
    fn several_partitions_are_as_old_as_the_oldest_of_them() {
        let times = |source_ms, target_ms| AsOf { source_ms, target_ms };
        assert_eq!(times(Some(5), Some(9)).and(times(Some(7), Some(8))), times(Some(5), Some(8)));
        assert_eq!(times(Some(5), None).and(times(Some(7), Some(8))), times(Some(5), None));
    }
}
