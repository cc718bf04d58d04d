//! Records read and written byte by byte. What is written is read by the decoder of another program too, as far as that keeps
//! what it reads.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use bytes::Bytes;
use kafka_protocol::records::RecordBatchDecoder;

use super::super::Batch;
use super::super::samples::{self, CODECS, Told, told};
use super::*;

fn read(header: &Header, payload: &[u8]) -> Result<Vec<(i32, i64)>, &'static str> {
    Records::new(header, payload)
        .map(|record| record.map(|record| (record.offset_delta, record.timestamp_delta)))
        .collect()
}

#[test]
fn a_record_is_read_byte_by_byte() {
    // Length 19, attributes 3, time +300, offset +2, key "k", no value, headers "h" = null and "" = "v".
    let bytes = [&[38, 3, 0xd8, 0x04, 4, 2, b'k', 1, 4][..], &[2, b'h', 1], &[0, 2, b'v'], &[0; 0]].concat();
    let mut bytes = bytes;
    bytes[0] = (bytes.len() as u8 - 1) * 2;
    let header = Header { record_count: 1, ..samples::header() };
    let mut records = Records::new(&header, &bytes);
    let record = records.next().unwrap().unwrap();
    assert_eq!((record.offset_delta, record.timestamp_delta, record.attributes), (2, 300, 3));
    assert_eq!((record.key, record.value), (Some(&b"k"[..]), None));
    assert_eq!(record.headers.collect::<Vec<_>>(), [(&b"h"[..], None), (&b""[..], Some(&b"v"[..]))]);
    assert_eq!(record.body, &bytes[5..]);
    assert_eq!(records.next(), None);
    assert_eq!(record.timestamp(&header), 1_700_000_000_300);
}

#[test]
fn every_length_that_lies_is_found() {
    let told = Told {
        key: Some(b"key".to_vec()),
        value: Some(b"value".to_vec()),
        headers: vec![(b"h".to_vec(), Some(b"v".to_vec())); 2],
        ..Told::default()
    };
    let bytes = samples::record(&told, 0, 0);
    let header = Header { record_count: 1, last_offset_delta: 0, ..samples::header() };
    assert!(read(&header, &bytes).is_ok());
    // Lengths: of the record, the key, the value, the number of headers, and those of a header.
    for at in [0, 4, 8, 14, 15, 17] {
        for by in [2u8, 0x10, 0xfe, 0x80] {
            let mut changed = bytes.clone();
            changed[at] = changed[at].wrapping_add(by);
            assert!(read(&header, &changed).is_err(), "{at} {by}");
        }
    }
    for kept in 0..bytes.len() {
        assert!(read(&header, &bytes[..kept]).is_err(), "{kept}");
    }
    // The number of headers and the length of a header's name may not be negative; the others mean null then.
    for at in [14, 15] {
        let mut changed = bytes.clone();
        changed[at] = 1;
        assert!(read(&header, &changed).is_err(), "{at}");
    }
    assert_eq!(read(&header, &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1]).unwrap_err(), CUT_OFF);
    assert!(read(&header, &[1]).unwrap_err().contains("negative"));
}

#[test]
fn reading_stops_at_the_first_error_and_can_be_resumed() {
    let record = |delta| samples::record(&Told::default(), delta, 0);
    let payload = [record(0), record(1), record(1), record(2)].concat();
    let header = Header { record_count: 4, last_offset_delta: 3, ..samples::header() };
    let found: Vec<_> = Records::new(&header, &payload).map(|record| record.is_ok()).collect();
    assert_eq!(found, [true, true, false]);

    let payload = [record(0), record(1), record(3)].concat();
    let header = Header { record_count: 3, ..header };
    let mut records = Records::new(&header, &payload);
    records.next();
    let rest = Records::resume(&header, &payload, records.cursor());
    assert_eq!(rest.map(|record| record.unwrap().offset_delta).collect::<Vec<_>>(), [1, 3]);
}

