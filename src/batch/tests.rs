//! Batches built by hand, byte for byte, cut and rewritten.
//! Their checksums come from the crate `crc32c`, so a mistake in carrying them over cannot hide itself.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use super::samples::{STAMP, batch as bytes, header};
use super::*;

fn parse(bytes: &[u8]) -> Batch {
    split(Bytes::copy_from_slice(bytes)).next().unwrap().unwrap()
}

/// The rewritten batch as the target sees it: whole, and with a checksum that was computed anew to compare.
fn rewritten(header: Header) -> (Header, Vec<u8>) {
    let payload: Vec<u8> = (0..200u8).collect();
    let batch = parse(&bytes(header, &payload));
    let mut whole = batch.rewrite_header(STAMP).to_vec();
    whole.extend(batch.payload());
    let fresh = crc32c::crc32c(&whole[CHECKSUMMED_FROM..]);
    let after = parse(&whole).header;
    assert_eq!(after.crc, fresh, "the carried checksum is not the right one");
    (after, whole)
}

#[test]
fn a_fetch_answer_is_cut_into_its_batches() {
    let first = bytes(header(), b"first payload");
    let second = bytes(Header { base_offset: 503, record_count: 1, last_offset_delta: 0, ..header() }, b"2");
    let all = [first.clone(), second.clone()].concat();
    let batches: Vec<Batch> = split(Bytes::from(all)).map(Result::unwrap).collect();
    assert_eq!(batches.len(), 2);
    assert_eq!((batches[0].len(), batches[1].len()), (first.len(), second.len()));
    assert_eq!(batches[0].payload(), &b"first payload"[..]);
    assert_eq!((batches[0].header.base_offset, batches[0].header.last_offset()), (500, 502));
    let Header { length, crc, .. } = batches[0].header;
    assert_eq!(batches[0].header, Header { length, crc, ..header() });
    assert_eq!(length as usize, first.len() - LOG_OVERHEAD);
    assert_eq!(batches[1].header.last_offset(), 503);
}

#[test]
fn a_batch_that_is_cut_off_is_left_out() {
    let first = bytes(header(), b"first payload");
    let second = bytes(Header { base_offset: 503, ..header() }, b"second payload");
    for kept in 0..second.len() {
        let cut = [&first[..], &second[..kept]].concat();
        assert_eq!(split(Bytes::from(cut)).filter(Result::is_ok).count(), 1, "{kept} bytes of the second");
    }
    assert_eq!(split(Bytes::new()).count(), 0);
}

#[test]
fn what_is_no_batch_is_named_and_ends_the_cutting() {
    let change = |at: usize, value: &[u8]| {
        let mut bytes = bytes(header(), b"payload");
        bytes[at..at + value.len()].copy_from_slice(value);
        bytes.extend(self::bytes(header(), b"another one"));
        split(Bytes::from(bytes)).collect::<Vec<_>>()
    };
    let corrupt = |offset, reason| Malformed::Corrupt { offset, reason };
    let cases = [
        (0, (-1i64).to_be_bytes().to_vec(), corrupt(-1, "its base offset is negative")),
        (8, 48i32.to_be_bytes().to_vec(), corrupt(500, "its length is smaller than a batch header")),
        (8, (-1i32).to_be_bytes().to_vec(), corrupt(500, "its length is smaller than a batch header")),
        (8, 0i32.to_be_bytes().to_vec(), corrupt(500, "its length is smaller than a batch header")),
        (16, vec![0], Malformed::OldFormat { offset: 500, magic: 0 }),
        (16, vec![1], Malformed::OldFormat { offset: 500, magic: 1 }),
        (16, vec![3], corrupt(500, "its format version is not known")),
        (16, vec![0xff], corrupt(500, "its format version is not known")),
        (23, (-1i32).to_be_bytes().to_vec(), corrupt(500, "its last offset is before its first")),
        (57, 4i32.to_be_bytes().to_vec(), corrupt(500, "it claims more records than offsets")),
        (57, (-1i32).to_be_bytes().to_vec(), corrupt(500, "it claims more records than offsets")),
    ];
    for (at, value, expected) in cases {
        let found = change(at, &value);
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].as_ref().unwrap_err(), &expected);
    }
    // A length beyond the end looks like a batch that is cut off.
    assert!(change(8, &i32::MAX.to_be_bytes()).is_empty());
}

