//! Histories in which offsets are translated: others write to the target too, and the mirror remembers what is where.
//!
//! What must be true then: the mirror's own records on the target are those that the source shows, in their order, none
//! left out and none twice; and the map says of each where it is.

use super::history::{History, tell};
use super::network::{Answer, Outcome, What};
use super::plan::Trouble;
use super::planted::Bug;
use super::process::{Opening, Read};
use super::source::{Kind, SourceBatch};
use super::world::{Entry, FOREIGN, MAX_RECORDS, MIRROR, SETTLE};
use crate::batch::Header;
use crate::batch::marker::Origin;
use crate::machine::partition::{Filled, Likeness, Produced};
use crate::machine::translation::guard::Guard;
use crate::machine::translation::search::{Facts, Looked, Search, Step, Unclear};
use crate::machine::translation::{Note, OffsetMap};

/// What a process knows of the offsets.
#[derive(Debug)]
pub(super) struct Lens {
    pub(super) map: OffsetMap,
    /// Notes that it has heard.
    heard: usize,
    /// Epoch and sequence number of the mirror's last record, as the broker knew it when the reading began.
    remembered: Option<(i16, i32)>,
    /// What the leader said after that, with the high watermark.
    facts: Option<(Facts, i64)>,
    search: Option<Search>,
    /// Why it could not be told how far the mirror is.
    pub(super) unclear: Option<Unclear>,
}

/// Batches of one answer.
const BATCHES_AT_ONCE: usize = 3;

/// What a history with translated offsets is about.
pub(super) fn trouble(share: u32) -> Trouble {
    match share {
        0..26 => Trouble::Nothing,
        26..36 => Trouble::StateExpires,
        36..50 => Trouble::TargetUnclean,
        50..55 => Trouble::SourceHasPoison,
        55..60 => Trouble::TargetTakesSmall,
        60..66 => Trouble::SourceRetention,
        66..72 => Trouble::MemoryLost,
        72..90 => Trouble::TargetCleaned,
        _ => Trouble::SourceCompacts,
    }
}

impl History {
    /// A start of the mirror: what was written down is read, and the first one of all begins.
    pub(super) fn start_translating(&mut self, start: i32) -> Option<Lens> {
        if !self.plan.translates {
            return None;
        }
        let restored = self.remembered();
        self.internal.push(Note::Start(start));
        let map = restored.unwrap_or_else(|| {
            let mut map = OffsetMap::beginning_at(self.source.start, self.target.leader().end());
            if !self.finds_own_copies() {
                self.internal.extend(taken(&mut map));
            }
            map
        });
        let mut map = map;
        map.hear(Note::Start(start));
        let (remembered, facts, search, unclear) = (None, None, None, None);
        Some(Lens { map, heard: self.internal.len(), remembered, facts, search, unclear })
    }

    /// What the processes before have written down while this one waited for their leases.
    pub(super) fn hear_of_predecessors(&mut self, at: usize) {
        let (start, remembered) = (self.processes[at].start, self.remembered());
        if let (Some(lens), Some(map)) = (&mut self.processes[at].lens, remembered) {
            (lens.map, lens.heard) = (map, self.internal.len());
            lens.map.hear(Note::Start(start));
        }
    }

    /// The map that was written down, if one was.
    fn remembered(&self) -> Option<OffsetMap> {
        OffsetMap::restore(self.internal.iter().cloned())
    }

    /// Whether a mirror that remembers nothing of what it has copied must not begin.
    pub(super) fn must_not_begin(&self) -> bool {
        let remembers = self.remembered().is_some();
        self.plan.translates && !remembers && self.finds_own_copies()
    }

    /// Whether its copies are there, as the broker or the log says.
    fn finds_own_copies(&self) -> bool {
        let leader = self.target.leader();
        let guard = Guard::of(MIRROR.producer_id, Origin::of_cluster("the source"));
        let in_log = leader.read(0).map(|header| header.producer_id);
        let known = leader.producer_state().map(|entry| entry.producer_id);
        self.bug != Some(Bug::BeginsAnew) && in_log.chain(known).any(|producer_id| guard.is_copy(producer_id))
    }

    /// Somebody else writes to the target, or the process keeps what it has learned.
    pub(super) fn others_go_on(&mut self, at: usize) {
        if self.rng.bool() {
            let count = self.rng.i32(1..=MAX_RECORDS);
            let entry = self.target.leader_mut().append(count, u32::MAX, FOREIGN, -1, -1);
            self.target.advance_high_watermark();
            tell!(self, "somebody else writes {entry:?}");
        } else {
            self.keep(at);
        }
        if self.plan.trouble == Trouble::TargetCleaned {
            self.compact_target();
        }
    }

    /// The process writes down what it has learned.
    pub(super) fn keep(&mut self, at: usize) {
        // Without a lease nothing is written down.
        if !self.may_write(at) {
            return;
        }
        let process = &mut self.processes[at];
        // One that must not begin has nothing to say.
        if let Some(lens) = process.lens.as_mut().filter(|_| !process.machine.is_parked()) {
            self.internal.extend(taken(&mut lens.map));
        }
    }

