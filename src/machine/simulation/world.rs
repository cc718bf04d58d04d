//! The target in a few vectors: three brokers with Kafka's rules.
//!
//! The target's rules are those that a mirror's promises rest on: acks=all and the high watermark, in-sync replicas,
//! truncation after an election, the producer state that makes an append conditional (the last five batches of a
//! producer id, rebuilt from the log, forgotten with time), and markers, which are conditional on nothing but the epochs of
//! the markers before them. The producer state is not stored: it is read off the log on every append, from the point on
//! that a broker still remembers.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::batch::{Header, marker};
use crate::machine::partition::{Holes, Identity, Limits};

pub(super) const MIRROR: Identity = Identity { producer_id: 7, producer_epoch: 3, fence: 0 };
pub(super) const FOREIGN: i64 = -1;
/// Whose transaction a marker of somebody else ends.
pub(super) const FOREIGN_END: i64 = 4711;
pub(super) const MIN_IN_SYNC: usize = 2;
/// A fetch answers with at most this many batches.
pub(super) const FETCH_BATCHES: usize = 4;
/// Records of the largest batch.
pub(super) const MAX_RECORDS: i32 = 4;
/// How long the log stands still before a hole is filled. A request to fill that was not worked off by then never will be.
pub(super) const SETTLE: Duration = Duration::from_millis(30);

pub(super) fn limits(max_in_flight: usize, queued_bytes: usize) -> Limits {
    Limits {
        max_in_flight,
        queued_bytes,
        batch_bytes: usize::MAX,
        holes: Holes::Filled { at_once: 3 },
        settle: SETTLE,
        backoff: Duration::from_millis(10),
        backoff_max: Duration::from_millis(200),
        go_on_after_loss: false,
        skip_refused: false,
    }
}

pub(super) fn bytes_of(records: i32) -> usize {
    61 + 10 * records as usize
}

/// A batch in a broker's log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) base: i64,
    pub(super) count: i32,
    pub(super) id: u32,
    pub(super) producer_id: i64,
    pub(super) epoch: i16,
    /// Of a marker: the coordinator epoch it was written with.
    pub(super) sequence: i32,
    /// The offset at the source of the first record, where that is not the base.
    pub(super) source: i64,
    /// The leader epoch in which it was appended.
    pub(super) leader_epoch: i32,
}

impl Entry {
    pub(super) fn is_marker(&self) -> bool {
        marker::offset_of(self.producer_id, self.epoch).is_some() || self.producer_id == FOREIGN_END
    }

    pub(super) fn end(&self) -> i64 {
        self.base + i64::from(self.count)
    }

    fn header(&self) -> Header {
        Header {
            base_offset: self.base,
            length: bytes_of(self.count) as i32 - 12,
            partition_leader_epoch: self.leader_epoch,
            magic: 2,
            crc: self.id,
            attributes: 0,
            last_offset_delta: self.count - 1,
            base_timestamp: 0,
            max_timestamp: 0,
            producer_id: self.producer_id,
            producer_epoch: self.epoch,
            base_sequence: self.sequence,
            record_count: self.count,
        }
    }

    pub(super) fn last_sequence(&self) -> i32 {
        ((i64::from(self.sequence) + i64::from(self.count) - 1) % (1 << 31)) as i32
    }
}

#[derive(Debug)]
pub(super) struct Broker {
    pub(super) log: Vec<Entry>,
    /// Where the log begins while it has no batch.
    pub(super) first: i64,
    /// First offset that retention has kept.
    pub(super) start: i64,
    pub(super) high_watermark: i64,
    /// Batches before this one are no longer part of the producer state.
    forgotten: usize,
    /// Batches before this one are known by their sequence only: a snapshot keeps a producer's last batch.
    coarse: usize,
    /// What the cleaner has left of batches, by their first offsets.
    cleaned: BTreeMap<i64, Cleaned>,
    /// Of batches before this one it knows what the cleaner had left of them when it read its log after a restart.
    rebuilt: usize,
    /// Where each leader epoch begins that this replica knows of.
    epochs: Vec<(i32, i64)>,
}

/// What the cleaner has left of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cleaned {
    /// Its header and none of its records: the broker needs it for the producer state.
    Emptied,
    /// Nothing.
    Removed,
}

