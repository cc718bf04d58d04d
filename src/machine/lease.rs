//! Who of several processes of a mirror may write to the target, and until when.
//!
//! Starts are numbered in the mirror's internal topic. A process writes only while it holds a lease, and it renews the lease by asking
//! where that topic ends: it knows everything up to there, so nobody has started since. The newest start goes on alone, and it waits until the leases of all
//! processes before it are over. Brokers cannot do this: they forget a producer whose records are old, and take any
//! sequence number from then on, also that of a process which was stopped for a while and wakes up with old batches.
//!
//! Times are those of a clock that counts suspension, and only of one process: no two clocks are ever compared.

use std::time::Duration;

/// How long a process may write after it has asked whether another one has started. Long enough for a leader of the internal topic
/// that collects garbage or is busy, and for six renewals; short enough that the start after a `kill -9` does not wait for long.
pub const TERM: Duration = Duration::from_secs(3);
/// How often a lease is renewed. So long it takes until a process sees that another one has started.
pub const RENEWAL: Duration = Duration::from_millis(500);
/// What a successor waits beyond the term: for clocks that do not go equally fast, and for bytes that are on their way to a broker.
pub const MARGIN: Duration = Duration::from_millis(200);
/// A process that has stood by for a promotion goes on when nothing was heard of the promotion for so long.
pub const SILENT: Duration = Duration::from_secs(10);
/// How often a promotion tells that it is still there. Its leases are renewed by reading, which nobody else sees.
pub const BEAT: Duration = Duration::from_secs(2);

/// How long leases are; the simulation has shorter ones.
#[derive(Debug, Clone, Copy)]
pub struct Terms {
    /// How long a process may write after it has asked.
    pub term: Duration,
    /// What a successor waits beyond that.
    pub margin: Duration,
}

impl Terms {
    /// Those of a mirror.
    pub const REAL: Terms = Terms { term: TERM, margin: MARGIN };
}

/// A process that may have been there, of which nothing is known: no start has this number.
const UNKNOWN: i32 = i32::MAX;

/// What a process was started for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Purpose {
    /// To mirror.
    #[default]
    Run,
    /// To copy what is left and to promote the mirror. If that is refused, the process before goes on.
    Promotion,
}

/// What the internal topic says of a start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Start {
    /// Its number.
    pub number: i32,
    /// What for.
    pub purpose: Purpose,
    /// The process has ended: nothing of it is under way, nor of any process before it.
    pub ended: bool,
}

/// Where a process stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// It is the newest.
    Newest,
    /// Another one has started since, and goes on alone.
    Succeeded {
        /// The number of that start.
        by: i32,
    },
    /// A promotion has started since. It may be refused.
    StandsBy {
        /// The number of that start.
        promotion: i32,
        /// Its process has ended already.
        ended: bool,
    },
}

/// What one process knows of the others, and its lease.
#[derive(Debug, Clone)]
pub struct Tenancy {
    terms: Terms,
    number: i32,
    purpose: Purpose,
    /// Its start was acknowledged then, or found there again: whoever asks later finds it.
    acknowledged_at: Duration,
    /// The newest start before it that has not ended.
    predecessor: Option<i32>,
    /// The newest start since.
    newer: Option<Start>,
    /// It may write until then.
    until: Duration,
}

impl Tenancy {
    /// Of a process whose start was acknowledged. `before` are the starts that were there before it, in any order.
    pub fn new(terms: Terms, start: Start, before: impl IntoIterator<Item = Start>, acknowledged_at: Duration) -> Self {
        let last = before.into_iter().filter(|other| other.number < start.number).max_by_key(|other| other.number);
        Tenancy {
            terms,
            number: start.number,
            purpose: start.purpose,
            acknowledged_at,
            predecessor: last.filter(|last| !last.ended).map(|last| last.number),
            newer: None,
            until: Duration::ZERO,
        }
    }

    /// The number of its start.
    pub fn number(&self) -> i32 {
        self.number
    }

    /// What the internal topic says of a start, in the order in which it was written.
    pub fn handle_start(&mut self, start: Start) {
        if start.number > self.number {
            if self.newer.is_none_or(|newer| newer.number <= start.number) {
                self.newer = Some(start);
            }
        } else if start.ended && self.predecessor == Some(start.number) {
            self.predecessor = None;
        }
    }

    /// The internal topic may have lost starts that had been acknowledged, before this time: its log was cut back, by an election in which
    /// a replica that lagged behind became the leader. Whoever wrote them finds that out when asking next, and may write until then.
    pub fn handle_cut(&mut self, at: Duration) {
        self.predecessor = Some(UNKNOWN);
        self.acknowledged_at = self.acknowledged_at.max(at);
    }

    /// The internal topic was known to where it ended when that was asked, at this time: what is there was read, or written by this process.
    pub fn handle_read(&mut self, asked_at: Duration) {
        if self.newer.is_none() {
            self.until = self.until.max(asked_at + self.terms.term);
        }
    }

