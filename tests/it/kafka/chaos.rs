//! A schedule of faults against everything at once, and an independent judge of what is left: properties P1 to P7.
//!
//! Two clusters of three brokers, three kinds of producers at work, one mirror. A seed decides what happens next: brokers of
//! either side are killed or stand still, leaders move, connections are cut in the middle of frames or go silent, the mirror
//! is killed. Now and then the mirror is asked to catch up and say so, and its word is checked at once (P6). At the end
//! everything heals, and the mirror that runs then has to catch up by itself (P7). The seed is printed.

use std::collections::{BTreeMap, HashSet};
use std::thread;
use std::time::{Duration, Instant};

use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList, TopicPartitionListElem};

use crate::support::cluster::{Cluster, Options, Pair};
use crate::support::failure::Context;
use crate::support::mirroring::Mirroring;
use crate::support::process::Kmirror;
use crate::support::properties::Evidence;
use crate::support::proxy::Direction;
use crate::support::raw::Bounds;
use crate::support::records::{Acknowledged, Load, Writing};
use crate::support::transaction_load::{TransactionLoad, Work};
use crate::support::{Outcome, fail, wait_for};

const PARTITIONS: i32 = 3;
const TOPICS: [&str; 3] = ["chaos.plain", "chaos.idempotent", "chaos.transactional"];
const RECORDS_PER_SECOND: u32 = 300;
/// A consumer group of the source that has no members there when the mirror is asked.
const GROUP: &str = "chaos-readers";
/// Until the mirror, left alone, has everything: a limit for P7.
const HEALING: Duration = Duration::from_secs(120);

#[test]
fn a_minute_of_faults_leaves_every_property_intact() -> Outcome {
    chaos(Duration::from_secs(45), fastrand::u64(..))
}

#[test]
#[ignore = "long: make nightly"]
fn twenty_minutes_of_faults_leave_every_property_intact() -> Outcome {
    chaos(Duration::from_secs(20 * 60), fastrand::u64(..))
}

/// What can happen. A side is the source or the target.
#[derive(Clone, Copy, Debug)]
enum Fault {
    BrokerKilled,
    BrokerPaused,
    LeaderMoved,
    ConnectionsCut,
    NetworkSilent,
    MirrorKilled,
    /// Not a fault: the mirror has to say when it has caught up, and be right.
    WordTaken,
}

const FAULTS: [Fault; 7] = [
    Fault::BrokerKilled,
    Fault::BrokerPaused,
    Fault::LeaderMoved,
    Fault::ConnectionsCut,
    Fault::NetworkSilent,
    Fault::MirrorKilled,
    Fault::WordTaken,
];

struct Chaos {
    pair: Pair,
    random: fastrand::Rng,
    mirroring: Mirroring,
    mirror: Kmirror,
    started: Instant,
    struck: [usize; FAULTS.len()],
}

fn chaos(duration: Duration, seed: u64) -> Outcome {
    println!("chaos: {} s, seed {seed}", duration.as_secs());
    let options = || Options::default().nodes(3).proxied();
    let pair = Pair::start(options(), options())?;
    for topic in TOPICS {
        pair.source.create_topic(topic, PARTITIONS, &[])?;
    }
    let loads = Loads::start(&pair.source, seed)?;
    let mirroring = Mirroring::of(&pair.source, &pair.target, "chaos", "chaos\\..*").three_streams();
    let mirror = mirroring.start()?;
    let random = fastrand::Rng::with_seed(seed);
    let mut chaos = Chaos { pair, random, mirroring, mirror, started: Instant::now(), struck: [0; FAULTS.len()] };
    let mut round = 0;
    while chaos.started.elapsed() < duration {
        // Each of them at least once, also in the short form; then whatever the seed says.
        let fault = FAULTS.get(round).copied().unwrap_or_else(|| FAULTS[chaos.random.usize(..FAULTS.len())]);
        chaos.strike(fault).context(format!("seed {seed}, {fault:?} in round {round}"))?;
        round += 1;
    }
    chaos.heal()?;
    let evidence = loads.stop(&chaos.pair.source)?;
    println!("{}: {round} rounds {:?}, all healed", chaos.clock(), FAULTS.iter().zip(chaos.struck).collect::<Vec<_>>());
    chaos.expect_alive().context(format!("seed {seed}"))?;
    chaos.judge(evidence).context(format!("seed {seed}"))
}

