//! What is made of a missing record, by every kind of evidence there is; thousands of histories are for the simulation.
//! The logs here are a few batches, written down by who wrote them and where.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use super::super::{Note, Seal};
use super::*;

const OURS: i64 = 7;
const THEIRS: i64 = 8;
const IDENTITY: Identity = Identity { producer_id: OURS, producer_epoch: 0, fence: 256 };

/// A batch in the target's log: its offsets, who wrote it, and the number of its first record if that is the mirror.
fn batch(base_offset: i64, offsets: i64, producer_id: i64, number: i64) -> Header {
    Header {
        base_offset,
        length: 100,
        partition_leader_epoch: 0,
        magic: 2,
        crc: 0,
        attributes: 0,
        last_offset_delta: offsets as i32 - 1,
        base_timestamp: 0,
        max_timestamp: 0,
        producer_id,
        producer_epoch: 0,
        base_sequence: OffsetMap::sequence_of(number),
        record_count: 1,
    }
}

/// Source offsets 0 to 29, which are at 100 to 129 on the target. Others have written up to 100, and what comes after.
fn map(seal: Option<Seal>) -> OffsetMap {
    let mut map = OffsetMap::beginning_at(0, 100);
    map.append(0, 0, 100, 30);
    map.seal = seal;
    map
}

/// Four records at one place of the target and two at another, all appended after the seal, which was put where copying began.
fn six_records(begin: i64, places: [i64; 2]) -> OffsetMap {
    let mut map = OffsetMap::beginning_at(0, begin);
    map.append(0, 0, places[0], 4);
    map.append(4, 4, places[1], 2);
    map.seal = Some(Seal { epoch: 3, offset: begin });
    map
}

const SEALED: Option<Seal> = Some(Seal { epoch: 3, offset: 140 });

/// A log that ends at 200, in leader epoch 3, whose broker has forgotten the mirror.
const FACTS: Facts = Facts { remembered: None, log_start: 0, log_end: 200, leader_epoch: 3, epoch_end: Some(200) };

/// Searches in a log; returns the next source offset that is to be copied, and the number of batches that were read.
fn search(map: &mut OffsetMap, facts: Facts, log: &[Header]) -> Result<(i64, Search), Unclear> {
    let mut search = Search::new(OURS, facts);
    loop {
        match search.next(map)? {
            Step::Done => break,
            Step::Look { at } => {
                let next = log.iter().find(|header| header.last_offset() >= at).unwrap();
                search.looked(if next.base_offset <= at { Looked::Batch(*next) } else { Looked::Nothing });
            }
            Step::Read { from } => {
                let batch = log.iter().find(|header| header.last_offset() >= from).unwrap();
                search.read(map, [*batch])?;
            }
        }
    }
    let log = search.seen(map, IDENTITY, facts.remembered, facts.log_end);
    assert!(log.is_replicated());
    Ok((log.log_end_offset, search))
}

fn ever(outcome: Result<(i64, Search), Unclear>) -> Error {
    match outcome {
        Err(Unclear::Ever(error)) => error,
        other => panic!("{other:?}"),
    }
}

fn now(outcome: Result<(i64, Search), Unclear>) -> Error {
    match outcome {
        Err(Unclear::Now(error)) => error,
        other => panic!("{other:?}"),
    }
}

#[test]
fn records_that_the_cleaner_has_taken_leave_the_position_where_it_is() {
    let log = [batch(180, 20, THEIRS, 0)];
    let mut compacted = map(SEALED);
    let (next, found) = search(&mut compacted, FACTS, &log).unwrap();
    assert_eq!((next, found.cut_at(), found.last_batch()), (30, None, None));
    assert_eq!(compacted.seal(), Some(Seal { epoch: 3, offset: 200 }), "all of it is of that epoch");
    let later = Facts { leader_epoch: 5, epoch_end: Some(150), ..FACTS };
    assert_eq!(search(&mut map(SEALED), later, &log).unwrap().0, 30, "the epoch ended behind them");
    let retention = Facts { log_start: 160, epoch_end: None, ..FACTS };
    assert_eq!(search(&mut map(None), retention, &log).unwrap().0, 30);
}