#[test]
fn the_target_gets_the_payload_under_the_mirrors_name() {
    let codec = 4;
    let horizon_and_transaction = attributes::TRANSACTIONAL | attributes::DELETE_HORIZON;
    let (after, whole) = rewritten(Header { attributes: codec | horizon_and_transaction, ..header() });
    let Header { length, crc, .. } = after;
    let expected = Header {
        base_offset: 0,
        partition_leader_epoch: -1,
        attributes: codec,
        producer_id: STAMP.producer_id,
        producer_epoch: STAMP.producer_epoch,
        base_sequence: STAMP.base_sequence,
        length,
        crc,
        ..header()
    };
    assert_eq!(after, expected);
    assert_eq!(whole[12..16], (-1i32).to_be_bytes(), "the source's leader epoch");
    assert_eq!(whole.len(), HEADER_LEN + 200);
}

#[test]
fn a_damaged_payload_is_not_blessed() {
    let mut bytes = bytes(header(), b"some payload");
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    let batch = parse(&bytes);
    let mut whole = batch.rewrite_header(STAMP).to_vec();
    whole.extend(batch.payload());
    assert_ne!(parse(&whole).header.crc, crc32c::crc32c(&whole[CHECKSUMMED_FROM..]));
}

#[test]
fn a_single_record_keeps_the_append_time_it_has_at_the_source() {
    let single = Header { last_offset_delta: 0, record_count: 1, ..header() };
    let (after, _) = rewritten(Header { attributes: attributes::LOG_APPEND_TIME, ..single });
    assert_eq!((after.attributes, after.base_timestamp), (0, header().max_timestamp));
    // Where the cleaner has put its delete horizon there, the record's time is relative to that.
    let both = attributes::LOG_APPEND_TIME | attributes::DELETE_HORIZON;
    let (after, _) = rewritten(Header { attributes: both, ..single });
    assert_eq!((after.attributes, after.base_timestamp), (0, header().base_timestamp));
}

#[test]
fn dense_batches_are_told_from_compacted_ones() {
    assert!(header().is_dense());
    assert!(!Header { record_count: 2, ..header() }.is_dense());
    assert!(!Header { record_count: 0, ..header() }.is_dense());
    assert!(Header { attributes: attributes::CONTROL, ..header() }.is_control());
    assert_eq!(Header { base_offset: i64::MAX, ..header() }.last_offset(), i64::MAX);
}

#[test]
fn less_than_a_batch_is_refused_at_no_offset() {
    let whole = bytes(header(), b"payload");
    for kept in [0, 12, 60, 61, whole.len() - 1] {
        let cut = Batch::parse(Bytes::copy_from_slice(&whole[..kept]));
        assert_eq!(cut.unwrap_err(), Malformed::Corrupt { offset: -1, reason: "it is cut off" }, "{kept}");
    }
    assert!(Batch::parse(Bytes::from(whole)).is_ok());
}

#[test]
fn headers_alone_tell_whether_two_batches_have_the_same_payload() {
    let source = parse(&bytes(header(), b"the payload of both")).header;
    let copy = |header: Header, payload: &[u8]| parse(&bytes(header, payload)).header;
    let stamped = Header {
        base_offset: 12,
        partition_leader_epoch: 9,
        producer_id: 77,
        producer_epoch: 3,
        base_sequence: 1234,
        attributes: header().attributes ^ attributes::LOG_APPEND_TIME,
        base_timestamp: header().base_timestamp + 5,
        max_timestamp: header().max_timestamp + 7,
        ..header()
    };
    assert!(copy(stamped, b"the payload of both").has_payload_of(&source), "whatever the headers say");
    assert!(source.has_payload_of(&copy(stamped, b"the payload of both")));
    assert!(source.has_payload_of(&source));
    assert!(!copy(stamped, b"the payload of eoth").has_payload_of(&source), "one bit less");
    assert!(!copy(stamped, b"another payload, it").has_payload_of(&source));
    assert!(!copy(stamped, b"the payload of both!").has_payload_of(&source), "one byte more");
    assert!(!copy(stamped, b"").has_payload_of(&source));
    assert!(copy(stamped, b"").has_payload_of(&copy(header(), b"")), "nothing is nothing");
}
