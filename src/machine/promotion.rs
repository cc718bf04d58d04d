//! Decides when a source rests, so that everything it has is copied, and what a switch-over reports: how much of a source was not
//! copied, as far as it was known, and whether somebody has written to the target since.
//! Asks nobody: where logs end, and when that was known, is handed in.
//!
//! Everything means the high watermark. What readers of committed records can see ends where a transaction is open, and behind
//! that stand records that were acknowledged.

use std::collections::BTreeMap;
use std::time::Duration;

/// A source that was not written to for so long rests.
pub const REST: Duration = Duration::from_secs(1);

/// What one look has shown of a partition, by both logs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Look {
    /// Where an open transaction begins at the source; the high watermark without one, and for mirrors that copy what is not
    /// committed. To be asked for before the high watermark: then two equal numbers were equal when it was asked for.
    pub last_stable: i64,
    /// Next offset of the source that not all in-sync replicas have.
    pub high_watermark: i64,
    /// Next offset of the source that the target's log has not; `None` if that is not known.
    pub copied: Option<i64>,
}

/// Why a partition keeps a switch-over waiting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hindrance {
    /// A transaction is open at the source: nothing from its first offset on can be copied.
    HeldUp(Look),
    /// Not everything is copied.
    Behind(Look),
    /// It was written to a moment ago.
    Moving(Look),
}

/// The looks at the source before a switch-over. `K` names a partition.
#[derive(Debug)]
pub struct Rest<K> {
    /// What was seen last, and since when the source's log has ended like that.
    last: BTreeMap<K, (Look, Duration)>,
}

impl<K> Default for Rest<K> {
    fn default() -> Self {
        Rest { last: BTreeMap::new() }
    }
}

impl<K: Ord + Clone> Rest<K> {
    /// Takes in a look at all partitions. Returns what the switch-over has to wait for, one thing for each partition; nothing if the
    /// source rests and everything is copied.
    pub fn handle_look(&mut self, now: Duration, looks: BTreeMap<K, Look>) -> Vec<(K, Hindrance)> {
        let ends = |look: &Look| (look.last_stable, look.high_watermark);
        let before = std::mem::take(&mut self.last);
        let mut hindrances = Vec::new();
        for (key, look) in looks {
            let stood_still = before.get(&key).filter(|(before, _)| ends(before) == ends(&look));
            let since = stood_still.map_or(now, |(_, since)| *since);
            hindrances.extend(hindrance(&look, now.saturating_sub(since)).map(|what| (key.clone(), what)));
            self.last.insert(key, (look, since));
        }
        hindrances
    }
}

fn hindrance(look: &Look, still_for: Duration) -> Option<Hindrance> {
    match look.copied {
        _ if look.last_stable < look.high_watermark => Some(Hindrance::HeldUp(*look)),
        Some(copied) if copied >= look.high_watermark => (still_for < REST).then_some(Hindrance::Moving(*look)),
        Some(_) | None => Some(Hindrance::Behind(*look)),
    }
}

/// Next offsets by topic and partition.
type Ends = BTreeMap<String, Vec<i64>>;

/// Where a source's log ended at a time. It may have grown since.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Known {
    /// Next offset: the high watermark, also where an open transaction hid what was before it.
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
mod simulation;

#[cfg(test)]
mod tests {
    use super::*;

    const fn known(next: i64, at_ms: i64) -> Option<Known> {
        Some(Known { next, at_ms })
    }

    fn looks(all: &[(i64, i64, i64)]) -> BTreeMap<i32, Look> {
        let look = |(last_stable, high_watermark, copied): &(i64, i64, i64)| Look {
            last_stable: *last_stable,
            high_watermark: *high_watermark,
            copied: Some(*copied).filter(|copied| *copied >= 0),
        };
        (0..).zip(all.iter().map(look)).collect()
    }

    #[test]
    fn a_source_rests_when_both_of_its_ends_are_copied_and_have_stood_still_for_a_second() {
        let at = Duration::from_millis;
        let level = || looks(&[(5, 5, 5), (0, 0, 0)]);
        let moving = |rest: &mut Rest<i32>, now, looks| {
            let all = rest.handle_look(at(now), looks);
            assert!(all.iter().all(|(_, hindrance)| matches!(hindrance, Hindrance::Moving(_))), "{all:?}");
            all.len()
        };
        let mut rest = Rest::default();
        assert_eq!(moving(&mut rest, 0, level()), 2);
        assert_eq!(moving(&mut rest, 999, level()), 2);
        assert_eq!(moving(&mut rest, 1000, level()), 0);
        // A record came, and is copied already; for a second nothing else.
        assert_eq!(moving(&mut rest, 1100, looks(&[(6, 6, 6), (0, 0, 0)])), 1);
        assert_eq!(moving(&mut rest, 2099, looks(&[(6, 6, 6), (0, 0, 0)])), 1);
        // A partition more has not been seen for a second.
        assert_eq!(moving(&mut rest, 2100, looks(&[(6, 6, 6), (0, 0, 0), (0, 0, 0)])), 1);
        assert_eq!(moving(&mut rest, 3100, looks(&[(6, 6, 6), (0, 0, 0), (0, 0, 0)])), 0);
    }

    #[test]
    fn an_open_transaction_holds_a_switch_over_up_however_still_it_stands() {
        let mut rest = Rest::default();
        for second in 0..100 {
            let all = rest.handle_look(Duration::from_secs(second), looks(&[(3, 9, 3), (2, 2, 2)]));
            let look = Look { last_stable: 3, high_watermark: 9, copied: Some(3) };
            assert_eq!(all[0], (0, Hindrance::HeldUp(look)));
            assert_eq!(all.len(), if second == 0 { 2 } else { 1 });
        }
    }

    #[test]
    fn what_the_target_does_not_have_or_does_not_say_is_behind() {
        let mut rest = Rest::default();
        for second in 0..9 {
            let all = rest.handle_look(Duration::from_secs(second), looks(&[(9, 9, 8), (9, 9, -1), (0, 0, 0)]));
            let behind = all.iter().filter(|(_, hindrance)| matches!(hindrance, Hindrance::Behind(_)));
            assert_eq!(behind.map(|(key, _)| *key).collect::<Vec<_>>(), [0, 1]);
        }
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
