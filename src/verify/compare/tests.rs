//! What makes a difference and what does not, without brokers: each case is two logs and what has to be found.
//! Every pair of logs is given batch by batch and all at once, which must not change the result.

use super::*;
use crate::batch::compression::{self, Codec};
use crate::verify::batches::{cut, visible};
use crate::verify::classes::FindingKind;
use crate::verify::report::{DifferenceKind, VerifyCounts};
use crate::verify::testing::{LOG_APPEND_TIME, Made, Make, TRANSACTIONAL, marker, old_message, record};
use bytes::Bytes;
use std::slice::from_ref;

const NEVER: [bool; 2] = [false, false];
const BOTH: [bool; 2] = [true, true];

/// What was found, with the differences as text.
#[derive(Debug, PartialEq)]
struct Found {
    records: u64,
    opened: bool,
    counts: VerifyCounts,
    differences: Vec<String>,
}

impl Found {
    fn is_identical(&self) -> bool {
        self.counts.real() == 0 && self.differences.is_empty()
    }
}

fn compare_with(source: &[Batch], target: &[Batch], to: i64, compacts: [bool; 2]) -> Found {
    let at_once = compare_in(source, target, to, compacts, (usize::MAX, 100));
    assert_eq!(at_once, compare_in(source, target, to, compacts, (1, 100)), "batch by batch is another result");
    at_once
}

/// So many batches at once, and so many keys at a time.
fn compare_in(
    source: &[Batch],
    target: &[Batch],
    to: i64,
    compacts: [bool; 2],
    (at_once, keys): (usize, usize),
) -> Found {
    let mut tally = Tally::new(100);
    let mut superseded = Superseded::new(compacts, keys);
    pass(source, target, to, at_once, &mut tally, &mut superseded);
    loop {
        for (lacking, log) in [(Lacking::Source, source), (Lacking::Target, target)] {
            let end = superseded.last_tombstone(lacking).unwrap_or(0);
            for batch in log.iter().filter(|batch| batch.first_offset < end) {
                let mut records = Records::open(batch).expect("it can be read");
                while let Some(record) = records.advance().ok().and_then(|()| records.current()) {
                    superseded.see_older(lacking, &record);
                }
            }
        }
        if !superseded.end_pass(&mut tally) {
            break;
        }
        pass(source, target, to, at_once, &mut Tally::new(0), &mut superseded);
    }
    let mut differences: Vec<_> = tally.differences.iter().map(|one| (one.offset, one.to_string())).collect();
    // Each pass tells those of its keys.
    differences.sort();
    let differences = differences.into_iter().map(|(_, text)| text).collect();
    let (records, opened) = (tally.records_compared, tally.bytes_decoded > 0);
    Found { records, opened, counts: tally.counts, differences }
}

fn pass(source: &[Batch], target: &[Batch], to: i64, at_once: usize, tally: &mut Tally, superseded: &mut Superseded) {
    let mut comparison = Comparison::new(0, tally, superseded);
    comparison.extend(to);
    let mut chunks = [source, target].map(|batches| batches.chunks(at_once.min(batches.len().max(1))));
    while let Need::More { source, target } = comparison.run().expect("both can be read") {
        for (index, side, wanted) in [(0, Side::Source, source), (1, Side::Target, target)] {
            if wanted {
                let batches = chunks[index].next().map(<[Batch]>::to_vec).unwrap_or_default();
                let read_to = batches.last().map_or(to, |batch| batch.last_offset + 1);
                comparison.give(side, batches, read_to, None);
            }
        }
    }
}

fn compare(source: &[Batch], target: &[Batch], to: i64) -> Found {
    compare_with(source, target, to, NEVER)
}

fn some(offsets: std::ops::Range<i64>) -> Vec<Made<'static>> {
    offsets.map(|offset| record(offset, "key", "some value")).collect()
}

fn plain(offsets: std::ops::Range<i64>) -> Batch {
    Make::default().batch(&some(offsets))
}

fn counted(counts: VerifyCounts) -> String {
    counts.to_string()
}

