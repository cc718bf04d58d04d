//! What the tests of this folder read and write: batches and messages of every shape, made byte by byte, and the records
//! that a consumer would read of them. Nothing here is shared with the code that writes batches for the target.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use bytes::Bytes;

use super::compression::{Codec, compress};
use super::records::Records;
use super::{Batch, CHECKSUMMED_FROM, HEADER_LEN, Header, LOG_OVERHEAD, Stamp, attributes};

pub const CODECS: [Codec; 5] = [Codec::None, Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd];
pub const STAMP: Stamp = Stamp { producer_id: 0x0102_0304_0506_0708, producer_epoch: 9, base_sequence: 1_000_000 };

pub mod log;

/// A record as a consumer reads it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Told {
    pub offset: i64,
    pub timestamp: i64,
    pub key: Option<Vec<u8>>,
    pub value: Option<Vec<u8>>,
    pub headers: Vec<(Vec<u8>, Option<Vec<u8>>)>,
}

/// The fields of a plain batch of three records.
pub fn header() -> Header {
    Header {
        base_offset: 500,
        length: 0,
        partition_leader_epoch: 5,
        magic: 2,
        crc: 0,
        attributes: 0,
        last_offset_delta: 2,
        base_timestamp: 1_700_000_000_000,
        max_timestamp: 1_700_000_000_777,
        producer_id: 42,
        producer_epoch: 1,
        base_sequence: 77,
        record_count: 3,
    }
}

/// A batch as a producer makes it, with a right checksum and length.
pub fn batch(header: Header, payload: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    bytes.extend(header.base_offset.to_be_bytes());
    bytes.extend(((HEADER_LEN - LOG_OVERHEAD + payload.len()) as i32).to_be_bytes());
    bytes.extend(header.partition_leader_epoch.to_be_bytes());
    bytes.extend(header.magic.to_be_bytes());
    bytes.extend([0; 4]);
    bytes.extend(header.attributes.to_be_bytes());
    bytes.extend(header.last_offset_delta.to_be_bytes());
    bytes.extend(header.base_timestamp.to_be_bytes());
    bytes.extend(header.max_timestamp.to_be_bytes());
    bytes.extend(header.producer_id.to_be_bytes());
    bytes.extend(header.producer_epoch.to_be_bytes());
    bytes.extend(header.base_sequence.to_be_bytes());
    bytes.extend(header.record_count.to_be_bytes());
    assert_eq!(bytes.len(), HEADER_LEN);
    bytes.extend(payload);
    let crc = crc32c::crc32c(&bytes[CHECKSUMMED_FROM..]);
    bytes[17..21].copy_from_slice(&crc.to_be_bytes());
    bytes
}

fn varint(value: i64) -> Vec<u8> {
    let mut value = ((value << 1) ^ (value >> 63)) as u64;
    let mut bytes = Vec::new();
    loop {
        let more = value >= 0x80;
        bytes.push((value & 0x7f) as u8 | if more { 0x80 } else { 0 });
        value >>= 7;
        if !more {
            return bytes;
        }
    }
}

fn sized(bytes: Option<&[u8]>) -> Vec<u8> {
    [varint(bytes.map_or(-1, |bytes| bytes.len() as i64)), bytes.unwrap_or_default().to_vec()].concat()
}

/// A record as it stands in a payload.
pub fn record(told: &Told, offset_delta: i64, timestamp_delta: i64) -> Vec<u8> {
    let mut bytes = vec![0];
    bytes.extend(varint(timestamp_delta));
    bytes.extend(varint(offset_delta));
    bytes.extend(sized(told.key.as_deref()));
    bytes.extend(sized(told.value.as_deref()));
    bytes.extend(varint(told.headers.len() as i64));
    for (key, value) in &told.headers {
        bytes.extend(sized(Some(key)));
        bytes.extend(sized(value.as_deref()));
    }
    [varint(bytes.len() as i64), bytes].concat()
}

/// A batch of these records, of which some may be missing: offsets go from the header's base to `last_offset`. With the
/// broker's append time, which all of them have then, the payload has another one.
pub fn batch_of(records: &[Told], header: Header, codec: Codec, last_offset: i64) -> Vec<u8> {
    let append_time = header.is_log_append_time();
    let max_timestamp = records.iter().map(|told| told.timestamp).max().unwrap_or(-1);
    let horizon = header.attributes & attributes::DELETE_HORIZON != 0;
    let first = records.first().map_or(-1, |told| told.timestamp);
    let base_timestamp = if horizon { 1_234_567_890_123 } else { first - if append_time { 5000 } else { 0 } };
    let mut payload = Vec::new();
    for (index, told) in records.iter().enumerate() {
        let producers = if append_time && !horizon { base_timestamp + index as i64 } else { told.timestamp };
        payload.extend(record(told, told.offset - header.base_offset, producers - base_timestamp));
    }
    let header = Header {
        attributes: header.attributes | codec.bits(),
        last_offset_delta: (last_offset - header.base_offset) as i32,
        base_timestamp,
        max_timestamp,
        record_count: records.len() as i32,
        ..header
    };
    // The cleaner leaves a header alone of a batch whose records are all gone.
    let payload = if records.is_empty() { Vec::new() } else { compress(codec, &payload).unwrap() };
    batch(header, &payload)
}

