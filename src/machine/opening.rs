//! What a partition's position is, and whether it may be gone on from: both logs as they were read, and the checks of them.
//!
//! The target's log is the mirror's only memory, so this is where a mirror finds out where it is, whether the log is its
//! own, whether what it holds at its end is what the source holds there, and whether the source still has what comes
//! next. Nothing may be written to a log that does not fit.

use crate::batch::Header;
use crate::batch::marker::{self, Origin};
use crate::error::{Error, ErrorKind};

/// Whose sequence numbers these are: the mirror's identity on the target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Identity {
    /// The producer id, kept for ever.
    pub producer_id: i64,
    /// Its epoch.
    pub producer_epoch: i16,
    /// The number of this start of the mirror, times 256: markers of earlier starts are refused behind markers of later ones.
    pub fence: i32,
}

/// Both logs, as read when opening.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reading {
    /// The source's.
    pub source: SourceLog,
    /// The target's.
    pub target: TargetLog,
    /// Whether they hold the same at the target's end.
    pub likeness: Likeness,
}

/// What the target's partition holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TargetLog {
    /// First offset that is kept.
    pub log_start_offset: i64,
    /// Next offset that the leader will give.
    pub log_end_offset: i64,
    /// Next offset that all in-sync replicas have not yet reached.
    pub high_watermark: i64,
    /// The epoch and the sequence number of our producer id's last record: as the broker remembers it, or where that has
    /// forgotten, as the last record of ours in the log says, however many markers come behind it.
    pub last_record: Option<(i16, i32)>,
    /// Who wrote the last batch of records, behind however many markers: its producer id. `None` if the log has no record, or if
    /// the broker remembers the mirror's last record and nothing but markers was found for long before the end.
    pub last_writer: Option<i64>,
    /// What is at the end of the log.
    pub tail: Tail,
    /// Whether a record of the source may have been copied to it: `false` if the log is whole, but for filler that was removed,
    /// and has none.
    pub begun: bool,
}

impl TargetLog {
    /// Whether all in-sync replicas have what the leader has.
    pub fn is_replicated(&self) -> bool {
        self.high_watermark == self.log_end_offset
    }
}

/// What is at the end of the target's log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tail {
    /// Nothing: the log is empty.
    Empty,
    /// Records, and who wrote them.
    Records {
        /// Their producer id.
        producer_id: i64,
        /// Its epoch.
        producer_epoch: i16,
        /// The sequence number of the last of them.
        last_sequence: i32,
    },
    /// A control marker, and for which offset it was meant if a mirror made it.
    Marker {
        /// That offset.
        meant_for: Option<i64>,
    },
    /// It cannot be found out: no batch is there.
    Unknown,
}

impl Tail {
    /// From the header of the last batch.
    pub fn of(header: &Header) -> Self {
        if header.is_control() {
            return Tail::Marker { meant_for: marker::offset_of(header.producer_id, header.producer_epoch) };
        }
        Tail::Records {
            producer_id: header.producer_id,
            producer_epoch: header.producer_epoch,
            last_sequence: sequence_after(header.base_sequence, header.last_offset_delta),
        }
    }
}

/// What the source's partition holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SourceLog {
    /// First offset that is kept.
    pub log_start_offset: i64,
    /// Next offset that the leader will give.
    pub log_end_offset: i64,
    /// Where the leader epoch of [`position_epoch`](super::partition::Partition::position_epoch) ends, by the source's present
    /// leader; [`EPOCH_NOT_KNOWN`] if that has never heard of it, `None` if nobody was asked.
    pub epoch_end_offset: Option<i64>,
    /// The leader epoch that the source has now just before the target's end; -1 if there is no batch.
    pub last_epoch: i32,
}

impl SourceLog {
    /// Whether an offset is between both ends. What is not cannot be read there, and that says so by itself.
    pub fn holds(&self, offset: i64) -> bool {
        (self.log_start_offset..self.log_end_offset).contains(&offset)
    }
}