#[test]
fn equal_payloads_are_not_opened_whoever_wrote_them() {
    for codec in [Codec::None, Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd] {
        let source = Make { codec, attributes: TRANSACTIONAL, producer_id: 5, max_timestamp: 1, ..Make::default() };
        let target = Make { codec, producer_id: 77, ..Make::default() };
        let found = compare(&[source.batch(&some(0..9))], &[target.batch(&some(0..9))], 9);
        assert!(found.is_identical() && !found.opened && found.records == 9, "{found:?}");
    }
}

#[test]
fn equal_payloads_under_another_time_are_different() {
    let source = Make::default().batch(&some(0..2));
    // The same differences to another base.
    let later = some(0..2).into_iter().map(|record| Made { timestamp: record.timestamp + 1, ..record });
    let target = Make { base_timestamp: 1001, ..Make::default() }.batch(&later.collect::<Vec<_>>());
    assert_eq!(source.payload(), target.payload());
    let found = compare(&[source], &[target], 2);
    assert_eq!(found.counts.different, 2);
    assert_eq!(found.differences[0], "-0 offset 0: different: timestamp (source 1000, target 1001)");
}

#[test]
fn equal_payloads_at_other_offsets_are_missing_and_extra() {
    let later = some(0..2).into_iter().map(|record| Made { offset: record.offset + 1, ..record });
    let (source, target) = (plain(0..2), Make::default().batch(&later.collect::<Vec<_>>()));
    assert_eq!(source.payload(), target.payload());
    let found = compare(&[source], &[target], 3);
    assert_eq!(counted(found.counts), "1 missing on the target, 1 only on the target, 1 different");
}

#[test]
fn the_brokers_time_counts_where_the_batch_says_so() {
    let stamped = |max_timestamp, base_timestamp| Make {
        attributes: LOG_APPEND_TIME,
        max_timestamp,
        base_timestamp,
        ..Make::default()
    };
    let records = |timestamp| [Made { timestamp, ..record(0, "k", "v") }, Made { timestamp, ..record(1, "k", "v") }];
    let source = stamped(5000, 1000).batch(&records(1000));
    // The base that nobody sees may differ, the time that everybody sees may not.
    assert!(compare(from_ref(&source), &[stamped(5000, 2000).batch(&records(2000))], 2).is_identical());
    let found = compare(from_ref(&source), &[stamped(5001, 1000).batch(&records(1000))], 2);
    assert_eq!(found.counts.different, 2);
    // As the producer's time it is the same for consumers.
    let created = Make { base_timestamp: 5000, max_timestamp: 5000, ..Make::default() };
    assert!(compare(from_ref(&source), &[created.batch(&records(5000))], 2).is_identical());
    // With the bit cleared and nothing else done, the producer's time shows.
    let leaked = Make { base_timestamp: 1000, max_timestamp: 5000, ..Make::default() };
    let found = compare(from_ref(&source), &[leaked.batch(&records(1000))], 2);
    assert_eq!(found.differences[0], "-0 offset 0: different: timestamp (source 5000, target 1000)");
    assert_eq!(source.payload(), leaked.batch(&records(1000)).payload());
}

#[test]
fn the_cut_and_the_codec_of_batches_do_not_matter() {
    let zstd = Make { codec: Codec::Zstd, ..Make::default() };
    let small: Vec<Batch> = (0..10).map(|offset| zstd.batch(&some(offset..offset + 1))).collect();
    let found = compare(&small, &[plain(0..10)], 10);
    assert!(found.is_identical() && found.opened && found.records == 10, "{found:?}");
    let found = compare(&[plain(0..10)], &small, 10);
    assert!(found.is_identical() && found.records == 10, "{found:?}");
    let found = compare(&[plain(0..4), plain(4..10)], &[plain(0..7), plain(7..10)], 10);
    assert!(found.is_identical() && found.records == 10, "{found:?}");
    let found = compare(&[plain(0..10)], &[zstd.batch(&some(0..10))], 10);
    assert!(found.is_identical() && found.opened && found.records == 10, "{found:?}");
    // After a stretch that had to be opened, equal batches are passed unopened again.
    let mut tally = Tally::new(1);
    let mut superseded = Superseded::new(NEVER, 100);
    let mut comparison = Comparison::new(0, &mut tally, &mut superseded);
    comparison.extend(110);
    comparison.give(Side::Source, vec![plain(0..4), plain(4..10), plain(10..110)], 110, None);
    comparison.give(Side::Target, vec![plain(0..10), plain(10..110)], 110, None);
    assert_eq!(comparison.run(), Ok(Need::Nothing));
    assert_eq!(tally.bytes_decoded, plain(0..4).len() as u64 + plain(4..10).len() as u64);
    assert_eq!(tally.records_compared, 110);
}

