//! Three clusters into one topic, every mirror killed again and again: each record of each source once, in its order; and a chain.
//! What is on the target is told apart by what is in it, and held against what each source shows to a reader.

use std::time::Duration;

use super::expected_offset;
use crate::support::cluster::{Cluster, Options, unique};
use crate::support::failure::Context;
use crate::support::ledger::{Isolation, Ledger};
use crate::support::mirroring::Mirroring;
use crate::support::records::{Load, Writing};
use crate::support::transaction_load::{TransactionLoad, Work};
use crate::support::{Outcome, fail, groups};

const PARTITIONS: i32 = 2;
const SOURCES: usize = 3;

/// Where each source's records are on the target: what is left over of the target belongs to nobody.
fn expect_aggregated(sources: &[Cluster; SOURCES], target: &Cluster, topic: &str) -> Outcome<Vec<super::Places>> {
    let all = Ledger::read(&target.direct(), topic, Isolation::ReadUncommitted)?;
    let mut places = vec![super::Places::new(); SOURCES];
    let mut ledgers = Vec::new();
    for source in sources {
        ledgers.push(Ledger::read(&source.direct(), topic, Isolation::ReadCommitted)?);
    }
    for (partition, found) in &all.partitions {
        let mut next = [0; SOURCES];
        for (offset, record) in &found.records {
            // Records are told apart by what is in them: each source has a seed of its own.
            let is_next = |number: &usize| {
                let of_source = ledgers[*number].partitions.get(partition)?;
                of_source.records.get(next[*number]).filter(|(_, wanted)| wanted.hash == record.hash)
            };
            let Some(number) = (0..SOURCES).find(|number| is_next(number).is_some()) else {
                return fail(format!(
                    "{topic}-{partition}: offset {offset} is no source's next record, after {next:?}"
                ));
            };
            let source_offset = is_next(&number).map_or(-1, |(offset, _)| *offset);
            places[number].entry(*partition).or_default().push((source_offset, *offset));
            next[number] += 1;
        }
        for (number, ledger) in ledgers.iter().enumerate() {
            let wanted = ledger.partitions.get(partition).map_or(0, |partition| partition.records.len());
            if wanted != next[number] {
                return fail(format!("{topic}-{partition}: {} of {wanted} records of source {number}", next[number]));
            }
        }
    }
    Ok(places)
}

fn aggregate(rounds: usize) -> Outcome {
    let topic = unique("aggregated");
    let seed = fastrand::u64(..);
    println!("{topic}: {rounds} rounds, seed {seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let clusters =
        Cluster::start_all([Options::default(), Options::default(), Options::default(), Options::default()])?;
    let [first, second, third, target] = clusters;
    let sources = [first, second, third];
    let mut loads = Vec::new();
    let mut transactions = Vec::new();
    for (number, source) in sources.iter().enumerate() {
        source.create_topic(&topic, PARTITIONS, &[])?;
        let seed = seed.wrapping_add(number as u64 * 101);
        loads.push(Load::start(&source.bootstrap(), &topic, PARTITIONS, 150, seed, &Writing::codec("lz4"))?);
        transactions.push(TransactionLoad::start(Work {
            bootstrap: source.bootstrap(),
            topic: topic.clone(),
            partitions: PARTITIONS,
            seed: seed ^ 0xfeed,
            writing: Writing::codec("zstd"),
            pause: Duration::from_millis(30),
        }));
    }
    let mirroring = |number: usize| {
        let name = format!("{topic}-{number}");
        Mirroring::of(&sources[number], &target, &name, &topic).set("offsets=translate")
    };
    let mut running = Vec::new();
    for number in 0..SOURCES {
        running.push(mirroring(number).start()?);
    }
    for _ in 0..rounds {
        std::thread::sleep(Duration::from_millis(random.u64(300..2500)));
        let number = random.usize(0..SOURCES);
        if let Some(status) = running[number].exited()? {
            return fail(format!("a mirror ended by itself with {status}:\n{}", running[number].stderr()));
        }
        running[number].kill9()?;
        running[number] = mirroring(number).start()?;
    }
    loads.into_iter().try_for_each(|load| load.stop().map(drop))?;
    transactions.into_iter().try_for_each(|load| load.stop().map(drop))?;
    // A group for each source: that of another one would be another offset of the same topic.
    for (number, source) in sources.iter().enumerate() {
        for (partition, bounds) in source.client().bounds(&topic)? {
            let offset = random.i64(bounds.start..=bounds.end);
            groups::commit(source, &format!("{topic}-{number}"), &[(&topic, partition, offset)])?;
        }
    }
    for (number, mirror) in running.iter_mut().enumerate() {
        mirror.kill9()?;
        mirroring(number).catch_up().context(format!("source {number}"))?;
    }
    let places = expect_aggregated(&sources, &target, &topic)?;
    let mut records = 0;
    for (number, source) in sources.iter().enumerate() {
        let group = format!("{topic}-{number}");
        for ((_, partition), (offset, ..)) in groups::committed(source, &group)? {
            let there = groups::offset(&target, &group, &topic, partition)?;
            let expected = expected_offset(&places[number], partition, offset);
            if there != expected {
                return fail(format!("{group}-{partition} at {offset}: {there:?} instead of {expected:?}"));
            }
        }
        records += places[number].values().map(Vec::len).sum::<usize>();
    }
    println!("{topic}: {rounds} kills, {records} records of {SOURCES} sources, each once and in order");
    Ok(())
}

#[test]
fn three_sources_into_one_topic_with_kills() -> Outcome {
    aggregate(8)
}

#[test]
#[ignore = "long: make nightly"]
fn three_sources_into_one_topic_with_a_hundred_kills() -> Outcome {
    aggregate(100)
}
