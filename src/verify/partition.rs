//! Verifies one partition: reads both sides as the comparison asks for them, waits for a target that is behind, and counts
//! what has expired on one side.

use std::time::Duration;

use tokio::time::Instant;

use super::batches::Batch;
use super::compare::{Comparison, Need};
use super::plan::{Log, Planned};
use super::reading::Reader;
use super::records::Records;
use super::report::VerifiedPartition;
use super::sample::{self, Sample};
use super::superseded::{Lacking, Superseded};
use super::tally::Tally;
use super::{Counters, VerifyOptions};
use crate::config::{Config, Side};
use crate::error::Result;
use crate::wire::cluster::Cluster;

/// How often a target that is behind is asked how far it is.
const TARGET_PAUSE: Duration = Duration::from_millis(100);

/// What everybody needs who verifies a partition.
pub struct Work<'a> {
    /// How to read.
    pub config: &'a Config,
    /// What to compare.
    pub options: &'a VerifyOptions,
    /// The source.
    pub source: Cluster,
    /// The target.
    pub target: Cluster,
    /// How many read at the same time, both sides together.
    pub readers: usize,
    /// Until when a target that is behind is waited for.
    pub patience: Instant,
    /// The seed of samples.
    pub seed: u64,
    /// Where the progress is told.
    pub counters: &'a Counters,
}

/// What came of one partition.
pub struct Verified {
    /// Its bounds and counts.
    pub details: VerifiedPartition,
    /// What was found.
    pub tally: Tally,
    /// Why it was not compared to its end.
    pub error: Option<crate::Error>,
}

struct Partition<'a> {
    work: &'a Work<'a>,
    source: Log,
    target: Log,
    source_reader: Reader<'a>,
    target_reader: Reader<'a>,
    /// Up to where the target was compared.
    reached: i64,
}

/// Verifies a partition.
pub async fn verify(planned: &Planned, work: &Work<'_>) -> Verified {
    let mut tally = Tally::new(work.options.max_differences);
    let (source, target) = (planned.source.unwrap_or_default(), planned.target.unwrap_or_default());
    let mut reached = source.end.min(target.end);
    let mut error = None;
    if planned.target.is_none() {
        tally.missing_partition(source.start, source.end);
    } else {
        let reader = |cluster, side| {
            let topic = if side == Side::Source { &planned.topic } else { &planned.target_topic };
            let lens = planned.lens.clone();
            Reader::new(cluster, side, (topic, planned.partition), lens, work.config, work.readers)
        };
        let mut partition = Partition {
            work,
            source,
            target,
            source_reader: reader(&work.source, Side::Source),
            target_reader: reader(&work.target, Side::Target),
            reached,
        };
        error = partition.compare(planned.compacts, &mut tally).await.err();
        reached = partition.reached;
    }
    for difference in &mut tally.differences {
        difference.topic.clone_from(&planned.topic);
        difference.partition = planned.partition;
    }
    let details = VerifiedPartition {
        topic: planned.topic.clone(),
        partition: planned.partition,
        source_offset_start: source.start,
        source_offset_end: source.end,
        target_offset_start: target.start,
        target_offset_end: reached,
        records_compared: tally.records_compared,
        counts: tally.counts,
    };
    Verified { details, tally, error }
}

