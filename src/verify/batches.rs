//! Cuts what a fetch brought into batches, old formats too, and leaves out what a consumer never sees.
//!
//! This is the verifier's own reading of the format, apart from the code it judges. Every checksum is compared, as
//! consumers do; payloads stay as they are. Layouts: <https://kafka.apache.org/documentation/#recordbatch>.

use std::collections::HashSet;

use bytes::Bytes;

/// Of format 2; records follow.
const HEADER: usize = 61;
/// Offset and length, which the length does not count.
const OVERHEAD: usize = 12;
/// Offset, length, checksum, format, attributes: what every batch of the old formats has at least.
const OLD_HEADER: usize = 18;

const LOG_APPEND_TIME: i16 = 0x08;
const TRANSACTIONAL: i16 = 0x10;
const CONTROL: i16 = 0x20;
const CODEC: i16 = 0x07;

/// Why bytes from a broker are not what they should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Malformed {
    /// The offset in the header of the batch.
    pub offset: i64,
    /// What is wrong with it.
    pub reason: &'static str,
}

/// A batch: of format 2, or one message of an older format, which may be compressed and hold others.
#[derive(Debug, Clone)]
pub struct Batch {
    /// The format, 0 to 2.
    pub magic: i8,
    /// No record in it has a lower offset. In the old formats 0, as only the last offset is told.
    pub first_offset: i64,
    /// No record in it has a higher offset.
    pub last_offset: i64,
    /// As in the header.
    pub attributes: i16,
    /// What the records' times are relative to.
    pub base_timestamp: i64,
    /// The largest time, or the broker's.
    pub max_timestamp: i64,
    /// Who wrote it.
    pub producer_id: i64,
    /// Records in it; in the old formats unknown, and 1.
    pub record_count: i32,
    bytes: Bytes,
}

impl Batch {
    /// What follows the header.
    pub fn payload(&self) -> Bytes {
        self.bytes.slice(if self.magic == 2 { HEADER } else { OLD_HEADER }..)
    }

    /// All its bytes.
    pub fn whole(&self) -> Bytes {
        self.bytes.clone()
    }

    /// Bytes in all.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// The bits that say how it is compressed.
    pub fn codec(&self) -> i16 {
        self.attributes & CODEC
    }

    /// Whether all its records have the broker's time.
    pub fn is_log_append_time(&self) -> bool {
        self.attributes & LOG_APPEND_TIME != 0
    }

    fn is_control(&self) -> bool {
        self.magic == 2 && self.attributes & CONTROL != 0
    }

    fn is_transactional(&self) -> bool {
        self.magic == 2 && self.attributes & TRANSACTIONAL != 0
    }

    /// Whether both hold the same records under the same offsets with the same times, as far as can be told
    /// without opening them. What only the producer and the brokers need may differ.
    pub fn is_same_unopened(&self, other: &Batch) -> bool {
        self.has_same_frame(other) && self.codec() == other.codec() && self.payload() == other.payload()
    }

    /// Whether equal records inside would be equal for consumers too: the same offsets, and times that mean the same. Of times
    /// inside the records there are only differences to the header's, and where the broker's time counts they do not count.
    pub fn has_same_frame(&self, other: &Batch) -> bool {
        let same_times = match (self.is_log_append_time(), other.is_log_append_time()) {
            (false, false) => self.base_timestamp == other.base_timestamp,
            (true, true) => self.max_timestamp == other.max_timestamp,
            _ => false,
        };
        self.magic == 2
            && other.magic == 2
            && self.first_offset == other.first_offset
            && self.last_offset == other.last_offset
            && self.record_count == other.record_count
            && same_times
    }
}

/// Cuts the bytes of one partition of a fetch answer. A batch that is cut off at the end is left out.
pub fn cut(mut records: Bytes) -> Result<Vec<Batch>, Malformed> {
    let mut batches = Vec::new();
    while records.len() >= OLD_HEADER {
        let offset = i64::from_be_bytes(field(&records, 0));
        let corrupt = |reason| Err(Malformed { offset, reason });
        let length = i32::from_be_bytes(field(&records, 8));
        let magic = i8::from_be_bytes(field(&records, 16));
        let header = match magic {
            0 | 1 => OLD_HEADER,
            2 => HEADER,
            _ => return corrupt("its format version is not known"),
        };
        // Left open: a negative length is an error here.
        let Some(total) = usize::try_from(length).ok().map(|length| length + OVERHEAD) else {
            return corrupt("its length is negative");
        };
        if total < header {
            return corrupt("its length is smaller than its header");
        }
        if offset < 0 {
            return corrupt("its offset is negative");
        }
        if records.len() < total {
            break;
        }
        let bytes = records.split_to(total);
        let batch = if magic == 2 { batch(bytes, offset) } else { old_message(bytes, offset, magic) };
        batches.push(batch?);
    }
    Ok(batches)
}

