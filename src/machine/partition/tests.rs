//! What users see of a partition that stops: the kind, the offset and the sentence; and the pace of retries.

use super::*;

impl<P> Partition<P> {
    /// For a planted bug of the simulation: as if the broker had something to check the next batch against.
    pub(in crate::machine) fn pretend_producer_state(&mut self) {
        self.alone = false;
    }
}
