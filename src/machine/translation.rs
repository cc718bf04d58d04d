//! Which record of the source is where on the target, when offsets are translated: exact, and as compact as the logs allow.
//!
//! The mirror's records are numbered in the order in which they are sent; a number modulo 2^31 is the sequence number under
//! which the target takes the record, and nothing but the next one is taken. So the last number that the target knows
//! says how many records were copied, and where the source goes on follows from two kinds of points: where records go on
//! behind a hole ([`Numbered`], written down before the record is sent), and runs of records that are neighbours on both
//! sides ([`Run`], known from the target's answers, or read off its log again). Between two points numbers and offsets
//! go up together. How much of it is still there is found out by [`search`].

use crate::batch::Header;
use crate::machine::partition::Anchor;

pub mod guard;
pub mod search;

/// Records that follow each other at the source and on the target. One without any says where the mirror goes on, after records that the
/// cleaner has removed before it was known where they were.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Run {
    /// The number of the first.
    pub number: i64,
    /// Its offset at the source.
    pub source_offset: i64,
    /// Its offset on the target.
    pub target_offset: i64,
    /// How many there are.
    pub count: i64,
}

/// The record with a number is at an offset of the source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Numbered {
    /// Its number.
    pub number: i64,
    /// Its offset.
    pub source_offset: i64,
}

/// Everything in the target's log before an offset was appended in leader epochs up to this one: so if that epoch ends before the
/// offset, the log was cut back there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seal {
    /// The leader epoch.
    pub epoch: i32,
    /// The offset.
    pub offset: i64,
}

/// What a process of the mirror writes down of a partition, for those that come after it. In which order it was written is what
/// tells what counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Note {
    /// A process with this number has started. What earlier ones write down after it does not count.
    Start(i32),
    /// Where the holes are.
    Anchors {
        /// The number of the start times 256, and the attempts that were given up.
        fence: i32,
        /// Those that are still needed.
        anchors: Vec<Numbered>,
    },
    /// Where records are, and how the log is known to have been then.
    Runs(Vec<Run>, Option<Seal>),
}

/// The map of one partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OffsetMap {
    /// Where copying began: the source's first offset is also the first number, and the target has no record of this mirror
    /// before that offset.
    begin: Run,
    /// In ascending order of everything.
    runs: Vec<Run>,
    seal: Option<Seal>,
    /// In ascending order of the numbers, and the fence they were written down with.
    anchors: Vec<Numbered>,
    fence: i32,
    /// The latest start that was heard of.
    start: i32,
    /// The runs before this one do not change any more where they are kept; the others are in the last chunk.
    chunk_from: usize,
    /// The number of the last chunk.
    chunk: u32,
    /// Whether the last chunk has changed since it was taken to be kept, and the number behind what was taken.
    changed: bool,
    kept_until: i64,
}

/// Runs that are kept together.
const RUNS_IN_CHUNK: usize = 256;
/// Attempts of one start have fences of their own.
const FENCES_OF_A_START: i32 = 256;

impl OffsetMap {
    /// Of a partition of which nothing was copied.
    pub fn beginning_at(source_offset: i64, target_offset: i64) -> Self {
        OffsetMap {
            begin: Run { number: source_offset, source_offset, target_offset, count: 0 },
            runs: Vec::new(),
            seal: None,
            anchors: Vec::new(),
            fence: 0,
            start: 0,
            chunk_from: 0,
            chunk: 0,
            changed: true,
            kept_until: source_offset,
        }
    }

    /// Where copying began.
    pub fn begin(&self) -> Run {
        self.begin
    }

    /// The runs, in ascending order.
    #[cfg(test)]
    pub fn runs(&self) -> &[Run] {
        &self.runs
    }

    /// The number of the next record whose place on the target is not known.
    pub fn known_until(&self) -> i64 {
        let last = self.runs.last().unwrap_or(&self.begin);
        last.number + last.count
    }