#[test]
fn every_field_is_compared() {
    let original = Made { headers: vec![("a", Some("1")), ("a", Some("2"))], ..record(1, "key", "value") };
    let changes: [(&str, Made<'_>); 9] = [
        ("timestamp (source 1001, target 1002)", Made { timestamp: 1002, ..original.clone() }),
        ("key (source 3 bytes, target 3 bytes, others from byte 2)", Made { key: Some("keY"), ..original.clone() }),
        ("key (source 3 bytes, target null)", Made { key: None, ..original.clone() }),
        ("value (source 5 bytes, target 0 bytes)", Made { value: Some(""), ..original.clone() }),
        ("value (source 5 bytes, target null)", Made { value: None, ..original.clone() }),
        (
            "headers (source 2 headers, target 2 headers, others or in another order)",
            Made { headers: vec![("a", Some("2")), ("a", Some("1"))], ..original.clone() },
        ),
        ("headers (source 2 headers, target 1 header)", Made { headers: vec![("a", Some("2"))], ..original.clone() }),
        (
            "headers (source 2 headers, target 2 headers, others or in another order)",
            Made { headers: vec![("a", Some("1")), ("a", None)], ..original.clone() },
        ),
        (
            "headers (source 2 headers, target 2 headers, others or in another order)",
            Made { headers: vec![("a", Some("1")), ("b", Some("2"))], ..original.clone() },
        ),
    ];
    let log = |made: &Made<'_>, codec| {
        Make { codec, ..Make::default() }.batch(&[record(0, "x", "y"), made.clone(), record(2, "x", "y")])
    };
    assert!(compare(&[log(&original, Codec::None)], &[log(&original, Codec::None)], 3).is_identical());
    for (expected, changed) in &changes {
        for codec in [Codec::None, Codec::Lz4] {
            let found = compare(&[log(&original, Codec::None)], &[log(changed, codec)], 3);
            assert_eq!(found.differences, [format!("-0 offset 1: different: {expected}")]);
            assert_eq!((found.records, found.counts.different), (3, 1));
        }
    }
}

#[test]
fn empty_and_null_are_two_things() {
    let null = Made { key: None, value: None, ..record(0, "", "") };
    let found = compare(&[Make::default().batch(&[null])], &[Make::default().batch(&[record(0, "", "")])], 1);
    assert!(found.differences[0].contains("key (source null, target 0 bytes); value (source null"), "{found:?}");
}

#[test]
fn what_only_one_side_has_is_missing_or_extra_in_one_row() {
    let found = compare(&[plain(0..10)], &[plain(0..3), plain(8..10)], 10);
    assert_eq!(found.differences, ["-0 offsets 3 to 7: missing on the target"]);
    assert_eq!((found.counts.missing, found.records), (5, 5));
    let found = compare(&[plain(0..3), plain(8..10)], &[plain(0..10)], 10);
    assert_eq!(found.differences, ["-0 offsets 3 to 7: only on the target"]);
    // Two rows with a record between them that both sides have.
    let found = compare(&[plain(0..10)], &[plain(0..3), plain(5..6), plain(9..10)], 10);
    assert_eq!(found.differences.len(), 2, "{found:?}");
    let found = compare(&[plain(0..3)], &[], 3);
    assert_eq!((found.counts.missing, found.differences.len()), (3, 1));
}

