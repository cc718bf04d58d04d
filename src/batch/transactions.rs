//! Decides which batches a consumer does not see because their transaction was aborted, by the consumer's own rule.
//!
//! A fetch answer names aborted transactions by producer and first offset, not by their end: a producer's batches are
//! hidden from there until its ABORT marker. One producer may have several transactions of both kinds in one
//! answer. Nothing here looks at bytes.

use std::collections::HashSet;

use super::{Header, attributes};

/// The aborted transactions of one fetch answer.
#[derive(Debug, Default, Clone)]
pub struct Aborted {
    /// First offset and producer id of those that have not begun yet, the last one first.
    ahead: Vec<(i64, i64)>,
    /// Producers that are in an aborted transaction.
    open: HashSet<i64>,
}

impl Aborted {
    /// Producer id and first offset of each, in any order.
    pub fn new(transactions: &[(i64, i64)]) -> Self {
        let mut ahead: Vec<_> = transactions.iter().map(|(producer, first)| (*first, *producer)).collect();
        ahead.sort_unstable_by(|one, other| other.cmp(one));
        Aborted { ahead, open: HashSet::new() }
    }

    /// Whether a consumer of committed records leaves this batch out. Every batch of the answer has to be shown, in
    /// order, markers too.
    pub fn hides(&mut self, header: &Header, abort_marker: bool) -> bool {
        if header.producer_id < 0 {
            return false;
        }
        while let Some((_, producer)) = self.ahead.pop_if(|(first, _)| *first <= header.last_offset()) {
            self.open.insert(producer);
        }
        if abort_marker {
            self.open.remove(&header.producer_id);
            return false;
        }
        header.attributes & attributes::TRANSACTIONAL != 0
            && !header.is_control()
            && self.open.contains(&header.producer_id)
    }
}

#[cfg(test)]
mod tests {
    use super::super::samples::header;
    use super::*;

    fn batch(base_offset: i64, producer_id: i64, attributes: i16) -> Header {
        Header { base_offset, last_offset_delta: 1, producer_id, attributes, ..header() }
    }

    #[test]
    fn only_an_abort_marker_ends_what_is_hidden() {
        const MARKER: i16 = attributes::TRANSACTIONAL | attributes::CONTROL;
        let mut aborted = Aborted::new(&[(7, 20), (7, 10), (8, 15)]);
        let steps = [
            (batch(0, 7, attributes::TRANSACTIONAL), false, false),
            // It begins inside of this batch, which a consumer hides as a whole.
            (batch(9, 7, attributes::TRANSACTIONAL), false, true),
            (batch(11, 8, attributes::TRANSACTIONAL), false, false),
            (batch(13, 7, 0), false, false),
            (batch(13, 7, MARKER), false, false),
            (batch(15, 7, attributes::TRANSACTIONAL), false, true),
            (batch(15, 8, attributes::TRANSACTIONAL), false, true),
            (batch(17, 7, MARKER), true, false),
            (batch(18, 7, attributes::TRANSACTIONAL), false, false),
            (batch(18, 8, attributes::TRANSACTIONAL), false, true),
            (batch(20, 7, attributes::TRANSACTIONAL), false, true),
            (batch(22, -1, attributes::TRANSACTIONAL), false, false),
        ];
        for (header, abort_marker, hidden) in steps {
            assert_eq!(aborted.hides(&header, abort_marker), hidden, "{header:?}");
        }
    }

    /// Looked for one by one, they would take minutes.
    #[test]
    fn many_open_transactions_are_no_more_work_than_few() {
        const MANY: i64 = 400_000;
        let all: Vec<(i64, i64)> = (0..MANY).map(|producer| (producer, producer)).collect();
        let mut aborted = Aborted::new(&all);
        for producer in 0..MANY {
            assert!(aborted.hides(&batch(MANY + producer, producer, attributes::TRANSACTIONAL), false));
        }
        for producer in 0..MANY {
            aborted.hides(&batch(2 * MANY, producer, attributes::TRANSACTIONAL | attributes::CONTROL), true);
        }
        assert!(aborted.open.is_empty());
    }
}
