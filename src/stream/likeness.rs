//! Whether both logs hold the same at the target's end: by headers where a batch was passed on, else by records.
//!
//! Nothing is concluded from a read that failed or said nothing: that is an error of the partition, which is then opened again.
//! Where one side has no record any more, because its cleaner took it, both are compared a little further back.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::opening::{Names, Target, refused};
use super::{Side, Stream};
use crate::batch::pieces::{self, Piece, Reading};
use crate::batch::records::Records;
use crate::batch::{self, Header, Malformed};
use crate::error::{Error, ErrorKind, Result};
use crate::machine::partition::{Likeness, SourceLog};
use crate::terms::broker_error::BrokerError;
use crate::terms::topic::TopicPartition;
use crate::wire::connection::Connection;
use crate::wire::positions::{self, ByPartition};
use crate::wire::seen::{Held, Seen};

/// Bytes asked for to see what is at an offset.
const LOOK: i32 = 1 << 20;
/// How far it is looked back for a record that both have, in steps that grow. Compaction rarely takes so many in a row on one side.
const STEPS_BACK: [i64; 2] = [64, 4096];

/// Whether both hold the same, and the leader epoch that the source has just before the target's end; -1 if there is no batch.
pub(super) type Compared = (Likeness, i32);

/// One side of a comparison.
#[derive(Clone, Copy)]
pub(super) struct Place<'a> {
    pub(super) stream: &'a Stream,
    pub(super) side: Side,
    pub(super) connection: &'a Connection,
    pub(super) partition: &'a TopicPartition,
}

/// Compares the last records of targets with what the source has at the same offsets. Each partition by its name at the source.
pub(super) async fn compare(
    stream: &Stream,
    leaders: [i32; 2],
    names: &[Names],
    sources: &ByPartition<(SourceLog, i64)>,
    targets: &ByPartition<Target>,
) -> Result<BTreeMap<TopicPartition, Result<Compared>>> {
    let mut compared = BTreeMap::new();
    let mut filled = Vec::new();
    for names in names {
        let (Some(Ok((source, _))), Some(Ok(target))) = (sources.get(&names.source), targets.get(&names.target)) else {
            continue;
        };
        // What is not replicated yet is read again anyway.
        match target.log.log_start_offset < target.log.log_end_offset && target.log.is_replicated() {
            true => filled.push((names, *source, target)),
            false => drop(compared.insert(names.source.clone(), Ok((Likeness::Unknown, -1)))),
        }
    }
    if filled.is_empty() {
        return Ok(compared);
    }
    let connection = stream.source.broker(leaders[Side::Source as usize]).await?;
    let ends = |(names, source, target): &(&Names, SourceLog, &Target)| {
        let end = target.log.log_end_offset;
        let behind_markers = target.end.last_batch.map(|last| last.last_offset()).filter(|last| last + 1 != end);
        (
            names.source.clone(),
            [Some(end - 1), behind_markers].map(|offset| offset.filter(|offset| source.holds(*offset))),
        )
    };
    let [ends, earlier] = headers_at(&connection, filled.iter().map(ends).collect()).await?;
    for (names, source, target) in filled {
        let place = Place { stream, side: Side::Source, connection: &connection, partition: &names.source };
        let leader = leaders[Side::Target as usize];
        let likeness = compare_end(place, leader, names, &source, target, [&ends, &earlier]).await;
        compared.insert(names.source.clone(), likeness);
    }
    Ok(compared)
}

/// What holds each of two offsets of partitions.
pub(super) async fn headers_at(
    connection: &Connection,
    offsets: Vec<(TopicPartition, [Option<i64>; 2])>,
) -> Result<[ByPartition<Seen<Held>>; 2]> {
    let of = |which: usize| -> Vec<_> {
        offsets.iter().filter_map(|(partition, offsets)| Some((partition.clone(), offsets[which]?))).collect()
    };
    Ok([positions::batch_headers(connection, &of(0)).await?, positions::batch_headers(connection, &of(1)).await?])
}

