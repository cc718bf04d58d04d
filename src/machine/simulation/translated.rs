//! Histories in which offsets are translated: others write to the target too, and the mirror remembers what is where.
//!
//! What must be true then: the mirror's own records on the target are those that the source shows, in their order, none
//! left out and none twice; and the map says of each where it is.

use super::history::{History, tell};
use super::network::{Answer, Outcome, Request, What};
use super::plan::Trouble;
use super::planted::Bug;
use super::process::{Opening, Read};
use super::world::{Entry, FOREIGN, Kind, MAX_RECORDS, MIRROR, SETTLE};
use crate::machine::partition::{Filled, Likeness, Produced, Tail};
use crate::machine::translation::{Note, OffsetMap};

/// What a process knows of the offsets.
#[derive(Debug)]
pub(super) struct Lens {
    pub(super) map: OffsetMap,
    /// Notes that it has heard.
    heard: usize,
    /// The target's log end when its reading began, and the last number that the broker knew then.
    end: i64,
    remembered: Option<i32>,
}

/// What a history with translated offsets is about.
pub(super) fn trouble(share: u32) -> Trouble {
    match share {
        0..40 => Trouble::Nothing,
        40..52 => Trouble::StateExpires,
        52..64 => Trouble::TargetUnclean,
        64..70 => Trouble::SourceHasPoison,
        70..76 => Trouble::TargetTakesSmall,
        76..84 => Trouble::SourceRetention,
        _ => Trouble::SourceCompacts,
    }
}

impl History {
    /// A start of the mirror: what was written down is read, and the first one of all begins.
    pub(super) fn start_translating(&mut self, start: i32) -> Option<Lens> {
        if !self.plan.translates {
            return None;
        }
        self.internal.push(Note::Start(start));
        let map = OffsetMap::restore(self.internal.iter().cloned()).unwrap_or_else(|| {
            let mut map = OffsetMap::beginning_at(self.source.start, self.target.leader().end());
            self.internal.extend(map.take_changed().into_iter().map(|(_, runs)| Note::Runs(runs)));
            map
        });
        Some(Lens { map, heard: self.internal.len(), end: 0, remembered: None })
    }

    /// Somebody else writes to the target, or the process keeps what it has learned.
    pub(super) fn others_go_on(&mut self, at: usize) {
        if self.rng.bool() {
            let count = self.rng.i32(1..=MAX_RECORDS);
            let entry = self.target.leader_mut().append(count, u32::MAX, FOREIGN, -1, -1);
            self.target.advance_high_watermark();
            tell!(self, "somebody else writes {entry:?}");
        } else if let Some(lens) = &mut self.processes[at].lens {
            self.internal.extend(lens.map.take_changed().into_iter().map(|(_, runs)| Note::Runs(runs)));
        }
    }

    /// The cleaner takes the second record of some batch that has one.
    pub(super) fn compact_source(&mut self) {
        let whole = |batch: &&mut super::world::SourceBatch| batch.kind == Kind::Records && batch.count > 1;
        let mut batches: Vec<_> = self.source.batches.iter_mut().filter(whole).collect();
        let last = batches.len();
        for batch in batches.iter_mut().skip(last.saturating_sub(self.rng.usize(1..6))) {
            batch.kind = Kind::Compacted;
        }
        tell!(self, "the source is compacted");
    }

    pub(super) fn is_outrun(&self, at: usize) -> bool {
        let process = &self.processes[at];
        let outrun = process.lens.as_ref().is_some_and(|lens| lens.map.latest_start() > process.start);
        outrun && self.bug != Some(Bug::IgnoresLaterStart)
    }