#[test]
fn records_that_an_election_has_lost_are_copied_again() {
    let rest = batch(100, 10, OURS, 0);
    // The log ends before them.
    let facts = Facts { log_end: 110, leader_epoch: 4, epoch_end: Some(110), ..FACTS };
    let (next, found) = search(&mut map(SEALED), facts, &[rest]).unwrap();
    assert_eq!((next, found.cut_at()), (10, Some(110)));
    // Their epoch ends before them, and where they were the cleaner has taken what came later.
    let log = [rest, batch(190, 10, THEIRS, 0)];
    let facts = Facts { leader_epoch: 4, epoch_end: Some(110), ..FACTS };
    let (next, found) = search(&mut map(SEALED), facts, &log).unwrap();
    assert_eq!((next, found.cut_at(), found.last_batch()), (10, Some(110), Some(rest)));
    // Somebody else's batch is in their place; nothing is known of epochs.
    let log = [rest, batch(110, 90, THEIRS, 0)];
    let facts = Facts { leader_epoch: -1, epoch_end: None, ..FACTS };
    assert_eq!(search(&mut map(None), facts, &log).unwrap().0, 10);
    // All of them are gone, and others begin anew.
    let facts = Facts { leader_epoch: 4, epoch_end: Some(0), log_end: 150, ..FACTS };
    assert_eq!(search(&mut map(SEALED), facts, &[batch(0, 150, THEIRS, 0)]).unwrap().0, 0);
}

#[test]
fn records_that_were_copied_again_at_other_offsets_are_looked_for() {
    // All was lost from 80 on, and copied again from 85 on; the last record is where it was, by chance.
    let mut map = OffsetMap::beginning_at(0, 100);
    map.append(0, 0, 100, 10);
    map.append(10, 10, 120, 10);
    map.seal = Some(Seal { epoch: 3, offset: 100 });
    let log = [batch(85, 10, OURS, 0), batch(95, 25, THEIRS, 0), batch(120, 10, OURS, 10), batch(130, 70, THEIRS, 0)];
    let facts = Facts { leader_epoch: 4, epoch_end: Some(80), ..FACTS };
    let (next, found) = search(&mut map, facts, &log).unwrap();
    assert_eq!((next, found.cut_at(), found.last_batch()), (20, Some(80), Some(log[2])));
    assert_eq!((map.target_offset_of(0), map.target_offset_of(9), map.target_offset_of(10)), (85, 94, 120));
}

#[test]
fn a_log_that_was_cut_exactly_where_it_was_sealed_is_compared_with_the_map() {
    let known = || six_records(100, [102, 110]);
    let facts = Facts { leader_epoch: 4, epoch_end: Some(100), log_end: 120, ..FACTS };
    let others = batch(112, 8, THEIRS, 0);
    // Copied again at other offsets, only the last record where it was; or others where records were.
    for (log, cut_at) in [
        ([batch(100, 4, OURS, 0), batch(104, 6, THEIRS, 0), batch(110, 2, OURS, 4), others], 100),
        ([batch(100, 3, THEIRS, 0), batch(103, 4, OURS, 0), batch(110, 2, OURS, 4), others], 102),
    ] {
        let mut map = known();
        let (next, found) = search(&mut map, facts, &log).unwrap();
        assert_eq!((next, found.cut_at()), (6, Some(cut_at)));
        let first = log.iter().find(|header| header.producer_id == OURS).unwrap().base_offset;
        assert_eq!((map.target_offset_of(0), map.target_offset_of(4)), (first, 110));
    }
    // The same broker leads again and has taken the records in its new epoch: all is as it is known, or compacted since.
    for log in [
        vec![batch(100, 2, THEIRS, 0), batch(102, 4, OURS, 0), batch(110, 2, OURS, 4), others],
        vec![batch(110, 2, OURS, 4), others],
    ] {
        let mut map = known();
        let (next, found) = search(&mut map, facts, &log).unwrap();
        assert_eq!((next, found.cut_at(), map.runs()), (6, None, known().runs()));
    }
}

#[test]
fn of_weeks_of_records_since_the_seal_the_last_are_compared_and_all_when_these_differ() {
    let known = || six_records(0, [0, 300_000]);
    let facts = Facts { leader_epoch: 4, epoch_end: Some(0), log_end: 300_010, ..FACTS };
    let log =
        [batch(0, 4, OURS, 0), batch(4, 299_990, THEIRS, 0), batch(300_000, 2, OURS, 4), batch(300_002, 8, THEIRS, 0)];
    let (next, found) = search(&mut known(), facts, &log).unwrap();
    assert_eq!((next, found.cut_at(), found.compared_until), (6, None, 300_002));
    // The last are not where they were: then neither need the first be.
    let first = [batch(0, 4, THEIRS, 0), batch(4, 4, OURS, 0), batch(8, 299_991, THEIRS, 0)];
    let moved = [first.as_slice(), &[batch(299_999, 2, OURS, 4), batch(300_001, 9, THEIRS, 0)]].concat();
    let mut map = known();
    let (next, found) = search(&mut map, facts, &moved).unwrap();
    assert_eq!((next, found.cut_at()), (6, Some(0)));
    assert_eq!((map.target_offset_of(0), map.target_offset_of(4)), (4, 299_999));
}

