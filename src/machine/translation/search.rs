//! Finds out how far the mirror is in a log that others write to as well: what of the map is still there, what it does not know yet, and
//! whether that can be told at all.
//!
//! A record of the mirror that is not where the map says was removed by the cleaner, which leaves the position as it is, or was lost by
//! an election, which takes it back. Taking one for the other would leave records out, or append them once more in place of
//! newer ones. So a record counts as lost only if something shows it: the log ends before it, somebody else's batch has its
//! offset, or the leader epochs that it was appended in end before it. What shows neither is an error.
//!
//! Nothing here reads a log: [`Search::next`] says what is to be looked at.

use super::OffsetMap;
use crate::batch::Header;
use crate::error::{Error, ErrorKind};
use crate::machine::opening::EPOCH_NOT_KNOWN;
use crate::machine::partition::{Identity, Tail, TargetLog};

/// What the leader of the target's partition says of it, before its log is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Facts {
    /// Epoch and sequence number of the mirror's last record, as the broker remembers it. Asked for first: what it knows is before
    /// the log end.
    pub remembered: Option<(i16, i32)>,
    /// First offset that is kept.
    pub log_start: i64,
    /// Next offset that the leader will give.
    pub log_end: i64,
    /// The leader epoch in which it will, -1 if it does not tell.
    pub leader_epoch: i32,
    /// Where the leader epoch of [`OffsetMap::seal`] ends; `None` if there is no seal, or nobody could be asked.
    pub epoch_end: Option<i64>,
}

/// What a look at an offset brought.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Looked {
    /// The batch that has the offset.
    Batch(Header),
    /// Something in a format in which no mirror writes.
    Other,
    /// No batch has it, and one behind it was seen.
    Nothing,
}

/// What is to be looked at next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// What has this offset, which is before the log end.
    Look {
        /// The offset.
        at: i64,
    },
    /// The batches from this offset on, which is before the log end.
    Read {
        /// The offset.
        from: i64,
    },
    /// Nothing more.
    Done,
}

/// Why it cannot be told how far the mirror is.
#[derive(Debug, Clone)]
pub enum Unclear {
    /// It may be told later.
    Now(Error),
    /// It cannot be told: the partition has to stop.
    Ever(Error),
}

/// The search in one partition's log.
#[derive(Debug)]
pub struct Search {
    facts: Facts,
    producer_id: i64,
    stage: Stage,
    /// What was found where the last record is.
    looked: Option<Looked>,
    /// The batch of the mirror's last record, if it is there.
    last_batch: Option<Header>,
    /// What the map has lost to the log, from an offset of the target on.
    cut_at: Option<i64>,
    /// Records before this number are with the broker and not in the log.
    removed_until: Option<i64>,
    /// The map was compared with the log before this offset, because the epoch it is sealed with ends before what it knows.
    compared_until: i64,
    /// Everything is compared since that epoch has ended, as something is not where the map has it.
    compares_all: bool,
}

/// So many offsets are compared at most while all agree. Leader epochs change without a loss, too, and what was copied since may be
/// weeks of records; the records of others that have come meanwhile would have to be as many as they were, twice.
const COMPARED: i64 = 100_000;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// Looking whether what the map knows is still there.
    Last,
    /// Reading what it does not know, from an offset on.
    Behind { next: i64 },
    /// All that is before the log end was seen.
    All,
}

impl Search {
    /// A search for the records of a producer id.
    pub fn new(producer_id: i64, facts: Facts) -> Self {
        Search {
            facts,
            producer_id,
            stage: Stage::Last,
            looked: None,
            last_batch: None,
            cut_at: None,
            removed_until: None,
            compared_until: 0,
            compares_all: false,
        }
    }

    /// What is to be looked at next.
    ///
    /// # Errors
    /// Why it cannot be told how far the mirror is.
    pub fn next(&mut self, map: &mut OffsetMap) -> Result<Step, Unclear> {
        self.check_leader(map)?;
        if self.stage == Stage::Last {
            if let Some(step) = self.look_at_last(map)? {
                return Ok(step);
            }
            self.stage = Stage::Behind { next: map.target_offset_next().max(self.facts.log_start) };
        }
        let Stage::Behind { next } = self.stage else { return Ok(Step::Done) };
        let known_until = map.known_until();
        let last = self.last_number(map);
        if last.is_some_and(|last| last + 1 < known_until) {
            return Err(broker_knows_less(last.unwrap_or_default(), known_until));
        }
        let is_known = last.is_some_and(|last| last + 1 == known_until);
        if !is_known && next < self.facts.log_end {
            return Ok(Step::Read { from: next });
        }
        if let Some(last) = last.filter(|last| *last + 1 > known_until) {
            // The broker has taken them, and the log has none of them: they were removed by the cleaner.
            // Or an election has lost them since it was asked: that is seen when it is asked again.
            self.removed_until = Some(last + 1);
        }
        self.stage = Stage::All;
        Ok(Step::Done)
    }