#[test]
fn nothing_is_looked_at_beyond_the_end_or_before_the_beginning() {
    assert_eq!(compare(&[plain(0..10)], &[plain(0..10)], 5).records, 5);
    assert!(compare(&[plain(0..10)], &[plain(0..5)], 5).is_identical());
    assert!(compare(&[plain(0..5)], &[plain(0..10)], 5).is_identical());
    let mut tally = Tally::new(9);
    let mut superseded = Superseded::new(NEVER, 100);
    let mut comparison = Comparison::new(6, &mut tally, &mut superseded);
    comparison.extend(10);
    comparison.give(Side::Source, vec![plain(0..10)], 10, None);
    comparison.give(Side::Target, vec![plain(6..10)], 10, None);
    assert_eq!(comparison.run(), Ok(Need::Nothing));
    assert_eq!((tally.records_compared, tally.counts), (4, VerifyCounts::default()));
}

#[test]
fn it_goes_on_where_it_was_when_there_is_more() {
    let mut tally = Tally::new(9);
    let mut superseded = Superseded::new(NEVER, 100);
    let mut comparison = Comparison::new(0, &mut tally, &mut superseded);
    comparison.extend(5);
    comparison.give(Side::Source, vec![plain(0..10)], 10, None);
    comparison.give(Side::Target, vec![plain(0..5)], 5, None);
    assert_eq!(comparison.run(), Ok(Need::Nothing));
    comparison.extend(10);
    assert_eq!(comparison.run(), Ok(Need::More { source: false, target: true }));
    comparison.give(Side::Target, vec![plain(5..10)], 10, None);
    assert_eq!(comparison.run(), Ok(Need::Nothing));
    assert_eq!((tally.records_compared, tally.counts.real()), (10, 0));
}

#[test]
fn what_a_log_loses_meanwhile_has_expired_and_is_not_missing() {
    let mut tally = Tally::new(9);
    let mut superseded = Superseded::new(NEVER, 100);
    let mut comparison = Comparison::new(0, &mut tally, &mut superseded);
    comparison.extend(10);
    comparison.give(Side::Source, vec![plain(0..10)], 10, None);
    comparison.give(Side::Target, Vec::new(), 7, Some(7));
    assert_eq!(comparison.run(), Ok(Need::More { source: false, target: true }));
    comparison.give(Side::Target, vec![plain(7..9)], 10, None);
    assert_eq!(comparison.run(), Ok(Need::Nothing));
    assert_eq!(counted(tally.counts), "1 missing on the target, 7 expired on the target");
}

fn keyed(offsets: &[i64]) -> Batch {
    let records: Vec<_> =
        offsets.iter().map(|offset| record(*offset, ["a", "b", "c"][*offset as usize % 3], "v")).collect();
    Make { base_offset: Some(0), last_offset: Some(8), ..Make::default() }.batch(&records)
}

#[test]
fn a_compacted_record_has_a_successor_and_a_lost_one_has_none() {
    let all = keyed(&[0, 1, 2, 3, 4, 5, 6, 7, 8]);
    // Each key's last record is kept.
    let found = compare_with(from_ref(&all), &[keyed(&[6, 7, 8])], 9, BOTH);
    assert_eq!((counted(found.counts), found.records), ("6 compacted on one side".to_owned(), 3));
    let found = compare_with(&[keyed(&[6, 7, 8])], from_ref(&all), 9, BOTH);
    assert_eq!(counted(found.counts), "6 compacted on one side");
    // The last record of a key may never go.
    let found = compare_with(from_ref(&all), &[keyed(&[3, 6, 8])], 9, BOTH);
    assert_eq!(counted(found.counts), "1 missing on the target, 5 compacted on one side");
    assert_eq!(found.differences, ["-0 offset 7: missing on the target"]);
    // A topic that is not compacted on that side has lost them all.
    let found = compare_with(from_ref(&all), &[keyed(&[6, 7, 8])], 9, [true, false]);
    assert_eq!(found.counts.missing, 6);
}

#[test]
fn successors_are_also_found_in_batches_that_are_the_same() {
    let early = Make::default().batch(&[record(0, "a", "1"), record(1, "b", "1")]);
    let late = Make::default().batch(&[record(2, "a", "2")]);
    let without = Make { last_offset: Some(1), base_offset: Some(0), ..Make::default() }.batch(&[record(1, "b", "1")]);
    let found = compare_with(&[early, late.clone()], &[without, late], 3, BOTH);
    assert_eq!((counted(found.counts), found.records), ("1 compacted on one side".to_owned(), 2));
}

