//! `kill -9` of kmirror while it fills holes and prefixes: nothing lost, nothing twice, every offset equal, every round resumed.
//!
//! The source never stops making holes (transactions of a few records, a third of them aborted) and, in each round, gets a
//! topic or two that begin far from 0. The mirror is killed wherever it is then: in a fill, in the middle of a prefix,
//! between a prefix and its removal. At the end one more run catches up, and the ledger compares every topic.

use std::time::Duration;

use crate::support::cluster::{Cluster, Pair, shared, unique};
use crate::support::failure::Context;
use crate::support::hand_made::{self, SKIP_BYTES};
use crate::support::ledger::{self, Isolation, Ledger};
use crate::support::mirroring::Mirroring;
use crate::support::process::Kmirror;
use crate::support::records::{Generator, Record, Writing, produce};
use crate::support::transaction_load::{TransactionLoad, Work};
use crate::support::transactions::{End, Transactions};
use crate::support::{Outcome, fail, wait_for};

const PARTITIONS: i32 = 3;
const PROMISED_ROUNDS: usize = 200;
const LIMIT: Duration = Duration::from_secs(90);
/// Filler of a prefix: more than one batch of it, so that a kill can find it half done.
const PREFIX: std::ops::Range<usize> = 50_000..1_500_000;
/// After the prefix.
const RECORDS: usize = 100;
/// Of markers in one go, now and then.
const HOLE: std::ops::Range<usize> = 100..6_000;

struct Rounds<'a> {
    pair: &'a Pair,
    name: String,
    holes: String,
    prefixes: Vec<String>,
    random: fastrand::Rng,
}

impl Rounds<'_> {
    fn play(&mut self, count: usize) -> Outcome {
        self.pair.source.create_topic(&self.holes, PARTITIONS, &[])?;
        let load = TransactionLoad::start(Work {
            bootstrap: self.pair.source.bootstrap(),
            topic: self.holes.clone(),
            partitions: PARTITIONS,
            seed: self.random.u64(..),
            writing: Writing::codec("lz4"),
            pause: Duration::from_millis(20),
        });
        let topics = format!("{}\\..*", self.name);
        let mirroring = Mirroring::of(&self.pair.source, &self.pair.target, &self.name, &topics).three_streams();
        let mut kills = 0;
        for round in 0..count {
            self.prepare(round)?;
            // Now and then it is killed in its start as well; what that leaves has to be resumed from, too.
            let ends: &[bool] = if round % 4 == 3 { &[false, true] } else { &[true] };
            for resumes in ends {
                let mut mirror = mirroring.start()?;
                let killed = self.one(&mut mirror, *resumes);
                killed.context(format!("round {round}:\n{}", mirror.stderr()))?;
                kills += 1;
            }
            load.wait_for_more(1)?;
        }
        let outcomes = load.stop()?;
        if !outcomes.unknown.is_empty() {
            return fail("no transaction of a healthy source ends in doubt");
        }
        mirroring.catch_up()?;
        self.compare(outcomes.committed.len())?;
        println!("{}: {kills} kills, and in each of {count} rounds it was seen to resume", self.name);
        Ok(())
    }

    /// More for the mirror to fill: a topic with a prefix, and sometimes a hole that takes a while.
    fn prepare(&mut self, round: usize) -> Outcome {
        let topic = format!("{}.prefix-{round}", self.name);
        // A segment for each batch, so that what is deleted does not stay on the disk.
        let small = [("max.message.bytes", SKIP_BYTES), ("segment.bytes", SKIP_BYTES)];
        let compacted = [("cleanup.policy", "compact,delete"), ("min.compaction.lag.ms", "9223372036854775807")];
        let configs = [&small[..], if round.is_multiple_of(2) { &compacted } else { &[] }].concat();
        self.pair.source.create_topic(&topic, 1, &configs)?;
        let (client, start) = (self.pair.source.client(), self.random.usize(PREFIX));
        hand_made::skip(&client, &topic, 0, start)?;
        let records = Generator::new(round as u64)
            .take(RECORDS)
            .map(|record| Record { key: Some(record.key.unwrap_or_default()), ..record });
        produce(&self.pair.source.bootstrap(), &topic, 0, records, &Writing::codec("zstd"))?;
        client.delete_records(&topic, 0, i64::try_from(start)?)?;
        self.prefixes.push(topic);
        if self.random.u8(..3) == 0 {
            let (partition, count) = (self.random.i32(0..PARTITIONS), self.random.usize(HOLE));
            let producer_id = (1 << 40) + round as i64;
            // The load writes there too, so the log end cannot tell how many were written.
            hand_made::send_markers(&client, &self.holes, partition, producer_id, count)?;
        }
        Ok(())
    }

    /// Kills it: once it has gone on from where the one before was killed, or wherever it is.
    fn one(&mut self, mirror: &mut Kmirror, resumes: bool) -> Outcome {
        let before = self.copied();
        if resumes {
            wait_for("the mirror goes on", LIMIT, || {
                if let Some(status) = mirror.exited()? {
                    return fail(format!("the mirror ended by itself with {status}"));
                }
                Ok((self.copied() > before).then_some(()))
            })?;
        }
        std::thread::sleep(Duration::from_millis(self.random.u64(0..900)));
        if let Some(status) = mirror.exited()? {
            return fail(format!("the mirror ended by itself with {status}"));
        }
        mirror.kill9()
    }

    /// Offsets the target has of the topic that never rests.
    fn copied(&self) -> i64 {
        let bounds = self.pair.target.client().bounds(&self.holes);
        bounds.map(|bounds| bounds.values().map(|bounds| bounds.end).sum()).unwrap_or(0)
    }

    fn compare(&self, committed: usize) -> Outcome {
        let mut compared = 0;
        for topic in self.prefixes.iter().chain([&self.holes]) {
            let read = |bootstrap: String, isolation| Ledger::read(&bootstrap, topic, isolation);
            let source = read(self.pair.source.bootstrap(), Isolation::ReadCommitted)?;
            for isolation in [Isolation::ReadCommitted, Isolation::ReadUncommitted] {
                let target = read(self.pair.target.bootstrap(), isolation)?;
                let least = if *topic == self.holes { committed } else { RECORDS };
                let report = ledger::compare(&source, &target);
                report.expect_identical(least).context(format!("{topic}, at the target {isolation:?}"))?;
                compared = compared.max(report.identical);
            }
        }
        let holes = self.copied() - committed as i64;
        println!("{}: {committed} records, {holes} holes, {} prefixes identical", self.name, self.prefixes.len());
        Ok(())
    }
}

