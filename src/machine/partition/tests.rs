//! What users see of a partition that stops: the kind, the offset and the sentence; and the pace of retries.
//! Sentences are compared as they are, because they are what somebody acts upon at night.

use super::*;

impl<P> Partition<P> {
    /// For a planted bug of the simulation: as if the broker had something to check the next batch against.
    pub(in crate::machine) fn pretend_producer_state(&mut self) {
        self.alone = false;
    }

    /// For planted bugs: where the fill under way from an offset is to end.
    pub(in crate::machine) fn fill_under_way(&self, offset: i64) -> Option<i64> {
        match self.filling {
            Filling::UnderWay { from, next } if from == offset => Some(next),
            _ => None,
        }
    }

    /// For a planted bug: holes in front of records are not waited for.
    pub(in crate::machine) fn pretend_no_holes(&mut self) {
        self.window.drop_holes();
    }
}
