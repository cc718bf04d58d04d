//! Decides what a switch-over reports: how much of a source was not copied, as far as it was known, and whether somebody has
//! written to the target since.
//! Asks nobody: where logs end, and when that was known, is handed in.

use std::collections::BTreeMap;

/// Next offsets by topic and partition.
type Ends = BTreeMap<String, Vec<i64>>;

/// Where a source's log ended at a time. It may have grown since.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Known {
    /// Next offset that consumers could see.
    pub next: i64,
    /// Milliseconds since 1970.
    pub at_ms: i64,
}

/// What a target lacks of a source, at least.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Missing {
    /// Offsets.
    pub records: u64,
    /// From the newest copied record to when the source was last known, if something is missing.
    pub ms: Option<u64>,
}

/// What is missing of a partition, given when its newest copied record was produced.
pub fn missing(target_next: i64, known: Option<Known>, newest_copied_ms: Option<i64>) -> Missing {
    let Some(known) = known.filter(|known| known.next > target_next) else { return Missing::default() };
    let ms = newest_copied_ms.map(|newest| known.at_ms.saturating_sub(newest).max(0) as u64);
    Missing { records: known.next.abs_diff(target_next), ms }
}

/// What is known best: logs grow, so the higher end, and of equal ones the later knowledge.
pub fn better(one: Option<Known>, other: Option<Known>) -> Option<Known> {
    one.into_iter().chain(other).max_by_key(|known| (known.next, known.at_ms))
}

/// A log that does not end where it did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Moved {
    /// The topic.
    pub topic: String,
    /// The partition.
    pub partition: i32,
    /// Where it ended.
    pub from: i64,
    /// Where it ends now; `None` if the partition is gone.
    pub to: Option<i64>,
}

/// The logs that do not end where they did.
pub fn moved(before: &Ends, now: &Ends) -> Vec<Moved> {
    let partitions =
        before.iter().flat_map(|(topic, next)| (0..).zip(next).map(move |(index, from)| (topic, index, *from)));
    let moved = partitions.filter_map(|(topic, index, from)| {
        let to = now.get(topic).and_then(|next| next.get(index)).copied().filter(|to| *to >= 0);
        (to != Some(from)).then(|| Moved { topic: topic.clone(), partition: index as i32, from, to })
    });
    moved.collect()
}

/// How the logs of a partition relate on the way back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Relation {
    /// Up to this offset the old source has what the target has.
    pub agree_until: i64,
    /// Offsets behind it that only the old source has: its diverged tail.
    pub only_source: u64,
    /// Offsets behind it that only the target has.
    pub only_target: u64,
}

/// Relates two logs, given where the target's ended when the mirror was promoted; without that it counts as now.
pub fn relate(source_next: i64, target_next: i64, promoted_at: Option<i64>) -> Relation {
    let copied = promoted_at.unwrap_or(target_next).min(target_next);
    let agree_until = copied.min(source_next);
    Relation {
        agree_until,
        only_source: source_next.abs_diff(agree_until),
        only_target: target_next.abs_diff(agree_until),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn known(next: i64, at_ms: i64) -> Option<Known> {
        Some(Known { next, at_ms })
    }

    #[test]
    fn what_is_missing_is_what_was_known_and_never_less_than_nothing() {
        assert_eq!(missing(100, None, Some(5)), Missing::default());
        assert_eq!(missing(100, known(100, 9), Some(5)), Missing::default());
        assert_eq!(missing(120, known(100, 9), Some(5)), Missing::default());
        assert_eq!(missing(100, known(160, 1009), Some(9)), Missing { records: 60, ms: Some(1000) });
        assert_eq!(missing(0, known(3, 9), None), Missing { records: 3, ms: None });
        assert_eq!(missing(0, known(3, 9), Some(10)), Missing { records: 3, ms: Some(0) });
    }

    #[test]
    fn a_higher_end_is_known_better_and_then_a_later_time() {
        assert_eq!(better(known(5, 1), known(4, 9)), known(5, 1));
        assert_eq!(better(known(5, 1), known(5, 9)), known(5, 9));
        assert_eq!(better(None, known(5, 9)), known(5, 9));
        assert_eq!(better(None, None), None);
    }

    #[test]
    fn logs_that_moved_or_are_gone_are_found() {
        let ends = |list: &[(&str, &[i64])]| -> Ends {
            list.iter().map(|(topic, next)| ((*topic).to_owned(), next.to_vec())).collect()
        };
        let before = ends(&[("a", &[1, 2]), ("b", &[3]), ("c", &[4])]);
        assert!(moved(&before, &ends(&[("a", &[1, 2]), ("b", &[3]), ("c", &[4, 9]), ("new", &[7])])).is_empty());
        let moved = moved(&before, &ends(&[("a", &[1, 5]), ("b", &[-1])]));
        let found = moved.iter().map(|moved| (moved.topic.as_str(), moved.partition, moved.from, moved.to));
        let found: Vec<_> = found.collect();
        assert_eq!(found, [("a", 1, 2, Some(5)), ("b", 0, 3, None), ("c", 0, 4, None)]);
    }

    #[test]
    fn the_way_back_knows_both_tails() {
        let relation = |agree_until, only_source, only_target| Relation { agree_until, only_source, only_target };
        assert_eq!(relate(100, 100, Some(100)), relation(100, 0, 0));
        assert_eq!(relate(160, 130, Some(100)), relation(100, 60, 30));
        assert_eq!(relate(160, 100, None), relation(100, 60, 0));
        // The old source was cut back, or its topic was made anew.
        assert_eq!(relate(40, 130, Some(100)), relation(40, 0, 90));
        assert_eq!(relate(0, 0, None), relation(0, 0, 0));
    }
}