    /// No record that is not known is before this offset of the target.
    pub fn target_offset_next(&self) -> i64 {
        let last = self.runs.last().unwrap_or(&self.begin);
        last.target_offset + last.count
    }

    /// The offset on the target of the last record that is known, and its offset at the source.
    pub fn last_record(&self) -> Option<(i64, i64)> {
        let last = self.runs.last().filter(|last| last.count > 0)?;
        Some((last.target_offset + last.count - 1, last.source_offset + last.count - 1))
    }

    /// The last offset of the target up to which the map says something.
    fn last_place(&self) -> Option<i64> {
        self.runs.last().map(|last| last.target_offset + last.count - 1)
    }

    /// Whether that is the offset of a record.
    fn ends_in_record(&self) -> bool {
        self.runs.last().is_some_and(|last| last.count > 0)
    }

    /// How the target's log is known to have been.
    pub fn seal(&self) -> Option<Seal> {
        self.seal
    }

    /// Everything before an offset of the target was appended in leader epochs up to this one; -1 if that is not known.
    fn put_seal(&mut self, epoch: i32, offset: i64) {
        if epoch >= 0 {
            self.changed |= self.seal.is_none_or(|seal| seal.epoch != epoch);
            self.seal = Some(Seal { epoch, offset });
        }
    }

    /// The number that a sequence number stands for: the one that is nearest to what is known.
    pub fn number_of(&self, sequence: i32) -> i64 {
        const HALF: i64 = 1 << 30;
        let near = self.known_until().max(self.anchors.last().map_or(0, |anchor| anchor.number));
        let ahead = (i64::from(sequence) - near + HALF).rem_euclid(1 << 31) - HALF;
        near + ahead
    }

    /// The sequence number of a record.
    pub fn sequence_of(number: i64) -> i32 {
        number.rem_euclid(1 << 31) as i32
    }

    /// The offset of the source at which the record with a number is to be looked for.
    pub fn source_offset_of(&self, number: i64) -> i64 {
        let run = match self.runs.partition_point(|run| run.number <= number) {
            0 => &self.begin,
            behind => &self.runs[behind - 1],
        };
        let by_run = run.source_offset + (number - run.number);
        let anchor = match self.anchors.partition_point(|anchor| anchor.number <= number) {
            0 => return by_run,
            behind => self.anchors[behind - 1],
        };
        if anchor.number < run.number { by_run } else { anchor.source_offset + (number - anchor.number) }
    }

    /// The target has taken records. What was believed to be behind them is not there, or not any more.
    pub fn append(&mut self, number: i64, source_offset: i64, target_offset: i64, count: i64) {
        self.forget_from(number);
        self.changed = true;
        let neighbours = |last: &Run| {
            (last.number + last.count, last.source_offset + last.count, last.target_offset + last.count)
                == (number, source_offset, target_offset)
        };
        match self.runs.last_mut().filter(|last| neighbours(last)) {
            Some(last) => last.count += count,
            None => self.runs.push(Run { number, source_offset, target_offset, count }),
        }
    }

    /// The target has no record with this number, nor any behind it.
    fn forget_from(&mut self, number: i64) {
        if number >= self.known_until() {
            return;
        }
        let keep = self.runs.partition_point(|run| run.number < number);
        self.runs.truncate(keep);
        if let Some(last) = self.runs.last_mut() {
            last.count = last.count.min(number - last.number);
        }
        self.has_forgotten();
    }

    /// From which offset of the target on the map is wrong, if a batch of its log shows that. `number` is that of the batch's first
    /// record if it is the mirror's. Records between runs may be there all the same: each replica has a cleaner of its own.
    fn wrong_from(&self, header: &Header, number: Option<i64>) -> Option<i64> {
        let (first, behind) = (header.base_offset, header.last_offset().saturating_add(1));
        let fits = |run: &Run| {
            let (is_before, is_behind) = (run.target_offset + run.count <= first, behind <= run.target_offset);
            match number {
                Some(number) if run.number - run.target_offset == number - first => true,
                Some(number) if run.number + run.count <= number => is_before,
                Some(number) => number + (behind - first) <= run.number && is_behind,
                None => is_before || is_behind,
            }
        };
        let wrong = self.runs.iter().find(|run| run.count > 0 && !fits(run))?;
        Some(match number {
            Some(number) => first.min(wrong.target_offset + (number - wrong.number).clamp(0, wrong.count)),
            None => first.max(wrong.target_offset),
        })
    }