#[test]
fn tombstones_and_records_without_key_may_go_in_a_compacted_topic() {
    let tombstone = Made { value: None, ..record(0, "a", "") };
    let keyless = Made { key: None, ..record(1, "", "v") };
    let source = Make::default().batch(&[tombstone, keyless]);
    let found = compare_with(from_ref(&source), &[], 2, BOTH);
    assert_eq!(counted(found.counts), "2 compacted on one side");
    assert_eq!(compare_with(&[source], &[], 2, NEVER).counts.missing, 2);
}

#[test]
fn a_tombstone_that_is_missing_over_an_older_value_is_a_loss() {
    let value = |offset| record(offset, "a", "v");
    let tombstone = |offset| Made { value: None, ..record(offset, "a", "") };
    let other = record(9, "z", "v");
    let log = |records: &[Made<'static>]| vec![Make { base_offset: Some(0), ..Make::default() }.batch(records)];
    let compare = |source: &[Made<'static>], target: &[Made<'static>]| {
        let (source, target) = ([source, from_ref(&other)].concat(), [target, from_ref(&other)].concat());
        let one_way = compare_with(&log(&source), &log(&target), 10, BOTH);
        let back = compare_with(&log(&target), &log(&source), 10, BOTH);
        assert_eq!(one_way.counts.missing, back.counts.extra, "{one_way:?} {back:?}");
        (one_way.differences, one_way.counts.compacted)
    };
    let lost = |offset: i64| vec![format!("-0 offset {offset}: missing on the target")];
    assert_eq!(compare(&[value(1), tombstone(5)], &[value(1)]), (lost(5), 0), "a deleted key lives");
    assert_eq!(compare(&[tombstone(5)], &[value(1)]), (lost(5), 1), "the source has removed the value already");
    assert_eq!(compare(&[value(1), tombstone(5)], &[]), (vec![], 2), "all of the key is gone");
    assert_eq!(compare(&[value(1), tombstone(5), value(7)], &[value(1), value(7)]), (vec![], 1), "it has a successor");
    assert_eq!(compare(&[value(1), value(3), tombstone(5)], &[value(1)]), (lost(5), 1));
    assert_eq!(compare(&[value(1), tombstone(3), tombstone(5)], &[value(1), tombstone(3)]), (lost(5), 0));
}

/// A log of so many keys, some of them deleted, and what a cleaner leaves of it up to an offset.
fn cleaned(random: &mut impl FnMut(u64) -> u64, records: i64, keys: u64) -> [Vec<Option<(u64, bool)>>; 2] {
    let all: Vec<_> = (0..records).map(|_| Some((random(keys), random(4) == 0))).collect();
    let up_to = random(records as u64) as usize;
    let mut left = all.clone();
    for at in 0..up_to {
        let Some((key, is_tombstone)) = all[at] else { continue };
        let has_successor = all[at + 1..up_to].iter().flatten().any(|(other, _)| *other == key);
        if has_successor || (is_tombstone && random(2) == 0) {
            left[at] = None;
        }
    }
    [all, left]
}

#[test]
fn few_keys_at_a_time_find_the_same_in_more_passes_and_every_loss() {
    let mut state = 11u64;
    let mut random = move |below: u64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % below
    };
    let log = |records: &[Option<(u64, bool)>], names: &[String]| -> Vec<Batch> {
        let made = records.iter().enumerate().filter_map(|(offset, record)| {
            let (key, is_tombstone) = (*record)?;
            let value = record.map(|_| "v").filter(|_| !is_tombstone);
            Some(Made { value, ..record_of(offset as i64, &names[key as usize]) })
        });
        let made: Vec<_> = made.collect();
        made.chunks(7).map(|chunk| Make::default().batch(chunk)).collect()
    };
    let names: Vec<String> = (0..40).map(|key| format!("key {key}")).collect();
    let mut lost = 0;
    for _ in 0..300 {
        let [source, mut target] = cleaned(&mut random, 150, 40);
        let compare = |target: &[Option<(u64, bool)>], keys| {
            compare_in(&log(&source, &names), &log(target, &names), 150, BOTH, (usize::MAX, keys))
        };
        let whole = compare(&target, 1000);
        assert_eq!(whole.differences, Vec::<String>::new(), "a cleaner loses nothing");
        let parts = compare(&target, 8);
        assert_eq!(parts, whole);
        // The last record of a key goes, and something older stays or it is no tombstone.
        let at = random(150) as usize;
        let Some((key, is_tombstone)) = target[at] else { continue };
        let is_key = |record: &Option<(u64, bool)>| record.is_some_and(|(other, _)| other == key);
        let is_last = !source[at + 1..].iter().any(is_key);
        if is_last && (!is_tombstone || target[..at].iter().any(is_key)) {
            target[at] = None;
            for keys in [1000, 8] {
                let found = compare(&target, keys);
                assert_eq!(found.differences, [format!("-0 offset {at}: missing on the target")]);
            }
            lost += 1;
        }
    }
    assert!(lost > 20, "{lost} losses");
}