/// A marker that ends a transaction: 0 aborts it, 1 commits it.
pub fn marker(offset: i64, producer_id: i64, kind: u8) -> Vec<u8> {
    marker_of(offset, (producer_id, header().producer_epoch), kind)
}

/// The same for an epoch of the producer.
pub fn marker_of(offset: i64, (producer_id, producer_epoch): (i64, i16), kind: u8) -> Vec<u8> {
    let (key, value) = (Some(vec![0, 0, 0, kind]), Some(vec![0, 0, 0, 0, 0, 9]));
    let told = Told { key, value, ..Told::default() };
    let header = Header {
        base_offset: offset,
        attributes: attributes::CONTROL | attributes::TRANSACTIONAL,
        last_offset_delta: 0,
        producer_id,
        producer_epoch,
        base_sequence: -1,
        record_count: 1,
        ..header()
    };
    batch(header, &record(&told, 0, 0))
}

/// A message of format 0 or 1.
pub fn message(
    magic: u8,
    offset: i64,
    attributes: u8,
    timestamp: i64,
    key: Option<&[u8]>,
    value: Option<&[u8]>,
) -> Vec<u8> {
    let mut content = vec![magic, attributes];
    if magic == 1 {
        content.extend(timestamp.to_be_bytes());
    }
    for part in [key, value] {
        content.extend(part.map_or(-1, |part| part.len() as i32).to_be_bytes());
        content.extend(part.unwrap_or_default());
    }
    let mut crc = flate2::Crc::new();
    crc.update(&content);
    let length = content.len() as i32 + 4;
    [&offset.to_be_bytes()[..], &length.to_be_bytes(), &crc.sum().to_be_bytes(), &content].concat()
}

/// The records that a consumer reads of a batch.
pub fn told(batch: &Batch) -> Vec<Told> {
    assert!(batch.is_intact(), "a wrong checksum at offset {}", batch.header.base_offset);
    let payload = batch.decompressed().unwrap();
    let owned = <[u8]>::to_vec;
    let records = Records::new(&batch.header, &payload).map(|record| {
        let record = record.unwrap();
        Told {
            offset: batch.header.base_offset + i64::from(record.offset_delta),
            timestamp: record.timestamp(&batch.header),
            key: record.key.map(owned),
            value: record.value.map(owned),
            headers: record.headers.map(|(key, value)| (owned(key), value.map(owned))).collect(),
        }
    });
    records.collect()
}

/// The batch as the target has it: under the mirror's header, at the offset that it had at the source.
pub fn at_the_target(batch: &Batch) -> Batch {
    let mut bytes = batch.rewrite_header(STAMP).to_vec();
    bytes.extend(batch.payload());
    bytes[..8].copy_from_slice(&batch.header.base_offset.to_be_bytes());
    Batch::parse(Bytes::from(bytes)).unwrap()
}

/// A record with random parts.
pub fn random_record(random: &mut fastrand::Rng, offset: i64, timestamp: i64) -> Told {
    let part = |random: &mut fastrand::Rng, longest: usize| {
        let length = random.usize(..longest);
        let (low, high) = if random.bool() { (b'a', b'e') } else { (0, 255) };
        random.u8(..5).checked_sub(1).map(|_| (0..length).map(|_| random.u8(low..high)).collect::<Vec<u8>>())
    };
    let count = random.usize(..4).saturating_sub(1);
    let headers = (0..count).map(|_| (vec![b'h'; random.usize(..3)], part(random, 10))).collect();
    Told { offset, timestamp, key: part(random, 20), value: part(random, 300), headers }
}

/// A case of the file that Java has written: the bytes of a log, and what its consumer reads.
pub struct JavaCase {
    pub name: &'static str,
    pub bytes: Vec<u8>,
    pub records: Vec<Told>,
}

pub fn java_cases() -> Vec<JavaCase> {
    let mut cases: Vec<JavaCase> = Vec::new();
    for line in include_str!("../../tests/data/batches/kafka-4.3.1.txt").lines() {
        let words: Vec<_> = line.split(' ').collect();
        match words[..] {
            ["batch", name, bytes] => {
                cases.push(JavaCase { name, bytes: from_hex(bytes), records: Vec::new() });
            }
            ["record", offset, timestamp, key, value, ref headers @ ..] => {
                let part = |text: &str| text.strip_prefix('x').map(from_hex);
                let header = |text: &&str| {
                    let (key, value) = text.split_once('=').unwrap();
                    (part(key).unwrap(), part(value))
                };
                let headers = headers.iter().map(header).collect();
                let (offset, timestamp) = (offset.parse().unwrap(), timestamp.parse().unwrap());
                let told = Told { offset, timestamp, key: part(key), value: part(value), headers };
                cases.last_mut().unwrap().records.push(told);
            }
            _ => assert!(line.starts_with('#'), "{line}"),
        }
    }
    assert!(cases.len() > 30);
    cases
}

pub fn from_hex(text: &str) -> Vec<u8> {
    text.as_bytes().chunks(2).map(|pair| u8::from_str_radix(str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
}
