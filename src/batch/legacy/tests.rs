//! Messages of formats 0 and 1, alone and wrapped, and everything about them that can be wrong.
//! What Java has written of them is read by the tests of the pieces.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use super::super::compression::compress;
use super::super::pieces::{Piece, Reading, pieces};
use super::super::samples::{Told, message, told};
use super::super::{Batch, split};
use super::*;

const READING: Reading = Reading { from: 0, read_committed: true, batch_limit: 1 << 20, without: &[] };

fn plain(magic: u8, offset: i64) -> Vec<u8> {
    message(magic, offset, 0, offset * 1000, Some(b"key"), Some(offset.to_string().as_bytes()))
}

fn wrapped(magic: u8, offset: i64, attributes: u8, inner: &[Vec<u8>]) -> Vec<u8> {
    let codec = Codec::of(attributes.into()).unwrap();
    message(magic, offset, attributes, 77, None, Some(&compress(codec, &inner.concat()).unwrap()))
}

fn cut(bytes: Vec<u8>) -> Vec<Result<Piece, Malformed>> {
    pieces(Bytes::from(bytes), &[], READING, &Bytes::from).collect()
}

fn batches(bytes: Vec<u8>) -> Vec<Batch> {
    let batches = cut(bytes).into_iter().filter_map(|piece| match piece.unwrap() {
        Piece::Records(batch) => Some(batch),
        Piece::Nothing { .. } => None,
    });
    batches.collect()
}

fn offsets_and_times(bytes: Vec<u8>) -> Vec<(i64, i64)> {
    batches(bytes).iter().flat_map(told).map(|told| (told.offset, told.timestamp)).collect()
}

#[test]
fn plain_messages_become_one_batch_of_their_run() {
    for magic in [0, 1] {
        let log: Vec<u8> = (10..15).chain(17..20).flat_map(|offset| plain(magic, offset)).collect();
        let found = batches(log);
        let places: Vec<_> = found.iter().map(|batch| (batch.header.base_offset, batch.header.record_count)).collect();
        assert_eq!(places, [(10, 5), (17, 3)]);
        let first = told(&found[0]).remove(0);
        let (key, value) = (Some(b"key".to_vec()), Some(b"10".to_vec()));
        let timestamp = if magic == 0 { -1 } else { 10_000 };
        assert_eq!(first, Told { offset: 10, timestamp, key, value, headers: Vec::new() });
        assert_eq!(found[0].header.max_timestamp, if magic == 0 { -1 } else { 14_000 });
        assert_eq!(found[0].header.partition_leader_epoch, -1, "these formats know none");
    }
}

#[test]
fn a_run_of_plain_messages_has_an_end() {
    let value = vec![b'v'; 100_000];
    let log: Vec<u8> = (0..20).flat_map(|offset| message(1, offset, 0, 5, None, Some(&value))).collect();
    let found = batches(log);
    assert!(found.len() > 2 && found.iter().all(|batch| batch.len() < (1 << 20)), "{} batches", found.len());
    assert_eq!(found.iter().map(|batch| batch.header.record_count).sum::<i32>(), 20);
}

#[test]
fn wrappers_count_from_their_end_in_format_1_and_not_at_all_in_format_0() {
    for codec in [1, 2, 3] {
        let relative = [plain(1, 0), plain(1, 1), plain(1, 2)];
        assert_eq!(offsets_and_times(wrapped(1, 52, codec, &relative)), [(50, 0), (51, 1000), (52, 2000)]);
        // Compacted.
        let relative = [plain(1, 1), plain(1, 4)];
        assert_eq!(offsets_and_times(wrapped(1, 54, codec, &relative)), [(51, 1000), (54, 4000)]);
        let absolute = [plain(0, 50), plain(0, 52)];
        let found = cut(wrapped(0, 53, codec, &absolute));
        assert!(matches!(found.last(), Some(Ok(Piece::Nothing { next_offset: 54, .. }))), "{found:?}");
        let log = wrapped(0, 53, codec, &absolute);
        assert_eq!(offsets_and_times(log), [(50, -1), (52, -1)]);
        // The broker's time is that of the wrapper, for all of them.
        let relative = [plain(1, 0), plain(1, 1)];
        assert_eq!(offsets_and_times(wrapped(1, 51, codec | 8, &relative)), [(50, 77), (51, 77)]);
        let found = batches(wrapped(1, 51, codec, &[plain(1, 0), plain(1, 1)]));
        assert_eq!(found[0].header.attributes, i16::from(codec), "the codec stays");
        assert_eq!(found[0].header.partition_leader_epoch, -1, "these formats know none");
    }
}

#[test]
fn a_wrapper_at_offset_0_counts_from_there() {
    assert_eq!(offsets_and_times(wrapped(1, 0, 1, &[plain(1, 0), plain(1, 1)])), [(0, 0), (1, 1000)]);
}

