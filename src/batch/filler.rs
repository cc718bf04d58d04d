//! Makes the batches that stand for offsets which the source has lost before the mirror came: records of nothing.
//!
//! A batch is built and compressed once for each size; a header of its own with its checksum [carried](super::crc) makes it
//! the one for any partition and offset. Its records have an empty key, because compacted topics take no record without
//! one, and no value. No consumer ever sees them: they are deleted before the partition is mirrored.

use bytes::{BufMut, Bytes, BytesMut};

use super::compression::{self, Codec};
use super::{Batch, CHECKSUMMED_FROM, HEADER_LEN, LOG_OVERHEAD, Stamp, crc, next_batch};
use crate::error::{Error, ErrorKind, Result};

/// A batch of filler of some size.
#[derive(Debug, Clone)]
pub struct Filler {
    batch: Batch,
}

impl Filler {
    /// Builds a batch of so many records.
    pub fn build(records: u32, codec: Codec) -> Result<Self> {
        let broken = |why: &str| {
            Error::new(ErrorKind::Internal, format!("a batch of {records} empty records cannot be built: {why}"))
        };
        let plain = records_of_nothing(records);
        // The records differ in one number that counts: fast levels find that as well as the others.
        let payload = compression::compress(codec, &plain).map_err(broken)?;
        let mut bytes = BytesMut::with_capacity(HEADER_LEN + payload.len());
        bytes.put_i64(0); // base offset
        bytes.put_i32((HEADER_LEN - LOG_OVERHEAD + payload.len()) as i32);
        bytes.put_i32(-1); // partition leader epoch
        bytes.put_i8(2);
        bytes.put_u32(0); // checksum, below
        bytes.put_i16(codec.bits());
        bytes.put_i32(records as i32 - 1);
        bytes.put_i64(0); // base timestamp
        bytes.put_i64(0); // largest timestamp
        bytes.put_i64(-1);
        bytes.put_i16(-1);
        bytes.put_i32(-1);
        bytes.put_i32(records as i32);
        bytes.put_slice(&payload);
        let checksum = crc32c::crc32c(&bytes[CHECKSUMMED_FROM..]);
        bytes[17..21].copy_from_slice(&checksum.to_be_bytes());
        match next_batch(&mut bytes.freeze()) {
            Some(Ok(batch)) => Ok(Filler { batch }),
            _ => Err(broken("its header is not well-formed")),
        }
    }

    /// Its records, compressed.
    pub fn payload(&self) -> Bytes {
        self.batch.payload()
    }

    /// The header under which it is written once.
    pub fn header(&self, stamp: Stamp, timestamp: i64) -> [u8; HEADER_LEN] {
        let mut header = self.batch.rewrite_header(stamp);
        let before = header;
        header[27..35].copy_from_slice(&timestamp.to_be_bytes());
        header[35..43].copy_from_slice(&timestamp.to_be_bytes());
        let mut field = [0; 4];
        field.copy_from_slice(&header[17..21]);
        let checksum = crc::carry(
            u32::from_be_bytes(field),
            &before[CHECKSUMMED_FROM..],
            &header[CHECKSUMMED_FROM..],
            self.batch.len() - HEADER_LEN,
        );
        header[17..21].copy_from_slice(&checksum.to_be_bytes());
        header
    }
}

/// Records with an empty key and no value, at the offsets 0, 1, 2 and so on of their batch.
fn records_of_nothing(count: u32) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(count as usize * 9);
    for offset_delta in 0..count {
        let length_at = bytes.len();
        // Length (below), attributes, timestamp delta 0.
        bytes.extend_from_slice(&[0, 0, 0]);
        put_varint(&mut bytes, offset_delta);
        // Key of length 0, value of length -1, no headers; lengths are zigzag varints.
        bytes.extend_from_slice(&[0, 1, 0]);
        let length = bytes.len() - length_at - 1;
        bytes[length_at] = (length as u8) << 1;
    }
    bytes
}

/// A number from 0 as a zigzag varint.
fn put_varint(bytes: &mut Vec<u8>, number: u32) {
    let mut rest = u64::from(number) << 1;
    while rest >= 0x80 {
        bytes.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    bytes.push(rest as u8);
}

#[cfg(test)]
mod tests {
    use super::*;
    use kafka_protocol::records::RecordBatchDecoder;

    const STAMP: Stamp = Stamp { producer_id: (1 << 61) | 7, producer_epoch: 3, base_sequence: 12_345 };

    #[test]
    fn the_checksum_of_a_stamped_batch_is_right() {
        for (records, codec) in [(1, Codec::Zstd), (1000, Codec::Gzip), (100_000, Codec::Zstd)] {
            let filler = Filler::build(records, codec).expect("builds");
            let header = filler.header(STAMP, 1_700_000_000_000);
            let checksum = crc32c::crc32c_append(crc32c::crc32c(&header[21..]), &filler.payload());
            assert_eq!(header[17..21], checksum.to_be_bytes(), "{records} records");
            assert_eq!(filler.batch.header.record_count, records as i32);
        }
    }

    #[test]
    fn a_batch_says_what_is_in_it() {
        for codec in [Codec::Zstd, Codec::Gzip] {
            let batch = Filler::build(300, codec).expect("builds").batch;
            let (first, last) = (batch.header.base_offset, batch.header.last_offset());
            assert_eq!((first, last, batch.header.partition_leader_epoch), (0, 299, -1));
            assert_eq!(Codec::of(batch.header.attributes), Ok(codec));
            assert_eq!(batch.decompressed().expect("is whole"), records_of_nothing(300));
            let nobody = (batch.header.producer_id, batch.header.producer_epoch, batch.header.base_sequence);
            assert_eq!(nobody, (-1, -1, -1));
        }
    }

    #[test]
    fn a_hundred_thousand_offsets_are_less_than_a_byte_each() {
        let filler = Filler::build(100_000, Codec::Zstd).expect("builds");
        assert!(filler.payload().len() < 100_000, "{} bytes", filler.payload().len());
    }

    #[test]
    fn an_independent_decoder_reads_records_of_nothing() {
        let filler = Filler::build(9000, Codec::Gzip).expect("builds");
        let plain = records_of_nothing(9000);
        let mut header = filler.header(STAMP, 1_700_000_000_000);
        // The decoder is built without codecs: the same records as they are, under a header that says so.
        header[8..12].copy_from_slice(&((HEADER_LEN - LOG_OVERHEAD + plain.len()) as i32).to_be_bytes());
        header[21..23].copy_from_slice(&0i16.to_be_bytes());
        let checksum = crc32c::crc32c_append(crc32c::crc32c(&header[21..]), &plain);
        header[17..21].copy_from_slice(&checksum.to_be_bytes());
        let mut bytes = Bytes::from([&header[..], &plain].concat());
        let decoded = RecordBatchDecoder::decode(&mut bytes).expect("decodes");
        assert_eq!(decoded.records.len(), 9000);
        for (offset, record) in (0..).zip(&decoded.records) {
            assert_eq!((record.offset, record.timestamp), (offset, 1_700_000_000_000));
            assert_eq!((record.key.as_deref(), record.value.as_deref()), (Some(&b""[..]), None));
            assert_eq!((record.producer_id, record.producer_epoch), (STAMP.producer_id, STAMP.producer_epoch));
        }
    }
}
