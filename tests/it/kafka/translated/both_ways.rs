//! Two clusters mirror the same topic to each other under the same name, while both are written to: every record is on each side
//! once, and none comes back.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::expect_verified;
use crate::support::cluster::{Cluster, Pair, shared, unique};
use crate::support::failure::Context;
use crate::support::ledger::{Isolation, Ledger};
use crate::support::mirroring::Mirroring;
use crate::support::records::{Acknowledged, Load, Writing};
use crate::support::{Failure, Outcome, fail, groups, wait_for};

const PARTITIONS: i32 = 3;
const LIMIT: Duration = Duration::from_secs(60);

type Native = BTreeMap<i32, Vec<Acknowledged>>;

/// The records of a side in the order of their offsets: each with its offset, and its number among those that were written
/// here, or among those that came from the other side.
struct Side {
    native: BTreeMap<i32, Vec<i64>>,
    copies: BTreeMap<i32, Vec<i64>>,
}

/// What is on a side: what was written there, and besides exactly what was written on the other one, in its order.
fn expect_side(here: &Cluster, topic: &str, native: &Native, other: &Native) -> Outcome<Side> {
    let ledger = Ledger::read(&here.direct(), topic, Isolation::ReadUncommitted)?;
    let mut side = Side { native: BTreeMap::new(), copies: BTreeMap::new() };
    for (partition, found) in &ledger.partitions {
        let none = Vec::new();
        let native = native.get(partition).unwrap_or(&none);
        let other = other.get(partition).unwrap_or(&none);
        let mut own: BTreeMap<i64, u64> = native.iter().map(|record| (record.offset, record.hash)).collect();
        let mut copies = Vec::new();
        for (offset, record) in &found.records {
            match own.remove(offset) {
                Some(hash) if hash == record.hash => side.native.entry(*partition).or_default().push(*offset),
                Some(_) => return fail(format!("{topic}-{partition}: offset {offset} is not what was written there")),
                None => copies.push((*offset, record.hash)),
            }
        }
        if !own.is_empty() {
            return fail(format!("{topic}-{partition}: {} records are gone", own.len()));
        }
        let wanted: Vec<u64> = other.iter().map(|record| record.hash).collect();
        let got: Vec<u64> = copies.iter().map(|(_, hash)| *hash).collect();
        if wanted != got {
            let first = wanted.iter().zip(&got).position(|(wanted, got)| wanted != got);
            return fail(format!(
                "{topic}-{partition}: {} records were written on the other side, {} came, the first difference at {first:?}",
                wanted.len(),
                got.len()
            ));
        }
        side.copies.insert(*partition, copies.into_iter().map(|(offset, _)| offset).collect());
    }
    Ok(side)
}

/// Both mirrors, the first from the source to the target.
fn mirrors(pair: &Pair, topic: &str) -> [Mirroring; 2] {
    let there = Mirroring::of(&pair.source, &pair.target, &format!("{topic}-there"), topic);
    let back = Mirroring::of(&pair.target, &pair.source, &format!("{topic}-back"), topic);
    [there, back].map(|mirroring| mirroring.set("offsets=translate"))
}

/// The records of a side in a partition that a reader at an offset has still before it, as numbers of those written at the source and at
/// the target.
fn ahead_of(offsets: (&[i64], &[i64]), reader: i64) -> (usize, usize) {
    let before = |offsets: &[i64]| offsets.iter().filter(|offset| **offset < reader).count();
    (before(offsets.0), before(offsets.1))
}

