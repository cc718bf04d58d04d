//! Reads the records of a decompressed payload without copying them, and writes dense batches of them.
//!
//! Reading trusts no length and no count. What is written keeps attributes, key, value and headers of a record
//! byte by byte; only its offset and its time are told anew, because they are relative to those of the batch.

use bytes::Bytes;

use super::compression::{self, Codec};
use super::{CHECKSUMMED_FROM, HEADER_LEN, Header, LOG_OVERHEAD};

/// The most that a record has besides its key, value and headers: length, attributes, time and offset.
pub const RECORD_OVERHEAD: usize = 5 + 1 + 10 + 5;

/// A record, as slices of its payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Record<'a> {
    /// Offset minus the base offset of the batch.
    pub offset_delta: i32,
    /// Time minus the base timestamp of the batch.
    pub timestamp_delta: i64,
    /// No bit has a meaning yet.
    pub attributes: u8,
    /// The key.
    pub key: Option<&'a [u8]>,
    /// The value; none for a tombstone.
    pub value: Option<&'a [u8]>,
    /// Name and value of each.
    pub headers: Headers<'a>,
    /// Key, value and headers, as they are written.
    pub body: &'a [u8],
}

impl Record<'_> {
    /// Its time as a consumer sees it.
    pub fn timestamp(&self, header: &Header) -> i64 {
        // Relative to the cleaner's delete horizon the time is right too: it is the base of what the cleaner wrote. And the
        // broker's append time is the largest timestamp of the batch, for all records and whatever the base means.
        if header.is_log_append_time() {
            header.max_timestamp
        } else {
            header.base_timestamp.wrapping_add(self.timestamp_delta)
        }
    }
}

/// The headers of a record, which were checked when the record was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Headers<'a> {
    bytes: &'a [u8],
    left: usize,
}

impl<'a> Iterator for Headers<'a> {
    type Item = (&'a [u8], Option<&'a [u8]>);

    fn next(&mut self) -> Option<Self::Item> {
        self.left = self.left.checked_sub(1)?;
        let key = sized(&mut self.bytes)??;
        let value = sized(&mut self.bytes)?;
        Some((key, value))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

/// The records of a payload. After an error there is nothing more.
#[derive(Debug, Clone)]
pub struct Records<'a> {
    bytes: &'a [u8],
    left: i32,
    next_delta: i64,
    last_delta: i32,
    total: usize,
}

/// How far the reading of a payload has come.
#[derive(Debug, Clone, Copy)]
pub struct Cursor {
    read: usize,
    left: i32,
    next_delta: i64,
}

impl Cursor {
    /// The beginning of a payload of so many records, the first of which is none before `next_delta`.
    pub fn start(record_count: i32, next_delta: i64) -> Self {
        Cursor { read: 0, left: record_count, next_delta }
    }

    /// Offset, relative to the batch, before which no record may come any more.
    pub fn next_delta(self) -> i64 {
        self.next_delta
    }
}

/// Why a payload that ends too early is refused.
pub const CUT_OFF: &str = "it holds fewer records than its header says";
/// Why one that does not end is.
pub const TRAILING: &str = "bytes follow its last record";

impl<'a> Records<'a> {
    /// The records of a decompressed payload under its header.
    pub fn new(header: &Header, payload: &'a [u8]) -> Self {
        Records::resume(header, payload, Cursor { read: 0, left: header.record_count, next_delta: 0 })
    }

    /// Goes on where the reading of the same payload had stopped.
    pub fn resume(header: &Header, payload: &'a [u8], at: Cursor) -> Self {
        let bytes = payload.get(at.read..).unwrap_or_default();
        let (left, next_delta, last_delta) = (at.left, at.next_delta, header.last_offset_delta);
        Records { bytes, left, next_delta, last_delta, total: payload.len() }
    }

    /// Where to go on.
    pub fn cursor(&self) -> Cursor {
        Cursor { read: self.total - self.bytes.len(), left: self.left, next_delta: self.next_delta }
    }

    fn read(&mut self) -> Result<Record<'a>, &'static str> {
        let length = varint(&mut self.bytes).ok_or(CUT_OFF)?;
        let length = usize::try_from(length).map_err(|_| "a record of it has a negative length")?;
        let record = self.bytes.split_off(..length).ok_or(CUT_OFF)?;
        let record = parse(record).ok_or("a record of it does not fit its length")?;
        if i64::from(record.offset_delta) < self.next_delta || record.offset_delta > self.last_delta {
            return Err("the offsets of its records are not in order");
        }
        self.next_delta = i64::from(record.offset_delta) + 1;
        Ok(record)
    }
}

impl<'a> Iterator for Records<'a> {
    type Item = Result<Record<'a>, &'static str>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.left <= 0 {
            let trailing = !std::mem::take(&mut self.bytes).is_empty();
            return trailing.then_some(Err(TRAILING));
        }
        self.left -= 1;
        let record = self.read();
        if record.is_err() {
            (self.left, self.bytes) = (0, &[]);
        }
        Some(record)
    }
}

