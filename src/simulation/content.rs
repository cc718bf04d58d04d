//! What is written at the source, and whether the target holds it: every record once, where it belongs, and nothing
//! else.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::history::History;
use super::log::Log;
use super::world::{SOURCE, TARGET, World, tell};
use crate::batch::compression::Codec;
use crate::batch::samples::{self, Told};
use crate::batch::{Header, attributes};
use crate::event::now_ms;

/// How the values of somebody else begin.
const FOREIGN: &[u8] = b"foreign-";
/// Producers of transactions have ids from here on.
const TRANSACTIONS: u64 = 1000;

/// What is appended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Records,
    /// A transaction, with its end.
    Committed,
    Aborted,
    /// A transaction that is open until the end.
    Open,
}

/// Appends a batch of some records to the source.
pub(super) fn append(world: &World, topic: &str, partition: usize, kind: Kind) {
    let count = world.draw(1..6) as i64;
    let id = world.draw(0..u64::MAX);
    let producer_id = if kind == Kind::Records { -1 } else { (TRANSACTIONS + id % 1000) as i64 };
    let record = |offset: i64| Told {
        offset,
        timestamp: now_ms(),
        key: Some(format!("k{}", offset % 3).into_bytes()),
        value: Some(format!("{id:x}-{offset}").into_bytes()),
        headers: Vec::new(),
    };
    let attributes = if kind == Kind::Records { 0 } else { attributes::TRANSACTIONAL };
    let header =
        Header { base_offset: 0, attributes, producer_id, producer_epoch: 0, base_sequence: 0, ..samples::header() };
    let header =
        if kind == Kind::Records { Header { producer_epoch: -1, base_sequence: -1, ..header } } else { header };
    let records: Vec<Told> = (0..count).map(record).collect();
    let batch: Bytes = samples::batch_of(&records, header, Codec::None, count - 1).into();
    world.clusters[SOURCE].change(|state| {
        let Some(log) = state.topics.get_mut(topic).and_then(|topic| topic.logs.get_mut(partition)) else { return };
        // An id that was there already is refused, and nothing is appended.
        let Ok(base) = log.append(&batch) else { return };
        let mut written = world.written.borrow_mut();
        for told in records.iter().filter(|_| kind != Kind::Aborted) {
            written.entry((partition, base + told.offset)).or_default().push(told.value.clone().unwrap_or_default());
        }
        tell!(world, "the source has {topic}-{partition} [{base}, {}): {kind:?}", log.end());
        let ended = match kind {
            Kind::Committed => log.append_marker(producer_id, 0, 0, true),
            Kind::Aborted => log.append_marker(producer_id, 0, 0, false),
            Kind::Records | Kind::Open => return,
        };
        ended.unwrap();
    });
}

/// Ends the transactions that are open at the source.
pub(super) fn end_transactions(world: &World, topic: &str) {
    let commits: Vec<bool> = (0..8).map(|_| world.one_in(2)).collect();
    world.clusters[SOURCE].change(|state| {
        for log in state.topics.get_mut(topic).into_iter().flat_map(|topic| &mut topic.logs) {
            let open = log.producers.iter().filter(|(_, producer)| producer.open_since.is_some());
            for (producer, commit) in
                open.map(|(id, _)| *id).collect::<Vec<_>>().into_iter().zip(commits.iter().cycle())
            {
                log.append_marker(producer, 0, 0, *commit).unwrap();
            }
        }
    });
}

/// The cleaner takes a batch of the source.
pub(super) fn compact(world: &World, topic: &str, partition: usize) {
    let drawn = world.draw(0..1 << 20) as usize;
    world.clusters[SOURCE].change(|state| {
        let Some(log) = state.topics.get_mut(topic).and_then(|topic| topic.logs.get_mut(partition)) else { return };
        if let Some(at) = drawn.checked_rem(log.batches.len()) {
            tell!(world, "the cleaner takes what the source has at offset {}", log.batches[at].base());
            log.compact(at);
        }
    });
}

/// Somebody else appends a record to the target's topic, if it is there.
pub(super) fn append_foreign(world: &World, topic: &str, partition: usize) -> bool {
    let id = world.draw(0..u64::MAX);
    let value = Some([FOREIGN, format!("{id:x}").as_bytes()].concat());
    let record = Told { offset: 0, timestamp: now_ms(), key: Some(b"k".to_vec()), value, headers: Vec::new() };
    let header = Header { base_offset: 0, producer_id: -1, producer_epoch: -1, base_sequence: -1, ..samples::header() };
    let batch: Bytes = samples::batch_of(&[record], header, Codec::None, 0).into();
    world.clusters[TARGET].change(|state| {
        let Some(log) = state.topics.get_mut(topic).and_then(|topic| topic.logs.get_mut(partition)) else {
            return false;
        };
        let base = log.append(&batch).unwrap();
        tell!(world, "somebody else writes to {topic}-{partition} of the target, at offset {base}");
        true
    })
}

/// How both sides compare.
pub(super) enum Compared {
    Same { records: usize },
    Behind(String),
    Different(String),
}

