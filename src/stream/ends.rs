//! What is at the end of the target's logs, and whether the source has the same there.
//!
//! Mostly headers suffice, those of many partitions in one request: who wrote the last batch is in its header, and the
//! checksum of a batch that was passed on says whether its payload is the source's. Only where holes are at the end, or
//! where a batch was cut differently, are records read.

use std::collections::HashMap;

use super::Stream;
use super::contents::{compare_records, header_at};
use super::opening::{Names, Target};
use crate::batch::{self, Header, marker};
use crate::error::Result;
use crate::machine::partition::{Likeness, Tail};
use crate::wire::connection::Connection;
use crate::wire::errors::BrokerError;
use crate::wire::positions::{self, ByPartition, TopicPartition};

/// How far it is looked back for a record behind markers, in steps that grow: the last step reads the whole log.
const STEPS_BACK: [i64; 4] = [256, 8192, 262_144, i64::MAX];
/// Markers at the end of a log of which it is asked, for many logs at once, what comes before each: the ends of transactions.
const MARKERS_AT_END: usize = 3;
/// Bytes of one read.
const READ: i32 = 1 << 20;

/// The end of a target's log.
#[derive(Debug, Clone, Copy)]
pub(super) struct TargetEnd {
    pub(super) tail: Tail,
    /// Epoch and sequence number of the mirror's last record.
    pub(super) last_record: Option<(i16, i32)>,
    /// The last batch of records, if one was found.
    pub(super) last_batch: Option<Header>,
    /// The broker knows of filler of this mirror.
    pub(super) has_filler: bool,
}

/// Reads the ends of logs, given where they begin and end.
pub(super) async fn read(
    connection: &Connection,
    producer_id: i64,
    bounds: &HashMap<TopicPartition, (i64, i64)>,
) -> Result<ByPartition<TargetEnd>> {
    let partitions: Vec<TopicPartition> = bounds.keys().cloned().collect();
    let filler = marker::filler_of(producer_id);
    let ours = |state: &positions::ProducerState| [producer_id, filler].contains(&state.producer_id);
    let states = positions::producers(connection, &partitions, ours).await?;
    let filled = bounds.iter().filter(|(_, (start, end))| start < end);
    let last_offsets: Vec<(TopicPartition, i64)> =
        filled.map(|(partition, (_, end))| (partition.clone(), end - 1)).collect();
    let headers = positions::batch_headers(connection, &last_offsets).await?;
    let before_markers = records_before_markers(connection, bounds, &headers).await?;
    let mut found: ByPartition<TargetEnd> = HashMap::new();
    for (partition, (start, end)) in bounds {
        let states = match states.as_ref().and_then(|states| states.get(partition)) {
            Some(Err(error)) => {
                found.insert(partition.clone(), Err(*error));
                continue;
            }
            Some(Ok(states)) => states.as_slice(),
            None => &[],
        };
        let ours = states.iter().find(|state| state.producer_id == producer_id && state.last_sequence >= 0);
        let mut target_end = TargetEnd {
            tail: Tail::Empty,
            last_record: ours.map(|state| (state.producer_epoch, state.last_sequence)),
            last_batch: None,
            has_filler: states.iter().any(|state| state.producer_id == filler),
        };
        if start < end {
            let header = match headers.get(partition) {
                Some(Err(error)) => {
                    found.insert(partition.clone(), Err(*error));
                    continue;
                }
                Some(Ok(header)) => header.filter(|header| header.last_offset() == end - 1),
                None => None,
            };
            target_end.tail = header.map_or(Tail::Unknown, |header| Tail::of(&header));
            let last_batch = header.filter(|header| !header.is_control());
            if let Some(header) = last_batch.or(before_markers.get(partition).copied()) {
                note_batch(producer_id, header, &mut target_end);
                found.insert(partition.clone(), Ok(target_end));
                continue;
            }
            let looked = look_back(connection, producer_id, partition, (*start, *end), &mut target_end).await?;
            if let Err(error) = looked {
                found.insert(partition.clone(), Err(error));
                continue;
            }
        }
        found.insert(partition.clone(), Ok(target_end));
    }
    Ok(found)
}