    /// The number of the last record that the broker remembers.
    fn last_number(&self, map: &OffsetMap) -> Option<i64> {
        self.facts.remembered.map(|(_, last)| map.number_of(last))
    }

    /// A leader that does not know the epoch in which records were appended was replaced, and does not know that.
    fn check_leader(&self, map: &OffsetMap) -> Result<(), Unclear> {
        let Some(seal) = map.seal() else { return Ok(()) };
        let is_old = (0..seal.epoch).contains(&self.facts.leader_epoch);
        if is_old || self.facts.epoch_end == Some(EPOCH_NOT_KNOWN) {
            let message = format!(
                "the target's leader does not know leader epoch {}, in which records of this mirror were appended: it was replaced and \
                 does not know that yet, or the target was restored from an older copy",
                seal.epoch
            );
            return Err(Unclear::Now(Error::new(ErrorKind::Broker, message)));
        }
        Ok(())
    }

    /// Looks whether the last record that the map knows of is still there, and rids the map of what is lost.
    fn look_at_last(&mut self, map: &mut OffsetMap) -> Result<Option<Step>, Unclear> {
        while let Some(place) = map.last_place() {
            let Facts { log_start, log_end, epoch_end, .. } = self.facts;
            let seal = map.seal();
            // A log that was cut back before what is known of it may have got the same records again, at other offsets.
            let sealed = seal.is_some_and(|seal| place < seal.offset || epoch_end.is_some_and(|end| end < seal.offset));
            if log_end <= place {
                self.cut(map, log_end);
            } else if let Some(end) = epoch_end.filter(|end| *end <= place && sealed) {
                self.cut(map, end);
            } else if place < log_start || !map.ends_in_record() {
                // Retention has taken it, or the cleaner had when it was looked for the last time.
                return Ok(None);
            } else if let Some(from) = self.to_compare(place) {
                return Ok(Some(Step::Read { from }));
            } else {
                match self.looked.take() {
                    None => return Ok(Some(Step::Look { at: place })),
                    Some(Looked::Batch(header)) if self.is_last(map, &header, place) => {
                        self.last_batch = Some(header);
                        return Ok(None);
                    }
                    // Offsets are given once, unless the log was cut back before them.
                    Some(Looked::Batch(header)) => self.cut(map, header.base_offset),
                    Some(Looked::Other) => self.cut(map, place),
                    Some(Looked::Nothing) => {
                        let is_intact = epoch_end.is_some_and(|end| end > place);
                        let is_remembered = self.last_number(map) >= Some(map.known_until() - 1);
                        if !is_intact && !is_remembered {
                            return Err(removed_or_lost(map, place));
                        }
                        return Ok(None);
                    }
                }
            }
        }
        Ok(None)
    }

    /// From where on the log is to be compared with the map. Records that are known behind the end of the sealed epoch were appended
    /// by the leader after it, or by the one before it, and an election has lost them: then other records are there, perhaps
    /// the last one in the same place by chance.
    fn to_compare(&self, place: i64) -> Option<i64> {
        let from = self.facts.epoch_end?.max(self.facts.log_start).max(self.compared_until);
        let from = if self.compares_all { from } else { from.max(place - COMPARED) };
        (from <= place).then_some(from)
    }

    /// Rids the map of what the log shows to be lost.
    fn compare(&mut self, map: &mut OffsetMap, headers: impl IntoIterator<Item = Header>) {
        for header in headers {
            let number = self.is_own(&header).then(|| map.number_of(header.base_sequence));
            if let Some(from) = map.wrong_from(&header, number) {
                if !std::mem::replace(&mut self.compares_all, true) {
                    // What is wrong may begin before.
                    self.compared_until = 0;
                    return;
                }
                // What the sealed epoch has appended is where it was.
                return self.cut(map, self.facts.epoch_end.map_or(from, |end| end.max(from)));
            }
            self.compared_until = header.last_offset().saturating_add(1);
        }
    }

    fn cut(&mut self, map: &mut OffsetMap, target_offset: i64) {
        map.cut(target_offset);
        self.cut_at = Some(self.cut_at.map_or(target_offset, |before| before.min(target_offset)));
    }

    fn is_last(&self, map: &OffsetMap, header: &Header, place: i64) -> bool {
        let nth = place - header.base_offset;
        self.is_own(header) && map.number_of(header.base_sequence) + nth == map.known_until() - 1
    }

    fn is_own(&self, header: &Header) -> bool {
        header.producer_id == self.producer_id && !header.is_control()
    }

    /// What was found where [`Step::Look`] has asked for it.
    pub fn looked(&mut self, looked: Looked) {
        self.looked = Some(looked);
    }