type Records = BTreeMap<i64, Vec<u8>>;

/// One side of a partition.
struct Side {
    /// What a reader of committed records gets.
    records: Records,
    last_stable: i64,
    end: i64,
    is_behind: bool,
}

impl Side {
    fn of(log: &Log) -> Self {
        Side { records: visible(log), last_stable: log.last_stable(), end: log.end(), is_behind: log.is_behind() }
    }
}

fn visible(log: &Log) -> Records {
    let mut records = Records::new();
    let until = log.last_stable();
    for stored in log.batches.iter().filter(|stored| stored.base() < until && !stored.header.is_control()) {
        let aborted = log.aborted_between(stored.base(), stored.end());
        let is_aborted = stored.header.attributes & attributes::TRANSACTIONAL != 0
            && aborted.iter().any(|aborted| aborted.producer_id == stored.header.producer_id);
        if is_aborted {
            continue;
        }
        let told = stored.records().into_iter().filter(|told| told.offset >= log.start);
        records.extend(told.map(|told| (told.offset, told.value.unwrap_or_default())));
    }
    records
}

/// Compares both sides of a topic.
pub(super) fn compare(history: &History, topic: &str) -> Compared {
    let world = &history.world;
    let mut records = 0;
    for partition in 0..history.plan.partitions {
        let read = |side: usize| world.clusters[side].with_log(topic, partition, Side::of);
        let (Some(source), Some(target)) = (read(SOURCE), read(TARGET)) else {
            return Compared::Behind("the target has no topic".to_owned());
        };
        let compared = match history.plan.translates {
            true => history.compare_order(partition, &source, &target),
            false => history.compare_offsets(partition, &source, &target),
        };
        match compared {
            Compared::Same { records: same } => records += same,
            Compared::Different(what) if world.has_excuse.get() => return Compared::Behind(what),
            other => return other,
        }
    }
    Compared::Same { records }
}

fn shown(value: &[u8]) -> std::borrow::Cow<'_, str> {
    String::from_utf8_lossy(value)
}

impl History {
    /// Every record once, at its offset, and nothing else.
    fn compare_offsets(&self, partition: usize, source: &Side, target: &Side) -> Compared {
        for (offset, value) in &target.records {
            match source.records.get(offset) {
                Some(same) if same == value => {}
                // Retention, or the cleaner, may have taken it since.
                None if self.was_there(partition, *offset, value) => {}
                other => {
                    return Compared::Different(format!(
                        "offset {offset} of partition {partition} is {:?} on the target, and {:?} at the source",
                        shown(value),
                        other.map(|value| shown(value))
                    ));
                }
            }
        }
        if target.end < source.last_stable || target.is_behind || source.is_behind {
            let (ours, theirs) = (target.end, source.last_stable);
            return Compared::Behind(format!(
                "partition {partition} ends at {ours} on the target, and at {theirs} at the source"
            ));
        }
        if let Some(missing) = source.records.keys().find(|offset| !target.records.contains_key(offset)) {
            return Compared::Different(format!("offset {missing} of partition {partition} is not on the target"));
        }
        if target.end > source.end {
            return Compared::Different(format!(
                "partition {partition} ends at {} on the target, behind the source",
                target.end
            ));
        }
        Compared::Same { records: source.records.len() }
    }

    /// Every record once, in order, whatever others have written between.
    fn compare_order(&self, partition: usize, source: &Side, target: &Side) -> Compared {
        let written = self.world.written.borrow();
        let offsets: BTreeMap<&[u8], i64> = written
            .iter()
            .filter(|((of, _), _)| *of == partition)
            .flat_map(|((_, offset), values)| values.iter().map(|value| (&value[..], *offset)))
            .collect();
        let mut last = -1;
        let mut copied = BTreeMap::new();
        for (at, value) in target.records.iter().filter(|(_, value)| !value.starts_with(FOREIGN)) {
            let Some(offset) = offsets.get(&value[..]).copied() else {
                return Compared::Different(format!(
                    "offset {at} of partition {partition} on the target is nowhere at the source"
                ));
            };
            if offset <= last {
                let what = format!(
                    "offset {at} of partition {partition} on the target is that of offset {offset} at the source"
                );
                return Compared::Different(format!("{what}, behind that of {last}"));
            }
            last = offset;
            copied.insert(offset, value);
        }
        if target.is_behind || source.is_behind {
            return Compared::Behind(format!("partition {partition} is not replicated"));
        }
        match source.records.keys().find(|offset| !copied.contains_key(offset)) {
            Some(missing) if *missing > last => Compared::Behind(format!(
                "offset {missing} of partition {partition} of the source is not on the target"
            )),
            Some(missing) => Compared::Different(format!(
                "offset {missing} of partition {partition} of the source was left out on the target"
            )),
            None => Compared::Same { records: source.records.len() },
        }
    }

    /// Whether the source has had a record there that it has not now.
    fn was_there(&self, partition: usize, offset: i64, value: &[u8]) -> bool {
        let written = self.world.written.borrow();
        written.get(&(partition, offset)).is_some_and(|values| values.iter().any(|written| written == value))
    }
}
