//! Proof that the ledger can fail: each way a copy can be wrong is made by hand and must be found and named.
//!
//! Without these a comparison that compares nothing would pass every test that trusts it.

use super::*;
use crate::support::records::{Generator, Record};

fn partition(records: &[Record]) -> Partition {
    let records: Vec<_> = (10..).zip(records.iter().map(Record::fingerprint)).collect();
    let end = records.last().map_or(10, |(offset, _)| offset + 1);
    Partition { bounds: Bounds { start: 10, end }, records }
}

fn ledger(partition: Partition) -> Ledger {
    Ledger { partitions: BTreeMap::from([(0, partition)]) }
}

/// Two headers of one name, a third without a value, key and value present.
fn rich() -> Record {
    Record {
        key: Some(b"key".to_vec()),
        value: Some(b"value".to_vec()),
        headers: vec![
            ("trace".to_owned(), Some(b"1".to_vec())),
            ("trace".to_owned(), Some(b"2".to_vec())),
            ("tenant".to_owned(), None),
        ],
        timestamp: 1_700_000_000_000,
    }
}

/// Five records at offsets 10 to 14, the third of them rich.
fn records() -> Vec<Record> {
    let mut records: Vec<_> = Generator::new(3).take(5).collect();
    records[2] = rich();
    records
}

fn report(change: impl FnOnce(&mut Partition)) -> Report {
    let mut target = partition(&records());
    change(&mut target);
    compare(&ledger(partition(&records())), &ledger(target))
}

fn expect_named(report: &Report, words: &[&str]) {
    assert!(report.expect_identical(0).is_err(), "the difference went unnoticed");
    for words in words {
        assert!(report.to_string().contains(words), "{report}\ndoes not say: {words}");
    }
}

/// Changes one field of the record at offset 12 and expects the report to name that field, and it alone.
fn expect_field(field: &str, change: impl FnOnce(&mut Record)) {
    let mut altered = records();
    change(&mut altered[2]);
    let report = report(|target| *target = partition(&altered));
    expect_named(&report, &[&format!("partition 0 offset 12: {field} differs")]);
    assert_eq!((report.identical, report.differences), (4, 1));
}

#[test]
fn the_same_is_the_same() {
    let report = report(|_| ());
    assert!(report.expect_identical(5).is_ok());
    assert_eq!(report.identical, 5);
}

#[test]
fn too_few_records_are_no_proof() {
    assert!(report(|_| ()).expect_identical(6).is_err());
    let nothing = compare(&Ledger::default(), &Ledger::default());
    assert!(nothing.expect_identical(1).is_err());
}

#[test]
fn a_missing_record() {
    let middle = report(|target| _ = target.records.remove(1));
    expect_named(&middle, &["offset 11 is missing at the target"]);
    let last = report(|target| _ = target.records.pop());
    expect_named(&last, &["offset 14 is missing at the target"]);
    let first = report(|target| _ = target.records.remove(0));
    expect_named(&first, &["offset 10 is missing at the target"]);
    let all = report(|target| target.records.clear());
    expect_named(&all, &["0 records identical, 5 differences"]);
}

#[test]
fn an_extra_record() {
    let report = report(|target| {
        let stranger = Generator::new(99).next().map(|record| record.fingerprint());
        target.records.extend(stranger.map(|record| (15, record)));
    });
    expect_named(&report, &["offset 15 is extra at the target"]);
    assert!(!report.to_string().contains("shifted"), "a stranger has no origin");
}

#[test]
fn a_record_twice() {
    let mut doubled = records();
    doubled.insert(2, doubled[1].clone());
    let report = report(|target| *target = partition(&doubled));
    let words = ["ends at 15 at the source, at 16", "it is the source's record 11"];
    expect_named(&report, &words);
    let sequence = compare_sequence(&ledger(partition(&records())), &ledger(partition(&doubled)));
    expect_named(&sequence, &["it is the source's record"]);
}