    /// The target's log was cut back to an offset: what was known to be there or behind it is lost.
    fn cut(&mut self, target_offset: i64) {
        let keep = self.runs.partition_point(|run| run.target_offset < target_offset);
        self.runs.truncate(keep);
        if let Some(last) = self.runs.last_mut() {
            last.count = last.count.min(target_offset - last.target_offset);
        }
        if let Some(seal) = &mut self.seal {
            seal.offset = seal.offset.min(target_offset);
        }
        // What is copied again may come before where copying began.
        self.begin.target_offset = self.begin.target_offset.min(target_offset);
        self.has_forgotten();
    }

    /// Records before this number were appended before an offset of the target, and are not there any more.
    fn pass(&mut self, number: i64, target_offset: i64) {
        let source_offset = self.source_offset_of(number);
        self.runs.push(Run { number, source_offset, target_offset, count: 0 });
        self.changed = true;
    }

    /// What is kept already of what was forgotten counts until it is said anew, or until a seal is kept that ends before it.
    fn has_forgotten(&mut self) {
        self.changed = true;
        self.chunk_from = self.chunk_from.min(self.runs.len().saturating_sub(1));
        self.kept_until = self.kept_until.min(self.known_until());
    }

    /// What has to be written down so that these anchors are known: with those that are still needed of the earlier ones.
    pub fn with_anchors(&self, anchors: &[Anchor]) -> Vec<Numbered> {
        let new: Vec<Numbered> = anchors
            .iter()
            .map(|anchor| Numbered { number: self.number_of(anchor.sequence), source_offset: anchor.source_offset })
            .collect();
        let first = new.first().map_or(i64::MAX, |first| first.number);
        let before = self.anchors.iter().filter(|anchor| anchor.number < first);
        let mut all: Vec<Numbered> = before.copied().chain(new).collect();
        // The last one that is not behind what is kept of the runs says where those behind them go on.
        let needed = all.partition_point(|anchor| anchor.number <= self.kept_until).saturating_sub(1);
        all.drain(..needed);
        all
    }

    /// The fence with which the anchors were written down; 0 if there are none.
    pub fn fence(&self) -> i32 {
        self.fence
    }

    /// The latest start of the mirror that was heard of.
    #[cfg(test)]
    pub fn latest_start(&self) -> i32 {
        self.start
    }

    /// What was written down, by whichever process, in the order in which it was. Of runs only those are heard that are told
    /// before the map is used: later ones are found on the target.
    pub fn hear(&mut self, note: Note) {
        match note {
            Note::Start(number) => self.start = self.start.max(number),
            Note::Anchors { fence, anchors } if fence >= self.fence && fence / FENCES_OF_A_START >= self.start => {
                (self.fence, self.anchors) = (fence, anchors);
            }
            Note::Anchors { .. } | Note::Runs(..) => {}
        }
    }

    /// Chunks of runs, by number, that are to be kept, because they have changed since they were taken the last time.
    pub fn take_changed(&mut self) -> Vec<(u32, Vec<Run>)> {
        let mut chunks = Vec::new();
        while std::mem::take(&mut self.changed) {
            let runs = &self.runs[self.chunk_from..];
            let whole = runs.len() > RUNS_IN_CHUNK;
            let runs: Vec<Run> = runs.iter().take(RUNS_IN_CHUNK).copied().collect();
            chunks.push((self.chunk, if self.chunk_from == 0 { [&[self.begin], &*runs].concat() } else { runs }));
            if whole {
                self.chunk_from += RUNS_IN_CHUNK;
                self.chunk += 1;
                self.changed = true;
            }
        }
        self.kept_until = self.known_until();
        chunks
    }

