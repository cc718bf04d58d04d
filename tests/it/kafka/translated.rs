//! `offsets=translate`: records are appended to topics that others write to as well, each exactly once, and a group goes on with
//! the very next record, though its offset is another one.

mod aggregation;
mod appended;
mod both_ways;
mod echo;
mod memory;
mod switch_over;

use std::collections::BTreeMap;

use crate::support::cluster::Cluster;
use crate::support::failure::Context;
use crate::support::ledger::{Isolation, Ledger};
use crate::support::mirroring::Mirroring;
use crate::support::records::Acknowledged;
use crate::support::{Outcome, fail};

/// Where the records of a source are on the target, by partition: the offsets on both sides, in order.
type Places = BTreeMap<i32, Vec<(i64, i64)>>;

/// Demands that the target holds what a reader of committed data sees at the source, in its order and once, beside nothing but what
/// others were acknowledged; returns where it is.
fn expect_appended(
    source: (&Cluster, &str),
    target: (&Cluster, &str),
    of_others: &BTreeMap<i32, Vec<Acknowledged>>,
) -> Outcome<Places> {
    let there = Ledger::read(&source.0.direct(), source.1, Isolation::ReadCommitted)?;
    let here = Ledger::read(&target.0.direct(), target.1, Isolation::ReadUncommitted)?;
    let mut places = Places::new();
    for (partition, found) in &here.partitions {
        let others: BTreeMap<i64, u64> = of_others
            .get(partition)
            .into_iter()
            .flatten()
            .map(|acknowledged| (acknowledged.offset, acknowledged.hash))
            .collect();
        let mut own = Vec::new();
        let mut others_seen = 0;
        for (offset, record) in &found.records {
            match others.get(offset) {
                Some(hash) if *hash == record.hash => others_seen += 1,
                Some(_) => return fail(format!("{partition}: offset {offset} is not what somebody else wrote there")),
                None => own.push((*offset, record)),
            }
        }
        if others_seen != others.len() {
            return fail(format!(
                "partition {partition}: {others_seen} of {} records of others are there",
                others.len()
            ));
        }
        let empty = Vec::new();
        let wanted = there.partitions.get(partition).map_or(&empty, |partition| &partition.records);
        let pairs = wanted.iter().zip(&own);
        for (nth, ((source_offset, wanted), (target_offset, got))) in pairs.enumerate() {
            if wanted.hash != got.hash {
                return fail(format!(
                    "partition {partition}, record {nth}: source offset {source_offset} and target offset {target_offset} differ"
                ));
            }
        }
        if wanted.len() != own.len() {
            let counts = format!("{} records at the source, {} on the target", wanted.len(), own.len());
            return fail(format!("partition {partition}: {counts}")).context(target.1.to_owned());
        }
        let both = wanted.iter().zip(&own).map(|((source, _), (target, _))| (*source, *target));
        places.insert(*partition, both.collect());
    }
    Ok(places)
}

/// Demands that `kmirror verify` finds so many records identical, and nothing else.
fn expect_verified(mirroring: &Mirroring, records: usize) -> Outcome {
    expect_verified_with(mirroring, records, &[])
}

fn expect_verified_with(mirroring: &Mirroring, records: usize, more: &[&str]) -> Outcome {
    let (code, document) = mirroring.document("verify", more)?;
    let compared = document["report"]["records_compared"].as_u64();
    match code == 0 && document["report"]["identical"] == true && compared == Some(records as u64) {
        true => Ok(()),
        false => fail(format!("{records} identical records expected, exit code {code}: {document:#}")),
    }
}

/// Where a reader goes on that is at an offset of the source: at the next record, or behind the last.
fn expected_offset(places: &Places, partition: i32, source_offset: i64) -> Option<i64> {
    let of_partition = places.get(&partition)?;
    let next = of_partition.iter().find(|(source, _)| *source >= source_offset).map(|(_, target)| *target);
    next.or_else(|| of_partition.last().map(|(_, target)| target + 1))
}
