//! Decides whether a record that one side lacks was removed by compaction there.
//!
//! A cleaner keeps the last record of each key for ever, unless it is a tombstone, and keeps offsets. So a record may be missing
//! where a later one with its key exists. A tombstone may be missing where all earlier records of its key are missing, too: it goes
//! last, and where an older value is left without it a deleted key lives again. A record without a key is not kept by a compacted
//! topic. Whatever else is missing is lost.
//!
//! Until a successor turns up, a lonely record waits here, one for each key: another one with the same key is the successor of the one
//! before. Memory is bounded: where more keys wait than are remembered, only half of all keys are looked at in this pass, by a hash of
//! the key, and the other half in another pass over both logs, and so on. Keys are told apart by 64 bits of a hash that nobody
//! foresees: that two of a billion keys are taken for one while a million wait happens once in some ten thousand runs.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};

use super::classes::FindingKind;
use super::records::Record;
use super::report::DifferenceKind;
use super::tally::Tally;

/// Keys are divided into at most 2 to the power of this many classes, each of which needs a pass.
pub const MOST_BITS: u32 = 6;
const FINEST: usize = 1 << MOST_BITS;

/// The records of one partition that wait for their successors.
#[derive(Debug)]
pub struct Superseded {
    /// Whether source and target compact.
    compacts: [bool; 2],
    waiting: [HashMap<u64, Waiting>; 2],
    hasher: RandomState,
    /// How many keys are remembered.
    limit: usize,
    /// The keys that this pass looks at.
    class: Class,
    /// Those of passes to come.
    later: Vec<Class>,
    /// What this pass has found compacted, by the finest class, as some may be left to a later pass.
    compacted: [u64; FINEST],
    /// Records that nobody can decide about, even in the finest class: how many, and between which offsets.
    undecided: Option<(u64, i64, i64)>,
}

#[derive(Debug, Clone, Copy)]
struct Waiting {
    offset: i64,
    is_tombstone: bool,
    /// The side that lacks it has an earlier record of its key.
    has_older: bool,
}

/// The keys of which the last bits of the hash are this number.
#[derive(Debug, Clone, Copy, Default)]
pub struct Class {
    /// How many bits.
    pub bits: u32,
    number: u64,
}

impl Class {
    /// Whether a hash belongs to it.
    pub fn holds(self, hash: u64) -> bool {
        hash & ((1 << self.bits) - 1) == self.number
    }

    /// Both halves of it.
    pub fn halves(self) -> [Class; 2] {
        let bits = self.bits + 1;
        [self.number, self.number | 1 << self.bits].map(|number| Class { bits, number })
    }
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
    /// For a partition that is compacted on the source, and on the target, or not. So many keys are remembered at a time.
    pub fn new(compacts: [bool; 2], limit: usize) -> Self {
        Superseded {
            compacts,
            waiting: Default::default(),
            hasher: RandomState::new(),
            limit: limit.max(1),
            class: Class::default(),
            later: Vec::new(),
            compacted: [0; FINEST],
            undecided: None,
        }
    }

    /// Whether records wait for successors, so that keys have to be seen.
    pub fn is_waiting(&self) -> bool {
        Lacking::BOTH.into_iter().any(|side| self.lacks(side))
    }

    /// Whether it is not decided yet of some record.
    pub fn is_undecided(&self) -> bool {
        self.is_waiting() || !self.later.is_empty() || self.undecided.is_some()
    }

    /// Whether records that this side lacks wait for successors.
    pub fn lacks(&self, side: Lacking) -> bool {
        !self.waiting[side as usize].is_empty()
    }

    /// A record that one side lacks.
    pub fn lonely(&mut self, side: Lacking, record: &Record<'_>, tally: &mut Tally) {
        self.see(record);
        if !self.compacts[side as usize] {
            return tally.lonely(side.kind(), record.offset);
        }
        tally.explained();
        let Some(key) = record.key else {
            tally.counts.compacted += 1;
            return;
        };
        let hash = self.hasher.hash_one(key);
        if !self.class.holds(hash) {
            return;
        }
        let (offset, is_tombstone) = (record.offset, record.value.is_none());
        self.waiting[side as usize].insert(hash, Waiting { offset, is_tombstone, has_older: false });
        while self.waiting.iter().map(HashMap::len).sum::<usize>() > self.limit {
            self.split();
        }
    }

