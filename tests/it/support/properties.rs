//! Judges a copy by what writers were told and what readers see, P1 to P5; it knows nothing of how the copy was made.
//!
//! - P1 completeness: every committed record of the source is at the target.
//! - P2 order: the target's records, in order, come from ever later places in the source; none comes twice.
//! - P3 no invention: every record at the target is one of the source, byte for byte.
//! - P4 atomicity: nothing of an aborted transaction is at the target, for whatever reader.
//! - P5 offsets: each record is at the offset it has at the source, and both logs begin and end alike.
//!
//! Before all that, S: the source has every record that a writer was told is there. When it has not, the test's own
//! ground has given way. P6 (honesty) and P7 (liveness) need a running mirror and are for the test.

use std::collections::{HashMap, HashSet};

use super::ledger::{Isolation, Ledger, Partition};
use super::records::Acknowledged;
use super::{Outcome, fail};

/// How many violations are spelled out.
const SPELLED_OUT: usize = 20;

/// Everything there is to judge one topic by.
pub(crate) struct Evidence {
    pub(crate) topic: String,
    /// What writers were told is written, and committed if it was in a transaction.
    pub(crate) acknowledged: Vec<Acknowledged>,
    /// Hashes of records of which writers were told that they are aborted.
    pub(crate) aborted: HashSet<u64>,
    /// The source as a reader of committed data sees it.
    pub(crate) source: Ledger,
    /// The target as readers of committed data, and of everything, see it.
    pub(crate) target: Ledger,
    pub(crate) target_all: Ledger,
}

impl Evidence {
    /// Reads both sides of a topic of which nothing moves any more.
    pub(crate) fn read(
        topic: &str,
        source: &str,
        target: &str,
        acknowledged: Vec<Acknowledged>,
        aborted: HashSet<u64>,
    ) -> Outcome<Self> {
        Ok(Self {
            topic: topic.to_owned(),
            acknowledged,
            aborted,
            source: Ledger::read(source, topic, Isolation::ReadCommitted)?,
            target: Ledger::read(target, topic, Isolation::ReadCommitted)?,
            target_all: Ledger::read(target, topic, Isolation::ReadUncommitted)?,
        })
    }

    /// An error that names the violations, or the number of records that were judged.
    pub(crate) fn expect_kept(&self) -> Outcome<usize> {
        let violations = self.violations();
        if violations.is_empty() {
            return Ok(self.source.count());
        }
        let first = &violations[..violations.len().min(SPELLED_OUT)];
        fail(format!("{}: {} violations, the first of them:\n  {}", self.topic, violations.len(), first.join("\n  ")))
    }

    fn violations(&self) -> Vec<String> {
        let mut found = Vec::new();
        for record in &self.acknowledged {
            if !self.source.holds(record.partition, record.offset, record.hash) {
                found.push(format!(
                    "S: partition {} offset {} was acknowledged and is not at the source",
                    record.partition, record.offset
                ));
            }
        }
        for (index, source) in &self.source.partitions {
            let empty = Partition { bounds: source.bounds, records: Vec::new() };
            let target = self.target.partitions.get(index).unwrap_or(&empty);
            let all = self.target_all.partitions.get(index).unwrap_or(&empty);
            found.extend(between(source, target).into_iter().map(|what| format!("{what} (partition {index})")));
            found.extend(self.atomicity(target, all).into_iter().map(|what| format!("{what} (partition {index})")));
        }
        found
    }

    fn atomicity(&self, target: &Partition, all: &Partition) -> Vec<String> {
        let committed: HashSet<_> = target.records.iter().map(|(offset, _)| *offset).collect();
        let wrong = all.records.iter().filter_map(|(offset, record)| match committed.contains(offset) {
            _ if self.aborted.contains(&record.hash) => Some(format!("P4: offset {offset} was aborted at the source")),
            false => Some(format!("P4: offset {offset} is seen by some readers only")),
            true => None,
        });
        wrong.collect()
    }
}

