//! Logs of every shape cut into pieces, and what a consumer reads of them before and after.
//! Random logs are made with the truth at hand: which records are visible is known from how they were made.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use super::super::compression::compress;
use super::super::samples::log::Log;
use super::super::samples::{
    CODECS, Told, at_the_target, batch, batch_of, header, java_cases, marker, random_record, record, told,
};
use super::super::{HEADER_LEN, Header};
use super::*;

const EVERYTHING: Reading<'_> = Reading { from: 0, read_committed: true, batch_limit: 1 << 20, without: &[] };

fn cut(bytes: &[u8], aborted: &[(i64, i64)], reading: Reading) -> Vec<Result<Piece, Malformed>> {
    pieces(Bytes::copy_from_slice(bytes), aborted, reading, &Bytes::from).collect()
}

/// The batches as the target has them, and where reading goes on. Checks what holds for all pieces.
fn copied(pieces: Vec<Result<Piece, Malformed>>, reading: Reading) -> (Vec<Batch>, i64) {
    let mut batches = Vec::new();
    let mut position = reading.from;
    for piece in pieces {
        match piece.unwrap() {
            Piece::Nothing { next_offset, .. } => {
                assert!(next_offset > position, "{next_offset} after {position}");
                position = next_offset;
            }
            Piece::Records(batch) => {
                let header = batch.header;
                assert!(header.base_offset >= position, "{} after {position}", header.base_offset);
                assert!(header.is_dense() && header.record_count > 0, "{header:?}");
                assert!(header.record_count == 1 || batch.len() <= reading.batch_limit, "{} bytes", batch.len());
                position = header.last_offset() + 1;
                batches.push(at_the_target(&batch));
            }
        }
    }
    (batches, position)
}

fn read(pieces: Vec<Result<Piece, Malformed>>, reading: Reading) -> (Vec<Told>, i64) {
    let (batches, position) = copied(pieces, reading);
    (batches.iter().flat_map(told).collect(), position)
}

fn records(offsets: impl IntoIterator<Item = i64>) -> Vec<Told> {
    let of = |offset: i64| Told {
        offset,
        timestamp: 1_700_000_000_000 + offset % 7,
        key: Some(offset.to_string().into_bytes()),
        value: Some(b"some value ".repeat(offset as usize % 5)),
        headers: vec![(b"h".to_vec(), None), (b"h".to_vec(), Some(b"twice".to_vec()))],
    };
    offsets.into_iter().map(of).collect()
}

fn at(base_offset: i64) -> Header {
    Header { base_offset, producer_id: -1, ..header() }
}

#[test]
fn what_java_has_written_is_read_as_java_reads_it() {
    for case in java_cases() {
        for batch_limit in [1 << 20, 150, 1] {
            let reading = Reading { batch_limit, ..EVERYTHING };
            let (read, position) = read(cut(&case.bytes, &[], reading), reading);
            assert_eq!(read, case.records, "{} limit {batch_limit}", case.name);
            let end = match case.name {
                "abort" | "commit" => 2001,
                "transactional" => 1501,
                // The cleaner keeps the last offset of a batch of the present format.
                name if name.starts_with("v2") => 1005,
                _ => case.records.last().unwrap().offset + 1,
            };
            assert_eq!(position, end, "{}", case.name);
        }
    }
}

#[test]
fn a_dense_batch_passes_as_the_same_memory() {
    let source = Bytes::from(batch_of(&records(500..503), at(500), Codec::Lz4, 502));
    let never = |_: Vec<u8>| -> Bytes { panic!("nothing is to be written anew") };
    for from in [0, 500] {
        let mut pieces = pieces(source.clone(), &[], Reading { from, ..EVERYTHING }, &never);
        let Some(Ok(Piece::Records(batch))) = pieces.next() else { panic!("no batch") };
        assert_eq!(batch.bytes.as_ptr(), source.as_ptr());
        assert!(pieces.next().is_none());
    }
}

