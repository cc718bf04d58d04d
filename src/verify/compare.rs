//! Compares the batches of a partition's two sides, up to an offset. No I/O: it says which side it needs more of.
//!
//! Batches with the same frame and the same bytes are equal without being opened. Everything else is opened and compared
//! record by record, so that both sides may cut and compress their batches as they like. Offsets without a record
//! that a consumer sees do not exist here.

use std::collections::VecDeque;

use super::batches::{Batch, Malformed};
use super::classes::FindingKind;
use super::decompress::decompress;
use super::records::{Record, Records};
use super::superseded::{Lacking, Superseded};
use super::tally::Tally;
use crate::config::Side;

/// What has to be done next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// Give more of one or both sides.
    More {
        /// Of the source.
        source: bool,
        /// Of the target.
        target: bool,
    },
    /// Everything up to the end was compared.
    Nothing,
}

/// Batches of one side, as far as they were read.
#[derive(Debug, Default)]
struct Stream {
    batches: VecDeque<Batch>,
    open: Option<Records>,
    /// Everything before it was given.
    read_to: i64,
    /// The log started there when it was read: what was before nobody knows.
    log_start: i64,
    /// Records before this are not looked at.
    from: i64,
}

/// One stretch of one partition.
#[derive(Debug)]
pub struct Comparison<'a> {
    to: i64,
    source: Stream,
    target: Stream,
    tally: &'a mut Tally,
    superseded: &'a mut Superseded,
}

impl<'a> Comparison<'a> {
    /// Compares from an offset on; what is found goes to the tally.
    pub fn new(from: i64, tally: &'a mut Tally, superseded: &'a mut Superseded) -> Self {
        let stream = || Stream { read_to: from, log_start: from, from, ..Stream::default() };
        Comparison { to: from, source: stream(), target: stream(), tally, superseded }
    }

    /// Goes on up to this offset, which never lies before an earlier one.
    pub fn extend(&mut self, to: i64) {
        self.to = self.to.max(to);
    }

    /// Where more of a side has to be read from.
    pub fn position(&self, side: Side) -> i64 {
        self.stream(side).read_to
    }

    /// What was found so far.
    pub fn tally(&self) -> &Tally {
        self.tally
    }

    /// More of one side: its visible batches up to an offset, and where its log started when they were read.
    pub fn give(&mut self, side: Side, batches: Vec<Batch>, read_to: i64, log_start: Option<i64>) {
        let stream = self.stream_mut(side);
        stream.batches.extend(batches);
        stream.read_to = stream.read_to.max(read_to);
        stream.log_start = stream.log_start.max(log_start.unwrap_or(stream.log_start));
    }

    /// Compares what is there.
    pub fn run(&mut self) -> Result<Need, (Side, Malformed)> {
        loop {
            while self.skip_equal_batches() {}
            let source = self.source.needs_more(self.to);
            let target = self.target.needs_more(self.to);
            if source || target {
                return Ok(Need::More { source, target });
            }
            if self.compare_whole_batches()? {
                continue;
            }
            for side in [Side::Source, Side::Target] {
                self.open_next(side).map_err(|malformed| (side, malformed))?;
            }
            if self.source.current(self.to).is_none() && self.target.current(self.to).is_none() {
                return Ok(Need::Nothing);
            }
            self.compare_records()?;
        }
    }

    fn stream(&self, side: Side) -> &Stream {
        match side {
            Side::Source => &self.source,
            Side::Target => &self.target,
        }
    }

    /// The next batch of both sides, if both begin one now and the whole of it is to be compared.
    fn whole_batches(&self) -> Option<(&Batch, &Batch)> {
        let (source, target) = (self.source.next_batch()?, self.target.next_batch()?);
        let whole = source.first_offset >= self.source.from && source.last_offset < self.to;
        (whole && !self.superseded.is_waiting()).then_some((source, target))
    }

    fn skip_equal_batches(&mut self) -> bool {
        match self.whole_batches() {
            Some((source, target)) if source.is_same_unopened(target) => {
                self.pass_batches();
                true
            }
            _ => false,
        }
    }

    /// The next batch of both sides holds the same records.
    fn pass_batches(&mut self) {
        if let Some(batch) = self.source.batches.pop_front() {
            self.tally.bytes_compared += batch.len() as u64;
            self.tally.same(batch.record_count as u64);
        }
        self.target.batches.pop_front();
    }

