//! The lease of a process as all its threads see it: whether a request that changes the target may be sent now.
//!
//! What it rests on is decided in `machine::lease`; the control thread renews it. It is asked before every write of such a request to
//! a socket, so it is three atomics and two clocks. It never grants anything by itself.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicI32, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;

use crate::clock::since_boot;
use crate::error::{Error, ErrorKind, Result};
use crate::event::now_ms;
use crate::machine::lease::RENEWAL;
use crate::planted::{self, Bug};

/// Never held any more.
const OVER: i32 = i32::MAX;

/// Shared by all threads of a mirror.
#[derive(Debug, Default)]
pub(crate) struct Lease {
    /// The number of the start that it belongs to, and of the newest start that was heard of.
    number: AtomicI32,
    newest: AtomicI32,
    /// Until when it is held, by the clock since boot, in nanoseconds.
    until: AtomicU64,
    /// The same by the wall clock, in milliseconds. A machine that is paused from outside may find the clock since boot where it was,
    /// and only the wall clock put right.
    until_wall_ms: AtomicI64,
    /// When it was last given up to wait for the answer to a request that changes the target, in nanoseconds since boot; 0 for never.
    unanswered: AtomicU64,
    /// What this process has appended to the internal topic: whoever reads it for the lease need not read that.
    own: Mutex<VecDeque<Appended>>,
    /// Why it is over.
    over: Mutex<Option<Error>>,
    changed: Notify,
}

/// Records in the internal topic that were acknowledged.
#[derive(Debug, Clone, Copy)]
struct Appended {
    asked_at: Duration,
    first: i64,
    /// Behind the last.
    end: i64,
}

/// So many are kept while nobody asks for them; what is forgotten has to be read.
const KEPT: usize = 1000;

/// A moment at which something is asked.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Asked {
    pub(crate) at: Duration,
    wall_ms: i64,
}

impl Asked {
    pub(crate) fn now() -> Self {
        Asked { at: since_boot(), wall_ms: now_ms() }
    }
}

impl Lease {
    /// Of a process that has not started yet.
    pub(crate) fn new() -> Arc<Self> {
        Arc::default()
    }

    /// It belongs to this start from now on, and is not held yet.
    pub(crate) fn belongs_to(&self, number: i32) {
        self.until.store(0, Ordering::Release);
        self.number.store(number, Ordering::Release);
        self.changed.notify_waiters();
    }

    /// It is held until then, as was asked at a moment.
    pub(crate) fn hold(&self, until: Duration, asked: Asked) {
        let was_held = self.is_held();
        let term_ms = until.saturating_sub(asked.at).as_millis() as i64;
        self.until_wall_ms.store(asked.wall_ms + term_ms, Ordering::Relaxed);
        self.until.store(until.as_nanos() as u64, Ordering::Release);
        if !was_held {
            self.changed.notify_waiters();
        }
    }

    /// This process has appended something to the internal topic, and asked for it at this time.
    pub(crate) fn appended(&self, asked_at: Duration, first: i64, end: i64) {
        let mut own = self.own.lock().unwrap_or_else(PoisonError::into_inner);
        if own.len() == KEPT {
            own.pop_front();
        }
        own.push_back(Appended { asked_at, first, end });
    }

    /// How far the internal topic is known, if it is known up to `next`, with what this process has appended to it. Only what was asked
    /// for since a time counts, and what is before `end`.
    pub(crate) fn behind_own(&self, mut next: i64, end: i64, since: Duration) -> i64 {
        let mut own = self.own.lock().unwrap_or_else(PoisonError::into_inner);
        own.retain(|appended| appended.asked_at >= since);
        while let Some(appended) = own.iter().find(|appended| appended.first == next && appended.end <= end) {
            next = appended.end;
            own.retain(|appended| appended.first >= next);
        }
        own.retain(|appended| appended.first >= next);
        next
    }

    /// A start was heard of. A newer one than its own ends the lease for requests that have not begun.
    pub(crate) fn hear_of_start(&self, number: i32) {
        if self.newest.fetch_max(number, Ordering::AcqRel) < number && self.has_successor() {
            self.changed.notify_waiters();
        }
    }

    /// Ends it for good.
    pub(crate) fn end(&self, why: &Error) {
        self.over.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert_with(|| why.clone());
        self.hear_of_start(OVER);
    }

