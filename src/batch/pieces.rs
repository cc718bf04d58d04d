//! Turns the bytes of a fetch answer into what the target can take: dense batches, and holes.
//!
//! It decides what of a source's log is copied, and how. A batch passes untouched when every offset in it has its
//! record and the target can take it. Otherwise its records are written anew, under the same codec. What no
//! consumer sees becomes a hole. Nothing is left out, written anew or called a hole unless its checksum is right.

use bytes::Bytes;

use super::compression::Codec;
use super::merge::Merging;
use super::recode::Recode;
use super::records::Records;
use super::transactions::Aborted;
use super::{Batch, HEADER_LEN, Malformed, attributes, legacy, next_batch};

/// What a reader wants of the source.
#[derive(Debug, Clone, Copy)]
pub struct Reading<'a> {
    /// The first offset that it does not have yet.
    pub from: i64,
    /// Whether aborted transactions are holes.
    pub read_committed: bool,
    /// The longest batch that the target takes, header and all.
    pub batch_limit: usize,
    /// Producer ids whose records are holes: they come from where the copy goes.
    pub without: &'a [i64],
}

/// A part of the source's log. Offsets between two pieces are holes.
#[derive(Debug, Clone)]
pub enum Piece {
    /// A batch in which every offset has its record.
    Records(Batch),
    /// No records up to here.
    Nothing {
        /// Where reading goes on.
        next_offset: i64,
        /// Epoch of the leader that appended what is there, -1 when that is not known.
        leader_epoch: i32,
    },
}

/// The pieces of one partition of a fetch answer, in the order of their offsets; after an error there are no more.
///
/// `aborted` are the producer ids and first offsets of the aborted transactions that the broker has named. `own` takes
/// charge of memory that was filled here and not by the network.
pub fn pieces<'a>(
    records: Bytes,
    aborted: &[(i64, i64)],
    reading: Reading<'a>,
    own: &'a dyn Fn(Vec<u8>) -> Bytes,
) -> impl Iterator<Item = Result<Piece, Malformed>> + use<'a> {
    let aborted = Aborted::new(if reading.read_committed { aborted } else { &[] });
    let cutting = Cutting {
        records,
        aborted,
        reading,
        own,
        recode: None,
        next_offset: 0,
        leader_epoch: -1,
        begun: false,
        failed: false,
    };
    Merging::new(cutting, reading.batch_limit, own)
}

/// The pieces before neighbours are merged.
struct Cutting<'a> {
    records: Bytes,
    aborted: Aborted,
    reading: Reading<'a>,
    own: &'a dyn Fn(Vec<u8>) -> Bytes,
    recode: Option<Recode>,
    /// No offset before this one may come any more.
    next_offset: i64,
    /// The leader epoch just before it.
    leader_epoch: i32,
    /// Whether anything whole has been in the answer.
    begun: bool,
    failed: bool,
}

impl Iterator for Cutting<'_> {
    type Item = Result<Piece, Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed {
            return None;
        }
        let from = self.reading.from;
        let mut piece = self.next_piece().transpose();
        while matches!(piece, Some(Ok(Piece::Nothing { next_offset, .. })) if next_offset <= from) {
            piece = self.next_piece().transpose();
        }
        self.failed = !matches!(piece, Some(Ok(_)));
        piece
    }
}

