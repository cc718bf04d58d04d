//! Brings what was fetched into the form that a partition's machine takes, and finds out where nothing is.
//!
//! A stretch counts as empty only when the source says so; a record that is in the way is never left out here.

use std::rc::Rc;

use bytes::Bytes;

use super::{Side, Stream};
use crate::batch::pieces::{self, Piece, Reading};
use crate::batch::records::Records;
use crate::batch::{Batch, Header, Malformed};
use crate::error::Result;
use crate::machine::partition::{Content, Fetched, Likeness, Phase};
use crate::wire::connection::Connection;
use crate::wire::fetch::FetchedRecords;
use crate::wire::positions::{self, ByPartition, TopicPartition};

/// Fetches in a row that bring nothing, though the source has more, before it is asked whether there is nothing. Mostly
/// the answer was full with what other partitions have.
const SUSPICIOUS: u32 = 3;
/// Bytes asked for to see whether there is anything.
const LOOK: i32 = 1 << 20;

impl Stream {
    /// Hands a fetch's answer to the machine, cut as the machine wants it.
    pub(super) fn take_fetched(&self, slot: usize, fetch_offset: i64, fetched: FetchedRecords) {
        let without = self.echo.of_target();
        let reading = {
            let slots = self.slots.borrow();
            let Some(slot) = slots.get(slot) else { return };
            slot.progress.set_source_next(fetched.end_offset);
            slot.progress.set_source_high_watermark(fetched.high_watermark);
            let batch_limit = slot.machine.batch_bytes();
            Reading { from: fetch_offset, read_committed: self.read_committed(), batch_limit, without: &without }
        };
        // What is written anew counts as memory in flight, as if it had been fetched.
        let own = |bytes: Vec<u8>| self.budget.own(bytes);
        let contents = pieces::pieces(fetched.records, &fetched.aborted, reading, &own).map(content);
        self.with_machine(slot, |machine| machine.handle_fetched(fetch_offset, contents));
    }

    /// A fetch brought nothing although the source has more.
    pub(super) fn suspect_nothing(self: &Rc<Self>, index: usize, offset: i64) {
        let mut slots = self.slots.borrow_mut();
        let Some(slot) = slots.get_mut(index) else { return };
        let times = if slot.nothing_at.0 == offset { slot.nothing_at.1 + 1 } else { 1 };
        slot.nothing_at = (offset, times);
        if times >= SUSPICIOUS && slot.machine.phase() == Phase::Running {
            slot.nothing_at = (-1, 0);
            let partition = (slot.topic.clone(), slot.partition);
            let leader = slot.leaders[Side::Source as usize];
            tokio::task::spawn_local(look_for_nothing(self.clone(), index, partition, leader, offset));
        }
    }
}

fn content(piece: Result<Piece, Malformed>) -> Result<Content<Batch>, Malformed> {
    Ok(match piece? {
        Piece::Records(batch) => Content::Records(Fetched { header: batch.header, size: batch.len(), payload: batch }),
        Piece::Nothing { next_offset, leader_epoch } => Content::Nothing { next_offset, leader_epoch },
    })
}

/// Asks for one partition alone. If nothing comes, the log holds nothing up to its end, as after compaction.
async fn look_for_nothing(stream: Rc<Stream>, index: usize, partition: TopicPartition, leader: i32, offset: i64) {
    let Ok(connection) = stream.source.broker(leader).await else { return };
    let look = positions::look(&connection, &partition, offset, LOOK, stream.read_committed()).await;
    let Ok(Ok(look)) = look else { return };
    if look.records.is_empty() && look.end_offset > offset {
        let nothing = Content::Nothing { next_offset: look.end_offset, leader_epoch: -1 };
        stream.with_machine(index, |machine| machine.handle_fetched(offset, [Ok(nothing)]));
    }
}

/// Everything of a record that a consumer sees.
#[derive(Debug, PartialEq, Eq)]
struct Seen {
    timestamp: i64,
    body: Bytes,
}

/// The record that a log has at an offset, if it has one.
async fn record_at(connection: &Connection, partition: &TopicPartition, offset: i64) -> Result<Option<Seen>> {
    let Ok(look) = positions::look(connection, partition, offset, LOOK, false).await? else { return Ok(None) };
    let reading = Reading { from: offset, read_committed: false, batch_limit: usize::MAX, without: &[] };
    let first = pieces::pieces(look.records, &[], reading, &Bytes::from).next();
    let Some(Ok(Piece::Records(batch))) = first else { return Ok(None) };
    if batch.header.base_offset != offset {
        return Ok(None);
    }
    let Ok(payload) = batch.decompressed() else { return Ok(None) };
    let timestamp = |record: &crate::batch::records::Record<'_>| match batch.header.is_log_append_time() {
        true => batch.header.max_timestamp,
        false => record.timestamp(&batch.header),
    };
    let record = Records::new(&batch.header, &payload).next().and_then(Result::ok);
    Ok(record.map(|record| Seen { timestamp: timestamp(&record), body: Bytes::copy_from_slice(record.body) }))
}

/// Whether a batch has an offset.
pub(super) fn holds(header: &Header, offset: i64) -> bool {
    header.base_offset <= offset && offset <= header.last_offset()
}

/// The batch that has an offset, if one was found that has it.
pub(super) fn header_at(
    answers: &ByPartition<Option<Header>>,
    partition: &TopicPartition,
    offset: i64,
) -> Option<Header> {
    answers.get(partition).copied()?.ok().flatten().filter(|header| holds(header, offset))
}

/// Compares a record of the source with one of the target, each at its offset there.
pub(super) async fn compare_records(
    (source, (source_partition, source_offset)): (&Connection, (&TopicPartition, i64)),
    (target, (target_partition, target_offset)): (&Connection, (&TopicPartition, i64)),
) -> Result<Likeness> {
    let on_source = record_at(source, source_partition, source_offset).await?;
    let on_target = record_at(target, target_partition, target_offset).await?;
    Ok(match (on_source, on_target) {
        (Some(on_source), Some(on_target)) if on_source == on_target => Likeness::Same,
        (Some(_), Some(_)) => Likeness::Different { offset: source_offset },
        _ => Likeness::Unknown,
    })
}
