//! Decides which batches a consumer does not see because their transaction was aborted, by the consumer's own rule.
//!
//! A fetch answer names aborted transactions by producer and first offset, not by their end: a producer's batches are
//! hidden from there until its ABORT marker. One producer may have several transactions of both kinds in one
//! answer. Nothing here looks at bytes.

use super::{Header, attributes};

/// The aborted transactions of one fetch answer.
#[derive(Debug, Default, Clone)]
pub struct Aborted {
    /// First offset and producer id of those that have not begun yet, the last one first.
    ahead: Vec<(i64, i64)>,
    /// Producers that are in an aborted transaction.
    open: Vec<i64>,
}

impl Aborted {
    /// Producer id and first offset of each, in any order.
    pub fn new(transactions: &[(i64, i64)]) -> Self {
        let mut ahead: Vec<_> = transactions.iter().map(|(producer, first)| (*first, *producer)).collect();
        ahead.sort_unstable_by(|one, other| other.cmp(one));
        Aborted { ahead, open: Vec::new() }
    }

    /// Whether a consumer of committed records leaves this batch out. Every batch of the answer has to be shown, in
    /// order, markers too.
    pub fn hides(&mut self, header: &Header, abort_marker: bool) -> bool {
        if header.producer_id < 0 {
            return false;
        }
        while let Some((_, producer)) = self.ahead.pop_if(|(first, _)| *first <= header.last_offset()) {
            if !self.open.contains(&producer) {
                self.open.push(producer);
            }
        }
        if abort_marker {
            self.open.retain(|producer| *producer != header.producer_id);
            return false;
        }
        header.attributes & attributes::TRANSACTIONAL != 0
            && !header.is_control()
            && self.open.contains(&header.producer_id)
    }
}