    /// One of the reads of a position, seen through the map.
    pub(super) fn read_translated(&mut self, at: usize, opening: &mut Opening, read: Read) -> Option<()> {
        let source_log = self.source_log(at);
        let leader = self.target.leader();
        let lens = self.processes[at].lens.as_mut()?;
        let target = &mut opening.reading.target;
        let remembered = leader.producer_state().map(|entry| entry.last_sequence());
        match read {
            Read::TargetEnd => lens.end = leader.end(),
            Read::TargetWriter => {
                lens.remembered = remembered;
                for note in &self.internal[lens.heard..] {
                    lens.map.hear(note.clone());
                }
                lens.heard = self.internal.len();
                let all: &[Entry] = &leader.log;
                let kept = all.iter().filter(|entry| entry.end() <= lens.end).copied().collect::<Vec<_>>();
                look_at_log(&mut lens.map, &kept, remembered, self.bug);
            }
            Read::TargetWatermark => target.high_watermark = leader.high_watermark,
            Read::TargetEndAgain => {
                let (map, next) = (&lens.map, lens.map.known_until());
                let all_seen = lens.remembered.is_none_or(|last| map.number_of(last) + 1 == next);
                let stable = lens.remembered == remembered && all_seen && target.high_watermark >= lens.end;
                let last_sequence = OffsetMap::sequence_of(next - 1);
                target.log_start_offset = 0;
                target.log_end_offset = map.source_offset_of(next);
                target.high_watermark = if stable { target.log_end_offset } else { -1 };
                target.last_record = Some((MIRROR.producer_epoch, last_sequence));
                target.begun = next > map.begin().number;
                target.tail = Tail::Records {
                    producer_id: MIRROR.producer_id,
                    producer_epoch: MIRROR.producer_epoch,
                    last_sequence,
                };
            }
            Read::SourceEnds => opening.reading.source = source_log,
            Read::Likeness => self.compare_last(at, opening),
        }
        Some(())
    }

    fn compare_last(&self, at: usize, opening: &mut Opening) {
        let reading = &mut opening.reading;
        let before_end = reading.target.log_end_offset - 1;
        let at_end = self.source.batch_at(before_end).filter(|batch| before_end < batch.end());
        reading.source.last_epoch = at_end.map_or(-1, |batch| batch.epoch);
        let Some((on_target, offset)) = self.processes[at].lens.as_ref().and_then(|lens| lens.map.last_record()) else {
            return;
        };
        let entry = self.target.leader().log.iter().find(|entry| entry.base <= on_target && on_target < entry.end());
        let there = self.source.record_at(offset).filter(|_| offset >= self.source.start);
        reading.likeness = match (entry, there) {
            (Some(entry), Some(id)) if entry.id == id => Likeness::Same,
            (Some(_), Some(_)) => Likeness::Different { offset },
            _ => Likeness::Unknown,
        };
    }

    pub(super) fn map(&mut self, at: usize) {
        let Some(mapping) = self.processes[at].machine.poll_map(self.now) else { return };
        let process = &self.processes[at];
        let (Some(lens), Some(connection)) = (&process.lens, process.connection) else {
            return self.violate(format!("process {at} writes down holes before it has read the position"));
        };
        let mut anchors = lens.map.with_anchors(&mapping.anchors);
        if self.bug == Some(Bug::ForgetsHoles) {
            anchors.drain(..anchors.len() - 1);
        }
        let start = process.start;
        let settled_since = self.now.saturating_sub(SETTLE);
        for other in (0..self.connections.len()).filter(|other| *other != connection) {
            // One that has been outrun may be alive and go on for a while; what the dead had under way has arrived by now.
            let alive = self.connections[other].alive;
            self.connections[other].expire(settled_since, false, !alive);
        }
        let fault = self.fault_of_request();
        let what = What::Map { mapping, anchors, start };
        self.send(connection, Request { what, fault, sent_at: self.now, expired: false });
    }

    /// Notes in the map what an answer says, and makes of it what the machine hears.
    pub(super) fn translated(&mut self, at: usize, mut answer: Answer) -> Answer {
        let process = &mut self.processes[at];
        let Some(lens) = process.lens.as_mut() else { return answer };
        match &mut answer.outcome {
            Outcome::Produced(Produced::Appended { base_offset }) => {
                if let Some((sequence, count)) =
                    answer.records.filter(|_| process.machine.get().is_awaited(answer.ticket))
                {
                    let number = lens.map.number_of(sequence);
                    lens.map.append(number, answer.base, *base_offset, i64::from(count));
                }
                *base_offset = answer.base;
            }
            Outcome::Filled(filled) => {
                if matches!(filled, Filled::Refused(_)) && self.bug == Some(Bug::IgnoresLaterStart) {
                    *filled = Filled::Mapped;
                }
                // It hears its own notes as all others, in their order.
                for note in &self.internal[lens.heard..] {
                    lens.map.hear(note.clone());
                }
                lens.heard = self.internal.len();
            }
            Outcome::Produced(_) => {}
        }
        answer
    }