/// What the producer state says about a batch.
pub(super) enum Sequence {
    Next,
    Duplicate { base: i64 },
    OutOfOrder,
    OldEpoch,
}

impl Broker {
    pub(super) fn end(&self) -> i64 {
        self.log.last().map_or(self.first, Entry::end)
    }

    fn remembered(&self) -> impl Iterator<Item = &Entry> {
        let known = (self.forgotten..self.log.len()).rev().map(|at| (at, &self.log[at]));
        let is_known = |(at, entry): &(usize, &Entry)| *at >= self.rebuilt || !self.is_removed(entry);
        known.filter(is_known).map(|(_, entry)| entry).filter(|entry| entry.producer_id == MIRROR.producer_id)
    }

    fn is_removed(&self, entry: &Entry) -> bool {
        self.cleaned.get(&entry.base) == Some(&Cleaned::Removed)
    }

    /// The batches that a reader gets, from the one on that has an offset or comes next.
    pub(super) fn read(&self, from: i64) -> impl Iterator<Item = Header> + use<'_> {
        let there = self.log.iter().filter(move |entry| entry.end() > from && !self.is_removed(entry));
        there.map(|entry| {
            let records = if self.cleaned.contains_key(&entry.base) { 0 } else { entry.count };
            Header { record_count: records, ..entry.header() }
        })
    }

    /// The cleaner takes a batch, or its records where the broker needs it for the producer state. Never the last one, which is in the
    /// active segment.
    fn clean(&mut self, at: usize) -> Cleaned {
        let entry = self.log[at];
        let is_state = self.producer_state().is_some_and(|state| state.base == entry.base);
        let cleaned = if is_state { Cleaned::Emptied } else { Cleaned::Removed };
        self.cleaned.insert(entry.base, cleaned);
        cleaned
    }

    /// The leader epoch in which this replica appends, or did.
    pub(super) fn leader_epoch(&self) -> i32 {
        self.epochs.last().map_or(0, |(epoch, _)| *epoch)
    }

    /// Where a leader epoch ends (KIP-101); -1 for one that it has never heard of.
    pub(super) fn epoch_end(&self, epoch: i32) -> i64 {
        if epoch == self.leader_epoch() {
            return self.end();
        }
        self.epochs.iter().find(|(later, _)| *later > epoch).map_or(-1, |(_, start)| *start)
    }

    fn know_epoch(&mut self, epoch: i32, start: i64) {
        if epoch > self.leader_epoch() {
            self.epochs.push((epoch, start));
        }
    }

    /// The last batch of the mirror, as far as the producer state goes.
    pub(super) fn producer_state(&self) -> Option<&Entry> {
        self.remembered().next()
    }

    pub(super) fn check(&self, epoch: i16, sequence: i32, count: i32) -> Sequence {
        let Some(last) = self.producer_state() else { return Sequence::Next };
        if epoch < last.epoch {
            return Sequence::OldEpoch;
        }
        if epoch > last.epoch {
            return if sequence == 0 { Sequence::Next } else { Sequence::OutOfOrder };
        }
        let exact = self.log.len() - self.coarse.min(self.log.len() - 1);
        let mut recent = self.remembered().take(5.min(exact));
        let known = |entry: &&Entry| entry.epoch == epoch && entry.sequence == sequence && entry.count == count;
        match recent.find(known) {
            Some(duplicate) => Sequence::Duplicate { base: duplicate.base },
            None if i64::from(sequence) == (i64::from(last.last_sequence()) + 1) % (1 << 31) => Sequence::Next,
            None => Sequence::OutOfOrder,
        }
    }

    /// Writes a marker, or says why not: it must be no older than the last one of its producer id.
    pub(super) fn append_marker(&mut self, offset: i64, fence: i32, order: i32) -> Result<Entry, i16> {
        let (producer_id, epoch) = marker::identity_of(offset);
        let before = self.log[self.forgotten..].iter().rev().find(|entry| entry.producer_id == producer_id);
        match before {
            Some(before) if epoch < before.epoch => Err(47),
            Some(before) if fence < before.sequence => Err(52),
            _ => Ok(self.append(1, order as u32, producer_id, epoch, fence)),
        }
    }

    /// Whether a marker of a later process or attempt is still remembered.
    pub(super) fn has_marker_of_later(&self, order: i32) -> bool {
        self.log[self.forgotten..].iter().any(|entry| entry.is_marker() && entry.id > order as u32)
    }

    pub(super) fn append(&mut self, count: i32, id: u32, producer_id: i64, epoch: i16, sequence: i32) -> Entry {
        let base = self.end();
        let leader_epoch = self.leader_epoch();
        let entry = Entry { base, count, id, producer_id, epoch, sequence, source: base, leader_epoch };
        self.log.push(entry);
        entry
    }

    /// What was appended last is from an offset of the source.
    pub(super) fn came_from(&mut self, source_offset: i64) {
        if let Some(last) = self.log.last_mut() {
            last.source = source_offset;
        }
    }

    pub(super) fn has_foreign(&self) -> bool {
        self.log.iter().any(|entry| [FOREIGN, FOREIGN_END].contains(&entry.producer_id))
    }

    /// The producer id was idle, or its records are too old: nothing is known of it any more.
    pub(super) fn forget_producers(&mut self) {
        self.forgotten = self.log.len();
    }

    /// A restart: the state comes back from the log, the batches before the snapshot only by their last sequence.
    pub(super) fn restart(&mut self, all_replayed: bool) {
        if all_replayed {
            self.forgotten = 0;
        }
        self.rebuilt = self.log.len();
        self.coarse = self.log.len().saturating_sub(1);
    }

    /// Retention has removed everything that is committed.
    pub(super) fn remove_all(&mut self) {
        self.start = self.high_watermark;
    }

    /// The cleaner takes these batches. What is remembered of producers stays as it is.
    fn compact(&mut self, taken: &[Entry]) {
        let is_kept = |entry: &Entry| !taken.contains(entry);
        let before = |len: usize| self.log[..len].iter().filter(|entry| is_kept(entry)).count();
        (self.forgotten, self.coarse) = (before(self.forgotten), before(self.coarse));
        self.log.retain(is_kept);
    }

    fn truncate(&mut self, len: usize) {
        self.log.truncate(len);
        self.forgotten = self.forgotten.min(len);
        self.coarse = self.coarse.min(len);
        self.rebuilt = self.rebuilt.min(len);
        let end = self.end();
        self.cleaned.retain(|base, _| *base < end);
        self.epochs.retain(|(epoch, start)| *epoch == 0 || *start < end);
        self.high_watermark = self.high_watermark.min(end);
        self.start = self.start.min(end);
    }
}

