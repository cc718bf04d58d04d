//! Decides what is news for MirrorMaker 2's tools, and how the topics are made that it is written to.
//!
//! As MirrorMaker 2, but that a checkpoint also follows an offset of the target down: MirrorMaker 2 may know older offsets less
//! exactly than it did and keeps what it has said, here a step back is one of the group or of the target.

use std::collections::BTreeMap;

use crate::config::EmittedTopic;
use crate::terms::topic::NewTopic;

/// Two offsets that belong together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OffsetPair {
    /// At the source.
    pub source: i64,
    /// On the target.
    pub target: i64,
}

/// Whether a checkpoint says something else than the last one of the same group and partition.
pub fn checkpoint_is_news(last: Option<OffsetPair>, now: OffsetPair) -> bool {
    last.is_none_or(|last| now.source < last.source || now.target != last.target)
}

/// Whether an offset sync is to be written: the first of a partition, when more than `lag_max` records came since the last one,
/// when the target went back, and with `all` whatever is new.
pub fn sync_is_due(last: Option<OffsetPair>, now: OffsetPair, lag_max: u64, all: bool) -> bool {
    let Some(last) = last else { return true };
    let behind = u64::try_from(now.target.saturating_sub(last.target).saturating_sub(1));
    now != last && (all || behind.is_ok_and(|behind| behind >= lag_max) || now.target < last.target)
}

/// A topic of MirrorMaker 2 as it is created, in a cluster of so many brokers.
pub(crate) fn new_topic(topic: &EmittedTopic, brokers: usize) -> NewTopic {
    let brokers = i16::try_from(brokers).unwrap_or(i16::MAX).max(1);
    let compacted = ("cleanup.policy".to_owned(), "compact".to_owned());
    NewTopic {
        name: topic.name.clone(),
        partitions: 1,
        replication_factor: topic.replication_factor.min(brokers),
        configs: BTreeMap::from([compacted]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair(source: i64, target: i64) -> OffsetPair {
        OffsetPair { source, target }
    }

    #[test]
    fn a_checkpoint_is_written_when_it_says_something_new() {
        let last = pair(100, 90);
        for (now, expected) in [
            (pair(100, 90), false),
            // The group went on behind what is replicated: the same on the target.
            (pair(120, 90), false),
            (pair(120, 95), true),
            (pair(90, 90), true),
            (pair(80, 80), true),
            (pair(100, 0), true),
        ] {
            assert_eq!(checkpoint_is_news(Some(last), now), expected, "{now:?}");
        }
        assert!(checkpoint_is_news(None, pair(0, 0)));
    }

    #[test]
    fn an_offset_sync_is_written_first_then_when_it_is_too_old_and_once_in_a_while() {
        let last = pair(100, 100);
        for (now, all, expected) in [
            (pair(100, 100), true, false),
            (pair(101, 101), true, true),
            (pair(101, 101), false, false),
            (pair(110, 110), false, false),
            (pair(111, 111), false, true),
            (pair(90, 90), false, true),
        ] {
            assert_eq!(sync_is_due(Some(last), now, 10, all), expected, "{now:?} {all}");
        }
        assert!(sync_is_due(None, pair(0, 0), 10, false));
        assert!(sync_is_due(Some(last), pair(101, 101), 0, false));
    }
}