    /// The batches that were found where [`Step::Read`] has asked for them, in their order: whole, and at least one.
    ///
    /// # Errors
    /// Records of the mirror are there twice.
    pub fn read(&mut self, map: &mut OffsetMap, headers: impl IntoIterator<Item = Header>) -> Result<(), Unclear> {
        let Stage::Behind { next } = &mut self.stage else {
            self.compare(map, headers);
            return Ok(());
        };
        let mut until = *next;
        let mut own = Vec::new();
        for header in headers {
            until = until.max(header.last_offset().saturating_add(1));
            own.push(header);
        }
        *next = until;
        for header in own.into_iter().filter(|header| header.base_offset < self.facts.log_end) {
            if self.is_own(&header) {
                note(map, &header)?;
                self.last_batch = Some(header);
            }
        }
        Ok(())
    }

    /// The log with the mirror's records alone, at their offsets of the source. `remembered` and `high_watermark` were asked for after
    /// everything else: what moved meanwhile is not known to be replicated, and is to be read again.
    pub fn seen(
        &self,
        map: &mut OffsetMap,
        identity: Identity,
        remembered: Option<(i16, i32)>,
        high_watermark: i64,
    ) -> TargetLog {
        let is_stable =
            self.stage == Stage::All && self.facts.remembered == remembered && high_watermark >= self.facts.log_end;
        if is_stable {
            if let Some(number) = self.removed_until {
                map.pass(number, self.facts.log_end);
            }
            map.put_seal(self.facts.leader_epoch, self.facts.log_end);
        }
        let next = map.known_until();
        let last_sequence = OffsetMap::sequence_of(next - 1);
        let log_end_offset = map.source_offset_of(next);
        let producer_epoch = remembered.map_or(identity.producer_epoch, |(epoch, _)| epoch);
        TargetLog {
            log_start_offset: 0,
            log_end_offset,
            high_watermark: if is_stable { log_end_offset } else { -1 },
            last_record: Some((producer_epoch, last_sequence)),
            last_writer: Some(identity.producer_id),
            tail: Tail::Records { producer_id: identity.producer_id, producer_epoch, last_sequence },
            begun: next > map.begin().number,
        }
    }

    /// The batch of the mirror's last record, if it is there.
    pub fn last_batch(&self) -> Option<Header> {
        self.last_batch.filter(|_| self.removed_until.is_none())
    }

    /// From which offset on the target has lost what the mirror had written, if it has.
    pub fn cut_at(&self) -> Option<i64> {
        self.cut_at
    }
}

/// Adds a batch of the mirror. Its records have the numbers that it was sent with, also where the cleaner has taken some of them; what is
/// missing before it was taken by the cleaner.
fn note(map: &mut OffsetMap, header: &Header) -> Result<(), Unclear> {
    let first = map.number_of(header.base_sequence);
    let behind = first + i64::from(header.last_offset_delta) + 1;
    let known_until = map.known_until();
    let known = (known_until - first).max(0);
    let target_offset = header.base_offset + known;
    if behind <= known_until || (known > 0 && target_offset < map.target_offset_next()) {
        return Err(there_twice(map, first, header.base_offset));
    }
    let number = first + known;
    map.append(number, map.source_offset_of(number), target_offset, behind - number);
    Ok(())
}

fn there_twice(map: &OffsetMap, number: i64, target_offset: i64) -> Unclear {
    let message = format!(
        "the record of source offset {} is on the target twice: this mirror has written it at offset {target_offset} once more; who reads \
         the topic has seen it, so compare both sides with 'kmirror verify', and to start anew set another 'name' and mirror into \
         a topic without its copies",
        map.source_offset_of(number)
    );
    Unclear::Ever(Error::new(ErrorKind::TargetConflict, message).with_offset(target_offset))
}

/// The cleaner may remove what somebody has replaced, and an election may lose what was not replicated.
fn removed_or_lost(map: &OffsetMap, place: i64) -> Unclear {
    let source_offset = map.source_offset_of(map.known_until() - 1);
    let message = format!(
        "the last record of this mirror, that of source offset {source_offset}, is not at offset {place} of the target any more, and nothing \
         tells whether it was compacted or lost by an election: its broker has forgotten the mirror, and the leader epoch that the record was \
         appended in is not known; to go on could copy records once more, in place of newer ones; set another 'name' and mirror \
         into a topic without this mirror's copies"
    );
    Unclear::Ever(Error::new(ErrorKind::TargetConflict, message).with_offset(source_offset))
}

/// A broker that has forgotten a producer, and then reads its log after a restart, knows what the cleaner has left of it. It would refuse
/// whatever is the next record.
fn broker_knows_less(last: i64, known_until: i64) -> Unclear {
    let message = format!(
        "the target's broker remembers record number {last} of this mirror as the last, but number {} was appended: the cleaner has removed \
         records of a producer that the broker had forgotten before; it forgets the rest within producer.id.expiration.ms of their \
         timestamps, and then the mirror goes on",
        known_until - 1
    );
    Unclear::Now(Error::new(ErrorKind::Broker, message))
}

#[cfg(test)]
mod tests;