/// Compares one partition, given what holds the target's last offset at the source, and that of its last record.
async fn compare_end(
    there: Place<'_>,
    leader: i32,
    names: &Names,
    source: &SourceLog,
    target: &Target,
    [ends, earlier]: [&ByPartition<Seen<Held>>; 2],
) -> Result<Compared> {
    let end = target.log.log_end_offset;
    let at_end = there.answer(ends, end - 1)?;
    let last_epoch = at_end.and_then(Seen::header).map_or(-1, |header| header.partition_leader_epoch);
    // Without a record, or where the source has removed what is there or ends before it, there is nothing to compare.
    let Some(last) = target.end.last_batch.filter(|last| source.holds(last.last_offset())) else {
        return Ok((Likeness::Unknown, last_epoch));
    };
    let offset = last.last_offset();
    let at_last = if offset + 1 == end { at_end } else { there.answer(earlier, offset)? };
    if let Some(likeness @ Likeness::Same) = at_last.and_then(|seen| judge(&last, seen)) {
        return Ok((likeness, last_epoch));
    }
    let connection = there.stream.target.broker(leader).await?;
    let here = Place { side: Side::Target, connection: &connection, partition: &names.target, ..there };
    let from = target.log.log_start_offset.max(source.log_start_offset);
    let likeness = match at_last.and_then(|seen| judge(&last, seen)) {
        Some(likeness) => likeness,
        None => match compare_records((there, offset), (here, offset)).await? {
            Some(likeness) => likeness,
            None => compare_before(there, here, from, offset).await?,
        },
    };
    let likeness = match likeness {
        Likeness::Different { offset } => {
            Likeness::Different { offset: first_difference(there, here, from, offset).await? }
        }
        likeness => likeness,
    };
    Ok((likeness, last_epoch))
}

/// What headers alone tell; `None` if the records have to be looked at.
fn judge(target: &Header, source: Seen<Held>) -> Option<Likeness> {
    let source = source.header()?;
    if source.is_control() {
        return Some(Likeness::Different { offset: target.last_offset() });
    }
    let same_offsets = (source.base_offset, source.last_offset_delta) == (target.base_offset, target.last_offset_delta);
    (same_offsets && is_same_payload(target, &source)).then_some(Likeness::Same)
}

/// Whether two batches have the same records, as far as headers tell: times count from the base, if the broker has not given it its own.
pub(super) fn is_same_payload(target: &Header, source: &Header) -> bool {
    let is_stamped = target.is_log_append_time() && !source.is_log_append_time();
    !is_stamped && target.base_timestamp == source.base_timestamp && target.has_payload_of(source)
}

/// The first offset at which both differ, given one at which they do: logs that were one part once and for all.
async fn first_difference(there: Place<'_>, here: Place<'_>, mut from: i64, mut different: i64) -> Result<i64> {
    while from < different {
        let middle = from + (different - from) / 2;
        match compare_records((there, middle), (here, middle)).await? {
            Some(Likeness::Different { .. }) => different = middle,
            // Where one has no record there is nothing to tell them apart by.
            Some(Likeness::Same | Likeness::Unknown) | None => from = middle + 1,
        }
    }
    Ok(different)
}

/// Compares the last record before an offset that both have.
async fn compare_before(there: Place<'_>, here: Place<'_>, start: i64, offset: i64) -> Result<Likeness> {
    let mut to = offset;
    for step in STEPS_BACK {
        let from = offset.saturating_sub(step).max(start);
        if from >= to {
            break;
        }
        let on_source: BTreeMap<i64, Record> = there.records(from, to).await?.into_iter().collect();
        let on_target = here.records(from, to).await?;
        let both = on_target.iter().rev().find_map(|(offset, record)| Some((*offset, record, on_source.get(offset)?)));
        if let Some((offset, on_target, on_source)) = both {
            return Ok(likeness_of(there, (on_source, on_target), offset));
        }
        to = from;
    }
    Ok(Likeness::Unknown)
}