impl Chaos {
    fn strike(&mut self, fault: Fault) -> Outcome {
        if let Some(status) = self.mirror.exited()? {
            return fail(format!("the mirror ended by itself with {status}:\n{}", self.mirror.stderr()));
        }
        self.struck[fault as usize] += 1;
        let (at_source, node) = (self.random.bool(), self.random.i32(1..=3));
        let what = format!("{}: {fault:?}, {} {node}", self.clock(), if at_source { "source" } else { "target" });
        println!("{what}");
        let for_a_while = Duration::from_millis(self.random.u64(500..4000));
        let cluster = if at_source { &self.pair.source } else { &self.pair.target };
        match fault {
            Fault::BrokerKilled => {
                cluster.kill(node)?;
                thread::sleep(for_a_while);
                cluster.restart(node)?;
            }
            Fault::BrokerPaused => {
                cluster.pause(node)?;
                thread::sleep(for_a_while * 2);
                cluster.resume(node)?;
            }
            Fault::LeaderMoved => move_a_leader(cluster, &mut self.random)?,
            Fault::ConnectionsCut => {
                for _ in 0..5 {
                    let direction = if self.random.bool() { Direction::ToBroker } else { Direction::ToClient };
                    cluster.proxy(self.random.i32(1..=3)).cut_after(direction, self.random.u64(1..20_000));
                    thread::sleep(Duration::from_millis(self.random.u64(50..400)));
                }
            }
            Fault::NetworkSilent => {
                cluster.proxy(node).pause();
                thread::sleep(for_a_while);
                cluster.proxy(node).resume();
            }
            Fault::MirrorKilled => {
                self.mirror.kill9()?;
                thread::sleep(for_a_while / 4);
                self.mirror = self.mirroring.start()?;
            }
            Fault::WordTaken => self.take_its_word()?,
        }
        // Some faults come on top of what the last one has left.
        if self.random.bool() {
            thread::sleep(Duration::from_millis(self.random.u64(0..1500)));
        }
        Ok(())
    }

    /// P6: what the source had when the mirror was asked is at the target when it says that it has caught up.
    fn take_its_word(&mut self) -> Outcome {
        self.mirror.kill9()?;
        self.settle()?;
        let mut wanted = Vec::new();
        for topic in TOPICS {
            wanted.push(told(topic, || self.pair.source.client().stable_bounds(topic))?);
        }
        let committed = self.commit_somewhere(&wanted)?;
        let report = self.mirroring.report()?;
        let copied = told(GROUP, || committed_at(&self.pair.target))?;
        if copied != committed {
            return fail(format!("P5: the group has committed {committed:?} at the source, {copied:?} at the target"));
        }
        for (topic, wanted) in TOPICS.iter().zip(wanted) {
            let reached = told(topic, || self.pair.target.client().bounds(topic))?;
            for (partition, wanted) in wanted {
                let (said, is) = (said_to_be_next(&report, topic, partition), reached[&partition].end);
                if is < wanted.end || said.is_none_or(|said| said > is) {
                    return fail(format!(
                        "P6: it said it had caught up, with {topic}-{partition} at {said:?}, which ends at {is}; the source had {}",
                        wanted.end
                    ));
                }
            }
        }
        self.mirror = self.mirroring.start()?;
        Ok(())
    }

    /// Has the group go on at the source, by any number of offsets in each partition. While no mirror runs it must not go
    /// back: nobody could tell that from a use of the target.
    fn commit_somewhere(&mut self, bounds: &[BTreeMap<i32, Bounds>]) -> Outcome<Committed> {
        let before = told(GROUP, || committed_at(&self.pair.source))?;
        let mut list = TopicPartitionList::new();
        for (topic, bounds) in TOPICS.iter().zip(bounds) {
            for (partition, bounds) in bounds {
                let from = before.get(&((*topic).to_owned(), *partition)).copied().unwrap_or(-1).max(bounds.start);
                let offset = Offset::Offset(self.random.i64(from..=bounds.end));
                list.add_partition_offset(topic, *partition, offset)?;
            }
        }
        let consumer = reader(&self.pair.source)?;
        wait_for("the group commits", HEALING, || Ok(consumer.commit(&list, CommitMode::Sync).ok()))?;
        committed_at(&self.pair.source)
    }

    /// All brokers serve and every partition has a leader, so that bounds can be asked for.
    fn settle(&self) -> Outcome {
        for cluster in [&self.pair.source, &self.pair.target] {
            cluster.wait_ready()?;
            for topic in TOPICS {
                if cluster.client().topics()?.iter().any(|known| known == topic) {
                    cluster.wait_in_sync(topic)?;
                }
            }
        }
        Ok(())
    }

    fn heal(&mut self) -> Outcome {
        for cluster in [&self.pair.source, &self.pair.target] {
            (1..=3).for_each(|node| cluster.proxy(node).resume());
        }
        self.settle()
    }

    /// P7: the mirror that runs reaches the source's end without a restart.
    fn expect_alive(&mut self) -> Outcome {
        for topic in TOPICS {
            let wanted = told(topic, || self.pair.source.client().bounds(topic))?;
            let target = self.pair.target.client();
            let mut last = None;
            let waited = wait_for(&format!("P7: {topic} catches up after the last fault"), HEALING, || {
                last = target.bounds(topic).ok();
                Ok((last.as_ref() == Some(&wanted)).then_some(()))
            });
            waited.context(format!(
                "the source has {wanted:?}, the target {last:?}; the end of what the mirror says:\n{}",
                end_of(&self.mirror.stderr())
            ))?;
        }
        println!("{}: caught up by itself", self.clock());
        self.mirror.kill9()
    }

