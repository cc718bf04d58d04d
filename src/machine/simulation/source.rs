//! The source's partition: a log that grows, is compacted, loses its beginning and sometimes its end.
//!
//! What readers see of it is what the target is held against.

use super::world::{Entry, FETCH_BATCHES, bytes_of};
use crate::batch::{Header, attributes};

/// What a source batch is, as far as a mirror cares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Records,
    /// The target refuses its last record whenever it sees it.
    Poison,
    /// The end of a transaction.
    Marker,
    Aborted,
    /// Its second record is gone.
    Compacted,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct SourceBatch {
    pub(super) base: i64,
    pub(super) count: i32,
    pub(super) id: u32,
    pub(super) kind: Kind,
    pub(super) epoch: i32,
}

/// Offset in a batch of the record that compaction took.
const REMOVED: i64 = 1;

impl SourceBatch {
    pub(super) fn end(&self) -> i64 {
        self.base + i64::from(self.count)
    }

    pub(super) fn size(&self) -> usize {
        bytes_of(self.count)
    }

    /// Whether a reader sees a record there.
    fn shows(&self, offset: i64) -> bool {
        match self.kind {
            Kind::Records | Kind::Poison => true,
            Kind::Compacted => offset != self.base + REMOVED,
            Kind::Marker | Kind::Aborted => false,
        }
    }

    /// The dense parts of what a reader sees from an offset on, none larger than that if it has more than one record.
    pub(super) fn pieces(&self, from: i64, batch_bytes: usize) -> Vec<SourceBatch> {
        let mut pieces: Vec<SourceBatch> = Vec::new();
        for offset in (self.base.max(from)..self.end()).filter(|offset| self.shows(*offset)) {
            match pieces.last_mut().filter(|last| last.end() == offset && bytes_of(last.count + 1) <= batch_bytes) {
                Some(last) => last.count += 1,
                None => pieces.push(SourceBatch { base: offset, count: 1, ..*self }),
            }
        }
        // Only the last record is poison.
        if self.kind == Kind::Poison {
            for piece in pieces.iter_mut().filter(|piece| piece.end() != self.end()) {
                piece.kind = Kind::Records;
            }
        }
        pieces
    }

    pub(super) fn header(&self) -> Header {
        Header {
            base_offset: self.base,
            length: self.size() as i32 - 12,
            partition_leader_epoch: self.epoch,
            magic: 2,
            crc: self.id,
            attributes: if self.kind == Kind::Marker { attributes::CONTROL } else { 0 },
            last_offset_delta: self.count - 1,
            base_timestamp: 0,
            max_timestamp: 0,
            producer_id: 100,
            producer_epoch: 0,
            base_sequence: 0,
            record_count: self.count,
        }
    }
}

/// The source's partition. Batches removed by retention stay in the vector: they are what the target is held against.
#[derive(Debug)]
pub(super) struct Source {
    pub(super) batches: Vec<SourceBatch>,
    /// What an unclean election took from the end.
    pub(super) cut: Vec<SourceBatch>,
    pub(super) start: i64,
    pub(super) end: i64,
    pub(super) epoch: i32,
    /// Where each leader epoch but the first began.
    epoch_starts: Vec<(i32, i64)>,
    next_id: u32,
}

impl Source {
    pub(super) fn beginning_at(start: i64) -> Self {
        Source {
            batches: Vec::with_capacity(64),
            cut: Vec::new(),
            start,
            end: start,
            epoch: 0,
            epoch_starts: Vec::new(),
            next_id: 0,
        }
    }

    pub(super) fn append(&mut self, count: i32, kind: Kind) {
        self.batches.push(SourceBatch { base: self.end, count, id: self.next_id, kind, epoch: self.epoch });
        self.next_id += 1;
        self.end += i64::from(count);
    }

    /// Offsets without a batch, as compaction leaves them.
    pub(super) fn leave_hole(&mut self, offsets: i64) {
        self.end += offsets;
    }

    /// An unclean election: the last batches are gone, others take their offsets.
    pub(super) fn cut_back(&mut self, batches: usize) {
        let keep = self.batches.len().saturating_sub(batches);
        self.cut.extend(self.batches.drain(keep..));
        self.end = self.batches.last().map_or(self.start, SourceBatch::end);
        self.epoch += 1;
        self.epoch_starts.push((self.epoch, self.end));
    }

    /// Where a leader epoch ended.
    pub(super) fn epoch_end(&self, epoch: i32) -> i64 {
        self.epoch_starts.iter().find(|(later, _)| *later > epoch).map_or(self.end, |(_, start)| *start)
    }

    /// Whole batches from the one that holds an offset; `None` if the offset is out of range.
    pub(super) fn fetch(&self, offset: i64) -> Option<Vec<SourceBatch>> {
        let held = self.start <= offset && offset <= self.end;
        held.then(|| {
            let from = self.index_of(offset);
            self.batches[from..].iter().take(FETCH_BATCHES).copied().collect()
        })
    }

    pub(super) fn batch_at(&self, offset: i64) -> Option<SourceBatch> {
        self.batches.get(self.index_of(offset)).copied().filter(|batch| batch.base <= offset)
    }

    /// The record a reader sees at an offset: the number of its batch.
    pub(super) fn record_at(&self, offset: i64) -> Option<u32> {
        self.batch_at(offset).filter(|batch| batch.shows(offset)).map(|batch| batch.id)
    }

    /// Whether this is what the source has at these offsets.
    pub(super) fn has(&self, entry: &Entry) -> bool {
        let wanted = (!entry.is_marker()).then_some(entry.id);
        (entry.base..entry.end()).all(|offset| self.record_at(offset) == wanted)
    }

    /// Whether this is what the source has, or had before it was cut back.
    pub(super) fn had(&self, entry: &Entry) -> bool {
        let cut_end = self.cut.iter().map(SourceBatch::end).max().unwrap_or(0);
        let cut = |offset: i64| {
            let mut shown =
                self.cut.iter().filter(|batch| batch.base <= offset && offset < batch.end() && batch.shows(offset));
            let none = offset < cut_end && shown.clone().next().is_none();
            shown.any(|batch| batch.id == entry.id) || (none && entry.is_marker())
        };
        self.has(entry) || (entry.base..entry.end()).all(cut)
    }

    fn index_of(&self, offset: i64) -> usize {
        self.batches.partition_point(|batch| batch.end() <= offset)
    }
}