impl Cutting<'_> {
    fn next_piece(&mut self) -> Result<Option<Piece>, Malformed> {
        loop {
            if let Some(recode) = &mut self.recode {
                if let Some(batch) = recode.next_batch(self.own) {
                    return batch.map(|batch| Some(Piece::Records(batch)));
                }
                let ends_in_hole = recode.next_offset() < self.next_offset;
                self.recode = None;
                if ends_in_hole {
                    return Ok(Some(self.nothing()));
                }
            }
            if self.records.is_empty() {
                return Ok(None);
            }
            if legacy::is_next(&self.records) {
                let Some(converted) = legacy::take(&mut self.records) else { return self.cut_off() };
                let converted = converted?;
                self.advance(converted.header.base_offset, converted.header.last_offset_delta)?;
                self.leader_epoch = converted.header.partition_leader_epoch;
                let legacy::Converted { header, payload, codec, source_length } = converted;
                self.recode = Some(Recode::new(header, payload, codec, source_length, self.reading)?);
                continue;
            }
            let next = if self.records.len() > MAGIC_AT { next_batch(&mut self.records) } else { None };
            let Some(batch) = next else { return self.cut_off() };
            let batch = batch?;
            self.advance(batch.header.base_offset, batch.header.last_offset_delta)?;
            self.leader_epoch = batch.header.partition_leader_epoch;
            if self.is_hole(&batch)? {
                return Ok(Some(self.nothing()));
            }
            if self.passes(&batch) {
                return Ok(Some(Piece::Records(batch)));
            }
            self.recode = Some(Recode::of(&batch, self.reading)?);
        }
    }

    /// Brokers answer with as many bytes as were asked for, so the end of the last batch may be missing; but not that of
    /// the first one.
    fn cut_off(&self) -> Result<Option<Piece>, Malformed> {
        if self.begun {
            return Ok(None);
        }
        let offset = self.records.first_chunk().map_or(-1, |offset| i64::from_be_bytes(*offset));
        Err(Malformed::Corrupt { offset, reason: "it is longer than what the broker has sent of it" })
    }

    fn nothing(&self) -> Piece {
        Piece::Nothing { next_offset: self.next_offset, leader_epoch: self.leader_epoch }
    }

    fn advance(&mut self, base_offset: i64, last_offset_delta: i32) -> Result<(), Malformed> {
        let corrupt = |reason| Malformed::Corrupt { offset: base_offset, reason };
        if base_offset < self.next_offset {
            let reason = "what comes there begins at an earlier offset";
            return Err(Malformed::Corrupt { offset: self.next_offset, reason });
        }
        let next_offset = base_offset.checked_add(i64::from(last_offset_delta) + 1);
        self.next_offset = next_offset.ok_or(corrupt("its offsets are larger than offsets can be"))?;
        self.begun = true;
        Ok(())
    }

    /// Whether nothing of it is to be copied.
    fn is_hole(&mut self, batch: &Batch) -> Result<bool, Malformed> {
        let header = &batch.header;
        if header.is_control() {
            batch.check_intact()?;
            self.aborted.hides(header, batch.is_abort_marker()?);
            return Ok(true);
        }
        if header.record_count == 0 && batch.len() > HEADER_LEN {
            return Err(batch.corrupt("it claims to have no records, but has a payload"));
        }
        let hidden = self.aborted.hides(header, false);
        let hidden = hidden || self.reading.without.contains(&header.producer_id);
        let hole = hidden || header.record_count == 0 || self.next_offset <= self.reading.from;
        if hole {
            batch.check_intact()?;
        }
        Ok(hole)
    }

    /// Whether the target can have its payload as it is.
    fn passes(&self, batch: &Batch) -> bool {
        let header = &batch.header;
        header.is_dense()
            && header.base_offset >= self.reading.from
            && (batch.len() <= self.reading.batch_limit || header.record_count == 1)
            && (!header.is_log_append_time() || keeps_its_time(batch))
    }
}

/// Where the format version is, in all formats.
const MAGIC_AT: usize = 16;

/// Whether a rewritten header can give a batch with the broker's append time the same time. It can for one record, which
/// every producer writes without a difference to its batch; where that is not compressed it is looked at.
fn keeps_its_time(batch: &Batch) -> bool {
    let header = &batch.header;
    if header.record_count != 1 {
        return false;
    }
    let base =
        if header.attributes & attributes::DELETE_HORIZON != 0 { header.base_timestamp } else { header.max_timestamp };
    match (Codec::of(header.attributes), Records::new(header, &batch.payload()).next()) {
        (Ok(Codec::None), Some(Ok(record))) => base.wrapping_add(record.timestamp_delta) == header.max_timestamp,
        _ => true,
    }
}

#[cfg(test)]
mod tests;