#[test]
fn two_records_exchanged() {
    let report = report(|target| {
        let (first, second) = (target.records[0].1, target.records[1].1);
        target.records[0].1 = second;
        target.records[1].1 = first;
    });
    expect_named(&report, &["offset 10:", "it is the source's record 11", "offset 11:"]);
}

#[test]
fn all_records_shifted_by_one() {
    let shift = |target: &mut Partition| {
        for (offset, _) in &mut target.records {
            *offset += 1;
        }
    };
    expect_named(&report(shift), &["offset 10 is missing", "it is the source's record 14"]);
    // The same change is none where offsets are translated.
    let mut shifted = partition(&records());
    shift(&mut shifted);
    let sequence = compare_sequence(&ledger(partition(&records())), &ledger(shifted));
    assert!(sequence.expect_identical(5).is_ok());
}

#[test]
fn a_missing_record_in_a_sequence() {
    let mut shorter = partition(&records());
    shorter.records.pop();
    let report = compare_sequence(&ledger(partition(&records())), &ledger(shorter));
    expect_named(&report, &["is missing at the target"]);
}

#[test]
fn every_field() {
    expect_field("key", |record| record.key = Some(b"kez".to_vec()));
    expect_field("key", |record| record.key = None);
    expect_field("key", |record| record.key = Some(Vec::new()));
    expect_field("value", |record| record.value = Some(b"valuf".to_vec()));
    expect_field("value", |record| record.value = None);
    expect_field("headers", |record| record.headers.clear());
    expect_field("headers", |record| drop(record.headers.remove(0)));
    expect_field("headers", |record| record.headers.swap(0, 1));
    expect_field("headers", |record| record.headers[2].1 = Some(Vec::new()));
    expect_field("headers", |record| record.headers[0].0 = "tracf".to_owned());
    expect_field("timestamp", |record| record.timestamp += 1);
}

#[test]
fn bytes_that_moved_from_the_key_to_the_value() {
    let mut altered = records();
    altered[2].key = Some(b"keyv".to_vec());
    altered[2].value = Some(b"alue".to_vec());
    let report = report(|target| *target = partition(&altered));
    expect_named(&report, &["offset 12: key, value differs"]);
}

#[test]
fn an_empty_key_is_not_an_absent_one() {
    let record = |key| Record { key, ..rich() }.fingerprint();
    assert_ne!(record(None), record(Some(Vec::new())));
}

#[test]
fn the_type_of_the_timestamp() {
    let stamped = |stamp| Fingerprint::new(None, None, std::iter::empty(), stamp);
    let report = report(|target| {
        target.records[0].1 = stamped(Timestamp::LogAppendTime(5));
    });
    expect_named(&report, &["offset 10"]);
    let create = stamped(Timestamp::CreateTime(5));
    assert_eq!(create.difference(&stamped(Timestamp::LogAppendTime(5))), "timestamp");
}

#[test]
fn bounds() {
    let start = report(|target| target.bounds.start = 9);
    expect_named(&start, &["starts at 10 at the source, at 9 at the target"]);
    let end = report(|target| target.bounds.end = 16);
    expect_named(&end, &["ends at 15 at the source, at 16 at the target"]);
}

#[test]
fn a_missing_and_an_extra_partition() {
    let one = ledger(partition(&records()));
    let mut two = one.clone();
    two.partitions.insert(1, partition(&records()));
    expect_named(&compare(&two, &one), &["partition 1 is missing at the target"]);
    expect_named(&compare(&one, &two), &["partition 1 is only at the target"]);
}

#[test]
fn an_acknowledged_record_that_is_not_there() {
    let held = ledger(partition(&records()));
    let hash = rich().fingerprint().hash;
    assert!(held.holds(0, 12, hash));
    assert!(!held.holds(0, 13, hash));
    assert!(!held.holds(1, 12, hash));
    assert!(!held.holds(0, 12, hash ^ 1));
}