/// What a leader answers for an epoch above its own (KIP-101). Every later leader of a log knows its epochs, so this is an
/// older leader that does not know that it was replaced, or an older copy of the log.
pub const EPOCH_NOT_KNOWN: i64 = -1;

/// Whether the last record on the target is the one that the source has at that offset.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Likeness {
    /// It is.
    Same,
    /// It is not.
    Different {
        /// The offset at which they differ.
        offset: i64,
    },
    /// One side has no record there any more, or none was found near the end.
    Unknown,
}

/// Sequence numbers count up to `i32::MAX` and go on at 0.
pub(super) fn sequence_after(sequence: i32, records: i32) -> i32 {
    ((i64::from(sequence) + i64::from(records)).rem_euclid(1 << 31)) as i32
}

/// The sequence number of a record at an offset where no record of this mirror comes before it: the same for every process, so
/// that what a dead one has sent is recognised.
pub(super) fn first_sequence_at(offset: i64) -> i32 {
    (offset % (1 << 31)) as i32
}

/// Whether a log ends where filler ended that has this last sequence number: then nothing was copied behind it.
pub fn is_end_of_filler(last_sequence: i32, log_end_offset: i64) -> bool {
    sequence_after(last_sequence, 1) == first_sequence_at(log_end_offset)
}

/// Whether what was read of both logs fits together.
pub(super) enum Fit {
    /// It does.
    Fits,
    /// It does not, but something may have been written between the reads.
    ReadAgain,
    /// It does not.
    Wrong(Error),
}

/// Readings that do not fit, one after the other, before the last of them is believed though no two were the same.
const DOUBTS: u32 = 5;

/// What did not fit, how often in a row.
#[derive(Debug, Clone, Copy)]
pub(super) struct Doubt {
    reading: Reading,
    times: u32,
}

/// Judges a reading; `doubt` is what did not fit before.
pub(super) fn check_logs(identity: Identity, reading: &Reading, doubt: &mut Option<Doubt>) -> Fit {
    let (source, target) = (&reading.source, &reading.target);
    let before = doubt.take();
    let checked = check_writer(identity, target).and_then(|()| check_likeness(reading));
    if let Err(error) = checked {
        // The reads are several requests, and something may have been written between them; what is found twice in the
        // same way is no coincidence.
        let times = before.map_or(1, |before| before.times + 1);
        let same = before.is_some_and(|before| before.reading.target == *target);
        if error.kind() == ErrorKind::Fenced || same || times >= DOUBTS {
            return Fit::Wrong(error);
        }
        *doubt = Some(Doubt { reading: *reading, times });
        return Fit::ReadAgain;
    }
    if target.log_end_offset > source.log_end_offset
        && before.is_none_or(|before| before.reading.target.log_end_offset <= source.log_end_offset)
    {
        // Another process may have copied what the source got after its end was read, but not what it has not got
        // since the target was read the last time.
        *doubt = Some(Doubt { reading: *reading, times: 1 });
        return Fit::ReadAgain;
    }
    Fit::Fits
}

/// Whether the target's log is this mirror's.
fn check_writer(identity: Identity, target: &TargetLog) -> Result<(), Error> {
    let holds = || format!("it holds offsets {} to {}", target.log_start_offset, target.log_end_offset - 1);
    if let Some((epoch, _)) = target.last_record {
        check_epoch(identity, epoch, holds)?;
    }
    match target.tail {
        Tail::Empty => Ok(()),
        Tail::Records { producer_id, producer_epoch, last_sequence } if producer_id == identity.producer_id => {
            check_epoch(identity, producer_epoch, holds)?;
            match target.last_record {
                Some((_, remembered)) if remembered != last_sequence => Err(other_writer(format!(
                    "its last batch ends with this mirror's record number {last_sequence}, but its broker knows of \
                     number {remembered}"
                ))),
                _ => Ok(()),
            }
        }
        Tail::Records { producer_id, .. } if producer_id == marker::filler_of(identity.producer_id) => {
            Err(left_filler(&holds()))
        }
        Tail::Marker { meant_for: Some(offset) } if offset != target.log_end_offset - 1 => {
            Err(other_writer(format!("the marker for offset {offset} is at offset {}", target.log_end_offset - 1)))
        }
        // Whoever writes records in a transaction leaves a marker behind them.
        Tail::Marker { .. } => check_last_writer(identity, target, holds),
        Tail::Unknown if target.last_record.is_some() => check_last_writer(identity, target, holds),
        Tail::Records { producer_id, .. } if is_of_same_source(identity, producer_id) => {
            Err(another_mirror(&holds(), producer_id))
        }
        Tail::Records { .. } | Tail::Unknown => {
            Err(other_writer(format!("{} that this mirror did not write", holds())))
        }
    }
}