    /// Batches that are only compressed in another way are compared in one stroke when they are decompressed. `false` if
    /// they are not such batches.
    fn compare_whole_batches(&mut self) -> Result<bool, (Side, Malformed)> {
        let Some((source, target)) = self.whole_batches() else { return Ok(false) };
        if !source.has_same_frame(target) || source.codec() == target.codec() {
            return Ok(false);
        }
        let [inside_source, inside_target] = [
            open(source).map_err(|malformed| (Side::Source, malformed))?,
            open(target).map_err(|malformed| (Side::Target, malformed))?,
        ];
        let size = source.len() as u64;
        self.tally.bytes_decoded += size;
        if inside_source == inside_target {
            self.pass_batches();
            return Ok(true);
        }
        self.tally.bytes_compared += size;
        // Not to be decompressed a second time.
        for (side, inside) in [(Side::Source, inside_source), (Side::Target, inside_target)] {
            let stream = self.stream_mut(side);
            stream.open = stream.batches.pop_front().map(|batch| Records::inside(&batch, inside));
            stream.advance().map_err(|malformed| (side, malformed))?;
        }
        self.compare_records()?;
        Ok(true)
    }

    /// Opens batches of a side until there is a record to compare.
    fn open_next(&mut self, side: Side) -> Result<(), Malformed> {
        let to = self.to;
        while self.stream(side).open.is_none() {
            let stream = self.stream_mut(side);
            if stream.batches.front().is_none_or(|batch| batch.first_offset >= to) {
                break;
            }
            let Some(batch) = stream.batches.pop_front() else { break };
            stream.open = Some(Records::open(&batch)?);
            stream.advance()?;
            if side == Side::Source {
                self.tally.bytes_compared += batch.len() as u64;
                self.tally.bytes_decoded += batch.len() as u64;
            }
        }
        Ok(())
    }

    /// Compares records until one side has no more of them open.
    fn compare_records(&mut self) -> Result<(), (Side, Malformed)> {
        let Comparison { to, source, target, tally, superseded } = self;
        loop {
            let [mut pass_source, mut pass_target] = [true, true];
            match (source.current(*to), target.current(*to)) {
                (None, None) => return Ok(()),
                (Some(ours), Some(theirs)) if ours.offset == theirs.offset => {
                    superseded.see(&ours);
                    tally.compare(&ours, &theirs);
                }
                (Some(ours), theirs) if theirs.is_none_or(|theirs| ours.offset < theirs.offset) => {
                    pass_target = false;
                    match ours.offset < target.log_start {
                        true => tally.found(FindingKind::ExpiredOnTarget, ours.offset, ours.offset + 1, 1),
                        false => superseded.lonely(Lacking::Target, &ours, tally),
                    }
                }
                (_, Some(theirs)) => {
                    pass_source = false;
                    match theirs.offset < source.log_start {
                        true => tally.found(FindingKind::ExpiredOnSource, theirs.offset, theirs.offset + 1, 1),
                        false => superseded.lonely(Lacking::Source, &theirs, tally),
                    }
                }
                // The guard before takes it.
                (Some(_), None) => return Ok(()),
            }
            if pass_source {
                source.advance().map_err(|malformed| (Side::Source, malformed))?;
            }
            if pass_target {
                target.advance().map_err(|malformed| (Side::Target, malformed))?;
            }
            if source.open.is_none() || target.open.is_none() {
                return Ok(());
            }
        }
    }

    fn stream_mut(&mut self, side: Side) -> &mut Stream {
        match side {
            Side::Source => &mut self.source,
            Side::Target => &mut self.target,
        }
    }
}

fn open(batch: &Batch) -> Result<bytes::Bytes, Malformed> {
    let malformed = |reason| Malformed { offset: batch.first_offset, reason };
    decompress(batch.codec(), &batch.payload()).map_err(malformed)
}

impl Stream {
    fn needs_more(&self, to: i64) -> bool {
        self.open.is_none() && self.batches.is_empty() && self.read_to < to
    }

    /// The next batch, if the one before is finished.
    fn next_batch(&self) -> Option<&Batch> {
        self.batches.front().filter(|_| self.open.is_none())
    }

    /// The next record before the end.
    fn current(&self, to: i64) -> Option<Record<'_>> {
        self.open.as_ref()?.current().filter(|record| record.offset < to)
    }

    /// Goes to the next record that is to be compared; closes the batch after its last one.
    fn advance(&mut self) -> Result<(), Malformed> {
        let Some(records) = &mut self.open else { return Ok(()) };
        loop {
            records.advance()?;
            match records.current() {
                None => {
                    self.open = None;
                    return Ok(());
                }
                Some(record) if record.offset >= self.from => return Ok(()),
                Some(_) => {}
            }
        }
    }
}

#[cfg(test)]
mod tests;
