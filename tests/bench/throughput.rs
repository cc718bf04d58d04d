//! Copies a topic of compressed records once per contender and round: CPU, wall time, memory, and whether all arrived.
//!
//! Rounds go round among the contenders instead of repeating each, so that a change of the machine hits all of them, and every
//! other round goes backwards: who comes first pays for brokers that have just done something else.
//! MirrorMaker 2 runs once, last; it never ends by itself, so it is watched and killed when the copy is complete, and
//! what it used before its first record arrived (the start of a JVM and of a Connect worker) is told apart.

use std::time::{Duration, Instant};

use crate::contender::{Contender, Work};
use crate::options::Options;
use crate::process::{Company, Process, Used};
use crate::python_copier;
use crate::relay;
use crate::report::{Run, Throughput, Workload, progress};
use crate::stage::{BATCH_BYTES, Ends, LOAD_PARTITIONS, RECORD_BYTES, Stage};
use crate::stage::{fresh_topic, log_bytes, remove_topic, write_load};
use crate::support::ledger::{Isolation, Ledger, compare};
use crate::support::{Outcome, fail};

const TOPIC: &str = "bench-load";
/// Hang limits.
const LIMIT: Duration = Duration::from_secs(600);
const START_LIMIT: Duration = Duration::from_secs(180);

pub(crate) fn measure(options: &Options, stage: &Stage, workload: &mut Option<Workload>) -> Outcome<Vec<Throughput>> {
    progress(&format!("writing {} records", options.records));
    fresh_topic(&stage.pair.source, TOPIC, LOAD_PARTITIONS)?;
    write_load(&stage.pair.source, TOPIC, options.records)?;
    let load = Load {
        options,
        stage,
        bytes: log_bytes(&stage.pair.source, TOPIC)?,
        source: Ledger::read(&stage.pair.source.bootstrap(), TOPIC, Isolation::ReadUncommitted)?,
    };
    *workload = Some(Workload {
        records: options.records,
        record_bytes: RECORD_BYTES,
        partitions: LOAD_PARTITIONS,
        batch_bytes: BATCH_BYTES,
        log_bytes: load.bytes,
    });
    if !options.quick {
        progress("warming the brokers up");
        load.run(Contender::Rdkafka)?;
        load.run(options.contenders[0])?;
    }
    let mut measured: Vec<_> = options.contenders.iter().map(|contender| (*contender, Vec::new())).collect();
    for round in 0..options.rounds {
        let mut turns: Vec<_> =
            { measured.iter_mut() }.filter(|(contender, _)| round == 0 || !contender.is_mirror_maker()).collect();
        if round % 2 == 1 {
            turns.reverse();
        }
        for (contender, runs) in turns {
            progress(&format!("{}, round {} of {}", contender.title(), round + 1, options.rounds));
            runs.push(load.run(*contender)?);
        }
    }
    remove_topic(&stage.pair.source, TOPIC)?;
    Ok(measured.into_iter().map(|(contender, runs)| Throughput::of(contender, runs, load.bytes)).collect())
}

struct Load<'a> {
    options: &'a Options,
    stage: &'a Stage,
    bytes: u64,
    source: Ledger,
}

impl Load<'_> {
    fn run(&self, contender: Contender) -> Outcome<Run> {
        let target_topic = contender.target_topic(TOPIC);
        let target = &self.stage.pair.target;
        let relays = contender == Contender::Relay;
        if !relays {
            fresh_topic(target, &target_topic, LOAD_PARTITIONS)?;
        }
        let company = Company::watch(self.stage.brokers())?;
        let (start, used) = match contender {
            Contender::Relay => (None, self.relay()?),
            Contender::MirrorMakerTuned | Contender::MirrorMakerDefaults => self.watch(contender, &target_topic)?,
            Contender::KmirrorPython => {
                let start = Process::start("python-start", python_copier::start_only(self.options)?)?.wait(LIMIT)?;
                let command = contender.command(self.options, self.stage, TOPIC, Work::CatchUp)?;
                (Some(start), Process::start(contender.name(), command)?.wait(LIMIT)?)
            }
            Contender::Kmirror | Contender::KmirrorBefore | Contender::KmirrorC | Contender::Rdkafka => {
                let command = contender.command(self.options, self.stage, TOPIC, Work::CatchUp)?;
                (None, Process::start(contender.name(), command)?.wait(LIMIT)?)
            }
        };
        let others_cores = company.cores(used)?;
        if !relays {
            self.check(contender, &target_topic)?;
            remove_topic(target, &target_topic)?;
        }
        Ok(Run::new(used, start, others_cores))
    }

    fn relay(&self) -> Outcome<Used> {
        let (used, arrived) = relay::run(self.bytes, LIMIT)?;
        match arrived == self.bytes {
            true => Ok(used),
            false => fail(format!("{arrived} of {} bytes came out of the relay", self.bytes)),
        }
    }

    /// Runs a contender that never ends until all has arrived. What it used until the first record arrived, and at all.
    fn watch(&self, contender: Contender, target_topic: &str) -> Outcome<(Option<Used>, Used)> {
        let command = contender.command(self.options, self.stage, TOPIC, Work::CatchUp)?;
        let mut process = Process::start(contender.name(), command)?;
        let mut ends = Ends::of(&self.stage.pair.target)?;
        let began = Instant::now();
        let mut start = None;
        loop {
            let used = process.look()?;
            let arrived = ends.records(target_topic, LOAD_PARTITIONS)?;
            if arrived > 0 && start.is_none() {
                start = Some(used);
            }
            if arrived >= self.options.records {
                return Ok((start, used));
            }
            // A MirrorMaker that cannot start its connectors says so in its log and lives on.
            if began.elapsed() > if start.is_none() { START_LIMIT } else { LIMIT } {
                return process.give_up(&format!("it has copied {arrived} records"));
            }
            // Rarely, as the broker has other work; often enough for the end to be told within a percent.
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// An incomplete copy is no result. kmirror's is compared record by record and offset by offset.
    fn check(&self, contender: Contender, target_topic: &str) -> Outcome {
        let target = &self.stage.pair.target;
        let arrived = Ends::of(target)?.records(target_topic, LOAD_PARTITIONS)?;
        if arrived != self.options.records {
            return fail(format!("{} has copied {arrived} of {} records", contender.name(), self.options.records));
        }
        if contender.is_kmirror() {
            let copy = Ledger::read(&target.bootstrap(), target_topic, Isolation::ReadUncommitted)?;
            compare(&self.source, &copy).expect_identical(usize::try_from(self.options.records)?)?;
        }
        Ok(())
    }
}