fn parse(mut bytes: &[u8]) -> Option<Record<'_>> {
    let attributes = *bytes.split_off_first()?;
    let timestamp_delta = varlong(&mut bytes)?;
    let offset_delta = varint(&mut bytes)?;
    let body = bytes;
    let key = sized(&mut bytes)?;
    let value = sized(&mut bytes)?;
    let count = usize::try_from(varint(&mut bytes)?).ok()?;
    let headers = Headers { bytes, left: count };
    for _ in 0..count {
        sized(&mut bytes)??;
        sized(&mut bytes)?;
    }
    bytes.is_empty().then_some(Record { offset_delta, timestamp_delta, attributes, key, value, headers, body })
}

/// Bytes with their length in front; a negative one is no bytes at all.
fn sized<'a>(bytes: &mut &'a [u8]) -> Option<Option<&'a [u8]>> {
    match usize::try_from(varint(bytes)?) {
        Ok(length) => bytes.split_off(..length).map(Some),
        Err(_) => Some(None),
    }
}

/// A number of variable size, if all of it is there.
pub fn varint(bytes: &mut &[u8]) -> Option<i32> {
    let value = unsigned(bytes, 5)? as u32;
    Some((value >> 1) as i32 ^ -((value & 1) as i32))
}

fn varlong(bytes: &mut &[u8]) -> Option<i64> {
    let value = unsigned(bytes, 10)?;
    Some((value >> 1) as i64 ^ -((value & 1) as i64))
}

fn unsigned(bytes: &mut &[u8], longest: usize) -> Option<u64> {
    let mut value = 0;
    for (index, byte) in bytes.iter().take(longest).enumerate() {
        value |= u64::from(byte & 0x7f) << (7 * index);
        if byte & 0x80 == 0 {
            *bytes = &bytes[index + 1..];
            return Some(value);
        }
    }
    None
}

fn put_unsigned(buffer: &mut Vec<u8>, mut value: u64) {
    while value > 0x7f {
        buffer.push(value as u8 | 0x80);
        value >>= 7;
    }
    buffer.push(value as u8);
}

fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)) as u64
}

/// Bytes that a number takes.
fn length_of(value: u64) -> usize {
    (64 - (value | 1).leading_zeros() as usize).div_ceil(7)
}

/// A batch that is being written. It has no producer, and times that a producer gave.
#[derive(Debug)]
pub struct Builder {
    codec: Codec,
    /// Room for the header, then the records.
    buffer: Vec<u8>,
    count: i32,
    last_delta: i32,
    base_timestamp: i64,
    max_timestamp: i64,
}

/// A state of a builder to go back to.
#[derive(Debug, Clone, Copy)]
pub struct Mark {
    length: usize,
    count: i32,
    last_delta: i32,
    max_timestamp: i64,
}

impl Builder {
    /// A batch of no records yet.
    pub fn new(codec: Codec) -> Self {
        let (base_timestamp, max_timestamp) = (-1, i64::MIN);
        Builder { codec, buffer: vec![0; HEADER_LEN], count: 0, last_delta: -1, base_timestamp, max_timestamp }
    }

    /// Number of records.
    pub fn count(&self) -> i32 {
        self.count
    }

    /// Length of the batch if it is not compressed.
    pub fn len(&self) -> usize {
        self.buffer.len()
    }

    /// Appends a record at the next offset.
    pub fn push(&mut self, timestamp: i64, attributes: u8, body: &[u8]) {
        self.push_at(self.last_delta + 1, timestamp, attributes, body);
    }

    /// Appends a record at an offset behind the others.
    pub fn push_at(&mut self, offset_delta: i32, timestamp: i64, attributes: u8, body: &[u8]) {
        self.begin(offset_delta, timestamp, attributes, body.len());
        self.buffer.extend_from_slice(body);
    }

    /// Appends a record without headers at an offset behind the others.
    pub fn push_pair(&mut self, offset_delta: i32, timestamp: i64, key: Option<&[u8]>, value: Option<&[u8]>) {
        let length = |part: Option<&[u8]>| zigzag(part.map_or(-1, |part| part.len() as i64));
        let parts = [key, value];
        let body: usize = parts.iter().map(|part| length_of(length(*part)) + part.map_or(0, <[u8]>::len)).sum();
        self.begin(offset_delta, timestamp, 0, body + 1);
        for part in parts {
            put_unsigned(&mut self.buffer, length(part));
            self.buffer.extend_from_slice(part.unwrap_or_default());
        }
        self.buffer.push(0);
    }