fn both_ways(duration: Duration, kills: bool) -> Outcome {
    let (pair, topic) = (shared()?, unique("both-ways"));
    let seed = fastrand::u64(..);
    println!("{topic}: {duration:?}, seed {seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    for cluster in [&pair.source, &pair.target] {
        cluster.create_topic(&topic, PARTITIONS, &[])?;
    }
    // Each producer of one side is new to the other mirror; one of them has no producer id at all.
    let plain = Writing { idempotent: false, ..Writing::codec("lz4") };
    let load = |cluster: &Cluster, seed, writing: &Writing| {
        Load::start(&cluster.bootstrap(), &topic, PARTITIONS, 200, seed, writing)
    };
    let loads = [load(&pair.source, seed, &Writing::codec("zstd"))?, load(&pair.target, seed ^ 7, &plain)?];
    loads.iter().try_for_each(|load| load.wait_for_more(20))?;
    let mirrorings = mirrors(pair, &topic);
    let mut running = Vec::new();
    for mirroring in &mirrorings {
        running.push(mirroring.start()?);
    }
    let end = Instant::now() + duration;
    while Instant::now() < end {
        std::thread::sleep(Duration::from_millis(random.u64(500..4000)));
        for (mirror, mirroring) in running.iter_mut().zip(&mirrorings) {
            if let Some(status) = mirror.exited()? {
                return fail(format!("a mirror ended by itself with {status}:\n{}", mirror.stderr()));
            }
            if kills && random.bool() {
                mirror.kill9()?;
                *mirror = mirroring.start()?;
            }
        }
    }
    let [source_native, target_native] = loads.map(Load::stop);
    let (source_native, target_native) = (source_native?, target_native?);
    let count = |native: &Native| native.values().map(Vec::len).sum::<usize>();
    let all = (count(&source_native) + count(&target_native)) as i64;
    let logs = || running.iter().map(|mirror| mirror.stderr()).collect::<Vec<_>>().join("\n--\n");
    let level = wait_for("both sides have all records", LIMIT, || {
        let ended = |cluster: &Cluster| -> Outcome<i64> {
            Ok(cluster.client().bounds(&topic)?.values().map(|bounds| bounds.end).sum())
        };
        Ok((ended(&pair.source)? >= all && ended(&pair.target)? >= all).then_some(()))
    });
    level.map_err(|error| Failure(format!("{error}\n{}", logs())))?;
    // Whatever would come back has time to.
    std::thread::sleep(Duration::from_secs(3));
    let at_source = expect_side(&pair.source, &topic, &source_native, &target_native)?;
    let at_target = expect_side(&pair.target, &topic, &target_native, &source_native)?;
    expect_verified(&mirrorings[0], count(&source_native))?;
    expect_verified(&mirrorings[1], count(&target_native))?;
    let moved = groups_move(pair, &topic, &at_source, &at_target, &mut random);
    let offsets = moved.map_err(|error| Failure(format!("{error}\n{}", logs())))?;
    println!("{topic}: {all} records once on each side, {offsets} offsets of groups that skip nothing");
    for mut mirror in running {
        mirror.kill9()?;
    }
    Ok(())
}

/// A group that goes over skips nothing that it has not read, from wherever it was written.
fn groups_move(
    pair: &Pair,
    topic: &str,
    at_source: &Side,
    at_target: &Side,
    random: &mut fastrand::Rng,
) -> Outcome<usize> {
    let (mut offsets, mut last) = (0, (0, 0));
    for (partition, bounds) in pair.source.client().bounds(topic)? {
        for number in 0..10 {
            let group = format!("{topic}-{partition}-{number}");
            let reader = if number == 0 { bounds.end } else { random.i64(0..=bounds.end) };
            groups::commit(&pair.source, &group, &[(topic, partition, reader)])?;
            let of = |side: &BTreeMap<i32, Vec<i64>>| side.get(&partition).cloned().unwrap_or_default();
            let read = ahead_of((&of(&at_source.native), &of(&at_source.copies)), reader);
            let come_over = wait_for("the group has come over", LIMIT, || {
                let Some(moved) = groups::offset(&pair.target, &group, topic, partition)? else { return Ok(None) };
                let skipped = ahead_of((&of(&at_target.copies), &of(&at_target.native)), moved);
                if skipped.0 > read.0 || skipped.1 > read.1 {
                    return fail(format!("{group} has read {read:?} at {reader}, and skips {skipped:?} at {moved}"));
                }
                last = skipped;
                // One that has read everything has nothing to read again, in the end.
                Ok((number > 0 || skipped == read).then_some(()))
            });
            come_over.context(format!("{group} has read {read:?} at {reader}, and goes on behind {last:?}"))?;
            offsets += 1;
        }
    }
    Ok(offsets)
}

#[test]
fn two_clusters_mirror_each_other_and_nothing_echoes() -> Outcome {
    both_ways(Duration::from_secs(15), true)
}

#[test]
#[ignore = "long: make nightly"]
fn two_clusters_mirror_each_other_for_five_minutes() -> Outcome {
    both_ways(Duration::from_secs(300), false)?;
    both_ways(Duration::from_secs(120), true)
}
