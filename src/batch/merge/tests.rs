//! Which neighbours are merged, which are not, and that nothing of them changes but their number. What is merged is read back
//! record by record.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::cell::Cell;

use super::super::samples::{CODECS, Told, batch_of, header, marker, told};
use super::super::{Header, attributes};
use super::*;

const LIMIT: usize = 1 << 20;

fn records(offsets: std::ops::Range<i64>, size: usize) -> Vec<Told> {
    let value = |offset: i64| {
        let mixed = (offset as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let text = format!(r#"{{"id":{offset},"user":"{:x}","amount":{},"currency":"EUR"}} "#, mixed, mixed % 9973);
        text.repeat(size / text.len() + 1).into_bytes()[..size].to_vec()
    };
    let of = |offset: i64| Told {
        offset,
        timestamp: 1_700_000_000_000 + offset * 1000,
        value: Some(value(offset)),
        ..Told::default()
    };
    offsets.map(of).collect()
}

fn small(base: i64, count: i64, codec: Codec) -> Vec<u8> {
    batch_of(&records(base..base + count, 100), Header { base_offset: base, ..header() }, codec, base + count - 1)
}

fn cut(log: &[Vec<u8>], batch_limit: usize) -> Vec<Piece> {
    let reading = super::super::pieces::Reading { from: 0, read_committed: true, batch_limit, without: &[] };
    super::super::pieces::pieces(Bytes::from(log.concat()), &[], reading, &Bytes::from).map(Result::unwrap).collect()
}

fn batches(log: &[Vec<u8>], batch_limit: usize) -> Vec<Batch> {
    let batches = cut(log, batch_limit).into_iter().filter_map(|piece| match piece {
        Piece::Records(batch) => Some(batch),
        Piece::Nothing { .. } => None,
    });
    batches.collect()
}

fn sizes(log: &[Vec<u8>]) -> Vec<i32> {
    batches(log, LIMIT).iter().map(|batch| batch.header.record_count).collect()
}

#[test]
fn small_neighbours_become_one_batch() {
    for codec in CODECS {
        let log: Vec<_> = (0..50).map(|index| small(index * 3, 3, codec)).collect();
        let found = batches(&log, LIMIT);
        assert_eq!(found.len(), 1, "{codec:?}");
        assert_eq!(told(&found[0]), records(0..150, 100));
        let header = &found[0].header;
        assert_eq!((header.base_offset, header.attributes), (0, codec.bits()));
        assert_eq!((header.base_timestamp, header.max_timestamp), (1_700_000_000_000, 1_700_000_149_000));
        assert_eq!((header.producer_id, header.partition_leader_epoch), (-1, 5));
    }
}

#[test]
fn too_few_are_left_alone() {
    for codec in CODECS {
        let (_, enough) = worth_it(codec);
        let log: Vec<_> = (0..enough as i64).map(|index| small(index, 1, codec)).collect();
        assert_eq!(sizes(&log), [enough as i32]);
        assert_eq!(sizes(&log[1..]), vec![1; enough - 1]);
    }
}

#[test]
fn a_merged_batch_has_a_length_of_its_own() {
    for (codec, size) in [(Codec::None, 10_000), (Codec::Lz4, 10_000)] {
        let log: Vec<_> = (0..100)
            .map(|offset| {
                batch_of(&records(offset..offset + 1, size), Header { base_offset: offset, ..header() }, codec, offset)
            })
            .collect();
        for limit in [LIMIT, 40_000] {
            let found = batches(&log, limit);
            let longest = found.iter().map(Batch::len).max().unwrap();
            assert!(longest <= limit.min(MERGED), "{longest}");
            assert_eq!(found.iter().flat_map(told).collect::<Vec<_>>(), records(0..100, size));
            assert!(found.len() < if limit == LIMIT { 6 } else { 36 }, "{}", found.len());
        }
    }
}

#[test]
fn what_does_not_belong_together_is_not_merged() {
    let two = |base, change: fn(&mut Header)| -> Vec<u8> {
        let mut header = Header { base_offset: base, ..header() };
        change(&mut header);
        batch_of(&records(base..base + 2, 100), header, Codec::None, base + 1)
    };
    let same: fn(&mut Header) = |_| {};
    let run = |base| [two(base, same), two(base + 2, same)].concat();
    assert_eq!(sizes(&[run(0), run(4)]), [8]);
    assert_eq!(sizes(&[run(0), run(5)]), [4, 4], "a hole");
    assert_eq!(sizes(&[run(0), marker(4, 1, 1), run(5)]), [4, 4], "a marker");
    let others: Vec<u8> = (4..8).flat_map(|offset| small(offset, 1, Codec::Lz4)).collect();
    assert_eq!(sizes(&[run(0), others]), [4, 4], "another codec");
    let epoch: fn(&mut Header) = |header| header.partition_leader_epoch = 6;
    assert_eq!(sizes(&[run(0), two(4, epoch), two(6, epoch)]), [4, 4], "another leader");
    let large = batch_of(&records(4..5, 20_000), Header { base_offset: 4, ..header() }, Codec::None, 4);
    assert_eq!(sizes(&[run(0), large, run(5)]), [4, 1, 4], "a large one");
}

#[test]
fn producers_transactions_and_the_brokers_time_do_not_matter() {
    let kinds = [0, attributes::TRANSACTIONAL, attributes::LOG_APPEND_TIME, attributes::DELETE_HORIZON];
    let log: Vec<_> = (0..40)
        .map(|offset| {
            let header = Header {
                base_offset: offset,
                producer_id: offset % 3,
                attributes: kinds[offset as usize % 4],
                ..header()
            };
            let mut told = records(offset..offset + 1, 100);
            told[0].timestamp = 1_700_000_000_000 + offset * 1000;
            batch_of(&told, header, Codec::None, offset)
        })
        .collect();
    let found = batches(&log, LIMIT);
    assert_eq!(found.len(), 1);
    assert_eq!(found.iter().flat_map(told).collect::<Vec<_>>(), records(0..40, 100));
    assert_eq!(found[0].header.attributes, 0);
}

#[test]
fn what_cannot_be_opened_passes_as_it_is() {
    for damaged_at in [0, 3, 9] {
        for codec in CODECS {
            let mut log: Vec<_> = (0..10).map(|index| small(index * 3, 3, codec)).collect();
            let last = log[damaged_at].len() - 2;
            log[damaged_at][last] ^= 1;
            let bytes = log[damaged_at].clone();
            let found = batches(&log, LIMIT);
            let damaged: Vec<_> = found.iter().filter(|batch| !batch.is_intact()).collect();
            assert_eq!(damaged.len(), 1, "{codec:?}");
            assert_eq!(damaged[0].bytes, bytes);
            assert_eq!(found.iter().map(|batch| batch.header.record_count).sum::<i32>(), 30);
            assert!(found.len() <= 4);
            let bases: Vec<_> = found.iter().map(|batch| batch.header.base_offset).collect();
            assert!(bases.is_sorted());
        }
    }
    // The checksum is right, but the records are not: half of them are read before that shows.
    let payload: Vec<u8> = (0..2).flat_map(|delta| super::super::samples::record(&Told::default(), delta, 0)).collect();
    let lying = super::super::samples::batch(Header { base_offset: 6, ..header() }, &payload);
    let log = [small(0, 3, Codec::None), small(3, 3, Codec::None), lying, small(9, 3, Codec::None)];
    assert_eq!(sizes(&log), [6, 3, 3]);
    assert_eq!(told(&batches(&log, LIMIT)[0]), records(0..6, 100));
}

#[test]
fn one_that_is_alone_after_all_stays_as_it_is() {
    // The second does not fit to the first under this limit.
    let own = Cell::new(0);
    let count = |bytes: Vec<u8>| {
        own.set(own.get() + 1);
        Bytes::from(bytes)
    };
    let log: Vec<_> = (0..2)
        .map(|offset| {
            batch_of(&records(offset..offset + 1, 900), Header { base_offset: offset, ..header() }, Codec::None, offset)
        })
        .collect();
    let reading = super::super::pieces::Reading { from: 0, read_committed: true, batch_limit: 1500, without: &[] };
    let found = super::super::pieces::pieces(Bytes::from(log.concat()), &[], reading, &count).count();
    assert_eq!((found, own.get()), (2, 0));
}

#[test]
fn holes_are_told_only_where_no_records_follow() {
    let log = [marker(0, 1, 1), marker(1, 1, 1), small(2, 2, Codec::None), marker(4, 1, 1), marker(5, 1, 1)];
    let found = cut(&log, LIMIT);
    assert!(matches!(found[..], [Piece::Records(_), Piece::Nothing { next_offset: 6, .. }]), "{found:?}");
}