fn record_of(offset: i64, key: &str) -> Made<'_> {
    record(offset, key, "v")
}

#[test]
fn more_keys_than_all_passes_remember_are_not_decided_about() {
    let names: Vec<String> = (0..500).map(|key| format!("key {key}")).collect();
    let records: Vec<_> = (0..500).map(|offset| record_of(offset, &names[offset as usize])).collect();
    let source = [Make::default().batch(&records)];
    let found = compare_in(&source, &[], 500, BOTH, (usize::MAX, 1));
    assert!(found.counts.perhaps_compacted > 400, "{:?}", found.counts);
    assert_eq!(found.counts.perhaps_compacted + found.counts.missing, 500);
}

#[test]
fn a_bug_of_the_engines_decompressor_does_not_hide_a_difference() {
    for codec in [Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd] {
        let make = Make { codec, ..Make::default() };
        let source = make.batch(&some(0..50));
        let planted = compression::plant_a_bug();
        // A mirror that compresses anew writes what it has read wrongly.
        let read = compression::decompress(codec, &source.payload(), 1 << 20).expect("it decompresses");
        let wrong = Make::default().frame(0, 49, 50, &read);
        let target = cut(Bytes::from(wrong)).expect("a batch");
        let found = compare(&[source], &target, 50);
        drop(planted);
        assert_eq!(found.counts.different, 1, "{codec:?}: {found:?}");
    }
}

#[test]
fn the_time_of_the_targets_broker_is_a_difference_even_if_it_is_the_same_millisecond() {
    let stamped = Make { attributes: LOG_APPEND_TIME, max_timestamp: 1000, ..Make::default() };
    let [ours, theirs] = [Make::default(), stamped].map(|make| make.batch(&[record(0, "key", "value")]));
    let found = compare(from_ref(&ours), from_ref(&theirs), 1);
    let expected = "-0 offset 0: different: timestamp_type (source CreateTime, target LogAppendTime)";
    assert_eq!(found.differences, [expected]);
    // A copy cannot have the time of the source's broker as its own broker's.
    assert!(compare(&[theirs], &[ours], 1).is_identical());
}

#[test]
fn a_sample_does_not_know_whether_there_is_a_successor() {
    let mut tally = Tally::new(9);
    let mut superseded = Superseded::new(BOTH, 100);
    let batch = Make::default().batch(&[record(0, "a", "1")]);
    let mut comparison = Comparison::new(0, &mut tally, &mut superseded);
    comparison.extend(1);
    comparison.give(Side::Source, vec![batch], 1, None);
    comparison.give(Side::Target, Vec::new(), 1, None);
    assert_eq!(comparison.run(), Ok(Need::Nothing));
    assert!(superseded.is_undecided());
    superseded.give_up(&mut tally);
    assert_eq!(counted(tally.counts), "1 perhaps compacted on one side");
    assert_eq!((tally.findings.len(), tally.findings[0].kind), (1, FindingKind::PerhapsCompacted));
}

