//! What a partition's position is, and whether it may be gone on from: both logs as they were read, and the checks of them.
//!
//! The target's log is the mirror's only memory, so this is where a mirror finds out where it is, whether the log is its
//! own, and whether the source still has what comes next. Nothing may be written to a log that does not fit.

use std::mem::discriminant;

use crate::error::{Error, ErrorKind};

/// Whose sequence numbers these are: the mirror's identity on the target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Identity {
    /// The producer id, kept for ever.
    pub producer_id: i64,
    /// Its epoch.
    pub producer_epoch: i16,
}

/// What the target's partition holds, as read when opening.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TargetLog {
    /// First offset that is kept.
    pub log_start_offset: i64,
    /// Next offset that the leader will give.
    pub log_end_offset: i64,
    /// Next offset that all in-sync replicas have not yet reached.
    pub high_watermark: i64,
    /// The last thing our producer id wrote, as the broker's producer state or the log's last batch tells.
    pub writer: Writer,
}

/// What is known of who wrote the end of the target's log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Writer {
    /// Our producer id, and with which epoch and sequence number it wrote last.
    Mirror {
        /// Epoch of that write.
        producer_epoch: i16,
        /// Sequence number of the last record.
        last_sequence: i32,
    },
    /// Somebody else, or an unknown one.
    Other,
    /// Nobody: the log holds no batch.
    Nobody,
}

/// What the source's partition holds, as read when opening.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SourceLog {
    /// First offset that is kept.
    pub log_start_offset: i64,
    /// Next offset that the leader will give.
    pub log_end_offset: i64,
}

/// Sequence numbers count up to `i32::MAX` and go on at 0.
pub(super) fn sequence_after(sequence: i32, records: i32) -> i32 {
    ((i64::from(sequence) + i64::from(records)) % (1 << 31)) as i32
}

/// The sequence number of the record at an offset, while every offset has its record: the same for every process of
/// the mirror, so that a late request of a dead one meets the same numbers.
pub(super) fn sequence_at(offset: i64) -> i32 {
    (offset % (1 << 31)) as i32
}

/// Whether what was read of both logs fits together.
pub(super) enum Fit {
    /// It does, and the next batch gets this sequence number.
    Fits { next_sequence: i32 },
    /// It does not, but something may have been written between the reads.
    ReadAgain,
    /// It does not.
    Wrong(Error),
}

/// Judges a reading; `before` is the one before it if that did not fit.
pub(super) fn check_logs(
    identity: Identity,
    source: &SourceLog,
    target: &TargetLog,
    before: Option<&TargetLog>,
) -> Fit {
    let next_sequence = sequence_at(target.log_end_offset);
    if let Err(error) = check_writer(identity, target, next_sequence) {
        // Batches that came between the reads are numbered past the log end that was read before them; the next reading
        // finds the log end moved. What is found twice in the same way is no coincidence.
        let moves = |before: &TargetLog| {
            let same_kind = discriminant(&before.writer) == discriminant(&target.writer);
            before != target && (!same_kind || is_ahead(target, next_sequence))
        };
        let certain = error.kind() == ErrorKind::Fenced || before.is_some_and(|before| !moves(before));
        return if certain { Fit::Wrong(error) } else { Fit::ReadAgain };
    }
    if target.log_end_offset > source.log_end_offset
        && before.is_none_or(|before| before.log_end_offset <= source.log_end_offset)
    {
        // Another process may have copied what the source got after its end was read, but not what it has not got
        // since the target was read the last time.
        return Fit::ReadAgain;
    }
    Fit::Fits { next_sequence }
}

/// Whether the mirror's last record there has a higher number than the log end allows.
fn is_ahead(target: &TargetLog, next_sequence: i32) -> bool {
    let Writer::Mirror { last_sequence, .. } = target.writer else { return false };
    let ahead = (i64::from(sequence_after(last_sequence, 1)) - i64::from(next_sequence)).rem_euclid(1 << 31);
    (1..1 << 30).contains(&ahead)
}

/// Whether the target's log is this mirror's.
fn check_writer(identity: Identity, target: &TargetLog, next_sequence: i32) -> Result<(), Error> {
    let holds = || format!("it holds offsets {} to {}", target.log_start_offset, target.log_end_offset - 1);
    match target.writer {
        Writer::Mirror { producer_epoch, .. } if producer_epoch > identity.producer_epoch => Err(Error::new(
            ErrorKind::Fenced,
            format!(
                "the target has writes of a newer owner of this mirror (epoch {producer_epoch}, ours is {})",
                identity.producer_epoch
            ),
        )),
        Writer::Mirror { producer_epoch, .. } if producer_epoch < identity.producer_epoch => {
            // A higher epoch has to begin at sequence number 0, and then the numbers are not the offsets any more.
            Err(other_writer(format!(
                "{}, written with epoch {producer_epoch} of this mirror's producer id, and ours is {}",
                holds(),
                identity.producer_epoch
            )))
        }
        Writer::Mirror { last_sequence, .. } if sequence_after(last_sequence, 1) == next_sequence => Ok(()),
        Writer::Mirror { last_sequence, .. } => Err(other_writer(format!(
            "its log ends at offset {} but this mirror's last record there is number {last_sequence}",
            target.log_end_offset
        ))),
        // An empty log gives its next offset to whoever writes first; that is where its source's copy goes on.
        Writer::Nobody if target.log_start_offset >= target.log_end_offset => Ok(()),
        Writer::Nobody | Writer::Other => Err(other_writer(format!("{} that this mirror did not write", holds()))),
    }
}

/// Whether the source still has what comes next.
pub(super) fn check_source(source: &SourceLog, position: i64) -> Result<(), Error> {
    if position > source.log_end_offset {
        let message = format!(
            "the source ends at offset {} but offset {position} was replicated already: its log was cut back, or the topic \
             was deleted and created again; compare both before deleting the target topic to start anew",
            source.log_end_offset
        );
        return Err(Error::new(ErrorKind::DataLoss, message).with_offset(position));
    }
    if position < source.log_start_offset && position == 0 {
        let message = format!(
            "the source begins at offset {}; this version can only begin at 0, because nothing can stand for the \
             offsets before",
            source.log_start_offset
        );
        return Err(Error::new(ErrorKind::OffsetGap, message).with_offset(0));
    }
    if position < source.log_start_offset {
        let message = format!(
            "source offsets {position} to {} were removed before they were replicated (the source begins at {} now)",
            source.log_start_offset - 1,
            source.log_start_offset
        );
        return Err(Error::new(ErrorKind::DataLoss, message).with_offset(position));
    }
    Ok(())
}

pub(super) fn other_writer(what: String) -> Error {
    let advice = "mirror into a topic that nobody else writes to, or delete it on the target to start anew";
    Error::new(ErrorKind::TargetConflict, format!("the target partition has another writer: {what}; {advice}"))
}
