//! The same records in batches of one to a thousand, in every codec: kmirror against the rdkafka loop.
//!
//! Passing batches through pays for large ones; for small ones it is the number of requests that counts. Each topic is copied
//! twice by each, the better copy counts: starts and ends weigh more here than in the long run of the throughput part.

use crate::contender::{Contender, Work, kmirror};
use crate::options::Options;
use crate::process::{Company, Process};
use crate::rdkafka_loop;
use crate::report::{Cell, Copy, Run, progress};
use crate::stage::{Ends, LIMIT, LOAD_PARTITIONS, Stage, log_bytes, recreate_topic, write_batches};
use crate::support::cluster::unique;
use crate::support::ledger::{Isolation, Ledger, compare};
use crate::support::{Outcome, fail};

const CONTENDERS: [Contender; 2] = [Contender::Kmirror, Contender::Rdkafka];
const ROUNDS: usize = 2;

pub(crate) fn measure(options: &Options, stage: &Stage) -> Outcome<Vec<Cell>> {
    let mut cells = Vec::new();
    for size in &options.sizes {
        for codec in &options.codecs {
            let cell = Sweep { options, stage, size: *size, codec, topic: format!("bench-sweep-{size}-{codec}") };
            progress(&format!("batches of {size} x {codec}"));
            cells.push(cell.measure()?);
        }
    }
    Ok(cells)
}

/// One batch size in one codec.
struct Sweep<'a> {
    options: &'a Options,
    stage: &'a Stage,
    size: u32,
    codec: &'static str,
    topic: String,
}

impl Sweep<'_> {
    /// Enough for every copy to take longer than its start, and little enough for twenty of them.
    fn records(&self) -> u64 {
        let records = match self.size {
            1 => 100_000,
            2..=20 => 120_000,
            21..=200 => 200_000,
            _ => 240_000,
        };
        if self.options.quick { records / 40 } else { records }
    }

    fn measure(&self) -> Outcome<Cell> {
        let source = &self.stage.pair.source;
        recreate_topic(source, &self.topic, LOAD_PARTITIONS)?;
        write_batches(source, &self.topic, self.records(), self.size, self.codec)?;
        let mut runs: Vec<_> = CONTENDERS
            .into_iter()
            .filter(|contender| self.options.contenders.contains(contender))
            .map(|contender| (contender, Vec::new()))
            .collect();
        for _ in 0..ROUNDS {
            for (contender, runs) in &mut runs {
                runs.push(self.run(*contender)?);
            }
        }
        let cell = Cell {
            batch_records: self.size,
            codec: self.codec,
            records: self.records(),
            log_bytes: log_bytes(source, &self.topic)?,
            copies: runs.iter().map(|(contender, runs)| Copy::of(*contender, runs)).collect(),
        };
        source.client().delete_topic(&self.topic)?;
        self.stage.pair.target.client().delete_topic(&self.topic)?;
        Ok(cell)
    }

    fn run(&self, contender: Contender) -> Outcome<Run> {
        let target = &self.stage.pair.target;
        recreate_topic(target, &self.topic, LOAD_PARTITIONS)?;
        let command = match contender {
            Contender::Kmirror => kmirror(self.options, self.stage, &unique("sweep"), &self.topic, Work::CatchUp),
            _ => rdkafka_loop::command(self.stage, &self.topic, Work::CatchUp, self.codec)?,
        };
        let company = Company::watch(self.stage.brokers())?;
        let used = Process::start(contender.name(), command)?.wait(LIMIT)?;
        let run = Run::new(used, None, company.cores(used)?);
        self.check(contender)?;
        Ok(run)
    }

    /// An incomplete copy is no result, nor is one of kmirror's that differs anywhere.
    fn check(&self, contender: Contender) -> Outcome {
        let target = &self.stage.pair.target;
        let arrived = Ends::of(target)?.records(&self.topic, LOAD_PARTITIONS)?;
        if arrived != self.records() {
            return fail(format!("{} has copied {arrived} of {} records", contender.name(), self.records()));
        }
        if contender == Contender::Kmirror {
            let read = |bootstrap: String| Ledger::read(&bootstrap, &self.topic, Isolation::ReadUncommitted);
            let (source, copy) = (read(self.stage.pair.source.bootstrap())?, read(target.bootstrap())?);
            compare(&source, &copy).expect_identical(usize::try_from(self.records())?)?;
        }
        Ok(())
    }
}