#[test]
fn a_damaged_batch_passes_damaged_but_is_never_opened() {
    let mut bytes = batch_of(&records(500..600), at(500), Codec::None, 599);
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    let (whole, thinned) = (bytes.clone(), {
        let mut bytes = batch_of(&records((500..600).step_by(2)), at(500), Codec::None, 599);
        bytes[200] ^= 1;
        bytes
    });
    let [Ok(Piece::Records(batch))] = &cut(&whole, &[], EVERYTHING)[..] else { panic!("it does not pass") };
    assert!(!batch.is_intact());
    let damaged = Malformed::Damaged { offset: 500 };
    for (bytes, reading) in [
        (&whole, Reading { from: 550, ..EVERYTHING }),
        (&whole, Reading { from: 600, ..EVERYTHING }),
        (&whole, Reading { batch_limit: 1000, ..EVERYTHING }),
        (&thinned, EVERYTHING),
    ] {
        assert_eq!(cut(bytes, &[], reading)[0].as_ref().unwrap_err(), &damaged);
    }
    // A bit that turns records into a marker must not make them a hole.
    let mut marker = batch_of(&records(500..501), at(500), Codec::None, 500);
    marker[22] ^= attributes::CONTROL as u8;
    assert_eq!(cut(&marker, &[], EVERYTHING)[0].as_ref().unwrap_err(), &damaged);
    let mut hidden =
        batch_of(&records(500..501), Header { attributes: attributes::TRANSACTIONAL, ..header() }, Codec::None, 500);
    hidden[70] ^= 1;
    assert_eq!(cut(&hidden, &[(42, 500)], EVERYTHING)[0].as_ref().unwrap_err(), &damaged);
}

#[test]
fn what_is_left_of_a_compacted_batch_stands_at_its_offsets() {
    for codec in CODECS {
        let kept = [501, 502, 505, 507, 508];
        let bytes = batch_of(&records(kept), at(500), codec, 510);
        let (batches, position) = copied(cut(&bytes, &[], EVERYTHING), EVERYTHING);
        let places: Vec<_> =
            batches.iter().map(|batch| (batch.header.base_offset, batch.header.record_count)).collect();
        assert_eq!(places, [(501, 2), (505, 1), (507, 2)]);
        assert!(batches.iter().all(|batch| batch.header.attributes == codec.bits()));
        assert_eq!(position, 511);
        assert_eq!(batches.iter().flat_map(told).collect::<Vec<_>>(), records(kept));
    }
}

#[test]
fn a_batch_that_begins_too_early_is_cut() {
    let bytes = batch_of(&records(500..510), at(500), Codec::Zstd, 509);
    for from in 495..512 {
        let reading = Reading { from, ..EVERYTHING };
        let (read, position) = read(cut(&bytes, &[], reading), reading);
        assert_eq!(read, records(from.max(500)..510), "from {from}");
        assert_eq!(position, from.max(510));
    }
}

#[test]
fn what_the_target_would_find_too_large_is_split() {
    let mut random = fastrand::Rng::with_seed(5);
    let all: Vec<_> = (500..1500).map(|offset| random_record(&mut random, offset, 1_700_000_000_000)).collect();
    for codec in CODECS {
        let bytes = batch_of(&all, at(500), codec, 1499);
        let limit = bytes.len() / 4;
        let reading = Reading { batch_limit: limit, ..EVERYTHING };
        let (batches, position) = copied(cut(&bytes, &[], reading), reading);
        assert!((4..=8).contains(&batches.len()), "{codec:?}: {} batches", batches.len());
        assert_eq!(batches.iter().flat_map(told).collect::<Vec<_>>(), all);
        assert_eq!(position, 1500);
        let exact = Reading { batch_limit: bytes.len(), ..EVERYTHING };
        assert_eq!(cut(&bytes, &[], exact).len(), 1, "what is as large as can be passes");
    }
    // One record cannot be split.
    let one = batch_of(&all[..1], at(500), Codec::None, 500);
    assert_eq!(cut(&one, &[], Reading { batch_limit: 10, ..EVERYTHING }).len(), 1);
}

#[test]
fn an_estimate_that_was_wrong_is_made_good() {
    // The first half is zeros and the second one random, so the ratio of the whole says nothing about its parts.
    let mut random = fastrand::Rng::with_seed(6);
    let mut all = records(0..200);
    for told in &mut all[..100] {
        told.value = Some(vec![0; 2000]);
    }
    for told in &mut all[100..] {
        told.value = Some((0..2000).map(|_| random.u8(..)).collect());
    }
    for codec in CODECS {
        let bytes = batch_of(&all, at(0), codec, 199);
        let reading = Reading { batch_limit: 20_000, ..EVERYTHING };
        let (read, _) = read(cut(&bytes, &[], reading), reading);
        assert_eq!(read, all, "{codec:?}");
    }
}

