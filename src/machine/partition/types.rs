//! What goes in and out of the machine of a partition: what it may have under way, what was fetched, what is to be sent.
//!
//! Only data; what becomes of it is decided by [`Partition`](super::Partition) alone.

use std::time::Duration;

use crate::batch::{Header, Stamp};
use crate::error::Error;

/// How much one partition may have under way, and what to do in trouble.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Batches sent and not acknowledged; a broker remembers the last five of a producer, more could not be told apart.
    pub max_in_flight: usize,
    /// Bytes fetched and not acknowledged, above which no more are fetched.
    pub queued_bytes: usize,
    /// The largest batch that is sent; larger ones are cut by whoever cuts what was fetched.
    pub batch_bytes: usize,
    /// What becomes of offsets without a record.
    pub holes: Holes,
    /// How long the target's log must stand still before the first hole after an opening is filled.
    pub settle: Duration,
    /// The first pause after a failure, doubled for each further one.
    pub backoff: Duration,
    /// The longest pause.
    pub backoff_max: Duration,
    /// `on.data.loss=continue`: what the source has lost becomes a hole.
    pub go_on_after_loss: bool,
    /// `on.record.refused=skip`: a record that the target never takes becomes a hole.
    pub skip_refused: bool,
}

/// What becomes of source offsets that have no record to be copied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Holes {
    /// They are filled with control markers, so that offsets stay the same (`offsets=preserve`).
    Filled {
        /// Markers in one order.
        at_once: i32,
    },
    /// They are written down before the records behind them are sent (`offsets=translate`).
    Mapped,
}

/// A batch as the machine sees it; the payload is never looked at.
#[derive(Debug, Clone)]
pub struct Fetched<P> {
    /// Its header. Every offset from the first to the last has its record.
    pub header: Header,
    /// Bytes it keeps in memory.
    pub size: usize,
    /// What is produced.
    pub payload: P,
}

/// What a stretch of the source's log is to become.
#[derive(Debug, Clone)]
pub enum Content<P> {
    /// Records. Offsets between them and what came before hold no record that is to be copied.
    Records(Fetched<P>),
    /// No record that is to be copied, up to an offset.
    Nothing {
        /// The first offset behind it.
        next_offset: i64,
        /// The leader epoch there, -1 if it is not known.
        leader_epoch: i32,
    },
}

/// A batch to be sent to the leader on the target.
#[derive(Debug)]
pub struct Produce<'a, P> {
    /// To be handed back with the answer.
    pub ticket: Ticket,
    /// Identity and sequence number to write into its header.
    pub stamp: Stamp,
    /// What to send.
    pub payload: &'a P,
}

/// An order to write control markers, one for each offset.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fill {
    /// To be handed back with the answer.
    pub ticket: Ticket,
    /// The offset that the first marker must get.
    pub from: i64,
    /// Number of markers.
    pub count: i32,
    /// The coordinator epoch to write them with.
    pub fence: i32,
}

/// An order to write down where holes are: what it says must be durable before the answer comes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mapping {
    /// To be handed back with the answer.
    pub ticket: Ticket,
    /// Where records go on, in ascending order.
    pub anchors: Vec<Anchor>,
    /// The number of this start and attempt: what is written with a lower one, and lands later, does not count.
    pub fence: i32,
}

/// The next record behind a hole: the one with this sequence number is at this offset of the source, or the first behind it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Anchor {
    /// The first offset behind the hole.
    pub source_offset: i64,
    /// The sequence number of the record that comes next.
    pub sequence: i32,
}

/// Which request an answer belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ticket {
    pub(super) generation: u32,
    pub(super) base_offset: i64,
}

/// Where a partition is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// The position is to be read, not before `due`.
    Closed {
        /// Time since the stream began.
        due: Duration,
    },
    /// The position is being read.
    Opening,
    /// Fetching and producing.
    Running,
    /// Stopped by an error, see [`Partition::error`](super::Partition::error).
    Parked,
}

/// What a policy has left out.
#[derive(Debug, Clone)]
pub struct LeftOut {
    /// First offset of it.
    pub from: i64,
    /// The first offset behind it.
    pub next: i64,
    /// How many offsets have no record on the target because of it; none where it is only told.
    pub offsets: i64,
    /// What happened.
    pub error: Error,
}
