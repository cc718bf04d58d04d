//! Decides whether deletions of keys may be missing from the copy of a compacted partition. Asks nobody: what was removed, when the copy was
//! level and what the time is, is handed in.
//!
//! A tombstone stays at the source for `delete.retention.ms` after the cleaner has met it, then it goes as well. A value that was copied
//! at a time still had its tombstone in front of it then, so whoever comes to that place within `delete.retention.ms` finds it. Whoever
//! comes later finds a hole, and the key lives on in the copy.

use crate::error::{Error, ErrorKind};

/// What `delete.retention.ms` is if nobody has set it, in milliseconds.
pub const DEFAULT_KEPT_MS: i64 = 86_400_000;
/// A copy that was never level is begun rather than behind. It may take this long whatever the source keeps, in milliseconds.
const FIRST_COPY_MS: i64 = 3_600_000;
/// What clocks and the answers of two clusters may be apart, in milliseconds.
const GRACE_MS: i64 = 1000;

/// What is known of the deletions of keys in a partition. Times are milliseconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Deletions {
    /// How long the source keeps them: `delete.retention.ms` of its topic, which is compacted.
    pub kept_ms: i64,
    /// When the copy began: nothing older is in it.
    pub begun_at_ms: i64,
    /// When the copy was known to have everything last; `None` if that was never so.
    pub level_at_ms: Option<i64>,
}

impl Deletions {
    /// How long the copy has not been level.
    pub fn behind_ms(&self, now_ms: i64) -> i64 {
        let since = self.level_at_ms.unwrap_or(self.begun_at_ms).max(self.begun_at_ms);
        now_ms.saturating_sub(since).max(0)
    }

    /// Whether the source may have removed deletions that the copy has not seen.
    pub fn are_at_risk(&self, now_ms: i64) -> bool {
        let was_level = self.level_at_ms.is_some_and(|level| level >= self.begun_at_ms);
        let allowed = if was_level { self.kept_ms } else { self.kept_ms.max(FIRST_COPY_MS) };
        self.behind_ms(now_ms) > allowed.saturating_add(GRACE_MS)
    }

    /// What is to be said when records were removed in front of a copy that is too late.
    pub fn lost(&self, from: i64, next: i64, now_ms: i64) -> Error {
        let message = format!(
            "deletions of keys may be missing from offset {from} to {}: the source keeps them for {} ms (delete.retention.ms), the copy was \
             not level for {} ms, and the source has removed records from offset {from} on; a key that was deleted there may live on \
             on the target: compare both with 'kmirror verify', or delete the target topic to copy it anew; on.data.loss=continue goes on",
            next - 1,
            self.kept_ms,
            self.behind_ms(now_ms)
        );
        Error::new(ErrorKind::DataLoss, message).with_offset(from)
    }
}

/// A batch of the source's log: its first and last offset, and how many records are left in it.
pub type Extent = (i64, i64, i32);

/// The first offset from `from` on that has no record any more, given the batches that come next. Markers and aborted records are
/// batches like others: nothing was removed there.
pub fn first_removed(from: i64, batches: impl IntoIterator<Item = Extent>) -> Option<i64> {
    let mut expected = from;
    for (first, last, records) in batches {
        if first > expected {
            return Some(expected);
        }
        if i64::from(records) != last - first + 1 {
            return Some(first.max(from));
        }
        expected = expected.max(last + 1);
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: i64 = DEFAULT_KEPT_MS;

    fn at_risk(kept_ms: i64, begun_at_ms: i64, level_at_ms: Option<i64>, now_ms: i64) -> bool {
        Deletions { kept_ms, begun_at_ms, level_at_ms }.are_at_risk(now_ms)
    }

    #[test]
    fn a_copy_that_was_level_within_the_time_that_deletions_are_kept_misses_none() {
        assert!(!at_risk(DAY, 0, Some(10 * DAY), 11 * DAY));
        assert!(at_risk(DAY, 0, Some(10 * DAY), 11 * DAY + 2000));
        assert!(at_risk(100, 0, Some(50_000), 52_000));
        // The clock was set back.
        assert!(!at_risk(DAY, 0, Some(10 * DAY), 9 * DAY));
    }

    #[test]
    fn a_first_copy_is_not_behind_before_it_has_taken_that_long() {
        assert!(!at_risk(0, 1000, None, 3_000_000), "nobody is a moment late who has just begun");
        assert!(!at_risk(DAY, 1000, None, DAY));
        assert!(at_risk(DAY, 1000, None, DAY + 3000));
        // What was level was another copy.
        assert!(!at_risk(100, 900_000, Some(500), 950_000));
    }

    #[test]
    fn what_was_removed_is_found_by_where_batches_begin_and_how_many_records_they_have() {
        let dense = |first: i64, last: i64| (first, last, (last - first + 1) as i32);
        assert_eq!(first_removed(5, []), None);
        assert_eq!(first_removed(5, [dense(5, 9), dense(10, 10)]), None);
        assert_eq!(first_removed(7, [dense(5, 9), dense(10, 10)]), None, "it was fetched from within a batch");
        assert_eq!(first_removed(5, [dense(6, 9)]), Some(5));
        assert_eq!(first_removed(5, [dense(5, 9), dense(12, 13)]), Some(10));
        assert_eq!(first_removed(5, [dense(5, 9), (10, 13, 3)]), Some(10), "one was taken out of a batch");
        assert_eq!(first_removed(5, [dense(5, 9), (10, 13, 0)]), Some(10), "all of them were");
        assert_eq!(first_removed(7, [(5, 9, 4)]), Some(7));
    }

    #[test]
    fn what_is_lost_is_said_with_both_times() {
        let deletions = Deletions { kept_ms: 100, begun_at_ms: 0, level_at_ms: Some(1000) };
        let error = deletions.lost(10, 20, 61_000);
        for words in ["from offset 10 to 19", "for 100 ms (delete.retention.ms)", "not level for 60000 ms"] {
            assert!(error.message().contains(words), "{error}");
        }
    }
}