    /// Whether another process has started since, or it has ended.
    pub(crate) fn has_successor(&self) -> bool {
        self.newest.load(Ordering::Acquire) > self.number.load(Ordering::Acquire)
    }

    /// Whether bytes of a request that has begun may be written now.
    pub(crate) fn is_held(&self) -> bool {
        let until = self.until.load(Ordering::Acquire);
        if planted::is(Bug::NoLease) && until > 0 {
            return true;
        }
        (since_boot().as_nanos() as u64) < until && now_ms() < self.until_wall_ms.load(Ordering::Relaxed)
    }

    /// Whether a request that changes the target may begin now.
    pub(crate) fn allows(&self) -> bool {
        (!self.has_successor() || planted::is(Bug::NoLease)) && self.is_held()
    }

    /// Waits until a request that changes the target may begin. Time in which this process was stopped is not counted: nobody was
    /// asked in it, and it may be over when others have started meanwhile.
    ///
    /// # Errors
    /// [`ErrorKind::Fenced`] if another process has started since, or what has ended the lease; [`ErrorKind::Connect`] if it was not
    /// renewed within the limit.
    pub(crate) async fn allowed(&self, limit: Duration) -> Result<()> {
        let mut left = limit;
        loop {
            let changed = self.changed.notified();
            if self.allows() {
                return Ok(());
            }
            if self.has_successor() {
                return Err(self.why_over());
            }
            let slice = left.min(RENEWAL);
            let since = since_boot();
            let _ = tokio::time::timeout(slice, changed).await;
            let passed = since_boot().saturating_sub(since);
            // Much later than it wanted to look again: it was stopped, and begins to wait anew.
            left = if passed > slice + RENEWAL * 2 { limit } else { left.saturating_sub(passed) };
            if left.is_zero() {
                let message = "nothing is written to the target, because it cannot be seen in the mirror's internal topic whether \
                               another process of this mirror has started; it goes on when its brokers tell that again";
                return Err(Error::new(ErrorKind::Connect, message));
            }
        }
    }

    /// The same for what may need no lease.
    pub(crate) async fn allow(lease: Option<&Self>, limit: Duration) -> Result<()> {
        match lease {
            Some(lease) => lease.allowed(limit).await,
            None => Ok(()),
        }
    }

    /// Waits until it is not held, or another process has started.
    pub(crate) async fn lapsed(&self) {
        loop {
            let changed = self.changed.notified();
            if !self.allows() {
                return;
            }
            let left = Duration::from_nanos(self.until.load(Ordering::Acquire)).saturating_sub(since_boot());
            let _ = tokio::time::timeout(left + Duration::from_millis(1), changed).await;
        }
    }

    /// Waits until another process has started, or it was ended.
    pub(crate) async fn superseded(&self) {
        loop {
            let changed = self.changed.notified();
            if self.has_successor() {
                return;
            }
            changed.await;
        }
    }

    /// Waits until it is held again.
    pub(crate) async fn regained(&self) {
        loop {
            let changed = self.changed.notified();
            if self.allows() {
                return;
            }
            changed.await;
        }
    }

    /// Why nothing is written any more.
    pub(crate) fn why_over(&self) -> Error {
        let over = self.over.lock().unwrap_or_else(PoisonError::into_inner).clone();
        over.unwrap_or_else(|| {
            let message = "another process of this mirror has started since; this one writes nothing more";
            Error::new(ErrorKind::Fenced, message)
        })
    }

    /// The answer to a request that changes the target is not waited for any more: a broker may still work on it.
    pub(crate) fn give_up_answer(&self) {
        self.unanswered.fetch_max(since_boot().as_nanos() as u64, Ordering::AcqRel);
    }