    /// The cleaner of one broker takes batches that somebody has replaced.
    fn compact_target(&mut self) {
        let broker = self.rng.usize(0..3);
        // The last of what the cleaner may look at has no later record with its key.
        let high_watermark = self.target.brokers[broker].high_watermark;
        let replicated = self.target.brokers[broker].log.iter().filter(|entry| entry.end() <= high_watermark).count();
        for at in 0..replicated.saturating_sub(1) {
            if self.rng.u32(0..4) == 0 {
                self.target.clean(broker, at);
            }
        }
    }

    /// Whether the mirror has written down where all of its records are. A living process does so within a second, and brokers forget
    /// after minutes at the earliest: only what a process has copied in the last second before it died, and nobody has
    /// looked at until then, may be forgotten before it is written down.
    pub(super) fn has_kept_all(&self) -> bool {
        let kept = self.remembered().map(|map| map.known_until());
        let own = self.target.brokers.iter().flat_map(|broker| &broker.log);
        let last = { own }.filter(|entry| entry.producer_id == MIRROR.producer_id).map(|entry| entry.last_sequence());
        !self.plan.translates
            || last.map(i64::from).all(|last| kept.is_some_and(|kept| (last - kept).rem_euclid(1 << 31) > 1 << 30))
    }

    /// Everything that the mirror has written down is gone, and whoever remembered it.
    pub(super) fn lose_memory(&mut self) {
        tell!(self, "the internal topic is lost");
        self.forgot_at = Some(self.now);
        self.internal.clear();
        for at in 0..self.processes.len() {
            self.crash(at);
        }
    }

    /// The cleaner takes the second record of some batch that has one.
    pub(super) fn compact_source(&mut self) {
        let whole = |batch: &&mut SourceBatch| batch.kind == Kind::Records && batch.count > 1;
        let mut batches: Vec<_> = self.source.batches.iter_mut().filter(whole).collect();
        let last = batches.len();
        for batch in batches.iter_mut().skip(last.saturating_sub(self.rng.usize(1..6))) {
            batch.kind = Kind::Compacted;
        }
        tell!(self, "the source is compacted");
    }

    /// One of the reads of a position, seen through the map.
    pub(super) fn read_translated(&mut self, at: usize, opening: &mut Opening, read: Read) -> Option<()> {
        let source_log = self.source_log(at);
        let leader = self.target.leader();
        let remembered = leader.producer_state().map(|entry| (entry.epoch, entry.last_sequence()));
        let lens = self.processes[at].lens.as_mut()?;
        match read {
            Read::TargetEnd => {
                (lens.remembered, lens.facts, lens.search, lens.unclear) = (remembered, None, None, None);
            }
            Read::TargetWriter => {
                let facts = Facts {
                    remembered: lens.remembered,
                    log_start: leader.start,
                    log_end: leader.end(),
                    leader_epoch: leader.leader_epoch(),
                    epoch_end: lens.map.seal().map(|seal| leader.epoch_end(seal.epoch)),
                };
                lens.facts = Some((facts, leader.high_watermark));
                for note in &self.internal[lens.heard..] {
                    lens.map.hear(note.clone());
                }
                lens.heard = self.internal.len();
            }
            Read::TargetWatermark => self.search(at)?,
            Read::TargetEndAgain => {
                self.search(at)?;
                let lens = self.processes[at].lens.as_mut()?;
                let (search, (facts, high_watermark)) = (lens.search.take()?, lens.facts?);
                // Facts that a bug has changed are compared with themselves.
                let high_watermark = if lens.remembered == remembered { high_watermark } else { -1 };
                opening.reading.target = search.seen(&mut lens.map, MIRROR, facts.remembered, high_watermark);
            }
            Read::SourceEnds => opening.reading.source = source_log,
            Read::Likeness => self.compare_last(at, opening),
        }
        Some(())
    }

    /// Reads the log as the search wants it, once it is known what the leader says. `None` if a read brought nothing.
    fn search(&mut self, at: usize) -> Option<()> {
        let bug = self.bug;
        let fails = self.rng.u32(0..40) == 0 && !self.healing();
        let leader = self.target.leader();
        let lens = self.processes[at].lens.as_mut()?;
        let Some((facts, high_watermark)) = lens.facts.filter(|_| lens.search.is_none()) else { return Some(()) };
        if fails {
            return None;
        }
        let facts = deceived(facts, &lens.map, bug);
        lens.facts = Some((facts, high_watermark));
        let mut search = Search::new(MIRROR.producer_id, facts);
        // What is not replicated cannot be read.
        let mut reads = high_watermark >= facts.log_end;
        while reads {
            match search.next(&mut lens.map) {
                Ok(Step::Done) => reads = false,
                Ok(Step::Look { at }) => {
                    let header = leader.read(at).next()?;
                    search.looked(looked(at, header, &lens.map, bug));
                }
                Ok(Step::Read { from }) => {
                    let all: Vec<Header> = leader.read(from).take(BATCHES_AT_ONCE).collect();
                    let told: Vec<Header> =
                        all.into_iter().filter_map(|header| as_read(header, &lens.map, bug)).collect();
                    if told.is_empty() {
                        return None;
                    }
                    if let Err(unclear) = search.read(&mut lens.map, told) {
                        lens.unclear = Some(unclear);
                        reads = false;
                    }
                }
                Err(unclear) => {
                    lens.unclear = Some(unclear);
                    reads = false;
                }
            }
        }
        lens.search = Some(search);
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
        let found = self.target.leader().read(on_target).next();
        let entry = found.filter(|header| header.base_offset <= on_target && header.record_count > 0);
        let there = self.source.record_at(offset).filter(|_| offset >= self.source.start);
        reading.likeness = match (entry, there) {
            (Some(header), Some(id)) if header.crc == id => Likeness::Same,
            (Some(_), Some(_)) => Likeness::Different { offset },
            _ => Likeness::Unknown,
        };
    }

