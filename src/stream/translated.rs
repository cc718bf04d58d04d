//! Reads the target's logs where offsets are translated: others write there too, so what is read is the mirror's part of them.
//!
//! The map of a partition says where the mirror's last record is. It is looked whether that record is still there, and, if
//! the broker knows of later ones or has forgotten the mirror, where those are. What the machine gets to see is a target
//! with the mirror's records alone, at their offsets of the source.

use std::collections::HashMap;
use std::sync::{MutexGuard, PoisonError};

use super::ends::TargetEnd;
use super::likeness::{Compared, Place, compare_records, is_same_payload};
use super::opening::{Names, Target, get};
use super::{Side, Stream};
use crate::batch::{self, Header};
use crate::error::{Error, ErrorKind, Result};
use crate::identity::{offsets::News, start_number_of};
use crate::machine::partition::{Likeness, SourceLog, Tail, TargetLog};
use crate::machine::translation::OffsetMap;
use crate::status::Translation;
use crate::wire::connection::Connection;
use crate::wire::errors::{BrokerError, Class};
use crate::wire::positions::{self, ByPartition, TopicPartition, Which};
use crate::wire::seen::{Held, Seen};

/// Bytes of one read.
const READ: i32 = 1 << 20;

impl Translation {
    /// What is known of the offsets. It is never held while somebody is waited for.
    pub(crate) fn map(&self) -> MutexGuard<'_, OffsetMap> {
        self.map.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Stream {
    /// Takes in what processes of this mirror have written down, this one or others.
    pub(super) fn hear(&self, news: News) {
        let slots = self.slots.borrow();
        let translations = || slots.iter().filter_map(|slot| slot.progress.translation.get());
        for (place, note) in news {
            match place {
                None => translations().for_each(|translation| translation.map().hear(note.clone())),
                Some(place) => {
                    let slot = self.slot(&place.topic, place.partition).and_then(|index| slots.get(index));
                    let translation = slot.and_then(|slot| slot.progress.translation.get());
                    if let Some(translation) = translation.filter(|translation| translation.place == place) {
                        translation.map().hear(note);
                    }
                }
            }
        }
    }

    /// Why a partition may not go on: another process has started since, and counts on being the only one.
    pub(super) fn outrun(&self, index: usize) -> Option<Error> {
        let slots = self.slots.borrow();
        let latest = slots.get(index)?.progress.translation.get()?.map().latest_start();
        (latest > start_number_of(self.identity)).then(|| {
            let message =
                "another process of this mirror has started since: with offsets=translate the latest one goes on alone";
            Error::new(ErrorKind::Fenced, message)
        })
    }

    /// Works with the map of a partition, by the slot.
    pub(super) fn with_map<T>(&self, index: usize, work: impl FnOnce(&mut OffsetMap) -> T) -> Option<T> {
        let slots = self.slots.borrow();
        let translation = slots.get(index)?.progress.translation.get()?;
        Some(work(&mut translation.map()))
    }

    fn slot_of(&self, names: &Names) -> usize {
        self.slot(&names.source.0, names.source.1).unwrap_or(usize::MAX)
    }
}

/// Epoch and sequence number of the mirror's last record, as the broker knows it.
type Known = HashMap<TopicPartition, Result<Option<(i16, i32)>, BrokerError>>;

async fn known(connection: &Connection, producer_id: i64, partitions: &[TopicPartition]) -> Result<Known> {
    let ours = |state: &positions::ProducerState| state.producer_id == producer_id && state.last_sequence >= 0;
    let Some(states) = positions::producers(connection, partitions, ours).await? else { return Ok(Known::new()) };
    let last =
        |states: Vec<positions::ProducerState>| states.first().map(|state| (state.producer_epoch, state.last_sequence));
    Ok(states.into_iter().map(|(partition, states)| (partition, states.map(last))).collect())
}

/// Reads the target's logs, of partitions with one leader.
pub(super) async fn read_target(stream: &Stream, leader: i32, names: &[Names]) -> Result<ByPartition<Target>> {
    let partitions: Vec<TopicPartition> = names.iter().map(|names| names.target.clone()).collect();
    let producer_id = stream.identity.producer_id;
    let connection = stream.target.broker(leader).await?;
    let ends = positions::list_offsets(&connection, &partitions, Which::LogEnd).await?;
    let starts = positions::list_offsets(&connection, &partitions, Which::LogStart).await?;
    let high_watermarks = positions::list_offsets(&connection, &partitions, Which::HighWatermark).await?;
    let before = known(&connection, producer_id, &partitions).await?;
    // What was written down before a record was sent is there when the record is.
    let news = stream.notebook.lock().await.read(&stream.target, &stream.name).await?;
    stream.hear(news);
    let mut last_batches = look_for_last(stream, &connection, names, &starts).await?;
    for one in names {
        // Left open: what was not told is an error of this partition below.
        let (Ok(start), Ok(end)) = (get(&starts, &one.target), get(&ends, &one.target)) else { continue };
        // Left open: as above.
        let Ok(replicated) = get(&high_watermarks, &one.target) else { continue };
        // Left open: as above.
        let Ok(remembered) = before.get(&one.target).copied().unwrap_or(Ok(None)) else { continue };
        // What is not replicated yet cannot be read, and the position is read again anyway.
        match catch_up(stream, &connection, one, (start, end.min(replicated)), remembered).await? {
            Ok(Some(header)) => drop(last_batches.insert(one.target.clone(), Ok(header))),
            Ok(None) => {}
            Err(error) => drop(last_batches.insert(one.target.clone(), Err(error))),
        }
    }
    let after = known(&connection, producer_id, &partitions).await?;
    let target = |names: &Names| {
        let partition = &names.target;
        let (end, high_watermark) = (get(&ends, partition)?, get(&high_watermarks, partition)?);
        get(&starts, partition)?;
        let none = Ok(None);
        let (before, after) = (*before.get(partition).unwrap_or(&none), *after.get(partition).unwrap_or(&none));
        let last_batch = last_batches.get(partition).copied().transpose()?;
        let (before, after) = (before?, after?);
        let is_stable = before == after && high_watermark >= end;
        let seen = stream.with_map(stream.slot_of(names), |map| seen(map, stream, before, is_stable));
        let log = seen.ok_or(BrokerError::UNKNOWN_PARTITION)?;
        let end = TargetEnd { tail: log.tail, last_record: log.last_record, last_batch, last_filler: None };
        Ok(Target { log, end })
    };
    Ok(names.iter().map(|names| (names.target.clone(), target(names))).collect())
}

/// The target's log with the mirror's records alone, at their offsets of the source.
fn seen(map: &OffsetMap, stream: &Stream, remembered: Option<(i16, i32)>, is_stable: bool) -> TargetLog {
    let next = map.known_until();
    let last_sequence = OffsetMap::sequence_of(next - 1);
    let all_seen = remembered.is_none_or(|(_, last)| last == last_sequence);
    let log_end_offset = map.source_offset_of(next);
    let producer_epoch = remembered.map_or(stream.identity.producer_epoch, |(epoch, _)| epoch);
    TargetLog {
        log_start_offset: 0,
        log_end_offset,
        // What moved meanwhile is not known to be replicated: to be read again.
        high_watermark: if is_stable && all_seen { log_end_offset } else { -1 },
        last_record: Some((producer_epoch, last_sequence)),
        last_writer: Some(stream.identity.producer_id),
        tail: Tail::Records { producer_id: stream.identity.producer_id, producer_epoch, last_sequence },
        begun: next > map.begin().number,
    }
}

/// Whether a batch is the mirror's, and has a record under its number.
fn is_ours(stream: &Stream, map: &OffsetMap, header: &Header, on_target: i64, number: i64) -> bool {
    let nth = on_target - header.base_offset;
    header.producer_id == stream.identity.producer_id
        && (header.base_offset..=header.last_offset()).contains(&on_target)
        && map.number_of(header.base_sequence) + nth == number
}

/// Looks whether the mirror's last records are still there; of what is gone otherwise than by retention the map is rid.
async fn look_for_last(
    stream: &Stream,
    connection: &Connection,
    names: &[Names],
    starts: &ByPartition<i64>,
) -> Result<HashMap<TopicPartition, Result<Header, BrokerError>>> {
    let mut found = HashMap::new();
    let mut open: Vec<&Names> = names.iter().collect();
    while !open.is_empty() {
        let last = |names: &&Names| {
            let (on_target, _) = stream.with_map(stream.slot_of(names), |map| map.last_record()).flatten()?;
            // Left open: where the log starts is asked for again below, where an error is one.
            let start = get(starts, &names.target).ok()?;
            (on_target >= start).then(|| (names.target.clone(), on_target))
        };
        let asked: Vec<(TopicPartition, i64)> = open.iter().filter_map(last).collect();
        let headers = positions::batch_headers(connection, &asked).await?;
        open.retain(|names| {
            let Some((partition, on_target)) = last(names) else { return false };
            let lost = match headers.get(&partition) {
                Some(Ok(seen)) => stream.with_map(stream.slot_of(names), |map| {
                    let number = map.known_until() - 1;
                    let ours = seen.header().filter(|header| is_ours(stream, map, header, on_target, number));
                    match ours {
                        Some(header) => drop(found.insert(partition.clone(), Ok(header))),
                        None => map.forget_last_run(),
                    }
                    ours.is_none()
                }),
                // Behind the end of the log.
                Some(Err(error)) if error.class == Class::OutOfRange => stream.with_map(stream.slot_of(names), |map| {
                    map.forget_last_run();
                    true
                }),
                Some(Err(error)) => {
                    found.insert(partition, Err(*error));
                    None
                }
                None => None,
            };
            lost == Some(true)
        });
    }
    Ok(found)
}

/// Finds the mirror's records that the map does not know of, if there may be any; returns the last batch of them.
async fn catch_up(
    stream: &Stream,
    connection: &Connection,
    names: &Names,
    (start, end): (i64, i64),
    remembered: Option<(i16, i32)>,
) -> Result<Result<Option<Header>, BrokerError>> {
    let slot = stream.slot_of(names);
    let looked = stream.with_map(slot, |map| {
        let last = remembered.map(|(_, last)| map.number_of(last));
        let is_behind = last.is_none_or(|last| last >= map.known_until());
        is_behind.then(|| (map.target_offset_next().max(start), last))
    });
    let Some((mut next, last)) = looked.flatten() else { return Ok(Ok(None)) };
    let mut last_batch = None;
    while next < end {
        let fetched = match positions::look(connection, &names.target, next, READ).await? {
            Ok(fetched) => fetched,
            Err(error) => return Ok(Err(error)),
        };
        let before = next;
        // Left open: what cannot be read is asked for again, and an error when nothing else comes.
        for batch in batch::split(fetched).map_while(Result::ok) {
            let header = batch.header;
            next = next.max(header.last_offset() + 1);
            if header.producer_id == stream.identity.producer_id && !header.is_control() && header.base_offset < end {
                stream.with_map(slot, |map| note(map, &header));
                last_batch = Some(header);
            }
        }
        let is_known = stream.with_map(slot, |map| last.is_some_and(|last| last < map.known_until()));
        if is_known == Some(true) {
            break;
        }
        if next == before {
            return Ok(Err(BrokerError::CUT_OFF));
        }
    }
    Ok(Ok(last_batch))
}

/// Adds a batch of the mirror, which may have records that are known.
fn note(map: &mut OffsetMap, header: &Header) {
    let first = map.number_of(header.base_sequence);
    let known = (map.known_until() - first).max(0);
    let count = i64::from(header.record_count) - known;
    // Anything else than the next is of no use: it would be a hole in the numbers.
    if count > 0 && first + known == map.known_until() {
        let number = first + known;
        map.append(number, map.source_offset_of(number), header.base_offset + known, count);
    }
}

/// Compares the mirror's last records with what the source has at their offsets there. With it the leader epoch that the source has
/// just before the place where it goes on. By the name at the source.
pub(super) async fn compare(
    stream: &Stream,
    leaders: [i32; 2],
    names: &[Names],
    sources: &ByPartition<(SourceLog, i64)>,
    targets: &ByPartition<Target>,
) -> Result<HashMap<TopicPartition, Result<Compared>>> {
    let mut compared = HashMap::new();
    let mut known = Vec::new();
    for names in names {
        let (Some(Ok((source, _))), Some(Ok(target))) = (sources.get(&names.source), targets.get(&names.target)) else {
            continue;
        };
        let last = stream.with_map(stream.slot_of(names), |map| map.last_record()).flatten();
        let last = last.zip(target.end.last_batch).filter(|((_, offset), _)| source.holds(*offset));
        let before_end = Some(target.log.log_end_offset - 1).filter(|offset| source.holds(*offset));
        match before_end.is_some() || last.is_some() {
            true => known.push((names, before_end, last)),
            false => drop(compared.insert(names.source.clone(), Ok((Likeness::Unknown, -1)))),
        }
    }
    if known.is_empty() {
        return Ok(compared);
    }
    let source = stream.source.broker(leaders[Side::Source as usize]).await?;
    let at_end: Vec<_> =
        known.iter().filter_map(|(names, before_end, _)| Some((names.source.clone(), (*before_end)?))).collect();
    let at_end = positions::batch_headers(&source, &at_end).await?;
    let last_records: Vec<_> = { known.iter() }
        .filter_map(|(names, _, last)| last.map(|((_, offset), _)| (names.source.clone(), offset)))
        .collect();
    let last_records = positions::batch_headers(&source, &last_records).await?;
    for (names, before_end, last) in known {
        let there = Place { stream, side: Side::Source, connection: &source, partition: &names.source };
        let leader = leaders[Side::Target as usize];
        let likeness = async {
            let at_end = there.answer(&at_end, before_end.unwrap_or_default())?;
            let last_epoch = at_end.and_then(Seen::header).map_or(-1, |header| header.partition_leader_epoch);
            let Some((place, header)) = last else { return Ok((Likeness::Unknown, last_epoch)) };
            let seen = there.answer(&last_records, place.1)?;
            Ok((compare_last(there, leader, names, place, &header, seen).await?, last_epoch))
        };
        compared.insert(names.source.clone(), likeness.await);
    }
    Ok(compared)
}

/// Compares the mirror's last record, given its batch and what holds it at the source.
async fn compare_last(
    there: Place<'_>,
    leader: i32,
    names: &Names,
    (on_target, offset): (i64, i64),
    header: &Header,
    seen: Option<Seen<Held>>,
) -> Result<Likeness> {
    if let Some(likeness) = seen.and_then(|seen| judge(header, on_target, seen, offset)) {
        return Ok(likeness);
    }
    let connection = there.stream.target.broker(leader).await?;
    let here = Place { side: Side::Target, connection: &connection, partition: &names.target, ..there };
    Ok(compare_records((there, offset), (here, on_target)).await?.unwrap_or(Likeness::Unknown))
}

/// What headers alone tell; `None` if the records have to be looked at.
fn judge(target: &Header, on_target: i64, source: Seen<Held>, offset: i64) -> Option<Likeness> {
    let source = source.header()?;
    if source.is_control() {
        return Some(Likeness::Different { offset });
    }
    let same_place = offset - source.base_offset == on_target - target.base_offset;
    let same_length = source.last_offset_delta == target.last_offset_delta;
    (same_place && same_length && is_same_payload(target, &source)).then_some(Likeness::Same)
}