impl Partition<'_> {
    async fn compare(&mut self, compacts: [bool; 2], tally: &mut Tally) -> Result<()> {
        let Log { start, end, high_watermark } = self.source;
        let count = |from: i64, to: i64| to.saturating_sub(from).max(0) as u64;
        tally.counts.expired_on_target += count(start, self.target.start.min(end));
        tally.counts.expired_on_source += count(self.target.start, start.min(self.target.end));
        if self.target.high_watermark > high_watermark {
            tally.beyond_source_end(high_watermark, self.target.high_watermark);
        }
        let mut superseded = Superseded::new(compacts);
        let compared = match self.work.options.sample {
            Sample::Full => self.compare_all(tally, &mut superseded).await,
            sample => self.compare_sample(sample, tally, &mut superseded).await,
        };
        let complete = compared.is_ok() && self.work.options.sample == Sample::Full;
        let compared = match complete {
            true => self.look_for_successors(tally, &mut superseded).await,
            false => compared,
        };
        superseded.finish(complete && compared.is_ok(), tally);
        if compared.is_ok() {
            tally.counts.not_yet_replicated += count(self.reached.max(start), end);
        }
        compared
    }

    fn from(&self) -> i64 {
        self.source.start.max(self.target.start)
    }

    async fn compare_all(&mut self, tally: &mut Tally, superseded: &mut Superseded) -> Result<()> {
        let mut comparison = Comparison::new(self.from(), tally, superseded);
        loop {
            self.drive(&mut comparison, self.reached).await?;
            if !self.wait_for_more().await? {
                return Ok(());
            }
        }
    }

    /// Waits until the target has more of what is to be compared; `false` if it has it all, or nothing more in time.
    async fn wait_for_more(&mut self) -> Result<bool> {
        while self.reached < self.source.end {
            let end = self.target_reader.end().await?.min(self.source.end);
            if end > self.reached {
                self.reached = end;
                return Ok(true);
            }
            if Instant::now() > self.work.patience {
                return Ok(false);
            }
            tokio::time::sleep(TARGET_PAUSE).await;
        }
        Ok(false)
    }

    async fn compare_sample(&mut self, sample: Sample, tally: &mut Tally, superseded: &mut Superseded) -> Result<()> {
        while self.wait_for_more().await? {}
        for stretch in sample::stretches(sample, self.from()..self.reached, self.work.seed) {
            let mut comparison = Comparison::new(stretch.start, tally, superseded);
            self.drive(&mut comparison, stretch.end).await?;
        }
        Ok(())
    }

    async fn drive(&mut self, comparison: &mut Comparison<'_>, to: i64) -> Result<()> {
        comparison.extend(to);
        loop {
            let before = comparison.tally().shown();
            let need = comparison.run();
            self.work.counters.add(before, comparison.tally().shown());
            let more = match need {
                Ok(Need::Nothing) => return Ok(()),
                Ok(Need::More { source, target }) => (source, target),
                Err((Side::Source, malformed)) => return Err(self.source_reader.undecodable(&malformed)),
                Err((Side::Target, malformed)) => return Err(self.target_reader.undecodable(&malformed)),
            };
            let source = read_if(more.0, &mut self.source_reader, comparison.position(Side::Source), to);
            let target = read_if(more.1, &mut self.target_reader, comparison.position(Side::Target), to);
            let (source, target) = tokio::join!(source, target);
            for (side, stretch) in [(Side::Source, source?), (Side::Target, target?)] {
                if let Some(stretch) = stretch {
                    comparison.give(side, stretch.batches, stretch.read_to, stretch.log_start);
                }
            }
        }
    }

    /// Reads on where a side lacks records of which no successor was found yet: it may have come since the ends were
    /// asked for.
    async fn look_for_successors(&mut self, tally: &mut Tally, superseded: &mut Superseded) -> Result<()> {
        for lacking in Lacking::BOTH {
            let reader = match lacking {
                Lacking::Source => &mut self.source_reader,
                Lacking::Target => &mut self.target_reader,
            };
            if !superseded.lacks(lacking) {
                continue;
            }
            let (mut position, end) = (self.reached, reader.end().await?);
            while position < end && superseded.lacks(lacking) {
                let stretch = reader.read(position, end).await?;
                position = stretch.read_to;
                for batch in stretch.batches {
                    let seen = see_all(&batch, tally, superseded);
                    seen.map_err(|malformed| reader.undecodable(&malformed))?;
                }
            }
        }
        Ok(())
    }
}

async fn read_if(wanted: bool, reader: &mut Reader<'_>, from: i64, to: i64) -> Result<Option<super::reading::Stretch>> {
    match wanted {
        true => reader.read(from, to).await.map(Some),
        false => Ok(None),
    }
}

fn see_all(batch: &Batch, tally: &mut Tally, superseded: &mut Superseded) -> Result<(), super::batches::Malformed> {
    let mut records = Records::open(batch)?;
    loop {
        records.advance()?;
        match records.current() {
            Some(record) => superseded.see(&record, tally),
            None => return Ok(()),
        }
    }
}