/// What does not become large is read as a whole, so these are read some records at a time.
#[test]
fn batches_that_become_large_are_cut_into_the_same_records() {
    // One record is longer than what comes at a time, and some offsets are missing.
    let value = |offset: i64| if offset == 1003 { vec![b'y'; 2 << 20] } else { vec![b'x'; 1500] };
    let all: Vec<Told> = records((1000..5000).filter(|offset| offset % 100 != 7))
        .into_iter()
        .map(|told| Told { value: Some(value(told.offset)), ..told })
        .collect();
    for codec in CODECS.into_iter().filter(|codec| *codec != Codec::None) {
        let bytes = batch_of(&all, at(1000), codec, 5009);
        let reading = Reading { from: 1002, batch_limit: 1 << 20, ..EVERYTHING };
        let (read, position) = read(cut(&bytes, &[], reading), reading);
        assert_eq!(read, all[2..], "{codec:?}");
        assert_eq!(position, 5010, "{codec:?}");
    }
}

#[test]
fn batches_that_become_large_and_lie_are_refused_as_a_whole() {
    let all: Vec<Told> =
        records(0..4000).into_iter().map(|told| Told { value: Some(vec![b'x'; 1500]), ..told }).collect();
    let refused = |change: &dyn Fn(Header) -> Header| {
        let payload: Vec<u8> = all.iter().flat_map(|told| record(told, told.offset, 0)).collect();
        let base = Header { attributes: 1, last_offset_delta: 4009, record_count: 4000, ..at(0) };
        let bytes = batch(change(base), &compress(Codec::Gzip, &payload).unwrap());
        let pieces = cut(&bytes, &[], EVERYTHING);
        match pieces.first() {
            Some(Err(Malformed::Corrupt { offset: 0, reason })) if pieces.len() == 1 => Some(*reason),
            _ => None,
        }
    };
    assert_eq!(refused(&|header| header), None);
    let more = |header| Header { record_count: 4001, ..header };
    assert_eq!(refused(&more), Some("it holds fewer records than its header says"));
    let fewer = |header| Header { record_count: 3999, ..header };
    assert_eq!(refused(&fewer), Some("bytes follow its last record"));
    let shorter = |header| Header { record_count: 3990, last_offset_delta: 3990, ..header };
    assert_eq!(refused(&shorter), Some("bytes follow its last record"));
}

#[test]
fn the_brokers_time_becomes_that_of_each_record() {
    for horizon in [0, attributes::DELETE_HORIZON] {
        for count in [1, 3] {
            let mut all = records(500..500 + count);
            all.iter_mut().for_each(|told| told.timestamp = 1_700_000_999_999);
            let header = Header { attributes: attributes::LOG_APPEND_TIME | horizon, ..at(500) };
            for codec in CODECS {
                let bytes = batch_of(&all, header, codec, 499 + count);
                let (read, _) = read(cut(&bytes, &[], EVERYTHING), EVERYTHING);
                assert_eq!(read, all, "{codec:?} {count} {horizon:x}");
            }
        }
    }
    // One record that the cleaner has written has the time already.
    let header = Header { attributes: attributes::LOG_APPEND_TIME | attributes::DELETE_HORIZON, ..at(500) };
    let bytes = Bytes::from(batch_of(&records(500..501), header, Codec::None, 500));
    let Some(Ok(Piece::Records(whole))) = pieces(bytes.clone(), &[], EVERYTHING, &Bytes::from).next() else {
        panic!("no batch")
    };
    assert_eq!(whole.bytes.as_ptr(), bytes.as_ptr());
    // One record whose time is not that of its batch.
    let one = records(500..501);
    let payload = record(&one[0], 0, 17);
    let header = Header {
        attributes: attributes::LOG_APPEND_TIME,
        last_offset_delta: 0,
        record_count: 1,
        max_timestamp: one[0].timestamp,
        ..at(500)
    };
    let bytes = batch(header, &payload);
    assert_eq!(read(cut(&bytes, &[], EVERYTHING), EVERYTHING).0, one);
}

