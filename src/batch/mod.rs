//! A record batch (format v2, KIP-98) seen through its 61 byte header; the payload is never opened here.
//!
//! [`split`] cuts what a fetch answered into batches. [`Batch::rewrite_header`] makes the header under which the target
//! gets the same payload: base offset 0 (the broker assigns it), the mirror's producer id, epoch and
//! sequence, without the source's transaction. The checksum is [carried](crc), not recomputed.
//!
//! Layout: <https://kafka.apache.org/documentation/#recordbatch>.

#![allow(dead_code, reason = "until the stream reads through `pieces`")]

pub mod compression;
pub mod crc;

use bytes::Bytes;

use crate::error::{Error, ErrorKind};

/// Length of the header; records follow.
pub const HEADER_LEN: usize = 61;
/// Base offset and length field, which the length field does not count.
const LOG_OVERHEAD: usize = 12;
/// The part of the header that the checksum covers starts here.
const CHECKSUMMED_FROM: usize = 21;

/// Attribute bits of a batch.
pub mod attributes {
    /// Timestamps are the broker's append time.
    pub const LOG_APPEND_TIME: i16 = 0x08;
    /// Part of a transaction.
    pub const TRANSACTIONAL: i16 = 0x10;
    /// A marker, not records.
    pub const CONTROL: i16 = 0x20;
    /// The base timestamp is the time when tombstones may go.
    pub const DELETE_HORIZON: i16 = 0x40;
}

/// The fields of a batch header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// Offset of the first record (also if that record was compacted away).
    pub base_offset: i64,
    /// Bytes after the length field.
    pub length: i32,
    /// Format version; 2 here.
    pub magic: i8,
    /// CRC-32C of everything after it.
    pub crc: u32,
    /// See [`attributes`].
    pub attributes: i16,
    /// Last offset minus base offset.
    pub last_offset_delta: i32,
    /// Milliseconds since 1970 that the records' timestamps are relative to.
    pub base_timestamp: i64,
    /// The largest timestamp in the batch.
    pub max_timestamp: i64,
    /// Who produced it, -1 without idempotence.
    pub producer_id: i64,
    /// The producer's epoch.
    pub producer_epoch: i16,
    /// Sequence number of the first record.
    pub base_sequence: i32,
    /// Number of records that are in it.
    pub record_count: i32,
}

impl Header {
    /// Offset of the last record (also if that record was compacted away).
    pub fn last_offset(&self) -> i64 {
        self.base_offset.saturating_add(i64::from(self.last_offset_delta))
    }

    /// Whether it is a marker that no consumer sees.
    pub fn is_control(&self) -> bool {
        self.attributes & attributes::CONTROL != 0
    }

    /// Whether every offset from the first to the last has its record.
    pub fn is_dense(&self) -> bool {
        i64::from(self.record_count) == i64::from(self.last_offset_delta) + 1
    }

    /// Whether the timestamps a consumer sees are not those inside the payload.
    pub fn is_log_append_time(&self) -> bool {
        self.attributes & attributes::LOG_APPEND_TIME != 0
    }
}

/// A batch as it came from the source: its header, read, and all its bytes.
#[derive(Debug, Clone)]
pub struct Batch {
    /// The header, decoded.
    pub header: Header,
    bytes: Bytes,
}

/// The identity and place under which the target gets a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp {
    /// The mirror's producer id.
    pub producer_id: i64,
    /// Its epoch.
    pub producer_epoch: i16,
    /// Sequence number of the first record.
    pub base_sequence: i32,
}

impl Batch {
    /// All its bytes.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// The records, compressed or not, as they are.
    pub fn payload(&self) -> Bytes {
        self.bytes.slice(HEADER_LEN..)
    }

    /// The header under which the target gets this payload.
    ///
    /// A batch of one record with the broker's append time keeps that time as its own; more records would need another
    /// payload, and the partition machine lets no such batch come here.
    pub fn rewrite_header(&self, stamp: Stamp) -> [u8; HEADER_LEN] {
        let mut header = [0; HEADER_LEN];
        header.copy_from_slice(&self.bytes[..HEADER_LEN]);
        let mut put = |at: usize, value: &[u8]| header[at..at + value.len()].copy_from_slice(value);
        // The broker assigns the offset and refuses any other base than 0; the epoch of the source's leader means nothing there.
        put(0, &0i64.to_be_bytes());
        put(12, &(-1i32).to_be_bytes());
        // A delete horizon left in place would make the target's cleaner drop tombstones too early.
        let cleared = attributes::TRANSACTIONAL | attributes::DELETE_HORIZON | attributes::LOG_APPEND_TIME;
        put(21, &(self.header.attributes & !cleared).to_be_bytes());
        // The cleaner's delete horizon is the base that it has made the records' times relative to.
        if self.header.is_log_append_time() && self.header.attributes & attributes::DELETE_HORIZON == 0 {
            put(27, &self.header.max_timestamp.to_be_bytes());
        }
        put(43, &stamp.producer_id.to_be_bytes());
        put(51, &stamp.producer_epoch.to_be_bytes());
        put(53, &stamp.base_sequence.to_be_bytes());
        let crc = crc::carry(
            self.header.crc,
            &self.bytes[CHECKSUMMED_FROM..HEADER_LEN],
            &header[CHECKSUMMED_FROM..],
            self.bytes.len() - HEADER_LEN,
        );
        header[17..21].copy_from_slice(&crc.to_be_bytes());
        header
    }
}

