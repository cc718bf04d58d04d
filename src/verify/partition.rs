//! Verifies one partition: reads both sides as the comparison asks for them, waits for a target that is behind, and tells what of it
//! is not proved to be equal.
//!
//! Everything that the source had when the verification began has to be accounted for: compared, or a finding.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::batches::{Batch, Malformed};
use super::classes::FindingKind;
use super::compare::{Comparison, Need};
use super::plan::{Log, Planned, Writers};
use super::reading::{Reader, Stretch};
use super::records::{Record, Records};
use super::repeated;
use super::report::VerifiedPartition;
use super::sample::{self, Sample};
use super::superseded::{Lacking, Superseded};
use super::tally::Tally;
use super::translated::Lens;
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
    /// Why it was not compared to its end, and from where on.
    pub error: Option<(crate::Error, i64)>,
}

struct Partition<'a> {
    work: &'a Work<'a>,
    source: Log,
    target: Log,
    /// Who writes copies to the target; `None` if that is not known, or is told by the readers' lens.
    writers: Option<Writers>,
    source_reader: Reader<'a>,
    target_reader: Reader<'a>,
    /// Up to where the target was compared.
    reached: i64,
    /// From where on it is not compared yet.
    compared_to: i64,
    /// Progress is told of the first look only.
    is_told: bool,
}