    /// The number of the first record that is not kept, if what was taken is.
    pub fn kept_until(&self) -> i64 {
        self.kept_until
    }

    /// What was taken could not be kept: from a number on it is not.
    pub fn keep_again(&mut self, kept_until: i64) {
        self.changed = true;
        self.kept_until = self.kept_until.min(kept_until);
    }

    /// Takes in what was written down, by whichever process, in the order in which it was; the first run of all begins the map.
    pub fn take_in(map: &mut Option<OffsetMap>, note: Note) {
        let Some(known) = map else {
            if let Note::Runs(runs, seal) = note {
                let mut runs = runs.into_iter();
                let begin = runs.next().filter(|begin| begin.count == 0);
                *map = begin.map(|begin| OffsetMap::beginning_at(begin.source_offset, begin.target_offset));
                OffsetMap::take_in_runs(map, runs, seal);
            }
            return;
        };
        match note {
            Note::Runs(runs, seal) => OffsetMap::take_in_runs(map, runs.into_iter(), seal),
            note => known.hear(note),
        }
    }

    fn take_in_runs(map: &mut Option<OffsetMap>, runs: impl Iterator<Item = Run>, seal: Option<Seal>) {
        let Some(map) = map else { return };
        // When the seal was put, the log ended at its offset: what had been written down behind that was lost.
        if let Some(seal) = seal.filter(|seal| map.seal != Some(*seal)) {
            map.cut(seal.offset);
        }
        // What begins the map may be said again, by a process that has started at the same moment. The first one counts.
        let begin = map.begin.number;
        for run in runs.filter(|run| run.count > 0 || run.number != begin) {
            map.append(run.number, run.source_offset, run.target_offset, run.count);
        }
        map.seal = seal.or(map.seal);
    }

    /// The map of a process that goes on after everything that was written down.
    #[cfg(test)]
    pub fn restore(notes: impl IntoIterator<Item = Note>) -> Option<Self> {
        let mut map = None;
        for note in notes {
            OffsetMap::take_in(&mut map, note);
        }
        map.map(OffsetMap::taken_up)
    }

    /// The map as it is for a process that takes it up: all of it is kept, and what comes is in chunks of its own.
    pub fn taken_up(mut self) -> Self {
        self.chunk_from = self.runs.len().saturating_sub(1);
        self.changed = false;
        self.kept_until = self.known_until();
        self
    }

    /// The offset on the target of the first record that is at an offset of the source or behind it, as far as records were
    /// copied; behind them it is the offset after the last.
    pub fn target_offset_of(&self, source_offset: i64) -> i64 {
        let behind = self.runs.partition_point(|run| run.source_offset <= source_offset);
        let next = self.runs.get(behind).map(|run| run.target_offset);
        match behind.checked_sub(1).map(|at| self.runs[at]) {
            Some(run) if source_offset < run.source_offset + run.count => {
                run.target_offset + (source_offset - run.source_offset)
            }
            _ => next.unwrap_or(self.target_offset_next()),
        }
    }

    /// The offset at the source of the first record whose copy on the target is at an offset or behind it, or was not known
    /// to be copied.
    pub fn source_offset_at(&self, target_offset: i64) -> i64 {
        let behind = self.runs.partition_point(|run| run.target_offset + run.count <= target_offset);
        match self.runs.get(behind) {
            Some(run) => run.source_offset + (target_offset - run.target_offset).max(0),
            None => self.source_offset_of(self.known_until()),
        }
    }

    /// The run that a record of the target is in, if it is one of this mirror's.
    pub fn run_at_target(&self, target_offset: i64) -> Option<Run> {
        let behind = self.runs.partition_point(|run| run.target_offset <= target_offset);
        let run = self.runs.get(behind.checked_sub(1)?)?;
        (target_offset < run.target_offset + run.count).then_some(*run)
    }
}

#[cfg(test)]
mod tests;