#[test]
fn markers_and_empty_batches_are_holes() {
    let empty = batch_of(&[], at(503), Codec::None, 507);
    let log = [
        batch_of(&records(500..502), at(500), Codec::None, 501),
        marker(502, 7, 1),
        empty.clone(),
        batch_of(&records(508..509), at(508), Codec::Gzip, 508),
        marker(509, 7, 0),
    ]
    .concat();
    let (read, position) = read(cut(&log, &[], EVERYTHING), EVERYTHING);
    assert_eq!(read, records([500, 501, 508]));
    assert_eq!(position, 510);
    let [Ok(Piece::Nothing { next_offset: 508, .. })] = cut(&empty, &[], EVERYTHING)[..] else { panic!("not a hole") };
}

#[test]
fn aborted_transactions_are_holes_for_committed_readers_only() {
    let transactional = |base_offset, producer_id| Header {
        base_offset,
        producer_id,
        attributes: attributes::TRANSACTIONAL,
        ..header()
    };
    // Producer 7 commits, aborts, aborts and commits; 8 is in between; 9 is no transaction.
    let log = [
        batch_of(&records(0..2), transactional(0, 7), Codec::None, 1),
        marker(2, 7, 1),
        batch_of(&records(3..5), transactional(3, 7), Codec::None, 4),
        batch_of(&records(5..6), transactional(5, 8), Codec::None, 5),
        batch_of(&records(6..7), Header { base_offset: 6, producer_id: 7, ..header() }, Codec::None, 6),
        marker(7, 7, 0),
        batch_of(&records(8..9), transactional(8, 7), Codec::None, 8),
        marker(9, 8, 1),
        marker(10, 7, 0),
        batch_of(&records(11..12), transactional(11, 7), Codec::None, 11),
        marker(12, 7, 1),
    ]
    .concat();
    let aborted = [(7, 8), (7, 3)];
    let (committed, position) = read(cut(&log, &aborted, EVERYTHING), EVERYTHING);
    assert_eq!(committed, records([0, 1, 5, 6, 11]));
    assert_eq!(position, 13);
    let uncommitted = Reading { read_committed: false, ..EVERYTHING };
    let (all, _) = read(cut(&log, &aborted, uncommitted), uncommitted);
    assert_eq!(all, records([0, 1, 3, 4, 5, 6, 8, 11]));
}

#[test]
fn a_marker_that_is_none_is_refused() {
    let header = Header { attributes: attributes::CONTROL, last_offset_delta: 0, record_count: 1, ..header() };
    for key in [None, Some(vec![]), Some(vec![0, 0, 0]), Some(vec![0x80, 0, 0, 0])] {
        let payload = record(&Told { key, ..Told::default() }, 0, 0);
        let error = cut(&batch(header, &payload), &[], EVERYTHING).remove(0).unwrap_err();
        let reason = "it is a transaction marker whose key is not one";
        assert_eq!(error, Malformed::Corrupt { offset: 500, reason });
    }
    // The cleaner leaves the last offset of a marker that it removes, and kinds that end no transaction are for others.
    let removed = Header { record_count: 0, ..header };
    assert!(matches!(cut(&batch(removed, &[]), &[], EVERYTHING)[..], [Ok(Piece::Nothing { next_offset: 501, .. })]));
    assert_eq!(cut(&marker(500, 7, 2), &[], EVERYTHING).len(), 1);
}

#[test]
fn offsets_that_go_backwards_are_refused() {
    let one = |base| batch_of(&records(base..base + 2), at(base), Codec::None, base + 1);
    let reason = "what comes there begins at an earlier offset";
    for second in [10, 11, 5] {
        let found = cut(&[one(10), one(second)].concat(), &[], EVERYTHING);
        assert_eq!(found.last().unwrap().as_ref().unwrap_err(), &Malformed::Corrupt { offset: 12, reason });
        assert_eq!(found.len(), 2, "and what came before them is kept");
    }
    assert_eq!(read(cut(&[one(10), one(12)].concat(), &[], EVERYTHING), EVERYTHING).1, 14);
}

