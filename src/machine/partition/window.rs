//! What a partition has fetched and not yet seen acknowledged, in offset order and without gaps: records and holes.
//!
//! A hole is a range of offsets of which the reader sees no record. It is a barrier: nothing behind it is sent before it is
//! filled or written down, and it is filled only when everything before it is acknowledged. The first `sent` entries are
//! under way; they are records, and holes that are written down.

use std::collections::VecDeque;

use super::{Anchor, Fetched};
use crate::error::Error;
use crate::machine::opening::{first_sequence_at, sequence_after};

#[derive(Debug)]
pub(super) struct Window<P> {
    entries: VecDeque<Entry<P>>,
    sent: usize,
    queued_bytes: usize,
}

#[derive(Debug)]
pub(super) enum Entry<P> {
    Records { fetched: Fetched<P>, acknowledged: bool, refused: Option<Error> },
    Hole { from: i64, next: i64, written: Written },
}

/// Whether it is written down where a hole is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Written {
    No,
    UnderWay,
    Yes,
}

/// What is done with, from the front of the window.
#[derive(Debug)]
pub(super) enum Done<P> {
    Records(Fetched<P>),
    /// A hole up to an offset.
    Hole {
        next: i64,
    },
}

impl<P> Entry<P> {
    fn hole(from: i64, next: i64) -> Self {
        Entry::Hole { from, next, written: Written::No }
    }

    fn is_written_hole(&self) -> bool {
        matches!(self, Entry::Hole { written: Written::Yes, .. })
    }

    fn from(&self) -> i64 {
        match self {
            Entry::Records { fetched, .. } => fetched.header.base_offset,
            Entry::Hole { from, .. } => *from,
        }
    }

    fn next(&self) -> i64 {
        match self {
            Entry::Records { fetched, .. } => fetched.header.last_offset() + 1,
            Entry::Hole { next, .. } => *next,
        }
    }
}