/// Whether the last records are the mirror's, where markers come behind them.
fn check_last_writer(identity: Identity, target: &TargetLog, holds: impl Fn() -> String) -> Result<(), Error> {
    match target.last_writer {
        None => Ok(()),
        Some(producer_id) if producer_id == identity.producer_id => Ok(()),
        Some(producer_id) if producer_id == marker::filler_of(identity.producer_id) => Err(left_filler(&holds())),
        Some(producer_id) if is_of_same_source(identity, producer_id) => Err(another_mirror(&holds(), producer_id)),
        Some(_) => Err(other_writer(format!("{}, and this mirror did not write the last records of them", holds()))),
    }
}

/// Whether a producer says of itself that it is a mirror of the source that this one copies from.
fn is_of_same_source(identity: Identity, producer_id: i64) -> bool {
    let ours = Origin::of_producer(identity.producer_id);
    ours.is_some() && Origin::of_producer(producer_id) == ours && !marker::is_filler(producer_id)
}

/// A mirror that has got another name finds its own copies as somebody else's.
fn another_mirror(holds: &str, producer_id: i64) -> Error {
    let message = format!(
        "the target partition has another writer: {holds} that another mirror of the same source has written (producer id {producer_id}); a \
         mirror is known by its 'name': go on under that with which the copy was made, the topics kmirror.<name>.internal on the target have \
         the names; if its internal topic is lost, delete the topic on the target to start anew"
    );
    Error::new(ErrorKind::TargetConflict, message)
}

fn left_filler(holds: &str) -> Error {
    let message = format!("{holds}, the last of them filler that stands for what the source has removed");
    Error::new(ErrorKind::TargetConflict, message + "; start the mirror again, which removes it first")
}

fn check_epoch(identity: Identity, epoch: i16, holds: impl Fn() -> String) -> Result<(), Error> {
    if epoch > identity.producer_epoch {
        let ours = identity.producer_epoch;
        let message = format!("the target has writes of a newer owner of this mirror (epoch {epoch}, ours is {ours})");
        return Err(Error::new(ErrorKind::Fenced, message));
    }
    if epoch < identity.producer_epoch {
        // A higher epoch has to begin at sequence number 0, and would not be conditional on what is there.
        return Err(other_writer(format!(
            "{}, written with epoch {epoch} of this mirror's producer id, and ours is {}",
            holds(),
            identity.producer_epoch
        )));
    }
    Ok(())
}

fn check_likeness(reading: &Reading) -> Result<(), Error> {
    let Likeness::Different { offset } = reading.likeness else { return Ok(()) };
    let message = format!(
        "from offset {offset} on the target's records are not the source's records at the same offsets: the source's log was cut back and \
         went on differently, its topic was deleted and created again, or somebody else has written to the target; compare \
         both with 'kmirror verify' before you delete the target topic to start anew"
    );
    Err(Error::new(ErrorKind::Diverged, message).with_offset(offset))
}

/// Offsets that the source has removed before they were replicated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum SourceFit {
    /// The source has what comes next.
    Goes,
    /// It begins later; nothing of what it has lost was to be copied.
    BeginsAt(i64),
    /// It has removed what was to be copied, up to an offset.
    Lost { next: i64 },
    /// It is not the log that was copied.
    CutBack(String),
}