#[test]
fn a_batch_that_lies_is_refused_as_a_whole() {
    let all = records(500..503);
    let mut lies = Vec::new();
    let payload = |deltas: [i64; 3]| -> Vec<u8> {
        all.iter().zip(deltas).flat_map(|(told, delta)| record(told, delta, 0)).collect()
    };
    // Room for five offsets, so it has to be opened.
    let open = Header { last_offset_delta: 4, ..at(500) };
    for deltas in [[0, 0, 1], [0, 2, 1], [0, 1, 5], [-1, 0, 1]] {
        lies.push((open, payload(deltas), "the offsets of its records are not in order"));
    }
    let fewer = "it holds fewer records than its header says";
    lies.push((Header { record_count: 4, ..open }, payload([0, 1, 2]), fewer));
    lies.push((Header { record_count: 2, ..open }, payload([0, 1, 2]), "bytes follow its last record"));
    lies.push((open, [payload([0, 1, 2]), vec![0]].concat(), "bytes follow its last record"));
    lies.push((Header { attributes: 5, ..open }, payload([0, 1, 2]), "its compression codec is not known"));
    lies.push((Header { attributes: 1, ..open }, payload([0, 1, 2]), "its gzip payload is damaged"));
    for (header, payload, reason) in lies {
        let found = cut(&batch(header, &payload), &[], EVERYTHING);
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].as_ref().unwrap_err(), &Malformed::Corrupt { offset: 500, reason });
    }
    let end = Header { base_offset: i64::MAX - 1, last_offset_delta: 2, ..header() };
    let found = cut(&batch(end, &payload([0, 1, 2])), &[], EVERYTHING);
    let reason = "its offsets are larger than offsets can be";
    assert_eq!(found[0].as_ref().unwrap_err(), &Malformed::Corrupt { offset: i64::MAX - 1, reason });
}

#[test]
fn only_the_end_of_an_answer_may_be_missing() {
    let first = batch_of(&records(500..502), at(500), Codec::None, 501);
    let second = batch_of(&records(502..504), at(502), Codec::None, 503);
    for kept in 0..second.len() {
        let (read, _) = read(cut(&[&first[..], &second[..kept]].concat(), &[], EVERYTHING), EVERYTHING);
        assert_eq!(read, records(500..502));
    }
    for kept in 1..first.len() {
        let error = cut(&first[..kept], &[], EVERYTHING).remove(0).unwrap_err();
        assert!(matches!(error, Malformed::Corrupt { reason: "it is longer than what the broker has sent of it", .. }));
    }
    assert!(cut(&[], &[], EVERYTHING).is_empty());
}

#[test]
fn random_logs_are_read_the_same_before_and_after() {
    let mut shapes = [0; 6];
    let mut merged = 0;
    for seed in 0..2500 {
        let mut random = fastrand::Rng::with_seed(seed);
        let log = Log::random(&mut random);
        let from = if random.bool() { 0 } else { random.i64(0..log.end + 20) };
        let batch_limit = if random.bool() { 1 << 20 } else { random.usize(HEADER_LEN..4000) };
        let reading = Reading { from, read_committed: random.bool(), batch_limit, without: &[] };
        let seen = |(told, aborted): &(Told, bool)| told.offset >= from && !(*aborted && reading.read_committed);
        let expected: Vec<_> = log.records.iter().filter(|record| seen(record)).map(|(told, _)| told.clone()).collect();
        // The broker names them in an order of its own.
        let mut aborted = log.aborted.clone();
        random.shuffle(&mut aborted);
        let pieces = cut(&log.bytes, &aborted, reading);
        let sources = super::super::split(Bytes::from(log.bytes)).count();
        let (batches, position) = copied(pieces, reading);
        merged += sources.saturating_sub(batches.len());
        let read: Vec<_> = batches.iter().flat_map(told).collect();
        assert!(read == expected, "seed {seed}: {reading:?}");
        assert_eq!(position, from.max(log.end), "seed {seed}");
        shapes.iter_mut().zip(log.shapes).for_each(|(sum, count)| *sum += count);
    }
    assert!(shapes.iter().all(|count| *count > 3000), "{shapes:?}");
    assert!(merged > 1000, "{merged}");
}