    fn begin(&mut self, offset_delta: i32, timestamp: i64, attributes: u8, body: usize) {
        if self.count == 0 {
            self.base_timestamp = timestamp;
        }
        let time = zigzag(timestamp.wrapping_sub(self.base_timestamp));
        let offset = zigzag(offset_delta.into());
        let length = 1 + length_of(time) + length_of(offset) + body;
        self.buffer.reserve(RECORD_OVERHEAD + body);
        put_unsigned(&mut self.buffer, zigzag(length as i64));
        self.buffer.push(attributes);
        put_unsigned(&mut self.buffer, time);
        put_unsigned(&mut self.buffer, offset);
        self.count += 1;
        self.last_delta = offset_delta;
        self.max_timestamp = self.max_timestamp.max(timestamp);
    }

    /// The state as it is now.
    pub fn mark(&self) -> Mark {
        let Builder { count, last_delta, max_timestamp, .. } = *self;
        Mark { length: self.buffer.len(), count, last_delta, max_timestamp }
    }

    /// Takes back what was appended since.
    pub fn reset(&mut self, mark: Mark) {
        self.buffer.truncate(mark.length);
        self.count = mark.count;
        self.last_delta = mark.last_delta;
        self.max_timestamp = mark.max_timestamp;
    }

    /// The header of the records as they are in the buffer, not compressed.
    pub fn header(&self, base_offset: i64, partition_leader_epoch: i32) -> Header {
        Header {
            base_offset,
            length: (self.buffer.len() - LOG_OVERHEAD) as i32,
            partition_leader_epoch,
            magic: 2,
            crc: 0,
            attributes: 0,
            last_offset_delta: self.last_delta,
            base_timestamp: self.base_timestamp,
            max_timestamp: self.max_timestamp,
            producer_id: -1,
            producer_epoch: -1,
            base_sequence: -1,
            record_count: self.count,
        }
    }

    /// The records, not compressed.
    pub fn payload(&self) -> &[u8] {
        self.buffer.get(HEADER_LEN..).unwrap_or_default()
    }

    /// The records, not compressed, when no batch is to be made of them.
    pub fn into_payload(self) -> Bytes {
        Bytes::from(self.buffer).split_off(HEADER_LEN)
    }

    /// The batch with its checksum. The builder has no use after that except, for a compressed batch, its
    /// [`payload`](Self::payload).
    pub fn finish(&mut self, base_offset: i64, partition_leader_epoch: i32) -> Result<Vec<u8>, &'static str> {
        let header = self.header(base_offset, partition_leader_epoch);
        let mut bytes = match self.codec {
            Codec::None => std::mem::take(&mut self.buffer),
            codec => {
                let compressed = compression::compress(codec, self.payload())?;
                let mut bytes = Vec::with_capacity(HEADER_LEN + compressed.len());
                bytes.resize(HEADER_LEN, 0);
                bytes.extend_from_slice(&compressed);
                bytes
            }
        };
        let header = Header { attributes: self.codec.bits(), length: (bytes.len() - LOG_OVERHEAD) as i32, ..header };
        write_header(&header, &mut bytes);
        Ok(bytes)
    }
}

/// Writes the header of a batch, and the checksum over all of it.
fn write_header(header: &Header, batch: &mut [u8]) {
    let mut put = |at: usize, value: &[u8]| batch[at..at + value.len()].copy_from_slice(value);
    put(0, &header.base_offset.to_be_bytes());
    put(8, &header.length.to_be_bytes());
    put(12, &header.partition_leader_epoch.to_be_bytes());
    put(16, &header.magic.to_be_bytes());
    put(21, &header.attributes.to_be_bytes());
    put(23, &header.last_offset_delta.to_be_bytes());
    put(27, &header.base_timestamp.to_be_bytes());
    put(35, &header.max_timestamp.to_be_bytes());
    put(43, &header.producer_id.to_be_bytes());
    put(51, &header.producer_epoch.to_be_bytes());
    put(53, &header.base_sequence.to_be_bytes());
    put(57, &header.record_count.to_be_bytes());
    let crc = crc32c::crc32c(&batch[CHECKSUMMED_FROM..]);
    batch[17..21].copy_from_slice(&crc.to_be_bytes());
}

#[cfg(test)]
mod tests;