/// The last batches of records of logs that end in a few markers.
async fn records_before_markers(
    connection: &Connection,
    bounds: &HashMap<TopicPartition, (i64, i64)>,
    last: &ByPartition<Option<Header>>,
) -> Result<HashMap<TopicPartition, Header>> {
    let mut found = HashMap::new();
    let mut headers = last.clone();
    for _ in 0..MARKERS_AT_END {
        let before = |(partition, header): (&TopicPartition, &Result<Option<Header>, BrokerError>)| {
            let header = header.ok().flatten().filter(Header::is_control)?;
            (header.base_offset > bounds.get(partition)?.0).then(|| (partition.clone(), header.base_offset - 1))
        };
        let asked: Vec<(TopicPartition, i64)> = headers.iter().filter_map(before).collect();
        if asked.is_empty() {
            break;
        }
        headers = positions::batch_headers(connection, &asked).await?;
        let records = headers.iter().filter_map(|(partition, header)| Some((partition, header.ok().flatten()?)));
        found.extend(records.filter(|(_, header)| !header.is_control()).map(|(of, header)| (of.clone(), header)));
    }
    Ok(found)
}

/// Finds the last records of a log that ends in markers, and what is at its end if that is not known, by reading it backwards.
async fn look_back(
    connection: &Connection,
    producer_id: i64,
    partition: &TopicPartition,
    (start, end): (i64, i64),
    target_end: &mut TargetEnd,
) -> Result<Result<(), BrokerError>> {
    let mut known_from = end;
    for step in STEPS_BACK {
        let from = end.saturating_sub(step).max(start);
        if from < known_from {
            let batches = match headers_between(connection, partition, from, known_from).await? {
                Ok(batches) => batches,
                Err(error) => return Ok(Err(error)),
            };
            if let (Tail::Unknown, Some(last)) = (target_end.tail, batches.last) {
                target_end.tail = Tail::of(&last);
            }
            if let Some(header) = batches.last_records {
                note_batch(producer_id, header, target_end);
                return Ok(Ok(()));
            }
            known_from = from;
        }
        // The number of the last record is needed, where it is, whatever it costs; that the records are the same is good
        // to know where it is cheap.
        if target_end.last_record.is_some() || from == start {
            break;
        }
    }
    Ok(Ok(()))
}

/// The last batch of records: the source may have it too, and if the broker has forgotten the mirror, it tells its number.
fn note_batch(producer_id: i64, header: Header, target_end: &mut TargetEnd) {
    target_end.last_batch = Some(header);
    if header.producer_id == producer_id && target_end.last_record.is_none() {
        let Tail::Records { producer_epoch, last_sequence, .. } = Tail::of(&header) else { return };
        target_end.last_record = Some((producer_epoch, last_sequence));
    }
}

/// The last batch, and the last one that has records.
#[derive(Default)]
struct LastBatches {
    last: Option<Header>,
    last_records: Option<Header>,
}

async fn headers_between(
    connection: &Connection,
    partition: &TopicPartition,
    from: i64,
    to: i64,
) -> Result<Result<LastBatches, BrokerError>> {
    let mut found = LastBatches::default();
    let mut next = from;
    while next < to {
        let fetched = match positions::look(connection, partition, next, READ, false).await? {
            Ok(fetched) => fetched,
            Err(error) => return Ok(Err(error)),
        };
        let before = next;
        for batch in batch::split(fetched.records).map_while(Result::ok) {
            let header = batch.header;
            if header.base_offset >= to {
                return Ok(Ok(found));
            }
            next = next.max(header.last_offset() + 1);
            found.last = Some(header);
            if !header.is_control() {
                found.last_records = Some(header);
            }
        }
        if next == before {
            break; // nothing more is visible
        }
    }
    Ok(Ok(found))
}

