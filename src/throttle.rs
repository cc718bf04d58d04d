//! How fast a mirror may copy: a number of bytes a second for all its streams together, which may change while it runs.
//!
//! What was fetched has to be worked off by time before the next fetch. There is no lock: a point in time that is moved on, and
//! the rate, are all there is.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::clock::Instant;

/// How long may be slept until the rate is looked at again.
const SLICE: Duration = Duration::from_millis(100);
/// An answer to a fetch should be worked off in so much of a second, so that records come evenly.
const ANSWERS_A_SECOND: u64 = 4;

#[derive(Debug)]
pub(crate) struct Throttle {
    started: Instant,
    /// 0 is without limit.
    bytes_per_second: AtomicU64,
    /// When everything that was fetched is worked off, in nanoseconds since the start.
    free_at: AtomicU64,
}

impl Default for Throttle {
    fn default() -> Self {
        Throttle { started: Instant::now(), bytes_per_second: AtomicU64::new(0), free_at: AtomicU64::new(0) }
    }
}

impl Throttle {
    /// Changes the rate. What was fetched under the one before counts no more.
    pub(crate) fn set(&self, bytes_per_second: Option<u64>) {
        self.bytes_per_second.store(bytes_per_second.unwrap_or(0), Ordering::Relaxed);
        self.free_at.store(0, Ordering::Relaxed);
    }

    /// Waits until something may be fetched.
    pub(crate) async fn wait(&self) {
        while let Some(left) = self.left(self.started.elapsed()) {
            tokio::time::sleep(left.min(SLICE)).await;
        }
    }

    /// So many bytes were fetched.
    pub(crate) fn spend(&self, bytes: usize) {
        self.spend_at(self.started.elapsed(), bytes as u64);
    }

    /// How many bytes to ask for at once.
    pub(crate) fn share(&self) -> usize {
        match self.bytes_per_second.load(Ordering::Relaxed) {
            0 => usize::MAX,
            rate => usize::try_from(rate / ANSWERS_A_SECOND).unwrap_or(usize::MAX),
        }
    }

    fn left(&self, now: Duration) -> Option<Duration> {
        if self.bytes_per_second.load(Ordering::Relaxed) == 0 {
            return None;
        }
        let free_at = Duration::from_nanos(self.free_at.load(Ordering::Relaxed));
        free_at.checked_sub(now).filter(|left| !left.is_zero())
    }

    fn spend_at(&self, now: Duration, bytes: u64) {
        let rate = self.bytes_per_second.load(Ordering::Relaxed);
        if rate == 0 {
            return;
        }
        let nanos = |time: u128| u64::try_from(time).unwrap_or(u64::MAX);
        let takes = nanos(u128::from(bytes) * 1_000_000_000 / u128::from(rate));
        let now = nanos(now.as_nanos());
        let _ = self
            .free_at
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |free_at| Some(free_at.max(now).saturating_add(takes)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn bytes_are_worked_off_at_the_rate_and_time_is_not_saved_up() {
        let throttle = Throttle::default();
        throttle.spend_at(SECOND, 1_000_000);
        assert_eq!(throttle.left(SECOND), None, "without a limit nothing counts");
        throttle.set(Some(1_000));
        assert_eq!(throttle.left(10 * SECOND), None);
        throttle.spend_at(10 * SECOND, 2_000);
        assert_eq!(throttle.left(10 * SECOND), Some(2 * SECOND));
        throttle.spend_at(11 * SECOND, 500);
        assert_eq!(throttle.left(12 * SECOND), Some(SECOND / 2));
        assert_eq!(throttle.left(13 * SECOND), None);
        throttle.spend_at(13 * SECOND, 1_000_000_000);
        throttle.set(Some(1_000_000));
        assert_eq!(throttle.left(13 * SECOND), None, "another rate begins anew");
        throttle.set(None);
        assert_eq!(throttle.share(), usize::MAX);
    }
}