fn between(source: &Partition, target: &Partition) -> Vec<String> {
    let mut found = Vec::new();
    if source.bounds != target.bounds {
        found.push(format!("P5: the source holds {:?}, the target {:?}", source.bounds, target.bounds));
    }
    let mut origins = HashMap::<u64, Vec<i64>>::new();
    for (offset, record) in &source.records {
        origins.entry(record.hash).or_default().push(*offset);
    }
    let mut arrived = HashSet::new();
    let mut last = -1;
    for (offset, record) in &target.records {
        let Some(places) = origins.get(&record.hash) else {
            found.push(format!("P3: what lies at offset {offset} was never written to the source"));
            continue;
        };
        // Equal records at the source: the one of the same offset, or any that has not arrived yet.
        let place = match places.contains(offset) {
            true => *offset,
            false => *places.iter().find(|place| !arrived.contains(*place)).unwrap_or(&places[0]),
        };
        if place != *offset {
            found.push(format!("P5: the source's record {place} lies at offset {offset}"));
        }
        if place <= last {
            found.push(format!("P2: the source's record {place} comes after {last}"));
        }
        last = place;
        arrived.insert(place);
    }
    let lost = source.records.iter().filter(|(offset, _)| !arrived.contains(offset));
    found.extend(lost.map(|(offset, _)| format!("P1: the source's record {offset} is missing")));
    found
}

#[cfg(test)]
mod tests {
    use super::super::raw::Bounds;
    use super::super::records::Generator;
    use super::*;

    /// Records at offsets 0, 1, 3, 4 (a marker lies between), the same on both sides.
    fn evidence() -> Evidence {
        let records = [0, 1, 3, 4].into_iter().zip(Generator::new(1).numbered().map(|record| record.fingerprint()));
        let partition = Partition { bounds: Bounds { start: 0, end: 5 }, records: records.collect() };
        let acknowledged = partition.records.iter().map(|(offset, record)| Acknowledged {
            partition: 0,
            offset: *offset,
            hash: record.hash,
        });
        let acknowledged = acknowledged.collect();
        let ledger = Ledger { partitions: [(0, partition)].into() };
        Evidence {
            topic: "orders".to_owned(),
            acknowledged,
            aborted: HashSet::new(),
            source: ledger.clone(),
            target: ledger.clone(),
            target_all: ledger,
        }
    }

    fn spoiled(spoil: impl FnOnce(&mut Evidence)) -> Vec<String> {
        let mut evidence = evidence();
        spoil(&mut evidence);
        evidence.violations().into_iter().map(|violation| violation[..2].to_owned()).collect()
    }

    fn target(evidence: &mut Evidence) -> &mut Partition {
        evidence.target.partitions.get_mut(&0).expect("it has one partition")
    }

    #[test]
    fn a_good_copy_has_no_violation() {
        assert_eq!(spoiled(|_| ()), Vec::<String>::new());
    }

    #[test]
    fn a_lost_record_violates_completeness() {
        let found = spoiled(|evidence| {
            target(evidence).records.remove(1);
            evidence.target_all = evidence.target.clone();
        });
        assert_eq!(found, ["P1"]);
    }

    #[test]
    fn a_record_that_comes_twice_violates_order_and_offsets() {
        let found = spoiled(|evidence| {
            let (_, record) = target(evidence).records[0];
            target(evidence).records.push((5, record));
            evidence.target_all = evidence.target.clone();
        });
        assert_eq!(found, ["P5", "P2"]);
    }

    #[test]
    fn a_shifted_log_violates_offsets() {
        let found = spoiled(|evidence| {
            target(evidence).records.iter_mut().skip(2).for_each(|(offset, _)| *offset -= 1);
            target(evidence).bounds.end -= 1;
            evidence.target_all = evidence.target.clone();
        });
        assert_eq!(found, ["P5"; 3]);
    }

    #[test]
    fn a_record_nobody_wrote_is_an_invention() {
        let found = spoiled(|evidence| {
            let stranger = Generator::new(2).map(|record| record.fingerprint()).next().unwrap();
            target(evidence).records.insert(2, (2, stranger));
            evidence.target_all = evidence.target.clone();
        });
        assert_eq!(found, ["P3"]);
    }

    #[test]
    fn an_aborted_record_violates_atomicity_for_whoever_sees_it() {
        let stranger = Generator::new(2).map(|record| record.fingerprint()).next().unwrap();
        let found = spoiled(|evidence| {
            evidence.aborted.insert(stranger.hash);
            evidence.target_all.partitions.get_mut(&0).unwrap().records.insert(2, (2, stranger));
        });
        assert_eq!(found, ["P4"]);
        let found = spoiled(|evidence| {
            evidence.target_all.partitions.get_mut(&0).unwrap().records.insert(2, (2, stranger));
        });
        assert_eq!(found, ["P4"]);
    }

    #[test]
    fn a_source_that_lost_what_it_acknowledged_is_told_apart() {
        let found = spoiled(|evidence| {
            evidence.acknowledged.push(Acknowledged { partition: 0, offset: 2, hash: 7 });
        });
        assert_eq!(found, ["S:"]);
    }
}