/// Why what a broker sent is not a sequence of batches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Malformed {
    /// Message format 0 or 1, from before Kafka 0.11.
    OldFormat {
        /// Its offset.
        offset: i64,
        /// 0 or 1.
        magic: i8,
    },
    /// Bytes that cannot be a batch.
    Corrupt {
        /// The offset in its header.
        offset: i64,
        /// What is wrong with it.
        reason: &'static str,
    },
}

impl From<Malformed> for Error {
    fn from(malformed: Malformed) -> Self {
        match malformed {
            Malformed::OldFormat { offset, magic } => Error::new(
                ErrorKind::RecordRefused,
                format!("the batch at offset {offset} has message format {magic}, which this version cannot copy"),
            )
            .with_offset(offset),
            Malformed::Corrupt { offset, reason } => Error::new(
                ErrorKind::RecordRefused,
                format!("the batch at offset {offset} of the source is not a record batch: {reason}"),
            )
            .with_offset(offset),
        }
    }
}

/// Cuts the records of one partition of a fetch answer into batches, without copying.
///
/// A batch that is cut off at the end is left out: brokers answer with as many bytes as were asked for.
pub fn split(mut records: Bytes) -> impl Iterator<Item = Result<Batch, Malformed>> {
    let mut failed = false;
    std::iter::from_fn(move || {
        if failed || records.len() < LOG_OVERHEAD + 5 {
            return None;
        }
        let batch = next_batch(&mut records);
        failed = matches!(batch, Some(Err(_)) | None);
        batch
    })
}

fn next_batch(records: &mut Bytes) -> Option<Result<Batch, Malformed>> {
    let offset = i64::from_be_bytes(field(records, 0));
    let length = i32::from_be_bytes(field(records, 8));
    let magic = i8::from_be_bytes(field(records, 16));
    let corrupt = |reason| Some(Err(Malformed::Corrupt { offset, reason }));
    if offset < 0 {
        return corrupt("its base offset is negative");
    }
    if (0..2).contains(&magic) {
        return Some(Err(Malformed::OldFormat { offset, magic }));
    }
    if magic != 2 {
        return corrupt("its format version is not known");
    }
    if length < (HEADER_LEN - LOG_OVERHEAD) as i32 {
        return corrupt("its length is smaller than a batch header");
    }
    let total = LOG_OVERHEAD + length as usize;
    if records.len() < total {
        return None;
    }
    let bytes = records.split_to(total);
    let header = Header {
        base_offset: offset,
        length,
        magic,
        crc: u32::from_be_bytes(field(&bytes, 17)),
        attributes: i16::from_be_bytes(field(&bytes, 21)),
        last_offset_delta: i32::from_be_bytes(field(&bytes, 23)),
        base_timestamp: i64::from_be_bytes(field(&bytes, 27)),
        max_timestamp: i64::from_be_bytes(field(&bytes, 35)),
        producer_id: i64::from_be_bytes(field(&bytes, 43)),
        producer_epoch: i16::from_be_bytes(field(&bytes, 51)),
        base_sequence: i32::from_be_bytes(field(&bytes, 53)),
        record_count: i32::from_be_bytes(field(&bytes, 57)),
    };
    if header.last_offset_delta < 0 {
        return corrupt("its last offset is before its first");
    }
    if header.record_count < 0 || i64::from(header.record_count) > i64::from(header.last_offset_delta) + 1 {
        return corrupt("it claims more records than offsets");
    }
    Some(Ok(Batch { header, bytes }))
}

/// The bytes of a fixed-length field. The callers have checked the length.
fn field<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    let mut value = [0; N];
    value.copy_from_slice(&bytes[at..at + N]);
    value
}

#[cfg(test)]
mod tests;