    /// Leaves half of the keys to a later pass. In the finest class nobody decides about what waits.
    fn split(&mut self) {
        if self.class.bits == MOST_BITS {
            for waiting in self.waiting.iter_mut().flat_map(HashMap::drain) {
                let offset = waiting.1.offset;
                let (count, first, last) = self.undecided.unwrap_or((0, offset, offset));
                self.undecided = Some((count + 1, first.min(offset), last.max(offset)));
            }
            return;
        }
        let [now, later] = self.class.halves();
        self.class = now;
        self.later.push(later);
        for waiting in &mut self.waiting {
            waiting.retain(|hash, _| now.holds(*hash));
        }
        let left = self.compacted.iter_mut().enumerate().filter(|(finest, _)| !now.holds(*finest as u64));
        left.for_each(|(_, count)| *count = 0);
    }

    /// A record of either side: it may be the successor of one that waits.
    pub fn see(&mut self, record: &Record<'_>) {
        let Some(key) = record.key.filter(|_| self.is_waiting()) else { return };
        let hash = self.hasher.hash_one(key);
        for waiting in &mut self.waiting {
            if waiting.get(&hash).is_some_and(|waiting| waiting.offset < record.offset) {
                waiting.remove(&hash);
                self.compacted[hash as usize % FINEST] += 1;
            }
        }
    }

    /// Where the last tombstone is that this side lacks and that has no successor: up to there the side has to be looked through for
    /// earlier records.
    pub fn last_tombstone(&self, side: Lacking) -> Option<i64> {
        let tombstones = self.waiting[side as usize].values().filter(|waiting| waiting.is_tombstone);
        tombstones.map(|waiting| waiting.offset).max()
    }

    /// A record of a side that lacks tombstones.
    pub fn see_older(&mut self, side: Lacking, record: &Record<'_>) {
        let Some(key) = record.key else { return };
        let hash = self.hasher.hash_one(key);
        if let Some(waiting) = self.waiting[side as usize].get_mut(&hash) {
            waiting.has_older |= record.offset < waiting.offset;
        }
    }

    /// This pass has seen all there is. What waits still is lost, unless it is a tombstone that was the last of its key. Returns
    /// whether another pass is needed, and is ready for it.
    pub fn end_pass(&mut self, tally: &mut Tally) -> bool {
        for side in Lacking::BOTH {
            let mut left: Vec<Waiting> = std::mem::take(&mut self.waiting[side as usize]).into_values().collect();
            left.sort_unstable_by_key(|waiting| waiting.offset);
            for waiting in left {
                if waiting.is_tombstone && !waiting.has_older {
                    tally.counts.compacted += 1;
                    continue;
                }
                // Other records may lie between these.
                tally.explained();
                tally.lonely(side.kind(), waiting.offset);
            }
        }
        tally.counts.compacted += std::mem::replace(&mut self.compacted, [0; FINEST]).into_iter().sum::<u64>();
        if let Some((count, first, last)) = self.undecided.take() {
            tally.found(FindingKind::PerhapsCompacted, first, last + 1, count);
        }
        match self.later.pop() {
            Some(class) => {
                self.class = class;
                true
            }
            None => false,
        }
    }

    /// Not everything was seen: nobody knows of what waits still, and of the keys of later passes.
    pub fn give_up(&mut self, tally: &mut Tally) {
        for waiting in std::mem::take(&mut self.waiting).into_iter().flat_map(HashMap::into_values) {
            tally.found(FindingKind::PerhapsCompacted, waiting.offset, waiting.offset + 1, 1);
        }
        self.later.clear();
        self.end_pass(tally);
    }
}
