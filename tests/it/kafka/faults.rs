//! `kill -9` and other faults under load, against real brokers: nothing lost, nothing twice, every offset equal.
//!
//! Each scenario is a number of rounds. In every round the mirror runs for a random moment while something happens to a
//! broker or not, and is then killed without warning; the load never stops. At the end one more run catches up and the
//! ledger compares every record, at both isolation levels, on both sides. The short form runs in every test run, the
//! hundred rounds that are promised run in `make nightly`.

use std::time::Duration;

use crate::support::cluster::{Cluster, Options, Pair, shared, unique};
use crate::support::failure::Context;
use crate::support::mirroring::Mirroring;
use crate::support::process::Kmirror;
use crate::support::records::{Load, Writing};
use crate::support::{Outcome, fail, ledger, wait_for};

const PARTITIONS: i32 = 4;
const RECORDS_PER_SECOND: u32 = 4000;
const PROMISED_ROUNDS: usize = 100;

/// What happens to the clusters in a round, while the mirror runs.
trait Fault {
    fn strike(&mut self, random: &mut fastrand::Rng) -> Outcome;
    /// Undoes what would keep the next round from working.
    fn heal(&mut self) -> Outcome {
        Ok(())
    }
}

/// Nothing but the mirror itself is killed.
struct MirrorOnly;

impl Fault for MirrorOnly {
    fn strike(&mut self, _: &mut fastrand::Rng) -> Outcome {
        Ok(())
    }
}

/// A broker is killed and started again.
struct BrokerKilled<'a> {
    cluster: &'a Cluster,
    down: Option<i32>,
}

impl Fault for BrokerKilled<'_> {
    fn strike(&mut self, random: &mut fastrand::Rng) -> Outcome {
        let node = random.i32(1..=self.cluster.nodes() as i32);
        self.cluster.kill(node)?;
        self.down = Some(node);
        Ok(())
    }

    fn heal(&mut self) -> Outcome {
        match self.down.take() {
            Some(node) => self.cluster.restart(node),
            None => Ok(()),
        }
    }
}

/// Leaders are moved, on both sides.
struct LeadersMoved<'a> {
    pair: &'a Pair,
    topic: &'a str,
}

impl Fault for LeadersMoved<'_> {
    fn strike(&mut self, random: &mut fastrand::Rng) -> Outcome {
        for cluster in [&self.pair.source, &self.pair.target] {
            // The mirror creates the target's topic in the first round, perhaps only after this.
            if cluster.client().topics()?.iter().any(|topic| topic == self.topic) {
                let partition = random.i32(0..PARTITIONS);
                cluster.move_leader(self.topic, partition, random.i32(1..=cluster.nodes() as i32))?;
            }
        }
        Ok(())
    }
}