    /// Whether everything that was sent was answered, but for what is older than that.
    pub(crate) fn all_answered(&self, but: Duration) -> bool {
        let last = Duration::from_nanos(self.unanswered.load(Ordering::Acquire));
        last.is_zero() || last + but < since_boot()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    const LONG: Duration = Duration::from_secs(1000);

    fn held() -> Arc<Lease> {
        let lease = Lease::new();
        lease.belongs_to(5);
        let asked = Asked::now();
        lease.hold(asked.at + LONG, asked);
        lease
    }

    #[test]
    fn it_is_held_until_its_time_is_over_by_either_clock() {
        let lease = held();
        assert!(lease.allows() && lease.is_held());
        let asked = Asked::now();
        lease.hold(asked.at.saturating_sub(Duration::from_millis(1)), asked);
        assert!(!lease.is_held(), "it has lapsed");
        lease.hold(asked.at + LONG, Asked { wall_ms: asked.wall_ms - 2 * LONG.as_millis() as i64, ..asked });
        assert!(!lease.is_held(), "the wall clock was put forward");
    }

    #[test]
    fn a_newer_start_lets_what_has_begun_be_finished_and_nothing_begin() {
        let lease = held();
        lease.hear_of_start(5);
        assert!(lease.allows());
        lease.hear_of_start(6);
        assert!(lease.is_held() && !lease.allows() && lease.has_successor());
        assert_eq!(lease.why_over().kind(), ErrorKind::Fenced);
        lease.end(&Error::new(ErrorKind::TargetConflict, "gone"));
        lease.end(&Error::new(ErrorKind::Internal, "later"));
        assert_eq!(lease.why_over().message(), "gone");
    }

    #[test]
    fn whoever_waits_hears_of_a_renewal_and_of_the_end() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(async {
            let lease = Lease::new();
            lease.belongs_to(1);
            assert_eq!(lease.allowed(Duration::from_millis(5)).await.unwrap_err().kind(), ErrorKind::Connect);
            lease.lapsed().await;
            let renewing = async {
                tokio::task::yield_now().await;
                let asked = Asked::now();
                lease.hold(asked.at + LONG, asked);
            };
            let (allowed, ()) = tokio::join!(lease.allowed(LONG), renewing);
            allowed.unwrap();
            lease.regained().await;
            let ending = async {
                tokio::task::yield_now().await;
                lease.hear_of_start(2);
            };
            tokio::join!(lease.lapsed(), ending);
            assert_eq!(lease.allowed(LONG).await.unwrap_err().kind(), ErrorKind::Fenced);
        });
    }

    #[test]
    fn who_was_stopped_while_it_waited_asks_before_it_gives_up() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(async {
            let lease = Lease::new();
            lease.belongs_to(1);
            let stopped = async {
                tokio::task::yield_now().await;
                std::thread::sleep(RENEWAL * 2 + Duration::from_millis(300));
                tokio::time::sleep(Duration::from_millis(20)).await;
                lease.hear_of_start(2);
            };
            let (allowed, ()) = tokio::join!(lease.allowed(Duration::from_millis(200)), stopped);
            assert_eq!(allowed.unwrap_err().kind(), ErrorKind::Fenced, "what it waits for was never asked meanwhile");
        });
    }

    #[test]
    fn what_was_appended_is_known_as_far_as_nothing_is_between() {
        let lease = Lease::new();
        let at = Duration::from_secs;
        for (asked_at, first, end) in [(3, 12, 14), (2, 10, 12), (4, 15, 16), (4, 16, 18), (1, 14, 15), (5, 3, 4)] {
            lease.appended(at(asked_at), first, end);
        }
        assert_eq!(lease.behind_own(9, 20, at(2)), 9, "somebody else has 9");
        assert_eq!(lease.behind_own(10, 11, at(2)), 10, "the end was told before");
        assert_eq!(lease.behind_own(10, 20, at(2)), 14, "what is at 14 was asked for too early");
        assert_eq!(lease.behind_own(14, 20, at(2)), 14);
        assert_eq!(lease.behind_own(15, 17, at(2)), 16);
        assert_eq!(lease.behind_own(16, 18, at(5)), 16, "an election was heard of since");
        for first in 0..2000 {
            lease.appended(at(6), first, first + 1);
        }
        assert_eq!(lease.own.lock().unwrap().len(), KEPT);
        assert_eq!(lease.behind_own(1000, 5000, at(6)), 2000);
    }

    #[test]
    fn an_answer_that_was_given_up_counts_for_a_while() {
        let lease = Lease::new();
        assert!(lease.all_answered(LONG));
        lease.give_up_answer();
        assert!(!lease.all_answered(LONG));
        std::thread::sleep(Duration::from_millis(2));
        assert!(lease.all_answered(Duration::from_millis(1)));
    }
}
