//! What is at the end of the target's logs: the last batch, and who wrote the last records.
//!
//! Mostly headers suffice, those of many partitions in one request. Only where more than a few markers are at the end is the
//! log read backwards. What a read leaves open is an error of that partition, never taken for a log without records.

use std::collections::BTreeMap;

use crate::batch::{self, Header, marker};
use crate::error::Result;
use crate::machine::partition::Tail;
use crate::terms::broker_error::BrokerError;
use crate::terms::topic::TopicPartition;
use crate::wire::connection::Connection;
use crate::wire::positions::{self, ByPartition};
use crate::wire::seen::{Held, Seen};

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
    /// The sequence number of this mirror's last filler, if the broker knows of any.
    pub(super) last_filler: Option<i32>,
}

/// Reads the ends of logs, given where they begin and end. All replicas have what is before the end.
pub(super) async fn read(
    connection: &Connection,
    producer_id: i64,
    bounds: &BTreeMap<TopicPartition, (i64, i64)>,
) -> Result<ByPartition<TargetEnd>> {
    let partitions: Vec<TopicPartition> = bounds.keys().cloned().collect();
    let filler = marker::filler_of(producer_id);
    let ours = |state: &positions::ProducerState| [producer_id, filler].contains(&state.producer_id);
    let mut states = positions::producers(connection, &partitions, ours).await?;
    let filled = bounds.iter().filter(|(_, (start, end))| start < end);
    let last_offsets: Vec<(TopicPartition, i64)> =
        filled.map(|(partition, (_, end))| (partition.clone(), end - 1)).collect();
    let headers = positions::batch_headers(connection, &last_offsets).await?;
    let before_markers = before_markers(connection, bounds, &headers).await?;
    let mut found: ByPartition<TargetEnd> = BTreeMap::new();
    for (partition, (start, end)) in bounds {
        let log = Log { connection, producer_id, partition, start: *start, end: *end };
        // A broker that cannot tell is asked of none.
        let states = match &mut states {
            Some(states) => states.remove(partition).unwrap_or(Err(BrokerError::UNKNOWN_PARTITION)),
            None => Ok(Vec::new()),
        };
        let at_end = headers.get(partition).copied().transpose();
        let before = before_markers.get(partition).copied().transpose();
        let end = match (states, at_end, before) {
            (Ok(states), Ok(at_end), Ok(before)) => log.end(&states, at_end, before).await?,
            (Err(error), ..) | (_, Err(error), _) | (.., Err(error)) => Err(error),
        };
        found.insert(partition.clone(), end);
    }
    Ok(found)
}

/// The last batches of records of logs that end in a few markers.
async fn before_markers(
    connection: &Connection,
    bounds: &BTreeMap<TopicPartition, (i64, i64)>,
    last: &ByPartition<Seen<Held>>,
) -> Result<ByPartition<Header>> {
    let mut found = BTreeMap::new();
    let mut headers = last.clone();
    for step in 0..=MARKERS_AT_END {
        let mut asked: Vec<(TopicPartition, i64)> = Vec::new();
        for (partition, seen) in std::mem::take(&mut headers) {
            match seen.map(Seen::header) {
                Ok(Some(header)) if header.is_control() => {
                    if bounds.get(&partition).is_some_and(|(start, _)| header.base_offset > *start) {
                        asked.push((partition, header.base_offset - 1));
                    }
                }
                // The last batch of all is looked at by itself.
                Ok(Some(header)) if step > 0 => drop(found.insert(partition, Ok(header))),
                Ok(_) => {}
                Err(error) => drop(found.insert(partition, Err(error))),
            }
        }
        if asked.is_empty() || step == MARKERS_AT_END {
            break;
        }
        headers = positions::batch_headers(connection, &asked).await?;
    }
    Ok(found)
}

/// One log of the target, all of which is replicated.
struct Log<'a> {
    connection: &'a Connection,
    producer_id: i64,
    partition: &'a TopicPartition,
    start: i64,
    end: i64,
}

impl Log<'_> {
    /// What is at its end, given what the broker knows of the mirror, what holds the last offset, and the last records before a
    /// few markers.
    async fn end(
        &self,
        states: &[positions::ProducerState],
        at_end: Option<Seen<Held>>,
        before_markers: Option<Header>,
    ) -> Result<Result<TargetEnd, BrokerError>> {
        let ours = { states.iter() }.find(|state| state.producer_id == self.producer_id && state.last_sequence >= 0);
        let filler = { states.iter() }.find(|state| state.producer_id == marker::filler_of(self.producer_id));
        let mut end = TargetEnd {
            tail: Tail::Empty,
            last_record: ours.map(|state| (state.producer_epoch, state.last_sequence)),
            last_batch: None,
            last_filler: filler.map(|state| state.last_sequence),
        };
        if self.start >= self.end {
            return Ok(Ok(end));
        }
        let last = at_end.and_then(Seen::header).filter(|header| header.last_offset() == self.end - 1);
        end.tail = match at_end {
            // No mirror writes that.
            Some(Seen::There(Held::OldFormat)) => {
                Tail::Records { producer_id: -1, producer_epoch: -1, last_sequence: -1 }
            }
            _ => last.map_or(Tail::Unknown, |header| Tail::of(&header)),
        };
        if let Some(header) = last.filter(|header| !header.is_control()).or(before_markers) {
            note_batch(self.producer_id, header, &mut end);
            return Ok(Ok(end));
        }
        Ok(self.look_back(&mut end).await?.map(|()| end))
    }

    /// Finds the last records of a log that ends in markers, and what is at its end if that is not known, by reading it backwards.
    async fn look_back(&self, target_end: &mut TargetEnd) -> Result<Result<(), BrokerError>> {
        let mut known_from = self.end;
        for step in STEPS_BACK {
            let from = self.end.saturating_sub(step).max(self.start);
            if from < known_from {
                let batches = match headers_between(self.connection, self.partition, from, known_from).await? {
                    Ok(batches) => batches,
                    Err(error) => return Ok(Err(error)),
                };
                if let (Tail::Unknown, Some(last)) = (target_end.tail, batches.last) {
                    target_end.tail = Tail::of(&last);
                }
                if let Some(header) = batches.last_records {
                    note_batch(self.producer_id, header, target_end);
                    return Ok(Ok(()));
                }
                known_from = from;
            }
            // The number of the last record is needed, where it is, whatever it costs; that the records are the same is good
            // to know where it is cheap.
            if target_end.last_record.is_some() || from == self.start {
                break;
            }
        }
        Ok(Ok(()))
    }
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
        let fetched = match positions::look(connection, partition, next, READ).await? {
            Ok(fetched) => fetched,
            Err(error) => return Ok(Err(error)),
        };
        let before = next;
        // Left open: what cannot be read is asked for again, and an error when nothing else comes.
        for batch in batch::split(fetched).map_while(Result::ok) {
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
            return Ok(Err(BrokerError::CUT_OFF));
        }
    }
    Ok(Ok(found))
}