/// Compares the last records of the target with what the source has at the same offsets. With it the leader epoch that the
/// source has just before the target's end. By the name at the source.
pub(super) async fn compare(
    stream: &Stream,
    leaders: [i32; 2],
    names: &[Names],
    targets: &ByPartition<Target>,
) -> Result<HashMap<TopicPartition, (Likeness, i32)>> {
    let known = names.iter().filter_map(|names| Some((names, targets.get(&names.target)?.as_ref().ok()?)));
    let filled: Vec<(&Names, &Target)> =
        known.filter(|(_, target)| target.log.log_end_offset > target.log.log_start_offset).collect();
    if filled.is_empty() {
        return Ok(HashMap::new());
    }
    let source = stream.source.broker(leaders[super::Side::Source as usize]).await?;
    let at_end = |(names, target): &(&Names, &Target)| (names.source.clone(), target.log.log_end_offset - 1);
    let ends = positions::batch_headers(&source, &filled.iter().map(at_end).collect::<Vec<_>>()).await?;
    let behind_markers = |(names, target): &(&Names, &Target)| {
        let last = target.end.last_batch?.last_offset();
        (last + 1 != target.log.log_end_offset).then(|| (names.source.clone(), last))
    };
    let earlier: Vec<_> = filled.iter().filter_map(behind_markers).collect();
    let earlier = positions::batch_headers(&source, &earlier).await?;
    let mut compared = HashMap::new();
    for (names, target) in filled {
        let partition = &names.source;
        let end = target.log.log_end_offset;
        let at_end = header_at(&ends, partition, end - 1);
        let last_epoch = at_end.map_or(-1, |header| header.partition_leader_epoch);
        let likeness = match target.end.last_batch {
            None => Likeness::Unknown,
            Some(last) => {
                let offset = last.last_offset();
                let there = if offset + 1 == end { at_end } else { header_at(&earlier, partition, offset) };
                match judge(&last, there) {
                    Some(likeness) => likeness,
                    None => {
                        let target = stream.target.broker(leaders[super::Side::Target as usize]).await?;
                        compare_at(&source, &target, names, offset).await?
                    }
                }
            }
        };
        let likeness = match likeness {
            Likeness::Different { offset } => {
                let from = target.log.log_start_offset;
                let target = stream.target.broker(leaders[super::Side::Target as usize]).await?;
                Likeness::Different { offset: first_difference(&source, &target, names, from, offset).await? }
            }
            likeness => likeness,
        };
        compared.insert(partition.clone(), (likeness, last_epoch));
    }
    Ok(compared)
}

/// What headers alone tell; `None` if the records have to be looked at.
fn judge(target: &Header, source: Option<Header>) -> Option<Likeness> {
    // Gone at the source, by retention or compaction.
    let Some(source) = source else { return Some(Likeness::Unknown) };
    if source.is_control() {
        return Some(Likeness::Different { offset: target.last_offset() });
    }
    let same_offsets = (source.base_offset, source.last_offset_delta) == (target.base_offset, target.last_offset_delta);
    (same_offsets && target.has_payload_of(&source)).then_some(Likeness::Same)
}

/// The first offset at which both differ, given one at which they do: logs that were one part once and for all.
async fn first_difference(
    source: &Connection,
    target: &Connection,
    names: &Names,
    mut from: i64,
    mut different: i64,
) -> Result<i64> {
    while from < different {
        let middle = from + (different - from) / 2;
        match compare_at(source, target, names, middle).await? {
            Likeness::Different { .. } => different = middle,
            // Where one has no record there is nothing to tell them apart by.
            Likeness::Same | Likeness::Unknown => from = middle + 1,
        }
    }
    Ok(different)
}

/// Compares the records at one offset.
async fn compare_at(source: &Connection, target: &Connection, names: &Names, offset: i64) -> Result<Likeness> {
    compare_records((source, (&names.source, offset)), (target, (&names.target, offset))).await
}