#[test]
fn markers_and_aborted_records_are_left_out() {
    let of = |producer_id| Make { attributes: TRANSACTIONAL, producer_id, ..Make::default() };
    let log = || {
        vec![
            of(1).batch(&some(0..2)),
            of(2).batch(&some(2..3)),
            marker(3, 1, false),
            // The same producer again: this transaction is committed.
            of(1).batch(&some(4..5)),
            marker(5, 2, true),
            marker(6, 1, true),
        ]
    };
    let offsets = |aborted: &[(i64, i64)]| -> Vec<i64> {
        visible(log(), aborted).iter().flat_map(|batch| batch.first_offset..=batch.last_offset).collect()
    };
    assert_eq!(offsets(&[(1, 0)]), [2, 4]);
    assert_eq!(offsets(&[]), [0, 1, 2, 4], "read uncommitted");
    assert_eq!(offsets(&[(2, 2), (1, 0)]), [4], "in whatever order the broker names them");
    assert_eq!(offsets(&[(1, 4)]), [0, 1, 2], "from its first offset on");
}

#[test]
fn old_formats_are_read_as_consumers_do() {
    let message = |magic, offset| old_message(magic, 0, offset, 1000 + offset, b"some value");
    let expected = |offset, timestamp| Made { timestamp, key: None, ..record(offset, "", "some value") };
    for codec in [Codec::None, Codec::Gzip, Codec::Snappy, Codec::Lz4] {
        for magic in [0, 1] {
            // Format 1 counts inside from 0, format 0 has the offsets themselves.
            let inner = |index| message(magic, if magic == 1 { index } else { 40 + index });
            let bytes = match codec {
                Codec::None => [message(magic, 40), message(magic, 41)].concat(),
                codec => {
                    let inside = compression::compress(codec, &[inner(0), inner(1)].concat()).expect("it compresses");
                    old_message(magic, codec.bits() as u8, 41, 77, &inside)
                }
            };
            let source = cut(Bytes::from(bytes)).expect("messages");
            let time = |offset: i64| match (magic, codec) {
                (0, _) => -1,
                (_, Codec::None) => 1000 + offset,
                _ => 1000 + offset - 40,
            };
            let target = Make::default().batch(&[expected(40, time(40)), expected(41, time(41))]);
            let found = compare(&source, &[target], 42);
            assert!(found.is_identical() && found.records == 2, "{codec:?} {magic}: {found:?}");
        }
    }
    // The broker's time stands outside.
    let inside = compression::compress(Codec::Gzip, &message(1, 0)).expect("it compresses");
    let source = cut(Bytes::from(old_message(1, 0x09, 9, 5000, &inside))).expect("a message");
    assert!(compare(&source, &[Make::default().batch(&[expected(9, 5000)])], 10).is_identical());
}

#[test]
fn the_side_that_cannot_be_read_is_named() {
    let broken = Make { count: Some(1), ..Make::default() }.batch(&some(0..2));
    for (side, source, target) in
        [(Side::Source, broken.clone(), plain(0..2)), (Side::Target, plain(0..2), broken.clone())]
    {
        let mut tally = Tally::new(9);
        let mut superseded = Superseded::new(NEVER, 100);
        let mut comparison = Comparison::new(0, &mut tally, &mut superseded);
        comparison.extend(2);
        comparison.give(Side::Source, vec![source], 2, None);
        comparison.give(Side::Target, vec![target], 2, None);
        let error = comparison.run().expect_err("it claims one record and holds two");
        assert_eq!(error, (side, Malformed { offset: 0, reason: "bytes follow its last record" }));
    }
}

#[test]
fn more_differences_than_are_kept_are_counted_all_the_same() {
    let (mut source, mut target) = (some(0..50), some(0..50));
    source.retain(|record| record.offset % 2 == 0);
    target.retain(|record| record.offset % 4 == 0);
    let mut tally = Tally::new(3);
    let mut superseded = Superseded::new(NEVER, 100);
    let mut comparison = Comparison::new(0, &mut tally, &mut superseded);
    comparison.extend(50);
    comparison.give(Side::Source, vec![Make::default().batch(&source)], 50, None);
    comparison.give(Side::Target, vec![Make::default().batch(&target)], 50, None);
    assert_eq!(comparison.run(), Ok(Need::Nothing));
    assert_eq!((tally.counts.missing, tally.differences.len(), tally.more), (12, 3, true));
    assert!(
        tally
            .differences
            .iter()
            .all(|difference| difference.kind == DifferenceKind::Missing && difference.records == 1)
    );
}