#[test]
fn what_is_written_is_what_was_read() {
    for seed in 0..200 {
        let mut random = fastrand::Rng::with_seed(seed);
        let codec = CODECS[random.usize(..5)];
        let count = random.i64(1..200);
        let spread = [1, 1000, i64::MAX / 2][random.usize(..3)];
        let all: Vec<_> = (700..700 + count)
            .map(|offset| {
                let timestamp = random.i64(-1..spread);
                samples::random_record(&mut random, offset, timestamp)
            })
            .collect();
        let bytes = samples::batch_of(&all, Header { base_offset: 700, ..samples::header() }, codec, 699 + count);
        let source = Batch::parse(Bytes::from(bytes)).unwrap();
        let payload = source.decompressed().unwrap();
        let mut builder = Builder::new(codec);
        for record in Records::new(&source.header, &payload) {
            let record = record.unwrap();
            builder.push(record.timestamp(&source.header), record.attributes, record.body);
        }
        assert_eq!(builder.payload(), &payload[..], "the same records have the same bytes");
        let batch = Batch::parse(Bytes::from(builder.finish(700, 3).unwrap())).unwrap();
        assert_eq!(told(&batch), all);
        let Header { length, crc, .. } = batch.header;
        let producer = (-1, -1, -1);
        assert_eq!((batch.header.producer_id, batch.header.producer_epoch, batch.header.base_sequence), producer);
        let same = Header {
            partition_leader_epoch: 3,
            producer_id: -1,
            producer_epoch: -1,
            base_sequence: -1,
            length,
            crc,
            ..source.header
        };
        assert_eq!(batch.header, same);
    }
}

#[test]
fn another_decoder_reads_the_same() {
    let mut random = fastrand::Rng::with_seed(3);
    for _ in 0..100 {
        let count = random.i64(1..50);
        let mut builder = Builder::new(Codec::None);
        let mut all = Vec::new();
        for offset in 40..40 + count {
            let timestamp = 1_700_000_000_000 + random.i64(-99..99);
            let mut told = samples::random_record(&mut random, offset, timestamp);
            // That decoder keeps one header of a name.
            told.headers.truncate(1);
            let record = samples::record(&told, 0, 0);
            let header = Header { record_count: 1, last_offset_delta: 0, ..samples::header() };
            let body = Records::new(&header, &record).next().unwrap().unwrap().body;
            builder.push(timestamp, 0, body);
            all.push(told);
        }
        let mut bytes = Bytes::from(builder.finish(40, 0).unwrap());
        let decoded = RecordBatchDecoder::decode(&mut bytes).unwrap().records;
        let decoded: Vec<_> = decoded
            .into_iter()
            .map(|record| Told {
                offset: record.offset,
                timestamp: record.timestamp,
                key: record.key.map(|key| key.to_vec()),
                value: record.value.map(|value| value.to_vec()),
                headers: record
                    .headers
                    .into_iter()
                    .map(|(key, value)| (key.as_bytes().to_vec(), value.map(|value| value.to_vec())))
                    .collect(),
            })
            .collect();
        assert_eq!(decoded, all);
    }
}

#[test]
fn what_was_appended_can_be_taken_back() {
    let body = samples::record(&Told::default(), 0, 0).split_off(4);
    let mut builder = Builder::new(Codec::None);
    builder.push(10, 0, &body);
    let mut expected = Builder::new(Codec::None);
    expected.push(10, 0, &body);
    let mark = builder.mark();
    builder.push(99, 0, &body);
    builder.reset(mark);
    assert_eq!(builder.finish(5, 0), expected.finish(5, 0));
}

#[test]
fn lengths_of_numbers_are_those_that_are_written() {
    for shift in 0..64 {
        for value in [1u64 << shift, (1u64 << shift) - 1, u64::MAX >> shift] {
            let mut buffer = Vec::new();
            put_unsigned(&mut buffer, value);
            assert_eq!(buffer.len(), length_of(value), "{value}");
            assert_eq!(unsigned(&mut &buffer[..], 10), Some(value));
        }
    }
    for value in [0, -1, 1, i64::MIN, i64::MAX] {
        let mut buffer = Vec::new();
        put_unsigned(&mut buffer, zigzag(value));
        assert_eq!(varlong(&mut &buffer[..]), Some(value));
    }
    assert_eq!(
        varint(&mut &[0x80, 0x80, 0x80, 0x80, 0x80, 0x00][..]),
        None,
        "a number of 32 bits has five bytes at most"
    );
}