    /// The first offset that a reader may still miss on the target.
    pub(super) fn durable_at_source(&self) -> i64 {
        let durable = self.target.durable_end();
        let own = |entry: &&Entry| entry.producer_id == MIRROR.producer_id && entry.end() <= durable;
        let last = self.target.leader().log.iter().rev().find(own);
        let from = last.map_or(0, |entry| entry.source + i64::from(entry.count)).max(self.source.start);
        let shown = |offset: &i64| self.source.record_at(*offset).is_some() && !self.is_left_out(*offset);
        (from..self.source.end).find(shown).unwrap_or(self.source.end)
    }

    /// Whether a policy or the source itself has taken a record out.
    fn is_left_out(&self, offset: i64) -> bool {
        match self.plan.trouble {
            Trouble::SourceRetention => offset < self.source.start,
            Trouble::SourceHasPoison => {
                let poison = self.source.batches.iter().find(|batch| batch.kind == Kind::Poison);
                self.plan.limits.skip_refused && poison.is_some_and(|batch| batch.end() - 1 == offset)
            }
            _ => false,
        }
    }

    /// The mirror's records on the target are the source's, in order and once; at the end, all of them.
    pub(super) fn check_translated(&mut self, at_end: bool) {
        let own = |entry: &&Entry| entry.producer_id == MIRROR.producer_id;
        let records: Vec<(i64, u32, i64)> = { self.target.leader().log.iter().filter(own) }
            .flat_map(|entry| (0..i64::from(entry.count)).map(|nth| (entry.source + nth, entry.id, entry.base + nth)))
            .collect();
        let first = self.source.batches.first().map_or(0, |batch| batch.base);
        let mut next = first;
        for (offset, id, _) in &records {
            let missing = (next..*offset)
                .find(|missing| self.source.record_at(*missing).is_some() && !self.is_left_out(*missing));
            if let Some(missing) = missing.or((*offset < next).then_some(*offset)) {
                return self.violate(format!(
                    "the target has the record of {offset} where that of {next} should be ({missing})"
                ));
            }
            // What compaction has taken since may have been copied before.
            if self.source.batch_at(*offset).is_none_or(|batch| batch.id != *id) {
                return self.violate(format!("the target has batch {id} for offset {offset}"));
            }
            next = offset + 1;
        }
        let goes_on = self.processes.iter().any(|process| !process.machine.is_parked());
        if !at_end || !goes_on {
            return;
        }
        let missing = (next..self.source.end)
            .find(|missing| self.source.record_at(*missing).is_some() && !self.is_left_out(*missing));
        if let Some(missing) = missing {
            return self.violate(format!("the record of {missing} is not on the target"));
        }
        self.check_maps(&records);
    }

    /// What a process says about where a record is, is true.
    fn check_maps(&mut self, records: &[(i64, u32, i64)]) {
        for process in self.processes.iter().filter(|process| !process.machine.is_parked()) {
            let Some(lens) = &process.lens else { continue };
            for (source_offset, _, target_offset) in records {
                let said = lens.map.target_offset_of(*source_offset);
                if said != *target_offset && *target_offset >= lens.map.begin().target_offset {
                    return self
                        .violate(format!("the map says {said} for {source_offset}, which is at {target_offset}"));
                }
            }
        }
    }
}

/// Brings the map up to what is in the target's log.
fn look_at_log(map: &mut OffsetMap, log: &[Entry], remembered: Option<i32>, bug: Option<Bug>) {
    let own = |entry: &&Entry| entry.producer_id == MIRROR.producer_id || bug == Some(Bug::CountsOthers);
    let has = |offset: i64| log.iter().any(|entry| own(&entry) && entry.base <= offset && offset < entry.end());
    let is_lost = |map: &OffsetMap| map.last_record().is_some_and(|(on_target, _)| !has(on_target));
    while is_lost(map) && bug != Some(Bug::KeepsLostRecords) {
        map.forget_last_run();
    }
    let behind = remembered.is_none_or(|last| map.number_of(last) >= map.known_until());
    if !behind || (remembered.is_none() && bug == Some(Bug::DoesNotScan)) {
        return;
    }
    let from = map.target_offset_next();
    for entry in log.iter().filter(|entry| entry.base >= from).filter(own) {
        let number = if entry.producer_id == FOREIGN { map.known_until() } else { map.number_of(entry.sequence) };
        if number == map.known_until() {
            map.append(number, map.source_offset_of(number), entry.base, i64::from(entry.count));
        }
    }
}
