//! Decides whether a record that one side lacks was removed by compaction there.
//!
//! A cleaner keeps the last record of each key for ever, unless it is a tombstone, and keeps offsets. So a record may be
//! missing where a later one with its key exists; a tombstone may be missing anyway, and so may a record without a key,
//! which a compacted topic does not keep. A record with a value and no successor may not: that is a loss. Until a
//! successor turns up, such a record waits here, one for each key: another one with the same key is the successor of
//! the one before.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};

use super::records::Record;
use super::report::DifferenceKind;
use super::tally::Tally;

/// How many keys are remembered; what is beyond cannot be decided.
const REMEMBERED: usize = 1 << 20;

/// The records of one partition that wait for their successors.
#[derive(Debug)]
pub struct Superseded {
    /// Whether source and target compact.
    compacts: [bool; 2],
    waiting: [HashMap<u64, Waiting>; 2],
    hasher: RandomState,
    limit: usize,
}

#[derive(Debug, Clone, Copy)]
struct Waiting {
    offset: i64,
    is_tombstone: bool,
}

/// Which side lacks a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lacking {
    /// The source.
    Source = 0,
    /// The target.
    Target = 1,
}

impl Lacking {
    /// Both.
    pub const BOTH: [Lacking; 2] = [Lacking::Source, Lacking::Target];

    fn kind(self) -> DifferenceKind {
        match self {
            Lacking::Source => DifferenceKind::Extra,
            Lacking::Target => DifferenceKind::Missing,
        }
    }
}

impl Superseded {
    /// For a partition that is compacted on the source, and on the target, or not.
    pub fn new(compacts: [bool; 2]) -> Self {
        Superseded { compacts, waiting: Default::default(), hasher: RandomState::new(), limit: REMEMBERED }
    }

    /// Whether records wait for successors, so that keys have to be seen.
    pub fn is_waiting(&self) -> bool {
        Lacking::BOTH.into_iter().any(|side| self.lacks(side))
    }

    /// Whether records that this side lacks wait for successors.
    pub fn lacks(&self, side: Lacking) -> bool {
        !self.waiting[side as usize].is_empty()
    }

    /// A record that one side lacks.
    pub fn lonely(&mut self, side: Lacking, record: &Record<'_>, tally: &mut Tally) {
        self.see(record, tally);
        if !self.compacts[side as usize] {
            return tally.lonely(side.kind(), record.offset);
        }
        tally.explained();
        let Some(key) = record.key else {
            tally.counts.compacted += 1;
            return;
        };
        let waiting = &mut self.waiting[side as usize];
        if waiting.len() >= self.limit {
            tally.counts.perhaps_compacted += 1;
            return;
        }
        waiting
            .insert(self.hasher.hash_one(key), Waiting { offset: record.offset, is_tombstone: record.value.is_none() });
    }

    /// A record of either side: it may be the successor of one that waits.
    pub fn see(&mut self, record: &Record<'_>, tally: &mut Tally) {
        let Some(key) = record.key.filter(|_| self.is_waiting()) else { return };
        let hash = self.hasher.hash_one(key);
        for waiting in &mut self.waiting {
            if waiting.get(&hash).is_some_and(|waiting| waiting.offset < record.offset) {
                waiting.remove(&hash);
                tally.counts.compacted += 1;
            }
        }
    }

    /// Nothing more will be seen. What waits still is lost, unless only a part of the log was looked at.
    pub fn finish(&mut self, complete: bool, tally: &mut Tally) {
        for side in Lacking::BOTH {
            let mut left: Vec<Waiting> = std::mem::take(&mut self.waiting[side as usize]).into_values().collect();
            left.sort_unstable_by_key(|waiting| waiting.offset);
            for waiting in left {
                match (waiting.is_tombstone, complete) {
                    (true, _) => tally.counts.compacted += 1,
                    (false, false) => tally.counts.perhaps_compacted += 1,
                    (false, true) => {
                        // Other records may lie between these.
                        tally.explained();
                        tally.lonely(side.kind(), waiting.offset);
                    }
                }
            }
        }
    }
}