fn rounds(pair: &Pair, topic: &str, rounds: usize, mut fault: impl Fault) -> Outcome {
    let seed = fastrand::u64(..);
    println!("{topic}: {rounds} rounds, seed {seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let load = Load::start(&pair.source.bootstrap(), topic, PARTITIONS, RECORDS_PER_SECOND, seed, &Writing::default())?;
    let mirroring = Mirroring::pair(pair, topic).three_streams();
    let mut copied = 0;
    for round in 0..rounds {
        let mut mirror = mirroring.start()?;
        // One round in four ends wherever the mirror is then, perhaps in its first steps; the others after it has copied.
        if round % 4 != 3 {
            copied = wait_for_more_than(copied, pair, topic).context(format!("round {round}:\n{}", mirror.stderr()))?;
        }
        pause(&mut random, 0..300);
        fault.strike(&mut random)?;
        pause(&mut random, 0..600);
        if let Some(status) = mirror.exited()? {
            return fail(format!("round {round}: the mirror ended by itself with {status}:\n{}", mirror.stderr()));
        }
        mirror.kill9()?;
        fault.heal()?;
        load.wait_for_more(1)?;
    }
    let written: usize = load.stop()?.values().map(Vec::len).sum();
    finish(pair, topic, &mirroring, written)
}

fn finish(pair: &Pair, topic: &str, mirroring: &Mirroring, written: usize) -> Outcome {
    let mirror: Kmirror = mirroring.catch_up()?;
    let compared = ledger::expect_identical(&pair.source.bootstrap(), &pair.target.bootstrap(), topic, written)?;
    println!(
        "{topic}: {compared} records identical at equal offsets\n{}",
        mirror.stderr().lines().last().unwrap_or("")
    );
    Ok(())
}

/// Waits until the target has more records than that, and returns how many.
fn wait_for_more_than(copied: i64, pair: &Pair, topic: &str) -> Outcome<i64> {
    wait_for("the mirror copies more", Duration::from_secs(90), || {
        let ends = pair.target.client().bounds(topic).map(|bounds| bounds.values().map(|bounds| bounds.end).sum());
        Ok(ends.ok().filter(|now| *now > copied))
    })
}

fn pause(random: &mut fastrand::Rng, milliseconds: std::ops::Range<u64>) {
    std::thread::sleep(Duration::from_millis(random.u64(milliseconds)));
}

fn three_brokers_each() -> Outcome<Pair> {
    Pair::start(Options::default().nodes(3), Options::default().nodes(3))
}

fn mirror_killed(count: usize) -> Outcome {
    let pair = shared()?;
    let topic = unique("mirror-killed");
    pair.source.create_topic(&topic, PARTITIONS, &[])?;
    rounds(pair, &topic, count, MirrorOnly)
}

/// What goes wrong in the scenarios that need three brokers on each side.
#[derive(Clone, Copy)]
enum Scenario {
    TargetBrokerKilled,
    LeadersMoved,
    SourceBrokerKilled,
}

fn play(pair: &Pair, scenario: Scenario, count: usize) -> Outcome {
    let topic = unique(match scenario {
        Scenario::TargetBrokerKilled => "target-broker-killed",
        Scenario::LeadersMoved => "leaders-moved",
        Scenario::SourceBrokerKilled => "source-broker-killed",
    });
    pair.source.create_topic(&topic, PARTITIONS, &[])?;
    match scenario {
        Scenario::TargetBrokerKilled => rounds(pair, &topic, count, BrokerKilled { cluster: &pair.target, down: None }),
        Scenario::LeadersMoved => rounds(pair, &topic, count, LeadersMoved { pair, topic: &topic }),
        Scenario::SourceBrokerKilled => rounds(pair, &topic, count, BrokerKilled { cluster: &pair.source, down: None }),
    }
}

/// A broker that is silent without closing its connections holds up nothing once its partitions have other leaders.
fn silent_broker(pair: &Pair) -> Outcome {
    let topic = unique("silent-broker");
    pair.source.create_topic(&topic, PARTITIONS, &[])?;
    let load = Load::start(&pair.source.bootstrap(), &topic, PARTITIONS, RECORDS_PER_SECOND, 1, &Writing::default())?;
    let mirroring = Mirroring::pair(pair, &topic).three_streams();
    let mut mirror = mirroring.start()?;
    wait_for_more_than(0, pair, &topic)?;
    let node = pair.target.leader_of(&topic, 0)?.unwrap_or(1);
    pair.target.pause(node)?;
    load.wait_for_more(1000)?;
    let written: usize = load.stop()?.values().map(Vec::len).sum();
    let copied = wait_for_more_than(written as i64 - 1, pair, &topic);
    pair.target.resume(node)?;
    copied.context(mirror.stderr())?;
    mirror.kill9()?;
    finish(pair, &topic, &mirroring, written)
}

#[test]
fn the_mirror_is_killed_under_load() -> Outcome {
    mirror_killed(12)
}

#[test]
fn brokers_are_killed_and_leaders_moved_under_load() -> Outcome {
    let pair = three_brokers_each()?;
    for scenario in [Scenario::TargetBrokerKilled, Scenario::LeadersMoved, Scenario::SourceBrokerKilled] {
        play(&pair, scenario, 2)?;
    }
    silent_broker(&pair)
}

#[test]
#[ignore = "long: make nightly"]
fn the_mirror_is_killed_a_hundred_times() -> Outcome {
    mirror_killed(PROMISED_ROUNDS)
}

#[test]
#[ignore = "long: make nightly"]
fn a_target_broker_is_killed_a_hundred_times() -> Outcome {
    play(&three_brokers_each()?, Scenario::TargetBrokerKilled, PROMISED_ROUNDS)
}

#[test]
#[ignore = "long: make nightly"]
fn leaders_are_moved_a_hundred_times() -> Outcome {
    play(&three_brokers_each()?, Scenario::LeadersMoved, PROMISED_ROUNDS)
}

#[test]
#[ignore = "long: make nightly"]
fn a_source_broker_is_killed_a_hundred_times() -> Outcome {
    play(&three_brokers_each()?, Scenario::SourceBrokerKilled, PROMISED_ROUNDS)
}
