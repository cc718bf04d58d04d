//! Finds records that are on the target twice where offsets are translated: once written by the mirror, and once more by somebody else.
//!
//! Others may write to such a topic, and what they write is no difference. But a record of theirs that is the same as one of the source
//! in key, value, headers and time is a second copy: by another mirror of the same source, or by this one before it had lost its memory.
//! Memory is bounded as for [`superseded`](super::superseded): of more records than are remembered, some are looked at in each pass.

use std::collections::HashSet;
use std::hash::{BuildHasher, RandomState};

use super::batches::Batch;
use super::classes::FindingKind;
use super::partition::see;
use super::reading::Reader;
use super::records::Record;
use super::report::DifferenceKind;
use super::superseded::{Class, MOST_BITS};
use super::tally::Tally;
use super::translated::Lens;
use crate::error::Result;

/// Compares what others have written to the target with what the source has between two offsets. `target` reads the log as it is.
pub async fn look(
    lens: &Lens,
    target: &mut Reader<'_>,
    source: &mut Reader<'_>,
    (from, to): (i64, i64),
    limit: usize,
    tally: &mut Tally,
) -> Result<()> {
    let mut others = Others { hasher: RandomState::new(), hashes: HashSet::new(), limit, left_out: 0 };
    let mut classes = vec![Class::default()];
    let mut found = Vec::new();
    while let Some(class) = classes.pop() {
        others.hashes.clear();
        others.gather(lens, target, class, &mut classes).await?;
        let mut position = from;
        while position < to && !others.hashes.is_empty() {
            position = see(source, position, to, |record| {
                if record.offset < to && others.have(record) {
                    found.push(record.offset);
                }
            })
            .await?;
        }
    }
    found.sort_unstable();
    tally.explained();
    let mut last = None;
    for offset in found {
        if last.is_some_and(|last: i64| last + 1 != offset) {
            tally.explained();
        }
        last = Some(offset);
        tally.lonely(DifferenceKind::Repeated, offset);
    }
    tally.found(FindingKind::PerhapsRepeated, from, to, others.left_out);
    Ok(())
}

/// What others have written, as far as it is remembered.
struct Others {
    hasher: RandomState,
    hashes: HashSet<u64>,
    limit: usize,
    /// Records that even the finest class had no room for.
    left_out: u64,
}

impl Others {
    async fn gather(
        &mut self,
        lens: &Lens,
        target: &mut Reader<'_>,
        mut class: Class,
        later: &mut Vec<Class>,
    ) -> Result<()> {
        let (mut position, end) = (lens.log.start, lens.log.end);
        while position < end {
            let stretch = target.read(position, end).await?;
            let others: Vec<Batch> =
                stretch.batches.into_iter().filter(|batch| !lens.is_of_the_mirror(batch)).collect();
            super::partition::see_batches(&others, |record| self.remember(record, &mut class, later))
                .map_err(|malformed| target.undecodable(&malformed))?;
            position = stretch.read_to;
        }
        Ok(())
    }

    fn remember(&mut self, record: &Record<'_>, class: &mut Class, later: &mut Vec<Class>) {
        let hash = self.hash(record);
        if !class.holds(hash) {
            return;
        }
        self.hashes.insert(hash);
        while self.hashes.len() > self.limit {
            if class.bits == MOST_BITS {
                self.hashes.remove(&hash);
                self.left_out += 1;
                return;
            }
            let [now, other] = class.halves();
            *class = now;
            later.push(other);
            self.hashes.retain(|hash| now.holds(*hash));
        }
    }

    fn have(&self, record: &Record<'_>) -> bool {
        self.hashes.contains(&self.hash(record))
    }

    fn hash(&self, record: &Record<'_>) -> u64 {
        self.hasher.hash_one((record.key, record.value, record.timestamp, record.headers))
    }
}
