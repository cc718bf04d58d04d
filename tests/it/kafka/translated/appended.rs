//! One source into a topic that somebody else writes to all the time, with transactions, holes and kills.
//! What is the other's is known by the offsets it was acknowledged; all else has to be the source, in its order and once.

use std::time::Duration;

use super::{expect_appended, expect_verified, expect_verified_with, expected_offset};
use crate::support::cluster::{shared, unique};
use crate::support::failure::Context;
use crate::support::mirroring::Mirroring;
use crate::support::records::{Generator, Load, Writing, produce};
use crate::support::transaction_load::{TransactionLoad, Work};
use crate::support::{Outcome, fail, groups, wait_for};

const PARTITIONS: i32 = 3;

/// A mirror is killed again and again while its source never rests and somebody else writes to its target.
fn killed_beside_another_writer(rounds: usize) -> Outcome {
    let (pair, topic) = (shared()?, unique("appended"));
    let seed = fastrand::u64(..);
    println!("{topic}: {rounds} rounds, seed {seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    pair.source.create_topic(&topic, PARTITIONS, &[])?;
    // Another topic on the target, as a mirror that finds one: with records of others, and more partitions.
    pair.target.create_topic(&topic, PARTITIONS + 1, &[])?;
    let other =
        Load::start(&pair.target.bootstrap(), &topic, PARTITIONS + 1, 300, seed ^ 1, &Writing::codec("snappy"))?;
    other.wait_for_more(50)?;
    let load = TransactionLoad::start(Work {
        bootstrap: pair.source.bootstrap(),
        topic: topic.clone(),
        partitions: PARTITIONS,
        seed,
        writing: Writing::codec("lz4"),
        pause: Duration::from_millis(10),
    });
    load.wait_for_more(5)?;
    let plain = Load::start(&pair.source.bootstrap(), &topic, PARTITIONS, 300, seed ^ 2, &Writing::codec("zstd"))?;
    let mirroring = Mirroring::pair(pair, &topic).set("offsets=translate").set("num.streams=2");
    let replicated = || pair.target.client().producers(&topic, 0).map(|states| states.len());
    for round in 0..rounds {
        let mut mirror = mirroring.start()?;
        if round == 0 {
            wait_for("the mirror has written", Duration::from_secs(60), || Ok((replicated()? > 1).then_some(())))?;
        }
        std::thread::sleep(Duration::from_millis(random.u64(0..3000)));
        if let Some(status) = mirror.exited()? {
            return fail(format!("the mirror ended by itself with {status}:\n{}", mirror.stderr()));
        }
        mirror.kill9()?;
        load.wait_for_more(1)?;
    }
    let committed = load.stop()?.committed.len() + plain.stop()?.values().map(Vec::len).sum::<usize>();
    // In the middle, at the end, at the beginning, and in a hole as likely as not.
    let ends = pair.source.client().bounds(&topic)?;
    let mut wanted = Vec::new();
    for (partition, bounds) in &ends {
        for group in 0..20 {
            let offset = if group == 0 { bounds.end } else { random.i64(bounds.start..=bounds.end) };
            let name = format!("{topic}-{group}");
            groups::commit(&pair.source, &name, &[(&topic, *partition, offset)])?;
            wanted.push((name, *partition, offset));
        }
    }
    mirroring.catch_up()?;
    let others = other.stop()?;
    let places = expect_appended((&pair.source, &topic), (&pair.target, &topic), &others)?;
    let copied: usize = places.values().map(Vec::len).sum();
    if copied != committed {
        return fail(format!("{copied} records are copied, {committed} were committed"));
    }
    expect_verified(&mirroring, committed)?;
    // What was written by others behind the last record is theirs: a group at the end stands before it.
    for (group, partition, offset) in &wanted {
        let there = groups::offset(&pair.target, group, &topic, *partition)?;
        if there != expected_offset(&places, *partition, *offset) {
            let expected = expected_offset(&places, *partition, *offset);
            return fail(format!("{group}-{partition} at {offset}: {there:?} instead of {expected:?}"));
        }
    }
    println!("{topic}: {copied} records once each beside those of others, {} offsets of groups exact", wanted.len());
    Ok(())
}

#[test]
fn a_mirror_is_killed_beside_another_writer() -> Outcome {
    killed_beside_another_writer(8)
}

#[test]
#[ignore = "long: make nightly"]
fn a_mirror_is_killed_a_hundred_times_beside_another_writer() -> Outcome {
    killed_beside_another_writer(100)
}

/// A start that is not the beginning, and a target that has forgotten the mirror: old records are forgotten at once.
#[test]
fn a_start_at_the_end_and_one_by_time_leave_out_what_came_before() -> Outcome {
    let pair = shared()?;
    for (start, skipped) in [("latest", 30), ("1700000000010", 10)] {
        let topic = unique("appended-from");
        pair.source.create_topic(&topic, 1, &[])?;
        let at = |number: usize| 1_700_000_000_000 + number as i64;
        let dated = |range: std::ops::Range<usize>| {
            let records = Generator::new(3).skip(range.start).take(range.len());
            range.zip(records).map(move |(number, mut record)| {
                record.timestamp = at(number);
                record
            })
        };
        let write = |range| produce(&pair.source.bootstrap(), &topic, 0, dated(range), &Writing::default());
        write(0..30)?;
        let mirroring = Mirroring::pair(pair, &topic).set("offsets=translate").set(&format!("start={start}"));
        mirroring.catch_up()?;
        write(30..50)?;
        mirroring.catch_up()?;
        // What was left out is not on the target, which has to be allowed.
        assert_eq!(mirroring.document("verify", &[])?.0, 6, "{start}");
        expect_verified_with(&mirroring, 50 - skipped as usize, &["--allow-expired"])?;
        let bounds = pair.target.client().bounds(&topic)?;
        assert_eq!(bounds[&0].end, 50 - skipped, "{start}");
        // What was left out is not there: the source without it is what has to be found.
        pair.source.client().delete_records(&topic, 0, skipped)?;
        let context = format!("start={start}");
        expect_appended((&pair.source, &topic), (&pair.target, &topic), &Default::default()).context(context)?;
    }
    Ok(())
}