#[test]
fn a_wrong_checksum_of_an_lz4_frame_is_right_in_format_0() {
    let broken = |magic, inner: &[u8]| {
        let mut frame = compress(Codec::Lz4, inner).unwrap();
        frame[6] ^= 0xff;
        message(magic, 50, 3, 77, None, Some(&frame))
    };
    assert_eq!(offsets_and_times(broken(0, &plain(0, 50))), [(50, -1)]);
    assert!(cut(broken(1, &plain(1, 0)))[0].is_err());
}

#[test]
fn what_is_wrong_is_named() {
    let corrupt = |offset, reason| Malformed::Corrupt { offset, reason };
    let zstd = message(1, 50, 4, 77, None, Some(b"?"));
    let trailing = [plain(1, 0), vec![0]];
    let not_known = message(1, 50, 5, 77, None, Some(b"?"));
    let outside = [plain(1, 0), plain(1, 3)];
    let cases = [
        (wrapped(1, 50, 1, &[wrapped(1, 0, 1, &[plain(1, 0)])]), "it wraps a message that is compressed itself"),
        (wrapped(1, 50, 1, &[plain(0, 0)]), "it wraps a message of another format"),
        (wrapped(0, 50, 1, &[plain(0, 49), plain(0, 49)]), "the offsets of the messages in it are not in order"),
        (wrapped(0, 50, 1, &[plain(0, 51)]), "the offsets of the messages in it do not fit its own"),
        (wrapped(1, 2, 1, &outside), "the offsets of the messages in it do not fit its own"),
        (wrapped(1, 50, 1, &[]), "it wraps nothing"),
        (wrapped(1, 50, 1, &trailing), "a message in it is cut off"),
        (message(1, 50, 1, 77, None, None), "it wraps nothing"),
        (message(1, 50, 1, 77, None, Some(b"?")), "its gzip payload is damaged"),
        (zstd, "zstd did not exist in its message format"),
        (not_known, "its compression codec is not known"),
    ];
    for (bytes, reason) in cases {
        let offset = i64::from_be_bytes(*bytes.first_chunk().unwrap());
        assert_eq!(cut(bytes).remove(0).unwrap_err(), corrupt(offset, reason));
    }
    let mut longer = plain(1, 50);
    longer[11] += 1;
    longer.push(0);
    let crc = {
        let mut crc = flate2::Crc::new();
        crc.update(&longer[16..]);
        crc.sum()
    };
    longer[12..16].copy_from_slice(&crc.to_be_bytes());
    assert_eq!(cut(longer).remove(0).unwrap_err(), corrupt(50, "its key and value do not fit its length"));
    let mut short = plain(1, 50);
    short[8..12].copy_from_slice(&13i32.to_be_bytes());
    assert_eq!(cut(short).remove(0).unwrap_err(), corrupt(50, "its length is smaller than a message"));
    let mut negative = plain(1, 50);
    negative[0] = 0x80;
    assert!(matches!(cut(negative).remove(0), Err(Malformed::Corrupt { reason: "its offset is negative", .. })));
}

#[test]
fn each_byte_of_a_message_is_under_a_checksum() {
    let whole = [plain(0, 50), wrapped(0, 52, 2, &[plain(0, 51), plain(0, 52)])];
    for bytes in &whole {
        for at in 12..bytes.len() {
            // The format version, and with it the meaning of the bytes, is under the checksum too.
            for bit in [1, 0x80] {
                let mut changed = bytes.clone();
                changed[at] ^= bit;
                assert!(cut(changed)[0].is_err(), "byte {at}");
            }
        }
    }
}

#[test]
fn messages_stop_where_batches_begin() {
    let present = super::super::samples::batch_of(
        &[Told { offset: 12, ..Told::default() }],
        Header { base_offset: 12, ..super::super::samples::header() },
        Codec::None,
        12,
    );
    let log = [plain(0, 10), plain(1, 11), present].concat();
    assert_eq!(offsets_and_times(log), [(10, -1), (11, 11_000), (12, 0)]);
    let backwards = [plain(1, 10), plain(1, 10)].concat();
    let reason = "what comes there begins at an earlier offset";
    assert_eq!(cut(backwards)[1].as_ref().unwrap_err(), &Malformed::Corrupt { offset: 11, reason });
    // The end may be missing, but not that of the first.
    let cut_off = [plain(1, 10), plain(1, 11)].concat();
    assert_eq!(cut(cut_off[..cut_off.len() - 1].to_vec()).len(), 1);
    assert!(cut(plain(1, 10)[..20].to_vec())[0].is_err());
    assert_eq!(split(Bytes::from(plain(1, 10))).count(), 1, "who only cuts is told of the old format");
}