fn killed_while_filling(count: usize) -> Outcome {
    let name = unique("filling");
    let seed = fastrand::u64(..);
    println!("{name}: {count} rounds, seed {seed}");
    let holes = format!("{name}.holes");
    let random = fastrand::Rng::with_seed(seed);
    Rounds { pair: shared()?, name, holes, prefixes: Vec::new(), random }.play(count)
}

#[test]
fn the_mirror_is_killed_while_it_fills_holes_and_prefixes() -> Outcome {
    killed_while_filling(8)
}

#[test]
#[ignore = "long: make nightly"]
fn the_mirror_is_killed_two_hundred_times_while_it_fills() -> Outcome {
    killed_while_filling(PROMISED_ROUNDS)
}

/// The source of the rounds is what it is meant to be: seen without any mirror.
#[test]
fn the_load_of_transactions_tells_what_became_of_each_record() -> Outcome {
    let pair = shared()?;
    let topic = unique("transaction-load");
    pair.source.create_topic(&topic, PARTITIONS, &[])?;
    let load = TransactionLoad::start(Work {
        bootstrap: pair.source.bootstrap(),
        topic: topic.clone(),
        partitions: PARTITIONS,
        seed: 4,
        writing: Writing::default(),
        pause: Duration::ZERO,
    });
    load.wait_for_more(20)?;
    let outcomes = load.stop()?;
    let all = Ledger::read(&pair.source.bootstrap(), &topic, Isolation::ReadUncommitted)?;
    let committed = Ledger::read(&pair.source.bootstrap(), &topic, Isolation::ReadCommitted)?;
    assert_eq!(committed.count(), outcomes.committed.len());
    assert_eq!(all.count(), outcomes.committed.len() + outcomes.aborted.len());
    assert!(!outcomes.aborted.is_empty() && outcomes.unknown.is_empty());
    for record in &outcomes.committed {
        assert!(committed.holds(record.partition, record.offset, record.hash), "{record:?}");
    }
    Ok(())
}

/// An aborted transaction is a hole for readers of what is committed.
#[test]
#[ignore = "long: make nightly"]
fn a_hole_that_takes_long_is_told_of_and_a_stop_does_not_wait_for_it() -> Outcome {
    const ABORTED: usize = 1_400_000;
    let pair = shared()?;
    let topic = unique("long-hole");
    pair.source.create_topic(&topic, 1, &[])?;
    let write =
        |seed: u64| produce(&pair.source.bootstrap(), &topic, 0, Generator::new(seed).take(40), &Writing::default());
    write(1)?;
    let aborted = Transactions::open(&pair.source.bootstrap(), &Writing::default())?;
    let tiny = Record { key: None, value: None, headers: Vec::new(), timestamp: 1_700_000_000_000 };
    aborted.write(&topic, 0, std::iter::repeat_n(tiny, ABORTED), End::Abort)?;
    write(2)?;
    let mirroring = Mirroring::pair(pair, &topic);
    let mut mirror = mirroring.start()?;
    let end = || pair.target.client().offset_at(&topic, 0, -1);
    wait_for("the hole is told of", LIMIT, || Ok(mirror.stderr().contains("a hole of").then_some(())))
        .context(mirror.stderr())?;
    wait_for("it is being filled", LIMIT, || Ok((end()? > 50_000).then_some(()))).context(mirror.stderr())?;
    let (before, started) = (end()?, std::time::Instant::now());
    mirror.signal(nix::sys::signal::Signal::SIGTERM)?;
    mirror.wait(LIMIT)?;
    let (after, took) = (end()?, started.elapsed());
    println!("stopped in {took:.1?}, {} markers after the signal", after - before);
    // What is under way is waited for, and no more is asked for.
    assert!(after - before <= 60_000, "{before} {after}: {}", mirror.stderr());
    let started = std::time::Instant::now();
    mirroring.catch_up()?;
    let per_second = (end()? - after) as f64 / started.elapsed().as_secs_f64();
    println!("{per_second:.0} markers a second");
    let read = |cluster: &Cluster| Ledger::read(&cluster.bootstrap(), &topic, Isolation::ReadCommitted);
    let (source, target) = (read(&pair.source)?, read(&pair.target)?);
    assert!(
        source.partitions[&0].records.len() == 80 && source.partitions[&0].records == target.partitions[&0].records
    );
    Ok(())
}