/// Verifies a partition.
pub async fn verify(planned: &Planned, work: &Work<'_>) -> Verified {
    let mut tally = Tally::new(work.options.max_differences);
    let (mut source, target) = (planned.source.unwrap_or_default(), planned.target.unwrap_or_default());
    let mut reached = source.end.min(target.end);
    let mut error = None;
    if planned.target.is_none() {
        tally.missing_partition(source.start, source.end);
    } else {
        let mut partition = Partition {
            work,
            source,
            target,
            writers: planned.writers,
            source_reader: reader(planned, work, Side::Source, planned.lens.clone()),
            target_reader: reader(planned, work, Side::Target, planned.lens.clone()),
            reached,
            compared_to: source.start.max(target.start),
            is_told: true,
        };
        let compared = partition.compare(planned, &mut tally).await;
        error = compared.err().map(|error| (error, partition.compared_to));
        (source, reached) = (partition.source, partition.reached);
    }
    tally.counts.left_out_as_echo = planned.lens.as_ref().map_or(0, |lens| lens.echo.get());
    // Each pass over the keys tells its own.
    tally.differences.sort_by_key(|difference| difference.offset);
    for difference in &mut tally.differences {
        difference.topic.clone_from(&planned.topic);
        difference.partition = planned.partition;
    }
    for finding in &mut tally.findings {
        finding.topic.clone_from(&planned.topic);
        finding.partition = planned.partition;
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

fn reader<'a>(planned: &Planned, work: &'a Work<'_>, side: Side, lens: Option<Arc<Lens>>) -> Reader<'a> {
    let (cluster, topic) = match side {
        Side::Source => (&work.source, &planned.topic),
        Side::Target => (&work.target, &planned.target_topic),
    };
    let is_tiered = planned.tiered[side as usize];
    Reader::new(cluster, side, (topic, planned.partition), is_tiered, lens, work.config, work.readers)
}

impl Partition<'_> {
    async fn compare(&mut self, planned: &Planned, tally: &mut Tally) -> Result<()> {
        let (source, target, compacts) = (self.source, self.target, planned.compacts);
        tally.found_between(FindingKind::ExpiredOnTarget, source.start, target.start.min(source.end));
        if target.high_watermark > source.high_watermark {
            tally.beyond_source_end(source.high_watermark, target.high_watermark);
        }
        self.look_before_the_source(tally).await?;
        let mut superseded = Superseded::new(compacts, self.work.options.max_keys);
        let compared = match self.work.options.sample {
            Sample::Full => self.compare_all(tally, &mut superseded).await,
            sample => self.compare_sample(sample, compacts, tally, &mut superseded).await,
        };
        if compared.is_err() {
            superseded.give_up(tally);
            return compared;
        }
        if let Some(lens) = planned.lens.as_ref().filter(|_| self.work.options.sample == Sample::Full) {
            let mut target = reader(planned, self.work, Side::Target, None);
            let (between, limit) = ((self.from(), self.source.end), self.work.options.max_keys);
            repeated::look(lens, &mut target, &mut self.source_reader, between, limit, tally).await?;
        }
        let Log { start, end, high_watermark } = self.source;
        tally.found_between(FindingKind::NotYetReplicated, self.reached.max(start), end);
        tally.found_between(FindingKind::OpenTransaction, end.max(start), high_watermark);
        Ok(())
    }

    /// What the target has before the source's first offset has expired at the source, if the mirror wrote it. Nobody can compare it.
    async fn look_before_the_source(&mut self, tally: &mut Tally) -> Result<()> {
        let (from, to) = (self.target.start, self.source.start.min(self.target.end));
        let (mut position, mut foreign) = (from, 0);
        while let Some(writers) = self.writers.filter(|_| position < to && self.work.options.sample == Sample::Full) {
            let stretch = self.target_reader.read(position, to).await?;
            for batch in stretch.batches.iter().filter(|batch| !writers.are(batch.producer_id)) {
                let first = batch.first_offset.max(from);
                let before = to.min(batch.last_offset + 1).saturating_sub(first).max(0);
                let records = i64::from(batch.record_count).min(before);
                tally.found(FindingKind::Foreign, first, first + before, records as u64);
                foreign += records;
            }
            position = stretch.read_to;
        }
        let offsets = to.saturating_sub(from).max(0).saturating_sub(foreign);
        tally.found(FindingKind::ExpiredOnSource, from, to, offsets as u64);
        Ok(())
    }

    fn from(&self) -> i64 {
        self.source.start.max(self.target.start)
    }

    /// Compares everything, in as many passes as the keys need that wait for a successor.
    async fn compare_all(&mut self, tally: &mut Tally, superseded: &mut Superseded) -> Result<()> {
        let mut comparison = Comparison::new(self.from(), tally, superseded);
        loop {
            self.drive(&mut comparison, self.reached).await?;
            if !self.wait_for_more().await? {
                break;
            }
        }
        while self.end_pass(tally, superseded).await? {
            // The records were counted in the first pass: this one is about keys.
            self.is_told = false;
            let mut scratch = Tally::new(0);
            let mut comparison = Comparison::new(self.from(), &mut scratch, superseded);
            self.drive(&mut comparison, self.reached).await?;
        }
        Ok(())
    }

    /// Waits until the target has more of what is to be compared, or an open transaction of the source has ended; `false` if everything
    /// is compared, or nothing more came in time.
    async fn wait_for_more(&mut self) -> Result<bool> {
        loop {
            let Log { end, high_watermark, .. } = self.source;
            if end < high_watermark {
                self.source.end = self.source_reader.end().await?.clamp(end, high_watermark);
            }
            if self.reached < self.source.end {
                let end = self.target_reader.end().await?.min(self.source.end);
                if end > self.reached {
                    self.reached = end;
                    return Ok(true);
                }
            }
            if self.reached >= high_watermark || Instant::now() > self.work.patience {
                return Ok(false);
            }
            tokio::time::sleep(TARGET_PAUSE).await;
        }
    }

    /// Compares a sample. If it has records that one side lacks perhaps because of compaction, only the whole log can tell.
    async fn compare_sample(
        &mut self,
        sample: Sample,
        compacts: [bool; 2],
        tally: &mut Tally,
        superseded: &mut Superseded,
    ) -> Result<()> {
        while self.wait_for_more().await? {}
        let stretches = sample::stretches(sample, self.from()..self.reached, self.work.seed);
        if stretches.is_empty() {
            tally.found_between(FindingKind::NotLookedAt, self.from(), self.reached);
        }
        let before = tally.clone();
        for stretch in stretches {
            let mut comparison = Comparison::new(stretch.start, tally, superseded);
            self.drive(&mut comparison, stretch.end).await?;
        }
        if superseded.is_undecided() {
            (*tally, *superseded) = (before, Superseded::new(compacts, self.work.options.max_keys));
            return self.compare_all(tally, superseded).await;
        }
        superseded.end_pass(tally);
        Ok(())
    }

    async fn drive(&mut self, comparison: &mut Comparison<'_>, to: i64) -> Result<()> {
        comparison.extend(to);
        loop {
            let before = comparison.tally().shown();
            let need = comparison.run();
            if self.is_told {
                self.work.counters.add(before, comparison.tally().shown());
            }
            self.compared_to = comparison.position(Side::Source).min(comparison.position(Side::Target));
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

    /// Looks for what decides about the records that wait, beyond what was compared. Returns whether another pass is needed.
    async fn end_pass(&mut self, tally: &mut Tally, superseded: &mut Superseded) -> Result<bool> {
        for lacking in Lacking::BOTH {
            let (reader, log) = match lacking {
                Lacking::Source => (&mut self.source_reader, self.source),
                Lacking::Target => (&mut self.target_reader, self.target),
            };
            if !superseded.lacks(lacking) {
                continue;
            }
            // A successor may have come since the ends were asked for.
            let (mut position, end) = (self.reached, reader.end().await?);
            while position < end && superseded.lacks(lacking) {
                position = see(reader, position, end, |record| superseded.see(record)).await?;
            }
            // And an earlier record may have been left behind by a tombstone that is missing.
            let (mut position, end) = (log.start, superseded.last_tombstone(lacking).unwrap_or(log.start));
            while position < end {
                position = see(reader, position, end, |record| superseded.see_older(lacking, record)).await?;
            }
        }
        Ok(superseded.end_pass(tally))
    }
}

async fn read_if(wanted: bool, reader: &mut Reader<'_>, from: i64, to: i64) -> Result<Option<Stretch>> {
    match wanted {
        true => reader.read(from, to).await.map(Some),
        false => Ok(None),
    }
}

/// Shows records, as many as are read at a time. Returns up to where.
pub async fn see(reader: &mut Reader<'_>, from: i64, to: i64, show: impl FnMut(&Record<'_>)) -> Result<i64> {
    let stretch = reader.read(from, to).await?;
    see_batches(&stretch.batches, show).map_err(|malformed| reader.undecodable(&malformed))?;
    Ok(stretch.read_to)
}

/// Shows all records of batches.
pub fn see_batches(batches: &[Batch], mut show: impl FnMut(&Record<'_>)) -> Result<(), Malformed> {
    for batch in batches {
        let mut records = Records::open(batch)?;
        loop {
            records.advance()?;
            match records.current() {
                Some(record) => show(&record),
                None => break,
            }
        }
    }
    Ok(())
}