    pub(super) fn map(&mut self, at: usize) {
        if !self.may_write(at) || self.processes[at].filler.is_none() {
            return;
        }
        let Some(mapping) = self.processes[at].machine.poll_map(self.now) else { return };
        let process = &self.processes[at];
        let (Some(lens), Some(connection)) = (&process.lens, process.filler) else {
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
            self.connections[other].expire(settled_since, !alive);
        }
        let what = What::Map { mapping, anchors, start };
        self.request(at, connection, what);
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
                if matches!(filled, Filled::Refused(_)) {
                    // It was written down behind a later start, and does not count.
                    *filled = if self.bug == Some(Bug::IgnoresLaterStart) { Filled::Mapped } else { Filled::Lost };
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

    /// What a process says about where a record is, is true. Of one that a cleaner has taken, on any replica, it may say where the next one
    /// is that is left: whoever goes on there misses nothing.
    fn check_maps(&mut self, records: &[(i64, u32, i64)]) {
        let leader = self.target.leader();
        let is_left = |header: &Header| {
            header.producer_id == MIRROR.producer_id && !self.target.removed_anywhere.contains(&header.base_offset)
        };
        let left: Vec<Header> = leader.read(0).filter(is_left).collect();
        let next_left = |target_offset: i64| {
            let next = left.iter().find(|header| header.last_offset() >= target_offset);
            next.map_or(leader.end(), |header| header.base_offset.max(target_offset))
        };
        let mut wrong = None;
        for process in self.processes.iter().filter(|process| !process.machine.is_parked()) {
            let Some(lens) = &process.lens else { continue };
            for (source_offset, _, target_offset) in records {
                let said = lens.map.target_offset_of(*source_offset);
                let is_true = (*target_offset..=next_left(*target_offset)).contains(&said);
                if !is_true && *target_offset >= lens.map.begin().target_offset {
                    wrong = Some(format!("the map says {said} for {source_offset}, which is at {target_offset}"));
                }
            }
        }
        if let Some(wrong) = wrong {
            self.violate(wrong);
        }
    }
}

/// What changed of a map, as it is written down.
fn taken(map: &mut OffsetMap) -> Vec<Note> {
    let (chunks, seal) = (map.take_changed(), map.seal());
    chunks.into_iter().map(|(_, runs)| Note::Runs(runs, seal)).collect()
}

/// What a driver with a bug makes of what the leader says.
fn deceived(mut facts: Facts, map: &OffsetMap, bug: Option<Bug>) -> Facts {
    match bug {
        Some(Bug::KeepsLostRecords) => {
            facts.log_end = facts.log_end.max(map.target_offset_next());
            facts.epoch_end = None;
        }
        Some(Bug::DoesNotScan) if facts.remembered.is_none() => {
            facts.remembered = Some((MIRROR.producer_epoch, OffsetMap::sequence_of(map.known_until() - 1)));
        }
        _ => {}
    }
    facts
}

/// What was found where the last record should be.
fn looked(at: i64, header: Header, map: &OffsetMap, bug: Option<Bug>) -> Looked {
    let is_there = header.base_offset <= at;
    match bug {
        Some(Bug::KeepsLostRecords) => Looked::Batch(Header {
            base_offset: at,
            last_offset_delta: 0,
            producer_id: MIRROR.producer_id,
            base_sequence: OffsetMap::sequence_of(map.known_until() - 1),
            ..header
        }),
        // Whatever is gone is lost.
        Some(Bug::ForgetsWhatIsCompacted) if !is_there => Looked::Other,
        _ if is_there => Looked::Batch(header),
        _ => Looked::Nothing,
    }
}

/// A batch, as a driver with a bug counts it.
fn as_read(header: Header, map: &OffsetMap, bug: Option<Bug>) -> Option<Header> {
    match bug {
        Some(Bug::CountsOthers) if header.producer_id == FOREIGN => {
            let base_sequence = OffsetMap::sequence_of(map.known_until());
            Some(Header { producer_id: MIRROR.producer_id, base_sequence, ..header })
        }
        Some(Bug::CountsRecordsLeft) if header.record_count == 0 => None,
        _ => Some(header),
    }
}