/// The target's partition on its three brokers.
#[derive(Debug)]
pub(super) struct Target {
    pub(super) brokers: [Broker; 3],
    pub(super) leader: usize,
    /// The leader epoch, which the controller counts up.
    epoch: i32,
    pub(super) in_sync: [bool; 3],
    /// A batch of more is refused as too large.
    pub(super) max_records: i32,
    /// What the cleaner has taken.
    pub(super) compacted: Vec<Entry>,
    /// First offsets of batches that the cleaner of some replica has taken whole, with translated offsets.
    pub(super) removed_anywhere: BTreeSet<i64>,
}

impl Target {
    pub(super) fn beginning_at(first: i64) -> Self {
        let broker = || Broker {
            log: Vec::with_capacity(64),
            first,
            start: first,
            high_watermark: first,
            forgotten: 0,
            coarse: 0,
            cleaned: BTreeMap::new(),
            rebuilt: 0,
            epochs: vec![(0, first)],
        };
        let brokers = [broker(), broker(), broker()];
        let (max_records, compacted) = (MAX_RECORDS, Vec::new());
        Target {
            brokers,
            leader: 0,
            epoch: 0,
            in_sync: [true; 3],
            max_records,
            compacted,
            removed_anywhere: BTreeSet::new(),
        }
    }

    /// The cleaner of one replica takes a batch.
    pub(super) fn clean(&mut self, broker: usize, at: usize) {
        if self.brokers[broker].clean(at) == Cleaned::Removed {
            self.removed_anywhere.insert(self.brokers[broker].log[at].base);
        }
    }

    pub(super) fn leader(&self) -> &Broker {
        &self.brokers[self.leader]
    }

    pub(super) fn leader_mut(&mut self) -> &mut Broker {
        &mut self.brokers[self.leader]
    }