/// Whether the source still has what comes next.
pub(super) fn check_source(reading: &Reading, position: i64) -> SourceFit {
    let source = &reading.source;
    if position > source.log_end_offset {
        return SourceFit::CutBack(format!(
            "the source ends at offset {} but offset {position} was replicated already: its log was cut back, or the topic \
             was deleted and created again",
            source.log_end_offset
        ));
    }
    if position < source.log_start_offset {
        return match reading.target.begun {
            true => SourceFit::Lost { next: source.log_start_offset },
            false => SourceFit::BeginsAt(source.log_start_offset),
        };
    }
    SourceFit::Goes
}

/// Whether the leader epoch before a position ended before it: then the source's log is not the one that was copied.
pub(super) fn check_epochs(source: &SourceLog, position: Option<i64>, epoch: i32) -> Result<(), Error> {
    let Some((position, end)) = position.zip(source.epoch_end_offset).filter(|(position, end)| end < position) else {
        return Ok(());
    };
    if end == EPOCH_NOT_KNOWN {
        let what = format!(
            "the source's leader does not know leader epoch {epoch}, in which the record before offset {position} was \
             replicated: the source was restored from an older copy, or its topic was deleted and created again"
        );
        return Err(cut_back(&what, position));
    }
    let what = format!(
        "by its leader epochs the source's log went on differently from offset {end}, but offsets before {position} were \
         replicated already: it was cut back by an unclean leader election, or restored"
    );
    Err(cut_back(&what, position))
}

pub(super) fn cut_back(what: &str, position: i64) -> Error {
    let message = format!("{what}; compare both before deleting the target topic to start anew");
    Error::new(ErrorKind::DataLoss, message).with_offset(position)
}

pub(super) fn lost(position: i64, next: i64) -> Error {
    let message = format!(
        "source offsets {position} to {} were removed before they were replicated (the source begins at {next} now); \
         on.data.loss=continue goes on from there",
        next - 1
    );
    Error::new(ErrorKind::DataLoss, message).with_offset(position)
}

/// The target holds what the mirror did not write.
pub(crate) fn other_writer(what: String) -> Error {
    let advice = "mirror into a topic that nobody else writes to, or delete it on the target to start anew";
    Error::new(ErrorKind::TargetConflict, format!("the target partition has another writer: {what}; {advice}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A log of ten records, the last of them by this producer, with a marker behind them or without.
    fn log(producer_id: i64, has_marker: bool) -> TargetLog {
        let records = Tail::Records { producer_id, producer_epoch: 0, last_sequence: 9 };
        TargetLog {
            log_start_offset: 0,
            log_end_offset: 10,
            high_watermark: 10,
            last_record: None,
            last_writer: Some(producer_id),
            begun: true,
            tail: if has_marker { Tail::Marker { meant_for: None } } else { records },
        }
    }

    #[test]
    fn a_copy_that_a_mirror_of_another_name_has_made_is_called_so_and_not_to_be_deleted() {
        let [source, other] = ["source", "other"].map(Origin::of_cluster);
        let identity = Identity { producer_id: source.producer_id(1), producer_epoch: 0, fence: 256 };
        let says = |producer_id: i64, has_marker| {
            let refused = check_writer(identity, &log(producer_id, has_marker)).expect_err("it is another writer's");
            assert_eq!(refused.kind(), ErrorKind::TargetConflict);
            refused.message().to_owned()
        };
        for has_marker in [false, true] {
            let told = says(source.producer_id(2), has_marker);
            assert!(told.contains("another mirror of the same source") && told.contains("go on under that"), "{told}");
            // A mirror of another source, and somebody whose id a broker has given out.
            for producer_id in [other.producer_id(2), 4711] {
                let told = says(producer_id, has_marker);
                assert!(told.contains("another writer") && !told.contains("another mirror"), "{told}");
            }
            assert!(check_writer(identity, &log(identity.producer_id, false)).is_ok());
        }
    }
}
