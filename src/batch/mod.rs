//! A record batch (format v2, KIP-98) seen through its 61 byte header; the payload is opened only by the modules below.
//!
//! [`pieces`](pieces::pieces) makes of what a fetch answered what the target can take. [`split`] only cuts it into
//! batches. [`Batch::rewrite_header`] makes the header under which the target
//! gets the same payload: base offset 0 (the broker assigns it), the mirror's producer id, epoch and
//! sequence, without the source's transaction. The checksum is [carried](crc), not recomputed.
//!
//! Layout: <https://kafka.apache.org/documentation/#recordbatch>.

pub mod compression;
pub mod crc;
pub mod filler;
pub mod legacy;
pub mod marker;
pub mod merge;
pub mod pieces;
mod portions;
mod recode;
pub mod records;
pub mod transactions;

use bytes::Bytes;

use self::compression::Codec;
use self::records::Records;
use crate::error::{Error, ErrorKind};

/// Length of the header; records follow.
pub const HEADER_LEN: usize = 61;
/// Base offset and length field, which the length field does not count.
const LOG_OVERHEAD: usize = 12;
/// A payload that becomes larger than this when it is decompressed is taken for an attack.
const LARGEST_PAYLOAD: usize = 128 << 20;
/// What is decompressed as a whole may become so large.
const LARGEST_WHOLE: usize = 32 << 20;
/// A control batch has one record of a few bytes.
const LARGEST_MARKER: usize = 64 << 10;
/// The type in the key of an ABORT marker.
const ABORT: i16 = 0;
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
    /// Epoch of the leader that appended it, -1 when that is not known.
    pub partition_leader_epoch: i32,
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
    /// Reads the header in front of some bytes, if it is there and of format v2.
    pub fn read(bytes: &[u8]) -> Option<Self> {
        if bytes.len() < HEADER_LEN || bytes[16] != 2 {
            return None;
        }
        Some(Header {
            base_offset: i64::from_be_bytes(field(bytes, 0)),
            length: i32::from_be_bytes(field(bytes, 8)),
            partition_leader_epoch: i32::from_be_bytes(field(bytes, 12)),
            magic: 2,
            crc: u32::from_be_bytes(field(bytes, 17)),
            attributes: i16::from_be_bytes(field(bytes, 21)),
            last_offset_delta: i32::from_be_bytes(field(bytes, 23)),
            base_timestamp: i64::from_be_bytes(field(bytes, 27)),
            max_timestamp: i64::from_be_bytes(field(bytes, 35)),
            producer_id: i64::from_be_bytes(field(bytes, 43)),
            producer_epoch: i16::from_be_bytes(field(bytes, 51)),
            base_sequence: i32::from_be_bytes(field(bytes, 53)),
            record_count: i32::from_be_bytes(field(bytes, 57)),
        })
    }

    /// Offset of the last record (also if that record was compacted away).
    pub fn last_offset(&self) -> i64 {
        self.base_offset.saturating_add(i64::from(self.last_offset_delta))
    }

    /// The fields that the checksum covers, as bytes.
    fn checksummed(&self) -> [u8; HEADER_LEN - CHECKSUMMED_FROM] {
        let mut bytes = [0; HEADER_LEN - CHECKSUMMED_FROM];
        let mut at = 0;
        let mut put = |value: &[u8]| {
            bytes[at..at + value.len()].copy_from_slice(value);
            at += value.len();
        };
        put(&self.attributes.to_be_bytes());
        put(&self.last_offset_delta.to_be_bytes());
        put(&self.base_timestamp.to_be_bytes());
        put(&self.max_timestamp.to_be_bytes());
        put(&self.producer_id.to_be_bytes());
        put(&self.producer_epoch.to_be_bytes());
        put(&self.base_sequence.to_be_bytes());
        put(&self.record_count.to_be_bytes());
        bytes
    }

    /// Whether another batch has the same payload, as far as the checksums of both tell, without either payload.
    pub fn has_payload_of(&self, other: &Header) -> bool {
        let payload_len = (self.length as usize).saturating_sub(HEADER_LEN - LOG_OVERHEAD);
        let carried = crc::carry(other.crc, &other.checksummed(), &self.checksummed(), payload_len);
        self.length == other.length && carried == self.crc
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

    /// The records, not compressed any more. The checksum has to be looked at before.
    pub fn decompressed(&self) -> Result<Bytes, Malformed> {
        self.decompressed_within(LARGEST_WHOLE)
    }

    /// The same, if they are at most so many bytes then.
    pub fn decompressed_within(&self, limit: usize) -> Result<Bytes, Malformed> {
        Codec::of(self.header.attributes)
            .and_then(|codec| compression::decompress(codec, &self.payload(), limit))
            .map_err(|reason| self.corrupt(reason))
    }

    /// Whether its checksum fits its bytes.
    pub fn is_intact(&self) -> bool {
        crc32c::crc32c(&self.bytes[CHECKSUMMED_FROM..]) == self.header.crc
    }

    /// Whether it is the marker that ends an aborted transaction.
    pub fn is_abort_marker(&self) -> Result<bool, Malformed> {
        if !self.header.is_control() || self.header.record_count == 0 {
            return Ok(false);
        }
        let payload = self.decompressed_within(LARGEST_MARKER)?;
        let mut records = Records::new(&self.header, &payload);
        let key = match records.next() {
            Some(record) => record.map_err(|reason| self.corrupt(reason))?.key,
            None => None,
        };
        match key {
            Some([0..=0x7f, _, kind @ ..]) if kind.len() >= 2 => Ok(kind[..2] == ABORT.to_be_bytes()),
            _ => Err(self.corrupt("it is a transaction marker whose key is not one")),
        }
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

impl Batch {
    /// One whole batch, and nothing else.
    fn parse(mut bytes: Bytes) -> Result<Batch, Malformed> {
        let cut_off = Malformed::Corrupt { offset: -1, reason: "it is cut off" };
        if bytes.len() < HEADER_LEN {
            return Err(cut_off);
        }
        next_batch(&mut bytes).unwrap_or(Err(cut_off))
    }

    fn corrupt(&self, reason: &'static str) -> Malformed {
        Malformed::Corrupt { offset: self.header.base_offset, reason }
    }

    /// Refuses what was changed on its way. Needed before anything is decided from its bytes that the target will not
    /// check once more.
    fn check_intact(&self) -> Result<(), Malformed> {
        if self.is_intact() { Ok(()) } else { Err(Malformed::Damaged { offset: self.header.base_offset }) }
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
    /// The checksum does not fit: changed on its way or on the source's disk.
    Damaged {
        /// The offset in its header.
        offset: i64,
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
            Malformed::Damaged { offset } => Error::new(
                ErrorKind::RecordRefused,
                format!(
                    "the batch at offset {offset} of the source does not fit its checksum: its bytes were changed, on \
                     their way or on the broker's disk; if it stays so, look at that broker and its replicas"
                ),
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

/// What a batch of any format says of itself without being opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Walked {
    /// Offset of the first record, or in the old formats of the last.
    pub base_offset: i64,
    /// Offset of the last record.
    pub last_offset: i64,
    /// Who produced it; the old formats do not tell.
    pub producer_id: Option<i64>,
    /// Records that are in it; the old formats do not tell.
    pub records: i32,
}

/// Walks over the whole batches in front of some bytes, also those of the old formats.
pub fn walk(mut records: &[u8]) -> impl Iterator<Item = Walked> {
    std::iter::from_fn(move || {
        if records.len() < LOG_OVERHEAD + 5 {
            return None;
        }
        let length = usize::try_from(i32::from_be_bytes(field(records, 8))).ok()?;
        let (batch, rest) = records.split_at_checked(LOG_OVERHEAD.checked_add(length)?)?;
        if batch.len() < LOG_OVERHEAD + 5 {
            return None;
        }
        records = rest;
        let offset = i64::from_be_bytes(field(batch, 0));
        match batch[16] {
            0 | 1 => Some(Walked { base_offset: offset, last_offset: offset, producer_id: None, records: 0 }),
            _ => Header::read(batch).map(|header| Walked {
                base_offset: header.base_offset,
                last_offset: header.last_offset(),
                producer_id: Some(header.producer_id),
                records: header.record_count.max(0),
            }),
        }
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
    let Some(header) = Header::read(&bytes) else { return corrupt("its header is cut off") };
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
pub mod fuzz;
#[cfg(test)]
pub(crate) mod samples;
#[cfg(test)]
mod tests;
