//! Writes the records of a batch anew, as dense batches that are not too large, one after the other.
//!
//! All records are looked at before the first piece is given out, so that a batch that lies is refused as a whole. After
//! that only one piece at a time is in memory.

use bytes::Bytes;

use super::compression::Codec;
use super::pieces::Reading;
use super::records::{Builder, Cursor, RECORD_OVERHEAD, Records};
use super::{Batch, HEADER_LEN, Header, Malformed};

/// A batch that is being written anew.
#[derive(Debug)]
pub struct Recode {
    /// What the records' offsets and times are relative to.
    header: Header,
    payload: Bytes,
    at: Cursor,
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
        let codec = Codec::of(batch.header.attributes).map_err(|reason| batch.corrupt(reason))?;
        Recode::new(batch.header, batch.decompressed()?, codec, batch.len(), reading)
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
        let limit = reading.batch_limit;
        let raw_limit = match codec {
            Codec::None => limit,
            // Three quarters, because what is cut off from the rest is compressed less well.
            _ => limit.max(scaled(limit / 4 * 3, payload.len(), compressed)),
        };
        let (from, next_offset) = (reading.from, header.base_offset);
        Ok(Recode { header, payload, at, codec, from, limit, raw_limit, halves: Vec::new(), next_offset })
    }

    /// Offset after the last record that was given out.
    pub fn next_offset(&self) -> i64 {
        self.next_offset
    }

    /// The next dense batch.
    pub fn next_batch(&mut self, own: &dyn Fn(Vec<u8>) -> Bytes) -> Option<Result<Batch, Malformed>> {
        let (base_offset, builder) = self.halves.pop().or_else(|| self.next_run())?;
        let batch = self.finish(base_offset, builder).and_then(|bytes| Batch::parse(own(bytes)));
        Some(batch)
    }

    /// The next records that follow each other and are not too many.
    fn next_run(&mut self) -> Option<(i64, Builder)> {
        let mut records = Records::resume(&self.header, &self.payload, self.at);
        let mut builder = Builder::new(self.codec);
        let mut base_offset = 0;
        loop {
            self.at = records.cursor();
            // They have all been read once without an error.
            let Some(Ok(record)) = records.next() else { break };
            let offset = self.header.base_offset + i64::from(record.offset_delta);
            if offset < self.from {
                continue;
            }
            if builder.count() == 0 {
                base_offset = offset;
            } else if offset != self.next_offset || builder.len() + RECORD_OVERHEAD + record.body.len() > self.raw_limit
            {
                break;
            }
            builder.push(record.timestamp(&self.header), record.attributes, record.body);
            self.next_offset = offset + 1;
        }
        (builder.count() > 0).then_some((base_offset, builder))
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

fn scaled(limit: usize, payload: usize, compressed: usize) -> usize {
    let scaled = limit as u128 * payload as u128 / compressed.max(HEADER_LEN) as u128;
    usize::try_from(scaled).unwrap_or(usize::MAX)
}