#[test]
fn what_may_be_compacted_or_lost_stops_the_partition() {
    let log = [batch(180, 20, THEIRS, 0)];
    for (map, facts) in [
        (map(None), Facts { epoch_end: None, ..FACTS }),
        // Appended after it was looked for the last time, perhaps in another epoch.
        (map(Some(Seal { epoch: 3, offset: 120 })), Facts { leader_epoch: 4, epoch_end: Some(125), ..FACTS }),
    ] {
        let error = ever(search(&mut map.clone(), facts, &log));
        assert_eq!((error.kind(), error.offset()), (ErrorKind::TargetConflict, Some(29)), "{error}");
        // A broker that remembers the last record is proof that it was not lost.
        let remembered = Some((0, 29));
        assert_eq!(search(&mut map.clone(), Facts { remembered, ..facts }, &log).unwrap().0, 30);
    }
}

#[test]
fn a_broker_that_knows_less_than_was_appended_is_waited_for_and_not_believed() {
    let log = [batch(100, 5, OURS, 0), batch(180, 20, THEIRS, 0)];
    let error = now(search(&mut map(SEALED), Facts { remembered: Some((0, 4)), ..FACTS }, &log));
    assert!(error.message().contains("remembers record number 4"), "{error}");
    for facts in [Facts { leader_epoch: 2, ..FACTS }, Facts { epoch_end: Some(EPOCH_NOT_KNOWN), ..FACTS }] {
        let error = now(search(&mut map(SEALED), facts, &log));
        assert!(error.message().contains("does not know leader epoch 3"), "{error}");
    }
}

#[test]
fn what_is_not_in_the_map_is_read_off_the_log_whatever_the_cleaner_has_left_of_it() {
    let last = batch(100, 30, OURS, 0);
    // Numbers 30 to 34 are gone, of 35 to 39 one record is left.
    let log = [last, batch(150, 5, THEIRS, 0), batch(160, 5, OURS, 35), batch(190, 10, THEIRS, 0)];
    let mut thinned = map(SEALED);
    let (next, found) = search(&mut thinned, FACTS, &log).unwrap();
    assert_eq!((next, found.last_batch()), (40, Some(log[2])));
    assert_eq!((thinned.target_offset_of(30), thinned.target_offset_of(37)), (160, 162));
    assert_eq!(thinned.run_at_target(164), thinned.run_at_target(160));
    // The broker knows that there were more, and the log has none of them.
    let mut map = map(SEALED);
    let facts = Facts { remembered: Some((0, 54)), ..FACTS };
    assert_eq!(search(&mut map, facts, &log).unwrap().0, 55);
    assert_eq!((map.target_offset_of(54), map.target_offset_next(), map.last_record()), (200, 200, None));
    let kept = vec![Note::Runs([&[map.begin()], map.runs()].concat(), map.seal())];
    let mut restored = OffsetMap::restore(kept).unwrap();
    assert_eq!((restored.known_until(), restored.runs()), (55, map.runs()));
    let forgotten = Facts { log_end: 250, ..FACTS };
    let log = [&log[..], &[batch(240, 10, THEIRS, 0)]].concat();
    assert_eq!(search(&mut restored, forgotten, &log).unwrap().0, 55, "it stays so when the broker has forgotten");
    let lost = Facts { leader_epoch: 9, epoch_end: Some(165), log_end: 250, ..FACTS };
    assert_eq!(search(&mut restored, lost, &log).unwrap().0, 40, "but for an election");
}

#[test]
fn records_that_are_there_twice_are_told_of() {
    let log = [batch(100, 30, OURS, 0), batch(150, 10, OURS, 20), batch(190, 10, THEIRS, 0)];
    let error = ever(search(&mut map(SEALED), FACTS, &log));
    assert!(error.message().contains("is on the target twice"), "{error}");
    assert_eq!(error.offset(), Some(150));
}

#[test]
fn what_the_broker_had_when_it_was_asked_counts_only_if_it_has_it_still() {
    let mut map = map(SEALED);
    // An election has lost what was behind number 29, between the question to the broker and the one to its leader.
    let facts = Facts { remembered: Some((0, 54)), log_end: 130, leader_epoch: 4, epoch_end: Some(130), ..FACTS };
    let last = batch(100, 30, OURS, 0);
    let mut search = Search::new(OURS, facts);
    assert!(matches!(search.next(&mut map), Ok(Step::Look { at: 129 })));
    search.looked(Looked::Batch(last));
    assert!(matches!(search.next(&mut map), Ok(Step::Done)));
    let seen = search.seen(&mut map, IDENTITY, Some((0, 29)), facts.log_end);
    assert!(!seen.is_replicated(), "it is read again");
    assert_eq!((map.known_until(), map.seal()), (30, SEALED), "and nothing was learned");
}