    /// Where it stands.
    pub fn standing(&self) -> Standing {
        match self.newer {
            None => Standing::Newest,
            Some(Start { number, purpose: Purpose::Promotion, ended }) if self.purpose == Purpose::Run => {
                Standing::StandsBy { promotion: number, ended }
            }
            Some(newer) => Standing::Succeeded { by: newer.number },
        }
    }

    /// Until when it has to wait for the leases of earlier processes; `None` if there are none.
    pub fn waits_until(&self, now: Duration) -> Option<Duration> {
        let over = self.acknowledged_at + self.terms.term + self.terms.margin;
        (self.predecessor.is_some() && now < over).then_some(over)
    }

    /// Until when it may write; zero if it may not.
    pub fn writes_until(&self, now: Duration) -> Duration {
        let may = self.newer.is_none() && self.waits_until(now).is_none();
        if may { self.until } else { Duration::ZERO }
    }

    /// Whether no process before it can write any more, so that its own end is the end of all.
    pub fn is_last(&self, now: Duration) -> bool {
        self.waits_until(now).is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RUN: Start = Start { number: 0, purpose: Purpose::Run, ended: false };
    const AT: Duration = Duration::from_secs(100);

    fn start(number: i32) -> Start {
        Start { number, ..RUN }
    }

    fn ended(number: i32) -> Start {
        Start { number, ended: true, ..RUN }
    }

    #[test]
    fn the_first_one_writes_at_once_and_for_a_term_after_each_question() {
        let mut first = Tenancy::new(Terms::REAL, start(1), [], AT);
        assert_eq!(first.writes_until(AT), Duration::ZERO, "nothing was asked yet");
        first.handle_read(AT);
        assert_eq!(first.writes_until(AT), AT + TERM);
        first.handle_read(AT + RENEWAL);
        first.handle_read(AT);
        assert_eq!(first.writes_until(AT), AT + RENEWAL + TERM, "an older answer takes nothing away");
    }

    #[test]
    fn a_successor_waits_for_the_lease_of_the_last_one_unless_that_has_ended() {
        let mut next = Tenancy::new(Terms::REAL, start(3), [start(1), start(2)], AT);
        next.handle_read(AT);
        let over = AT + TERM + MARGIN;
        assert_eq!((next.waits_until(AT), next.writes_until(AT)), (Some(over), Duration::ZERO));
        next.handle_start(ended(1));
        assert_eq!(next.waits_until(AT), Some(over), "that says nothing of the second");
        assert!(!next.is_last(AT));
        next.handle_start(ended(2));
        assert_eq!((next.waits_until(AT), next.writes_until(AT)), (None, AT + TERM));

        let after_a_clean_end = Tenancy::new(Terms::REAL, start(3), [start(1), ended(2)], AT);
        assert_eq!(after_a_clean_end.waits_until(AT), None);
        let waited = Tenancy::new(Terms::REAL, start(3), [start(2)], AT);
        assert!(!waited.is_last(over - Duration::from_nanos(1)) && waited.is_last(over));
    }

    #[test]
    fn after_a_cut_nothing_is_written_until_the_lease_of_a_start_that_was_lost_is_over() {
        let mut tenancy = Tenancy::new(Terms::REAL, start(3), [ended(2)], AT);
        let later = AT + 10 * TERM;
        tenancy.handle_read(later);
        assert_eq!(tenancy.writes_until(later), later + TERM);
        tenancy.handle_cut(later);
        let over = later + TERM + MARGIN;
        tenancy.handle_start(ended(2));
        tenancy.handle_start(ended(3));
        assert_eq!((tenancy.waits_until(later), tenancy.writes_until(later)), (Some(over), Duration::ZERO));
        tenancy.handle_read(over);
        assert_eq!(tenancy.writes_until(over), over + TERM);
    }

    #[test]
    fn whoever_is_succeeded_writes_no_more_and_a_promotion_is_stood_by_for() {
        let mut old = Tenancy::new(Terms::REAL, start(1), [], AT);
        old.handle_read(AT);
        old.handle_start(Start { purpose: Purpose::Promotion, ..start(2) });
        let standing_by = |ended| Standing::StandsBy { promotion: 2, ended };
        assert_eq!((old.standing(), old.writes_until(AT)), (standing_by(false), Duration::ZERO));
        old.handle_start(Start { purpose: Purpose::Promotion, ..ended(2) });
        assert_eq!(old.standing(), standing_by(true));
        old.handle_read(AT + RENEWAL);
        assert_eq!(old.writes_until(AT), Duration::ZERO);
        old.handle_start(start(3));
        old.handle_start(Start { purpose: Purpose::Promotion, ..start(2) });
        assert_eq!(old.standing(), Standing::Succeeded { by: 3 });

        // A promotion does not stand by for another one: whoever waits for it has to be told.
        let mut promotion =
            Tenancy::new(Terms::REAL, Start { purpose: Purpose::Promotion, ..start(2) }, [ended(1)], AT);
        promotion.handle_start(Start { purpose: Purpose::Promotion, ..start(3) });
        assert_eq!(promotion.standing(), Standing::Succeeded { by: 3 });
    }
}
