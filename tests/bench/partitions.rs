//! Thousands of partitions, kmirror alone: how long a start takes, and what standing by costs.
//!
//! Every partition has a record more than the target at each start, so that "caught up" means a copy was made in each.
//! The first start has to create the topics (most of that time is the brokers'), the second finds them.

use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};

use crate::contender::{Work, kmirror};
use crate::options::Options;
use crate::process::{Company, Process, Used};
use crate::report::{Partitions, progress};
use crate::stage::{Ends, LIMIT, Stage, send};
use crate::support::{Outcome, fail, wait_for};

const PER_TOPIC: i32 = 100;
const NAME: &str = "bench-many";
const TOPICS: &str = r"bench-many\..*";

pub(crate) fn measure(options: &Options, stage: &Stage) -> Outcome<Partitions> {
    let many =
        Many { options, stage, topics: (0..options.many_topics).map(|topic| format!("{NAME}.{topic}")).collect() };
    progress(&format!("creating {} partitions at the source", many.partitions()));
    for topic in &many.topics {
        stage.pair.source.create_topic(topic, PER_TOPIC, &[])?;
    }
    progress("start that creates the topics");
    let creating = many.catch_up(1)?;
    progress("start that finds the topics");
    let starting = many.catch_up(2)?;
    progress("standing by");
    let (idle, others_cores) = many.stand_by()?;
    Ok(Partitions {
        topics: many.topics.len(),
        partitions: many.partitions(),
        start_creating_seconds: creating.wall_seconds,
        start_creating_cpu_seconds: creating.cpu_seconds,
        start_existing_seconds: starting.wall_seconds,
        start_existing_cpu_seconds: starting.cpu_seconds,
        idle_seconds: options.idle_seconds,
        idle_cpu_percent: idle.cpu_seconds / idle.wall_seconds * 100.0,
        peak_bytes: [creating, starting, idle].map(|used| used.peak_bytes).into_iter().max().unwrap_or(0),
        others_cores,
    })
}

struct Many<'a> {
    options: &'a Options,
    stage: &'a Stage,
    topics: Vec<String>,
}

impl Many<'_> {
    fn partitions(&self) -> usize {
        self.topics.len() * PER_TOPIC.unsigned_abs() as usize
    }

    /// Adds a record to every partition and has a new process copy them; every partition then has `expected`.
    fn catch_up(&self, expected: u64) -> Outcome<Used> {
        self.write_everywhere()?;
        let command = kmirror(self.options, self.stage, NAME, TOPICS, Work::CatchUp);
        let used = Process::start(NAME, command)?.wait(LIMIT)?;
        let mut ends = Ends::of(&self.stage.pair.target)?;
        for topic in &self.topics {
            let arrived = ends.records(topic, PER_TOPIC)?;
            if arrived != expected * u64::from(PER_TOPIC.unsigned_abs()) {
                return fail(format!("{topic} has {arrived} records, {expected} in each partition were due"));
            }
        }
        Ok(used)
    }

    /// What a mirror uses while nothing is written, once it follows.
    fn stand_by(&self) -> Outcome<(Used, f64)> {
        let mut process = Process::start(NAME, kmirror(self.options, self.stage, NAME, TOPICS, Work::Follow))?;
        self.write(&self.topics[..1])?;
        let mut ends = Ends::of(&self.stage.pair.target)?;
        wait_for("the mirror follows", LIMIT, || {
            process.look()?;
            Ok((ends.records(&self.topics[0], PER_TOPIC)? == 3 * u64::from(PER_TOPIC.unsigned_abs())).then_some(()))
        })?;
        // What a start leaves to do is no standing by.
        std::thread::sleep(Duration::from_secs(2));
        let company = Company::watch(self.stage.brokers())?;
        let before = process.look()?;
        std::thread::sleep(Duration::from_secs(self.options.idle_seconds));
        let mut used = process.look()?;
        used.cpu_seconds -= before.cpu_seconds;
        used.wall_seconds -= before.wall_seconds;
        let others_cores = company.cores(used)?;
        Ok((used, others_cores))
    }

    fn write_everywhere(&self) -> Outcome {
        self.write(&self.topics)
    }

    fn write(&self, topics: &[String]) -> Outcome {
        let producer: BaseProducer = ClientConfig::new()
            .set("bootstrap.servers", self.stage.pair.source.bootstrap())
            .set("acks", "all")
            .set("linger.ms", "50")
            .create()?;
        for topic in topics {
            for partition in 0..PER_TOPIC {
                send(&producer, BaseRecord::to(topic).partition(partition).payload(&b"one more"[..]))?;
            }
        }
        Ok(producer.flush(LIMIT)?)
    }
}