impl<P> Window<P> {
    pub(super) fn new() -> Self {
        Window { entries: VecDeque::new(), sent: 0, queued_bytes: 0 }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Bytes of the records in it.
    pub(super) fn queued_bytes(&self) -> usize {
        self.queued_bytes
    }

    /// Batches under way.
    pub(super) fn sent(&self) -> usize {
        self.entries.iter().take(self.sent).filter(|entry| matches!(entry, Entry::Records { .. })).count()
    }

    pub(super) fn push_records(&mut self, fetched: Fetched<P>) {
        self.queued_bytes += fetched.size;
        self.entries.push_back(Entry::Records { fetched, acknowledged: false, refused: None });
    }

    /// Adds a hole, as a part of the one before it where that is not under way.
    pub(super) fn push_hole(&mut self, hole_from: i64, hole_next: i64) {
        let movable = self.entries.len() > self.sent;
        match self.entries.back_mut() {
            Some(Entry::Hole { next, written: Written::No, .. }) if movable && *next == hole_from => *next = hole_next,
            _ => self.entries.push_back(Entry::hole(hole_from, hole_next)),
        }
    }

    /// Where the last hole begins, if what is added next would be a part of it.
    pub(super) fn last_hole(&self) -> Option<i64> {
        match self.entries.back() {
            Some(Entry::Hole { from, written: Written::No, .. }) if self.entries.len() > self.sent => Some(*from),
            _ => None,
        }
    }

    /// The records that are to be sent next, if a hole or a refused batch does not come before them.
    pub(super) fn next_records(&self) -> Option<&Fetched<P>> {
        let refused = |entry: &Entry<P>| matches!(entry, Entry::Records { refused: Some(_), .. });
        if self.entries.iter().take(self.sent).any(refused) {
            return None;
        }
        match self.entries.iter().skip(self.sent).find(|entry| !entry.is_written_hole()) {
            Some(Entry::Records { fetched, .. }) => Some(fetched),
            _ => None,
        }
    }

    /// The hole whose turn it is: everything before it is acknowledged.
    pub(super) fn next_hole(&self) -> Option<(i64, i64)> {
        match self.entries.front() {
            Some(Entry::Hole { from, next, .. }) if self.sent == 0 => Some((*from, *next)),
            _ => None,
        }
    }

    /// Whether some hole is not written down.
    pub(super) fn has_open_hole(&self) -> bool {
        self.entries.iter().any(|entry| matches!(entry, Entry::Hole { written: Written::No, .. }))
    }

    /// Where records go on behind every hole that is not written down, given the sequence number of what is sent next. These
    /// are under way now.
    pub(super) fn write_holes(&mut self, next_sequence: Option<i32>) -> Vec<(i64, Anchor)> {
        let mut sequence = next_sequence;
        let mut anchors = Vec::new();
        for entry in self.entries.iter_mut().skip(self.sent) {
            match entry {
                Entry::Records { fetched, .. } => {
                    let first = sequence.unwrap_or_else(|| first_sequence_at(fetched.header.base_offset));
                    sequence = Some(sequence_after(first, fetched.header.record_count));
                }
                Entry::Hole { from, next, written: written @ Written::No } => {
                    *written = Written::UnderWay;
                    let sequence = sequence.unwrap_or_else(|| first_sequence_at(*next));
                    anchors.push((*from, Anchor { source_offset: *next, sequence }));
                }
                Entry::Hole { .. } => {}
            }
        }
        anchors
    }

    /// The holes under way are written down.
    pub(super) fn holes_are_written(&mut self) {
        for entry in &mut self.entries {
            if let Entry::Hole { written: written @ Written::UnderWay, .. } = entry {
                *written = Written::Yes;
            }
        }
    }

    /// The records that come next are under way now, and with them what is written down of the holes before them.
    pub(super) fn send(&mut self) -> Option<&Fetched<P>> {
        while self.entries.get(self.sent).is_some_and(Entry::is_written_hole) {
            self.sent += 1;
        }
        self.sent += 1;
        match self.entries.get(self.sent - 1) {
            Some(Entry::Records { fetched, .. }) => Some(fetched),
            _ => None,
        }
    }

    /// The records under way that begin at an offset.
    fn under_way(&mut self, base_offset: i64) -> Option<&mut Entry<P>> {
        let is_it = |entry: &&mut Entry<P>| matches!(entry, Entry::Records { .. }) && entry.from() == base_offset;
        self.entries.iter_mut().take(self.sent).find(is_it)
    }

    /// The batch under way that begins at an offset.
    pub(super) fn find(&mut self, base_offset: i64) -> Option<&Fetched<P>> {
        match self.under_way(base_offset)? {
            Entry::Records { fetched, .. } => Some(fetched),
            Entry::Hole { .. } => None,
        }
    }

    pub(super) fn acknowledge(&mut self, base_offset: i64) {
        if let Some(Entry::Records { acknowledged, .. }) = self.under_way(base_offset) {
            *acknowledged = true;
        }
    }

    /// Those before it may still land; it is the partition's end only when it is their turn no more.
    pub(super) fn refuse(&mut self, base_offset: i64, error: Error) {
        if let Some(Entry::Records { refused, .. }) = self.under_way(base_offset) {
            *refused = Some(error);
        }
    }

    /// Takes an acknowledged batch, or a hole that is written down, from the front.
    pub(super) fn pop_done(&mut self) -> Option<Done<P>> {
        match self.entries.front()? {
            Entry::Records { acknowledged: true, .. } => {}
            front if front.is_written_hole() => {}
            _ => return None,
        }
        self.pop().map(|entry| match entry {
            Entry::Records { fetched, .. } => Done::Records(fetched),
            Entry::Hole { next, .. } => Done::Hole { next },
        })
    }

    /// The refused batch in front and why, once it is its turn.
    pub(super) fn front_refused(&self) -> Option<(&Fetched<P>, &Error)> {
        match self.entries.front() {
            Some(Entry::Records { fetched, refused: Some(error), .. }) => Some((fetched, error)),
            _ => None,
        }
    }

    /// The hole in front is filled up to an offset.
    pub(super) fn fill_up_to(&mut self, offset: i64) {
        if let Some(Entry::Hole { from, next, .. }) = self.entries.front_mut() {
            *from = offset;
            let done = offset >= *next;
            self.sent = 0;
            if done {
                self.entries.pop_front();
            }
        }
    }

    /// The batch in front becomes a hole.
    pub(super) fn skip_front(&mut self) {
        self.sent = 0;
        if let Some(front) = self.entries.pop_front() {
            self.forget_bytes(&front);
            let (from, next) = (front.from(), front.next());
            self.entries.push_front(Entry::hole(from, next));
        }
        self.forget_answers();
    }

    /// Nothing is under way any more; what is in it stays to be sent again.
    pub(super) fn unsend(&mut self) {
        self.sent = 0;
        self.forget_answers();
    }

    fn forget_answers(&mut self) {
        for entry in &mut self.entries {
            match entry {
                Entry::Records { acknowledged, refused, .. } => (*acknowledged, *refused) = (false, None),
                Entry::Hole { written, .. } => *written = Written::No,
            }
        }
    }

    /// Keeps what still has to be sent from `position` on; `false` if what is here does not go on there.
    pub(super) fn resume_at(&mut self, position: i64) -> bool {
        self.unsend();
        while self.entries.front().is_some_and(|front| front.next() <= position) {
            self.pop();
        }
        if let Some(Entry::Hole { from, .. }) = self.entries.front_mut() {
            *from = position.max(*from);
        }
        self.entries.front().is_some_and(|front| front.from() == position)
    }

    pub(super) fn clear(&mut self) {
        *self = Window::new();
    }

    /// For a planted bug of the simulation.
    #[cfg(test)]
    pub(super) fn drop_holes(&mut self) {
        if self.sent == 0 {
            self.entries.retain(|entry| matches!(entry, Entry::Records { .. }));
        }
    }

    fn pop(&mut self) -> Option<Entry<P>> {
        let front = self.entries.pop_front()?;
        self.sent = self.sent.saturating_sub(1);
        self.forget_bytes(&front);
        Some(front)
    }

    fn forget_bytes(&mut self, entry: &Entry<P>) {
        if let Entry::Records { fetched, .. } = entry {
            self.queued_bytes -= fetched.size;
        }
    }
}
