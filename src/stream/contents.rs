//! Brings what was fetched into the form that a partition's machine takes.
//!
//! A stretch is a hole only if it lies between two batches, or in one: an answer without records says nothing of what the log
//! holds. A record that is in the way is never left out here.

use super::Stream;
use crate::batch::pieces::{self, Piece, Reading};
use crate::batch::{self, Batch, Malformed};
use crate::error::Result;
use crate::event::now_ms;
use crate::machine::deletions::first_removed;
use crate::machine::partition::{Content, Fetched};
use crate::planted::{self, Bug};
use crate::wire::fetch::FetchedRecords;

impl Stream {
    /// Hands a fetch's answer to the machine, cut as the machine wants it.
    pub(super) fn take_fetched(&self, slot: usize, fetch_offset: i64, fetched: FetchedRecords) {
        self.look_for_lost_deletions(slot, fetch_offset, &fetched);
        let without = self.echo.of_target();
        let reading = {
            let slots = self.slots.borrow();
            let Some(slot) = slots.get(slot) else { return };
            slot.progress.set_source_next(fetched.end_offset);
            slot.progress.set_source_high_watermark(fetched.high_watermark);
            let batch_limit = slot.machine.batch_bytes();
            Reading { from: fetch_offset, read_committed: self.read_committed(), batch_limit, without: &without }
        };
        self.count_left_out(slot, &fetched.records, &without);
        // What is written anew counts as memory in flight, as if it had been fetched.
        let own = |bytes: Vec<u8>| self.budget.own(bytes);
        let aborted = if planted::is(Bug::CopiesAborted) { &[] } else { &fetched.aborted[..] };
        let contents = pieces::pieces(fetched.records, aborted, reading, &own).map(content);
        self.with_machine(slot, |machine| machine.handle_fetched(fetch_offset, contents));
    }
}

impl Stream {
    /// Only the headers of batches are looked at, and only where the copy of a compacted topic comes so late that deletions of keys may be
    /// gone.
    fn look_for_lost_deletions(&self, slot: usize, fetch_offset: i64, fetched: &FetchedRecords) {
        let now_ms = now_ms();
        let deletions = {
            let slots = self.slots.borrow();
            slots.get(slot).and_then(|slot| slot.progress.deletions().get()).filter(|known| known.are_at_risk(now_ms))
        };
        let Some(deletions) = deletions else { return };
        // Left open: what cannot be read stops or is fetched again when it is handed out, and then this is looked at again.
        let batches = batch::split(fetched.records.clone()).map_while(Result::ok);
        let extents = batches.map(|batch| {
            let header = &batch.header;
            (header.base_offset, header.last_offset(), header.record_count)
        });
        let Some(from) = first_removed(fetch_offset, extents) else { return };
        let until = fetched.end_offset;
        let error = deletions.lost(from, until.max(from + 1), now_ms);
        self.with_machine(slot, |machine| machine.handle_lost_deletions(fetch_offset, until, &error));
    }
}

fn content(piece: Result<Piece, Malformed>) -> Result<Content<Batch>, Malformed> {
    Ok(match piece? {
        Piece::Records(batch) => Content::Records(Fetched { header: batch.header, size: batch.len(), payload: batch }),
        Piece::Nothing { next_offset, leader_epoch } => Content::Nothing { next_offset, leader_epoch },
    })
}
