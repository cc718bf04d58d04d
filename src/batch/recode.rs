//! Writes the records of a batch anew, as dense batches that are not too large, one after the other.
//!
//! All records are looked at before the first piece is given out, so that a batch that lies is refused as a whole. After
//! that only one piece at a time is in memory, and of a batch that becomes large only some of its records.

use bytes::Bytes;

use super::compression::{self, Codec};
use super::pieces::Reading;
use super::portions::Portions;
use super::records::{Builder, Cursor, RECORD_OVERHEAD, Records};
use super::{Batch, HEADER_LEN, Header, LARGEST_PAYLOAD, Malformed};

/// A batch that becomes larger than this is decompressed some records at a time.
const WHOLE: usize = 4 << 20;
/// Bytes of records that are compressed anew at a time; larger batches would only take more memory.
const LARGEST_PIECE: usize = 4 << 20;

/// A batch that is being written anew.
#[derive(Debug)]
pub struct Recode {
    /// What the records' offsets and times are relative to.
    header: Header,
    /// Records, and what comes behind them if that is not all.
    payload: Bytes,
    at: Cursor,
    more: Option<Portions>,
    codec: Codec,
    from: i64,
    /// The largest batch.
    limit: usize,
    /// The largest batch before it is compressed.
    raw_limit: usize,
    /// Halves of pieces that were too large after all, with their base offset, the next one last.
    halves: Vec<(i64, Builder)>,
    next_offset: i64,
}

impl Recode {
    /// Opens a batch of the present format.
    pub fn of(batch: &Batch, reading: Reading) -> Result<Recode, Malformed> {
        batch.check_intact()?;
        let corrupt = |reason| batch.corrupt(reason);
        let codec = Codec::of(batch.header.attributes).map_err(corrupt)?;
        let limit = if codec == Codec::None { usize::MAX } else { WHOLE };
        match compression::decompress(codec, &batch.payload(), limit) {
            Ok(payload) => Recode::new(batch.header, payload, codec, batch.len(), reading),
            Err(compression::TOO_LARGE) => Recode::in_portions(batch, codec, reading).map_err(corrupt),
            Err(reason) => Err(corrupt(reason)),
        }
    }

    /// Opens decompressed records under the header that they are relative to. They will have the codec and, to estimate
    /// what that makes of them, had the length of a batch that was compressed.
    pub fn new(
        header: Header,
        payload: Bytes,
        codec: Codec,
        compressed: usize,
        reading: Reading,
    ) -> Result<Recode, Malformed> {
        let mut records = Records::new(&header, &payload);
        let at = records.cursor();
        if let Some(reason) = records.find_map(Result::err) {
            return Err(Malformed::Corrupt { offset: header.base_offset, reason });
        }
        let raw_limit = raw_limit(codec, reading.batch_limit, payload.len(), compressed);
        Ok(Recode::begun(header, payload, at, codec, raw_limit, reading))
    }

