//! Merges neighbouring small batches, because a request carries one batch for a partition, and a request has its price.
//!
//! It decides when opening batches costs less than the requests that are saved; large ones are never opened. Only what
//! has one codec, one leader epoch and offsets without a hole is merged, and only within one fetch answer, so nothing
//! waits for more to come. A batch that cannot be opened passes as it is: the target refuses it, and says why.

use std::collections::VecDeque;

use bytes::Bytes;

use super::compression::{self, Codec};
use super::pieces::Piece;
use super::records::{Builder, Records};
use super::{Batch, Malformed};

/// Length to which batches are merged, before they are compressed. Twice as much would not save much more.
const MERGED: usize = 256 << 10;
/// What a record may grow by: its offset and time are farther from those of the batch.
const GROWTH: usize = 16;

/// When merging pays: up to this length of a batch, and from this many in a row.
///
/// A request costs the mirror some 25 microseconds of processor time and, one after the other, 100 of waiting. Opening and
/// writing a batch of these lengths anew takes up to 5 microseconds without a codec and up to 50 with one.
fn worth_it(codec: Codec) -> (usize, usize) {
    match codec {
        Codec::None => (16 << 10, 2),
        Codec::Snappy | Codec::Lz4 => (8 << 10, 4),
        Codec::Zstd => (4 << 10, 4),
        Codec::Gzip => (1 << 10, 4),
    }
}

/// Pieces with small neighbours merged, and holes told only where no piece follows.
pub struct Merging<'a, I> {
    pieces: I,
    own: &'a dyn Fn(Vec<u8>) -> Bytes,
    /// Length to which batches are merged.
    limit: usize,
    ready: VecDeque<Result<Piece, Malformed>>,
    /// Small neighbours, not enough yet to be merged.
    waiting: Vec<Batch>,
    merged: Option<Merged>,
    /// What a batch has to begin with to join the neighbours.
    next: Option<Joint>,
    /// Where the hole behind what came so far ends, and the leader epoch there.
    hole: Option<(i64, i32)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Joint {
    offset: i64,
    codec: Codec,
    leader_epoch: i32,
}

/// A batch that is made of several.
struct Merged {
    builder: Builder,
    base_offset: i64,
    leader_epoch: i32,
    /// The only one so far.
    only: Option<Batch>,
}

impl<I: Iterator<Item = Result<Piece, Malformed>>> Iterator for Merging<'_, I> {
    type Item = Result<Piece, Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(piece) = self.ready.pop_front() {
                return Some(piece);
            }
            match self.pieces.next() {
                Some(Ok(Piece::Records(batch))) => {
                    self.hole = None;
                    if let Some(batch) = self.take(batch) {
                        return Some(Ok(Piece::Records(batch)));
                    }
                }
                Some(Ok(Piece::Nothing { next_offset, leader_epoch })) => {
                    self.close();
                    self.hole = Some((next_offset, leader_epoch));
                }
                Some(Err(malformed)) => {
                    self.close();
                    self.tell_hole();
                    self.ready.push_back(Err(malformed));
                }
                None => {
                    self.close();
                    self.tell_hole();
                    return self.ready.pop_front();
                }
            }
        }
    }
}

impl<'a, I> Merging<'a, I> {
    /// Merges what the pieces have, up to the length that the target takes.
    pub fn new(pieces: I, batch_limit: usize, own: &'a dyn Fn(Vec<u8>) -> Bytes) -> Self {
        // A sixteenth is kept for what compressing adds to that which cannot be compressed.
        let limit = MERGED.min(batch_limit - batch_limit / 16);
        let (ready, waiting) = (VecDeque::new(), Vec::new());
        Merging { pieces, own, limit, ready, waiting, merged: None, next: None, hole: None }
    }

    fn tell_hole(&mut self) {
        let hole = self.hole.take();
        let hole = hole.map(|(next_offset, leader_epoch)| Ok(Piece::Nothing { next_offset, leader_epoch }));
        self.ready.extend(hole);
    }

    /// Keeps a small batch for merging. Gives back one that is to pass now.
    fn take(&mut self, batch: Batch) -> Option<Batch> {
        let header = &batch.header;
        let codec = Codec::of(header.attributes);
        let worth = codec.map(worth_it).ok().filter(|(longest, _)| batch.len() <= *longest);
        let (Some((_, enough)), Ok(codec)) = (worth, codec) else {
            self.close();
            if self.ready.is_empty() {
                return Some(batch);
            }
            self.ready.push_back(Ok(Piece::Records(batch)));
            return None;
        };
        let here = Joint { offset: header.base_offset, codec, leader_epoch: header.partition_leader_epoch };
        if self.next != Some(here) {
            self.close();
        }
        self.next = Some(Joint { offset: header.last_offset().saturating_add(1), ..here });
        if self.merged.is_some() {
            self.merge(batch);
        } else {
            self.waiting.push(batch);
            if self.waiting.len() >= enough {
                let mut waiting = std::mem::take(&mut self.waiting);
                waiting.drain(..).for_each(|batch| self.merge(batch));
                // Its memory serves again.
                self.waiting = waiting;
            }
        }
        None
    }

    /// Adds a batch to the merged one.
    fn merge(&mut self, batch: Batch) {
        let Ok(codec) = Codec::of(batch.header.attributes) else { return self.pass(batch) };
        if !batch.is_intact() {
            return self.pass(batch);
        }
        let Ok(payload) = compression::decompress(codec, &batch.payload(), self.limit) else { return self.pass(batch) };
        let grown = payload.len().saturating_add((batch.header.record_count as usize).saturating_mul(GROWTH));
        if self.merged.as_ref().is_some_and(|merged| merged.builder.len().saturating_add(grown) > self.limit) {
            self.finish();
        }
        let first = self.merged.is_none();
        let merged = self.merged.get_or_insert_with(|| Merged {
            builder: Builder::new(codec),
            base_offset: batch.header.base_offset,
            leader_epoch: batch.header.partition_leader_epoch,
            only: None,
        });
        let mark = merged.builder.mark();
        for record in Records::new(&batch.header, &payload) {
            let Ok(record) = record else {
                merged.builder.reset(mark);
                return self.pass(batch);
            };
            merged.builder.push(record.timestamp(&batch.header), record.attributes, record.body);
        }
        merged.only = first.then_some(batch);
    }

    /// Lets a batch pass as it is, after those before it.
    fn pass(&mut self, batch: Batch) {
        self.finish();
        self.ready.push_back(Ok(Piece::Records(batch)));
    }

    /// Gives out what has been merged.
    fn finish(&mut self) {
        let Some(mut merged) = self.merged.take() else { return };
        if merged.builder.count() == 0 {
            return;
        }
        let batch = match merged.only {
            Some(batch) => Ok(batch),
            None => merged
                .builder
                .finish(merged.base_offset, merged.leader_epoch)
                .map_err(|reason| Malformed::Corrupt { offset: merged.base_offset, reason })
                .and_then(|bytes| Batch::parse((self.own)(bytes))),
        };
        self.ready.push_back(batch.map(Piece::Records));
    }

    /// Gives out everything that was kept.
    fn close(&mut self) {
        self.finish();
        self.ready.extend(self.waiting.drain(..).map(|batch| Ok(Piece::Records(batch))));
        self.next = None;
    }
}

#[cfg(test)]
mod tests;
