//! Bugs that tests plant in the engine, to see that its simulation finds them.
//!
//! Outside of tests nothing is ever planted: the answer is a constant there, and the compiler leaves the bugs out.

/// A bug of the driver, in the place that it is named after.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Bug {
    /// `lease`: whatever changes the target is sent, whoever has started since.
    NoLease,
    /// `control/lease`: a start writes at once, whoever may write still.
    DoesNotWaitForLeases,
    /// `identity/starts`: a lease counts from the answer on.
    LeaseFromTheAnswer,
    /// `identity/log`: an answer without records is taken for the end of the internal topic.
    SilenceIsTheEnd,
    /// `stream`: a new connection leaves positions as they were read.
    KeepsPositions,
    /// `stream/fetching`: a fetch does not say the leader epoch of the record before it.
    NoEpochInFetch,
    /// `stream/fetching`: that the source's log is another one is not taken in.
    IgnoresDivergence,
    /// `stream`: who leads the source's partitions is read once, and counts for ever.
    LeadersStay,
    /// `stream/contents`: aborted transactions are copied.
    CopiesAborted,
    /// `stream/opening`: the target's position is its log's end, replicated or not.
    CountsUnreplicated,
    /// `stream/opening`: a comparison that has failed is one that found nothing to compare.
    FailureIsNothing,
    /// `stream/producing`: a batch that is sent again gets a sequence number of its own.
    FreshSequence,
    /// `stream/producing`: a batch that too few replicas have counts as appended.
    RefusedIsAppended,
    /// `stream/producing`: where the target has put a batch is not looked at.
    IgnoresBaseOffset,
    /// `stream/filling`: markers of which no answer came are written again.
    MarkersTwice,
    /// `wire/connection`: an answer goes to whoever waits, whatever it is the answer to.
    AnyAnswer,
}

#[cfg(not(test))]
pub(crate) const fn is(_: Bug) -> bool {
    false
}

#[cfg(not(test))]
pub(crate) const fn fresh_sequence(_: usize, sequence: i32, _: i32) -> i32 {
    sequence
}

#[cfg(test)]
pub(crate) use tests::{fresh_sequence, is};

/// What is planted, for one thread.
#[cfg(test)]
pub(crate) mod tests {
    use std::cell::{Cell, RefCell};
    use std::collections::BTreeMap;

    use super::Bug;

    impl Bug {
        pub(crate) const ALL: [Bug; 16] = [
            Bug::NoLease,
            Bug::DoesNotWaitForLeases,
            Bug::LeaseFromTheAnswer,
            Bug::SilenceIsTheEnd,
            Bug::KeepsPositions,
            Bug::NoEpochInFetch,
            Bug::IgnoresDivergence,
            Bug::LeadersStay,
            Bug::CopiesAborted,
            Bug::CountsUnreplicated,
            Bug::FailureIsNothing,
            Bug::FreshSequence,
            Bug::RefusedIsAppended,
            Bug::IgnoresBaseOffset,
            Bug::MarkersTwice,
            Bug::AnyAnswer,
        ];
    }

    thread_local! {
        static PLANTED: Cell<Option<Bug>> = const { Cell::new(None) };
        static NEXT: RefCell<BTreeMap<usize, i32>> = const { RefCell::new(BTreeMap::new()) };
    }

    /// Whether this bug is planted.
    pub(crate) fn is(bug: Bug) -> bool {
        PLANTED.get() == Some(bug)
    }

    /// This bug is planted from now on, and no other.
    pub(crate) fn plant(bug: Option<Bug>) {
        PLANTED.set(bug);
        NEXT.take();
    }

    /// A sequence number for a batch of this slot that never goes back, though that of the batch does.
    pub(crate) fn fresh_sequence(slot: usize, sequence: i32, count: i32) -> i32 {
        NEXT.with_borrow_mut(|next| {
            let fresh = next.get(&slot).copied().unwrap_or(sequence).max(sequence);
            next.insert(slot, fresh + count);
            fresh
        })
    }
}
