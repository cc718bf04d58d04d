//! Decides what a target partition needs before it can be mirrored from an offset above 0: filler, or its removal.
//!
//! A log's offsets count from 0, so a partition that starts late is filled up to its start with records of nothing, which
//! are then deleted: the log is empty, and its next offset is the first one to be copied. Like everything else this is
//! derived from both logs each time; nothing else remembers how far it was. What must never happen: filler behind data, or
//! data behind filler that was not deleted yet, because then nobody could say any more which of the two a log is.

use std::time::Duration;

use super::opening::{first_sequence_at, other_writer};
use crate::error::{Error, ErrorKind};

/// Offsets that one partition is filled by in a second. Measured with one broker on two cores: 5 to 9 million, and a third of that
/// when both cores were busy with other things.
pub const OFFSETS_PER_SECOND: i64 = 4_000_000;
/// A fill that would take longer is refused.
pub const LONGEST_FILL: Duration = Duration::from_secs(15 * 60);

/// Both logs of a partition, as they were read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reading {
    /// First offset that the source keeps.
    pub source_start: i64,
    /// Where the mirror is to begin: the source's start or, as `start` says, a later offset.
    pub wanted_start: i64,
    /// First offset that the target keeps.
    pub target_start: i64,
    /// Next offset that the target's leader will give.
    pub target_end: i64,
    /// Who wrote the target's last batch or, of an empty log, who wrote to it last as far as the broker remembers.
    pub writer: LastWriter,
}

/// Whose a batch is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LastWriter {
    /// Nobody's, or nobody remembers.
    Nobody,
    /// Filler of this mirror, and which sequence number comes next.
    Filler {
        /// Of the next record of filler.
        next_sequence: i32,
    },
    /// Filler of another mirror.
    OtherFiller,
    /// Data of this mirror.
    Mirror,
    /// Somebody else's.
    Other,
}

/// What to do next.
#[derive(Debug)]
pub enum Step {
    /// The log is empty and goes on at the start that is wanted: nothing is left to do.
    Done,
    /// The partition has been begun before, or is not the mirror's: the partition machine judges.
    Begun,
    /// Write filler with these offsets.
    Fill {
        /// The first.
        from: i64,
        /// The one after the last.
        to: i64,
    },
    /// Delete the records before this offset, which are filler.
    Delete {
        /// The first that would be kept.
        before: i64,
    },
    /// It cannot be begun.
    Refuse(Error),
}

/// Decides the next step of a partition.
pub fn decide(reading: &Reading) -> Step {
    let Reading { source_start, wanted_start, target_start, target_end, writer } = *reading;
    let is_empty = target_start >= target_end;
    match writer {
        // Data is written only when no filler is left, and filler never after data.
        LastWriter::Mirror => Step::Begun,
        _ if is_empty && target_end == wanted_start => Step::Done,
        _ if is_empty && target_end == 0 => fill(0, wanted_start),
        // It was filled up to an earlier start, or all that was copied has been deleted since: in both cases this is the
        // position, and `start` is about partitions that have none.
        _ if is_empty && target_end >= source_start => Step::Begun,
        // Nothing was copied yet, and the source has moved its start on meanwhile.
        LastWriter::Filler { next_sequence } if is_empty && next_sequence == first_sequence_at(target_end) => {
            fill(target_end, wanted_start)
        }
        // Nobody knows whether something was copied: if so, what lies between was lost, and that must not be hidden.
        _ if is_empty => Step::Begun,
        LastWriter::Filler { next_sequence } if next_sequence != first_sequence_at(target_end) => {
            Step::Refuse(other_writer(format!(
                "its log ends at offset {target_end} but the last record that stands for nothing there is number {}",
                next_sequence.wrapping_sub(1)
            )))
        }
        LastWriter::Filler { .. } if target_end > wanted_start => {
            Step::Refuse(begun_elsewhere(target_end, wanted_start))
        }
        LastWriter::Filler { .. } if target_end == wanted_start => Step::Delete { before: wanted_start },
        LastWriter::Filler { .. } => fill(target_end, wanted_start),
        LastWriter::OtherFiller => Step::Refuse(other_writer(format!(
            "another mirror has filled it up to offset {target_end}, and has not begun or is about to begin"
        ))),
        LastWriter::Other | LastWriter::Nobody => Step::Begun,
    }
}

fn fill(from: i64, to: i64) -> Step {
    let estimate = estimate(to - from);
    if estimate <= LONGEST_FILL {
        return Step::Fill { from, to };
    }
    let message = format!(
        "it would begin at offset {to}, and to fill the {} offsets before that would take about {} minutes, more than the {} that \
         are reasonable; offsets=translate appends without filling",
        to - from,
        estimate.as_secs().div_ceil(60),
        LONGEST_FILL.as_secs() / 60
    );
    Step::Refuse(Error::new(ErrorKind::Topic, message).with_offset(to))
}

/// How long it takes about to fill so many offsets.
pub fn estimate(offsets: i64) -> Duration {
    Duration::from_millis((offsets.max(0).saturating_mul(1000) / OFFSETS_PER_SECOND) as u64)
}

fn begun_elsewhere(target_end: i64, wanted_start: i64) -> Error {
    let message = format!(
        "the target was being filled up to offset {target_end} for a later start than {wanted_start}, where it is to begin now; \
         delete the topic on the target to begin there, or set 'start' as it was"
    );
    Error::new(ErrorKind::TargetConflict, message).with_offset(wanted_start)
}

#[cfg(test)]
#[allow(clippy::panic, reason = "tests")]
mod tests;