/// Compares a record of the source with one of the target, each at its offset there; `None` if one of them is gone.
pub(super) async fn compare_records(
    (there, source_offset): (Place<'_>, i64),
    (here, target_offset): (Place<'_>, i64),
) -> Result<Option<Likeness>> {
    let on_source = there.record_at(source_offset).await?;
    let on_target = here.record_at(target_offset).await?;
    Ok(on_source.zip(on_target).map(|(source, target)| likeness_of(there, (&source, &target), source_offset)))
}

/// A copy to which the target's broker has given a time of its own is told, and is a copy all the same: the topic may have got a setting that
/// stops the partition at its first batch, and be right again.
fn likeness_of(there: Place<'_>, (source, target): (&Record, &Record), offset: i64) -> Likeness {
    let stamped = target.stamped.filter(|_| source.stamped.is_none());
    if source.body != target.body || (source.timestamp != target.timestamp && stamped.is_none()) {
        return Likeness::Different { offset };
    }
    if let Some((first, last)) = stamped {
        let (topic, partition) = (&*there.partition.0, there.partition.1);
        tracing::warn!(
            topic,
            partition,
            first,
            last,
            "the records from the target's offset {first} to {last} are the source's, but have the time at which the target's broker \
             appended them, because its topic had message.timestamp.type=LogAppendTime then: the mirror goes on behind them; delete \
             the topic on the target to copy it anew with the times of the source"
        );
    }
    Likeness::Same
}

/// Everything of a record that a consumer sees.
#[derive(Debug)]
struct Record {
    timestamp: i64,
    body: Bytes,
    /// The first and the last offset of its batch, if the broker has given that its time.
    stamped: Option<(i64, i64)>,
}

impl Place<'_> {
    /// What was seen at an offset, if it was asked.
    pub(super) fn answer(&self, answers: &ByPartition<Seen<Held>>, offset: i64) -> Result<Option<Seen<Held>>> {
        let answer = answers.get(self.partition).copied().transpose();
        answer.map_err(|error| self.unread(offset, error))
    }

    fn unread(&self, offset: i64, error: BrokerError) -> Error {
        refused(self.stream, self.side, format_args!("record {offset} cannot be compared"), error)
    }

    /// The record that the log has at an offset; `None` if something else is there, or comes next.
    async fn record_at(&self, offset: i64) -> Result<Option<Record>> {
        Ok(self.records(offset, offset + 1).await?.pop().map(|(_, record)| record))
    }

    /// The records from an offset on up to another one, as far as one answer has them.
    async fn records(&self, from: i64, to: i64) -> Result<Vec<(i64, Record)>> {
        let look = positions::look(self.connection, self.partition, from, LOOK).await?;
        let look = look.map_err(|error| self.unread(from, error))?;
        // Read off the batches as they are: what is taken out of them has times of its own.
        // Left open: a batch that cannot be split is an error below.
        let headers = batch::split(look.clone()).map_while(Result::ok).map(|batch| batch.header);
        let stamped: Vec<(i64, i64)> = { headers }
            .filter(Header::is_log_append_time)
            .map(|header| (header.base_offset, header.last_offset()))
            .collect();
        let reading = Reading { from, read_committed: false, batch_limit: usize::MAX, without: &[] };
        let mut records = Vec::new();
        let mut has_seen = false;
        for piece in pieces::pieces(look, &[], reading, &Bytes::from) {
            has_seen = true;
            let batch = match piece.map_err(|malformed| self.undecodable(&malformed))? {
                Piece::Nothing { .. } => continue,
                Piece::Records(batch) if batch.header.base_offset >= to => break,
                Piece::Records(batch) => batch,
            };
            let payload = batch.decompressed().map_err(|malformed| self.undecodable(&malformed))?;
            for record in Records::new(&batch.header, &payload) {
                let corrupt = |reason| Malformed::Corrupt { offset: batch.header.base_offset, reason };
                let record = record.map_err(|reason| self.undecodable(&corrupt(reason)))?;
                let offset = batch.header.base_offset + i64::from(record.offset_delta);
                if (from..to).contains(&offset) {
                    let timestamp = record.timestamp(&batch.header);
                    let stamped = stamped.iter().find(|(first, last)| (*first..=*last).contains(&offset)).copied();
                    records.push((offset, Record { timestamp, body: Bytes::copy_from_slice(record.body), stamped }));
                }
            }
            if batch.header.last_offset() + 1 >= to {
                break;
            }
        }
        if has_seen { Ok(records) } else { Err(self.unread(from, BrokerError::CUT_OFF)) }
    }

    fn undecodable(&self, malformed: &Malformed) -> Error {
        let side = self.stream.cluster(self.side).side;
        let (offset, reason) = match *malformed {
            Malformed::OldFormat { offset, .. } => (offset, "its format is too old"),
            Malformed::Damaged { offset } => (offset, "its bytes do not fit its checksum"),
            Malformed::Corrupt { offset, reason } => (offset, reason),
        };
        let message = format!("the batch at offset {offset} of the {side} cannot be compared: {reason}");
        Error::new(ErrorKind::Broker, message).with_offset(offset)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::attributes;

    fn header() -> Header {
        Header {
            base_offset: 10,
            length: 49,
            partition_leader_epoch: 4,
            magic: 2,
            crc: 0,
            attributes: 0,
            last_offset_delta: 4,
            base_timestamp: 1_000,
            max_timestamp: 1_000,
            producer_id: 7,
            producer_epoch: 0,
            base_sequence: 10,
            record_count: 5,
        }
    }

    fn there(source: Header) -> Seen<Held> {
        Seen::There(Held::Batch(source))
    }

    #[test]
    fn headers_tell_what_is_the_same_and_leave_the_rest_to_the_records() {
        let target = header();
        assert_eq!(judge(&target, there(header())), Some(Likeness::Same));
        let cut = Header { last_offset_delta: 3, ..header() };
        // Other times under the same payload are other records.
        let later = Header { base_timestamp: 2_000, max_timestamp: 2_000, ..header() };
        let stamped = Header { attributes: attributes::LOG_APPEND_TIME, ..header() };
        assert_eq!(judge(&stamped, there(header())), None);
        for other in [there(cut), there(later), Seen::Absent { next: 15 }, Seen::There(Held::OldFormat)] {
            assert_eq!(judge(&target, other), None, "{other:?}");
        }
        let marker = Header { attributes: attributes::CONTROL, ..header() };
        assert_eq!(judge(&target, there(marker)), Some(Likeness::Different { offset: 14 }));
    }
}
