//! Makes batches for tests, of all formats, as producers and brokers write them.
//! Bytes are put together by hand from the format's description, not by the code that is tried.

use bytes::Bytes;

use super::batches::{Batch, cut};
use crate::batch::compression::{self, Codec};

pub const LOG_APPEND_TIME: i16 = 0x08;
pub const TRANSACTIONAL: i16 = 0x10;
pub const CONTROL: i16 = 0x20;

/// A header's name and value.
pub type Header<'a> = (&'a str, Option<&'a str>);

/// A record before it is written.
#[derive(Debug, Clone)]
pub struct Made<'a> {
    pub offset: i64,
    pub timestamp: i64,
    pub key: Option<&'a str>,
    pub value: Option<&'a str>,
    pub headers: Vec<Header<'a>>,
}

/// A record of a key and a value.
pub fn record<'a>(offset: i64, key: &'a str, value: &'a str) -> Made<'a> {
    Made { offset, timestamp: 1000 + offset, key: Some(key), value: Some(value), headers: Vec::new() }
}

/// A batch before it is written.
#[derive(Debug, Clone)]
pub struct Make {
    pub codec: Codec,
    pub attributes: i16,
    pub base_offset: Option<i64>,
    pub last_offset: Option<i64>,
    pub base_timestamp: i64,
    pub max_timestamp: i64,
    pub producer_id: i64,
    pub count: Option<i32>,
}

impl Default for Make {
    fn default() -> Self {
        Make {
            codec: Codec::None,
            attributes: 0,
            base_offset: None,
            last_offset: None,
            base_timestamp: 1000,
            max_timestamp: 9000,
            producer_id: -1,
            count: None,
        }
    }
}

impl Make {
    /// The bytes of a batch with these records.
    pub fn bytes(&self, records: &[Made<'_>]) -> Vec<u8> {
        let base = self.base_offset.unwrap_or_else(|| records.first().map_or(0, |record| record.offset));
        let last = self.last_offset.unwrap_or_else(|| records.last().map_or(base, |record| record.offset));
        let mut payload = Vec::new();
        for record in records {
            self.put_record(&mut payload, record, base);
        }
        self.frame(base, last, self.count.unwrap_or(records.len() as i32), &payload)
    }

    /// The bytes of a batch with this payload, before it is compressed.
    pub fn frame(&self, base: i64, last: i64, count: i32, payload: &[u8]) -> Vec<u8> {
        let payload = compression::compress(self.codec, payload).expect("it compresses");
        let mut after_crc = Vec::new();
        after_crc.extend((self.attributes | self.codec.bits()).to_be_bytes());
        after_crc.extend(((last - base) as i32).to_be_bytes());
        after_crc.extend(self.base_timestamp.to_be_bytes());
        after_crc.extend(self.max_timestamp.to_be_bytes());
        after_crc.extend(self.producer_id.to_be_bytes());
        after_crc.extend(0i16.to_be_bytes());
        after_crc.extend(0i32.to_be_bytes());
        after_crc.extend(count.to_be_bytes());
        after_crc.extend(payload);
        let mut bytes = Vec::new();
        bytes.extend(base.to_be_bytes());
        bytes.extend((after_crc.len() as i32 + 9).to_be_bytes());
        bytes.extend(7i32.to_be_bytes());
        bytes.push(2);
        bytes.extend(crc32c::crc32c(&after_crc).to_be_bytes());
        bytes.extend(after_crc);
        bytes
    }

    /// The batch itself.
    pub fn batch(&self, records: &[Made<'_>]) -> Batch {
        let batches = cut(Bytes::from(self.bytes(records))).expect("a batch");
        batches.into_iter().next().expect("one batch")
    }

    fn put_record(&self, payload: &mut Vec<u8>, record: &Made<'_>, base: i64) {
        let mut body = vec![0];
        put_varint(&mut body, record.timestamp - self.base_timestamp);
        put_varint(&mut body, record.offset - base);
        put_bytes(&mut body, record.key);
        put_bytes(&mut body, record.value);
        put_varint(&mut body, record.headers.len() as i64);
        for (name, value) in &record.headers {
            put_bytes(&mut body, Some(name));
            put_bytes(&mut body, *value);
        }
        put_varint(payload, body.len() as i64);
        payload.extend(body);
    }
}

/// A marker that ends a transaction.
pub fn marker(offset: i64, producer_id: i64, commit: bool) -> Batch {
    let key = if commit { "\0\0\0\x01" } else { "\0\0\0\0" };
    let make = Make { attributes: CONTROL | TRANSACTIONAL, producer_id, ..Make::default() };
    make.batch(&[record(offset, key, "\0\0\0\0\0\0")])
}

/// A message of format 0 or 1.
pub fn old_message(magic: u8, attributes: u8, offset: i64, timestamp: i64, value: &[u8]) -> Vec<u8> {
    let mut after_crc = vec![magic, attributes];
    if magic == 1 {
        after_crc.extend(timestamp.to_be_bytes());
    }
    after_crc.extend((-1i32).to_be_bytes());
    after_crc.extend((value.len() as i32).to_be_bytes());
    after_crc.extend(value);
    let mut crc = flate2::Crc::new();
    crc.update(&after_crc);
    let mut bytes = Vec::new();
    bytes.extend(offset.to_be_bytes());
    bytes.extend((after_crc.len() as i32 + 4).to_be_bytes());
    bytes.extend(crc.sum().to_be_bytes());
    bytes.extend(after_crc);
    bytes
}

/// Zigzag, seven bits a byte.
pub fn put_varint(bytes: &mut Vec<u8>, value: i64) {
    let mut rest = ((value << 1) ^ (value >> 63)) as u64;
    while rest >= 0x80 {
        bytes.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    bytes.push(rest as u8);
}

fn put_bytes(bytes: &mut Vec<u8>, text: Option<&str>) {
    match text {
        None => put_varint(bytes, -1),
        Some(text) => {
            put_varint(bytes, text.len() as i64);
            bytes.extend(text.as_bytes());
        }
    }
}
