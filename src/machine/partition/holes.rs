//! How long it takes to fill a hole, and from when on it is not done.
//!
//! A marker stands for one offset, so a few bytes of a source's log can ask for 2^31 of them. What takes long is told; what
//! takes longer than anybody waits stops the partition before the first marker is written.

use std::time::Duration;

use super::{Holes, Partition};
use crate::error::{Error, ErrorKind};

/// Markers that one partition gets in a second. Measured with one broker on two cores: 20 000 to 40 000.
pub const MARKERS_PER_SECOND: i64 = 20_000;
/// Empty transactions that one partition gets in a second, where markers are not allowed. Measured: 100 to 400.
pub const TRANSACTIONS_PER_SECOND: i64 = 200;
/// A hole of more offsets is not filled: an hour of markers.
pub const LONGEST_HOLE: i64 = MARKERS_PER_SECOND * 3600;
/// A hole that takes longer than this is told.
pub const LONG_FILL: Duration = Duration::from_secs(60);

/// How long it takes about to fill so many offsets.
pub fn estimate(offsets: i64, per_second: i64) -> Duration {
    Duration::from_secs((offsets.max(0) / per_second) as u64)
}

impl<P> Partition<P> {
    /// The hole whose turn it is: its first offset that is not filled, and the first one behind it.
    pub fn hole(&self) -> Option<(i64, i64)> {
        self.window.next_hole().filter(|_| matches!(self.limits.holes, Holes::Filled { .. }))
    }

    /// From the offset to fetch up to another one there is no record.
    pub(super) fn leave_hole(&mut self, next: i64, leader_epoch: i32) -> Result<(), Error> {
        if next <= self.next_fetch {
            return Ok(());
        }
        let from = self.window.last_hole().unwrap_or(self.next_fetch);
        if matches!(self.limits.holes, Holes::Filled { .. }) && next.saturating_sub(from) > LONGEST_HOLE {
            return Err(too_long(from, next));
        }
        self.window.push_hole(self.next_fetch, next);
        self.next_fetch = next;
        self.fetch_epoch = leader_epoch;
        Ok(())
    }
}

fn too_long(from: i64, next: i64) -> Error {
    let offsets = next.saturating_sub(from);
    let minutes = estimate(offsets, MARKERS_PER_SECOND).as_secs().div_ceil(60);
    let message = format!(
        "the source has no record at the {offsets} offsets from {from} to {}; to fill them on the target, marker by marker, would \
         take about {minutes} minutes, and more than {LONGEST_HOLE} are not filled; copy the topic with offsets=translate under \
         another 'name', or delete it on the target and begin behind these offsets with 'start'",
        next - 1
    );
    Error::new(ErrorKind::OffsetGap, message).with_offset(from)
}