    pub(super) fn in_sync_count(&self) -> usize {
        self.in_sync.iter().filter(|in_sync| **in_sync).count()
    }

    /// What every in-sync replica has: what survives whichever of them leads next.
    pub(super) fn durable_end(&self) -> i64 {
        let in_sync = self.brokers.iter().zip(self.in_sync).filter(|(_, in_sync)| *in_sync);
        in_sync.map(|(broker, _)| broker.end()).min().unwrap_or(0)
    }

    /// One fetch of a follower: it takes the next batches, and learns the high watermark as it was before.
    pub(super) fn replicate(&mut self, follower: usize, batches: usize) {
        if follower == self.leader {
            return;
        }
        let have = self.brokers[follower].log.len();
        let watermark = self.leader().high_watermark;
        for at in have..self.leader().log.len().min(have + batches) {
            let entry = self.leader().log[at];
            let cleaned = self.leader().cleaned.get(&entry.base).copied();
            let copy = &mut self.brokers[follower];
            copy.know_epoch(entry.leader_epoch, entry.base);
            copy.log.push(entry);
            copy.cleaned.extend(cleaned.map(|cleaned| (entry.base, cleaned)));
        }
        let start = self.leader().start;
        let copy = &mut self.brokers[follower];
        copy.high_watermark = copy.high_watermark.max(watermark.min(copy.end()));
        copy.start = copy.start.max(start.min(copy.end()));
        self.advance_high_watermark();
    }

    pub(super) fn advance_high_watermark(&mut self) {
        let durable = self.durable_end();
        let leader = self.leader_mut();
        leader.high_watermark = leader.high_watermark.max(durable);
    }

    /// A follower falls out of the in-sync replicas.
    pub(super) fn shrink(&mut self, follower: usize) {
        if follower != self.leader {
            self.in_sync[follower] = false;
            self.advance_high_watermark();
        }
    }

    /// A follower is back among the in-sync replicas, once it has all that is committed.
    pub(super) fn expand(&mut self, follower: usize) {
        if self.brokers[follower].end() >= self.leader().high_watermark {
            self.in_sync[follower] = true;
        }
    }

    /// Another broker leads; the others drop what it does not have.
    pub(super) fn elect(&mut self, leader: usize) {
        self.leader = leader;
        self.epoch += 1;
        let (epoch, end) = (self.epoch, self.leader().end());
        self.leader_mut().know_epoch(epoch, end);
        for other in (0..self.brokers.len()).filter(|other| *other != leader) {
            let same =
                self.brokers[other].log.iter().zip(&self.brokers[leader].log).take_while(|(a, b)| a == b).count();
            self.brokers[other].truncate(same);
        }
        self.advance_high_watermark();
    }

    /// A broker leads that has lost the end of its log, or never had it.
    pub(super) fn elect_unclean(&mut self, leader: usize, keep: usize) {
        self.brokers[leader].truncate(keep);
        self.in_sync = [false; 3];
        self.in_sync[leader] = true;
        self.elect(leader);
    }

    /// The cleaner takes records that others with the same keys have come behind: never the mirror's last ones, and never markers.
    pub(super) fn compact(&mut self, rng: &mut fastrand::Rng) {
        let leader = self.leader();
        let last = leader.log.iter().rposition(|entry| !entry.is_marker()).unwrap_or_default();
        // Every broker keeps the end of its log.
        let kept_from =
            self.brokers.iter().map(|broker| broker.log.last().map_or(0, |last| last.base)).min().unwrap_or(0);
        let replicated = |entry: &&Entry| !entry.is_marker() && entry.end() <= leader.high_watermark.min(kept_from);
        let taken: Vec<Entry> = leader.log[..last].iter().filter(replicated).filter(|_| rng.bool()).copied().collect();
        for broker in &mut self.brokers {
            broker.compact(&taken);
        }
        self.compacted.extend(taken);
    }

    /// Every replica has everything.
    pub(super) fn heal(&mut self) {
        for _ in 0..2 {
            for follower in 0..self.brokers.len() {
                self.replicate(follower, usize::MAX / 2);
            }
            self.in_sync = [true; 3];
            self.advance_high_watermark();
        }
    }
}