fn batch(bytes: Bytes, offset: i64) -> Result<Batch, Malformed> {
    let corrupt = |reason| Err(Malformed { offset, reason });
    let last_offset_delta = i32::from_be_bytes(field(&bytes, 23));
    let record_count = i32::from_be_bytes(field(&bytes, 57));
    if u32::from_be_bytes(field(&bytes, 17)) != crc32c::crc32c(&bytes[21..]) {
        return corrupt("its checksum does not match: it is damaged");
    }
    if last_offset_delta < 0 {
        return corrupt("its last offset is before its first");
    }
    if record_count < 0 || i64::from(record_count) > i64::from(last_offset_delta) + 1 {
        return corrupt("it claims more records than offsets");
    }
    let Some(last_offset) = offset.checked_add(i64::from(last_offset_delta)) else {
        return corrupt("its last offset is too large");
    };
    Ok(Batch {
        magic: 2,
        first_offset: offset,
        last_offset,
        attributes: i16::from_be_bytes(field(&bytes, 21)),
        base_timestamp: i64::from_be_bytes(field(&bytes, 27)),
        max_timestamp: i64::from_be_bytes(field(&bytes, 35)),
        producer_id: i64::from_be_bytes(field(&bytes, 43)),
        record_count,
        bytes,
    })
}

fn old_message(bytes: Bytes, offset: i64, magic: i8) -> Result<Batch, Malformed> {
    let mut crc = flate2::Crc::new();
    crc.update(&bytes[16..]);
    if u32::from_be_bytes(field(&bytes, 12)) != crc.sum() {
        return Err(Malformed { offset, reason: "its checksum does not match: it is damaged" });
    }
    let attributes = i16::from(bytes[17]);
    let timestamp = match magic {
        1 if bytes.len() >= OLD_HEADER + 8 => i64::from_be_bytes(field(&bytes, OLD_HEADER)),
        1 => return Err(Malformed { offset, reason: "it ends within its header" }),
        _ => -1,
    };
    Ok(Batch {
        magic,
        first_offset: if attributes & CODEC == 0 { offset } else { 0 },
        last_offset: offset,
        attributes,
        base_timestamp: timestamp,
        max_timestamp: timestamp,
        producer_id: -1,
        record_count: 1,
        bytes,
    })
}

/// Takes out markers, and records of aborted transactions, given the producer id and first offset of those. This is the
/// rule of Kafka's consumer: a transaction is aborted from its first offset to the marker that says so.
pub fn visible(batches: Vec<Batch>, aborted: &[(i64, i64)]) -> Vec<Batch> {
    let mut coming = aborted.to_vec();
    coming.sort_unstable_by_key(|(_, first_offset)| std::cmp::Reverse(*first_offset));
    let mut open = HashSet::new();
    let mut is_visible = |batch: &Batch| {
        while let Some((producer_id, _)) = coming.pop_if(|(_, first_offset)| *first_offset <= batch.last_offset) {
            open.insert(producer_id);
        }
        if batch.is_control() {
            if is_abort_marker(batch) {
                open.remove(&batch.producer_id);
            }
            return false;
        }
        !(batch.is_transactional() && open.contains(&batch.producer_id))
    };
    batches.into_iter().filter(|batch| is_visible(batch)).collect()
}

/// A marker is one record whose key is two numbers: a version and 0 for "abort", 1 for "commit".
fn is_abort_marker(batch: &Batch) -> bool {
    let mut records = match super::records::Records::open(batch) {
        Ok(records) => records,
        // Left open: what such a marker ends stays hidden, and is missed.
        Err(_) => return false,
    };
    // Left open: as above.
    let record = records.advance().ok().and_then(|()| records.current());
    record.and_then(|record| record.key).is_some_and(|key| key.len() >= 4 && key[2..4] == [0, 0])
}

/// The bytes of a field. The callers have checked the length.
pub(super) fn field<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    let mut value = [0; N];
    value.copy_from_slice(&bytes[at..at + N]);
    value
}