    /// P1 to P5.
    fn judge(&self, evidence: Vec<(Vec<Acknowledged>, HashSet<u64>)>) -> Outcome {
        let (source, target) = (self.pair.source.direct(), self.pair.target.direct());
        for (topic, (acknowledged, aborted)) in TOPICS.into_iter().zip(evidence) {
            let (told, aborts) = (acknowledged.len(), aborted.len());
            let judged = Evidence::read(topic, &source, &target, acknowledged, aborted)?.expect_kept()?;
            println!("{topic}: {judged} records keep P1 to P5; {told} were acknowledged, {aborts} aborted");
        }
        Ok(())
    }

    fn clock(&self) -> String {
        format!("{:>6.1} s", self.started.elapsed().as_secs_f64())
    }
}

/// What a cluster tells of something, asked again: a leader that has just been elected does not know yet what all replicas have.
fn told<T>(of: &str, ask: impl Fn() -> Outcome<T>) -> Outcome<T> {
    wait_for(&format!("a cluster tells of {of}"), HEALING, || Ok(ask().ok()))
}

type Committed = BTreeMap<(String, i32), i64>;

fn reader(cluster: &Cluster) -> Outcome<BaseConsumer> {
    Ok(ClientConfig::new().set("bootstrap.servers", cluster.direct()).set("group.id", GROUP).create()?)
}

/// What the group has committed there.
fn committed_at(cluster: &Cluster) -> Outcome<Committed> {
    let mut list = TopicPartitionList::new();
    for topic in TOPICS {
        list.add_partition_range(topic, 0, PARTITIONS - 1);
    }
    let committed = reader(cluster)?.committed_offsets(list, Duration::from_secs(20))?;
    let offset = |element: TopicPartitionListElem| {
        ((element.topic().to_owned(), element.partition()), element.offset().to_raw().unwrap_or(-1))
    };
    Ok(committed.elements().into_iter().map(offset).collect())
}

/// The next offset of a partition at the target, as the mirror's status has it.
fn said_to_be_next(report: &serde_json::Value, topic: &str, partition: i32) -> Option<i64> {
    let topics = report["status"]["topics"].as_array()?;
    let partitions = topics.iter().find(|found| found["topic"] == topic)?["partitions"].as_array()?;
    partitions.iter().find(|found| found["partition"] == partition)?["target_offset_next"].as_i64()
}

fn move_a_leader(cluster: &Cluster, random: &mut fastrand::Rng) -> Outcome {
    let topic = TOPICS[random.usize(..TOPICS.len())];
    // The mirror may not have created it yet.
    if !cluster.client().topics()?.iter().any(|known| known == topic) {
        return Ok(());
    }
    cluster.move_leader(topic, random.i32(0..PARTITIONS), random.i32(1..=3))
}

fn end_of(text: &str) -> String {
    let lines: Vec<_> = text.lines().collect();
    lines[lines.len().saturating_sub(30)..].join("\n")
}

/// The producers: one without idempotence, one with, one with transactions. They go past the proxies.
struct Loads {
    plain: Load,
    idempotent: Load,
    transactional: TransactionLoad,
}

impl Loads {
    fn start(source: &Cluster, seed: u64) -> Outcome<Self> {
        let [plain, idempotent] =
            [("lz4", false), ("zstd", true)].map(|(codec, idempotent)| Writing { idempotent, ..Writing::codec(codec) });
        let load = |topic: &str, seed, writing| {
            Load::start(&source.direct(), topic, PARTITIONS, RECORDS_PER_SECOND, seed, writing)
        };
        Ok(Self {
            plain: load(TOPICS[0], seed, &plain)?,
            idempotent: load(TOPICS[1], seed.wrapping_add(1), &idempotent)?,
            transactional: TransactionLoad::start(Work {
                bootstrap: source.direct(),
                topic: TOPICS[2].to_owned(),
                partitions: PARTITIONS,
                seed: seed.wrapping_add(2),
                writing: Writing::codec("snappy"),
                pause: Duration::from_millis(10),
            }),
        })
    }

    /// Per topic: what was acknowledged and, in transactions, committed; hashes of what was aborted.
    fn stop(self, source: &Cluster) -> Outcome<Vec<(Vec<Acknowledged>, HashSet<u64>)>> {
        let flat = |load: Load| -> Outcome<_> { Ok(load.stop()?.into_values().flatten().collect::<Vec<_>>()) };
        let transactional = self.transactional.stop()?;
        let evidence = vec![
            (flat(self.plain)?, HashSet::new()),
            (flat(self.idempotent)?, HashSet::new()),
            (transactional.committed, transactional.aborted),
        ];
        // A transaction whose writer gave it up is aborted by the broker in half a minute.
        wait_for("no transaction is open at the source", Duration::from_secs(120), || {
            let client = source.client();
            let (all, stable) = (client.bounds(TOPICS[2]).ok(), client.stable_bounds(TOPICS[2]).ok());
            Ok((all.is_some() && all == stable).then_some(()))
        })?;
        Ok(evidence)
    }
}