    /// Opens a batch that becomes large. It is decompressed twice: first to look at all records, then to write them.
    fn in_portions(batch: &Batch, codec: Codec, reading: Reading) -> Result<Recode, &'static str> {
        let header = batch.header;
        let portions = || Portions::new(codec, batch.payload(), header.record_count);
        let (mut looked_at, mut next_delta) = (0, 0);
        let mut looking = portions()?;
        while let Some(portions) = &mut looking {
            let Some((payload, count)) = portions.next()? else { break };
            looked_at += payload.len();
            if looked_at > LARGEST_PAYLOAD {
                return Err(compression::TOO_LARGE);
            }
            let mut records = Records::resume(&header, &payload, Cursor::start(count, next_delta));
            if let Some(reason) = records.find_map(Result::err) {
                return Err(reason);
            }
            next_delta = records.cursor().next_delta();
        }
        let raw_limit = raw_limit(codec, reading.batch_limit, looked_at, batch.len());
        let at = Cursor::start(0, 0);
        Ok(Recode { more: portions()?, ..Recode::begun(header, Bytes::new(), at, codec, raw_limit, reading) })
    }

    fn begun(header: Header, payload: Bytes, at: Cursor, codec: Codec, raw_limit: usize, reading: Reading) -> Recode {
        let (from, limit, next_offset) = (reading.from, reading.batch_limit, header.base_offset);
        Recode { header, payload, at, more: None, codec, from, limit, raw_limit, halves: Vec::new(), next_offset }
    }

    /// Offset after the last record that was given out.
    pub fn next_offset(&self) -> i64 {
        self.next_offset
    }

    /// The next dense batch.
    pub fn next_batch(&mut self, own: &dyn Fn(Vec<u8>) -> Bytes) -> Option<Result<Batch, Malformed>> {
        let next = match self.halves.pop() {
            Some(half) => Ok(Some(half)),
            None => self.next_run(),
        };
        let next = next.map_err(|reason| Malformed::Corrupt { offset: self.header.base_offset, reason });
        let bytes = next.transpose()?.and_then(|(base_offset, builder)| self.finish(base_offset, builder));
        Some(bytes.and_then(|bytes| Batch::parse(own(bytes))))
    }

    /// The next records that follow each other and are not too many.
    fn next_run(&mut self) -> Result<Option<(i64, Builder)>, &'static str> {
        let mut builder = Builder::new(self.codec);
        let mut base_offset = 0;
        while self.add_records(&mut builder, &mut base_offset) {
            let Some((payload, count)) = self.more.as_mut().map_or(Ok(None), Portions::next)? else { break };
            (self.payload, self.at) = (payload, Cursor::start(count, self.at.next_delta()));
        }
        Ok((builder.count() > 0).then_some((base_offset, builder)))
    }

    /// Adds what belongs into a batch, of the records that are in memory; `true` when there are no more of these.
    fn add_records(&mut self, builder: &mut Builder, base_offset: &mut i64) -> bool {
        let mut records = Records::resume(&self.header, &self.payload, self.at);
        loop {
            self.at = records.cursor();
            // They have all been read once without an error.
            let Some(Ok(record)) = records.next() else { return true };
            let offset = self.header.base_offset + i64::from(record.offset_delta);
            if offset < self.from {
                continue;
            }
            if builder.count() == 0 {
                *base_offset = offset;
            } else if offset != self.next_offset || builder.len() + RECORD_OVERHEAD + record.body.len() > self.raw_limit
            {
                return false;
            }
            builder.push(record.timestamp(&self.header), record.attributes, record.body);
            self.next_offset = offset + 1;
        }
    }

    /// Bytes of a batch within the limit; what does not fit is left for the next call.
    fn finish(&mut self, base_offset: i64, mut builder: Builder) -> Result<Vec<u8>, Malformed> {
        loop {
            let epoch = self.header.partition_leader_epoch;
            let bytes = builder.finish(base_offset, epoch);
            let bytes = bytes.map_err(|reason| Malformed::Corrupt { offset: base_offset, reason })?;
            // What is not compressed was measured before.
            if bytes.len() <= self.limit || builder.count() == 1 || self.codec == Codec::None {
                return Ok(bytes);
            }
            let (first, second) = halves(&builder, self.codec);
            self.halves.push((base_offset + i64::from(first.count()), second));
            builder = first;
        }
    }
}

/// The records of a builder in two.
fn halves(whole: &Builder, codec: Codec) -> (Builder, Builder) {
    let header = whole.header(0, -1);
    let (mut first, mut second) = (Builder::new(codec), Builder::new(codec));
    for record in Records::new(&header, whole.payload()).map_while(Result::ok) {
        let half = if first.count() < whole.count() / 2 { &mut first } else { &mut second };
        half.push(record.timestamp(&header), record.attributes, record.body);
    }
    (first, second)
}

/// The largest batch before it is compressed, by what compressing has made of all of it.
fn raw_limit(codec: Codec, limit: usize, payload: usize, compressed: usize) -> usize {
    if codec == Codec::None {
        return limit;
    }
    // Three quarters, because what is cut off from the rest is compressed less well.
    let scaled = (limit / 4 * 3) as u128 * payload as u128 / compressed.max(HEADER_LEN) as u128;
    limit.max(usize::try_from(scaled).unwrap_or(usize::MAX)).min(LARGEST_PIECE)
}
