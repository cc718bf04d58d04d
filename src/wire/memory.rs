//! The memory of one stream: how many bytes may be in flight, and the buffers they live in.
//!
//! A fetch is sent only when its answer has room ([`Budget::reserve`]). The answer is read into one buffer; all
//! batches in it are slices of that buffer, and when the last of them is acknowledged the buffer goes back to the
//! pool and its bytes to the budget. So a slow target slows the fetches down, and nothing is copied or counted
//! twice. Pages that were touched once are reused: on large batches, faulting in fresh ones would cost as much as the
//! network does.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

/// Buffers below this size are not worth keeping.
const POOLED_FROM: usize = 64 * 1024;

/// The bytes a stream may have in flight.
#[derive(Debug, Clone)]
pub struct Budget(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    limit: usize,
    used: AtomicUsize,
    freed: Notify,
    pool: Mutex<Pool>,
    /// Whose turn it is to be longer than what was reserved and than what is free.
    turn: Arc<Semaphore>,
}

#[derive(Debug, Default)]
struct Pool {
    buffers: Vec<Vec<u8>>,
    bytes: usize,
}

/// Bytes of the budget that are spoken for; dropping it gives them back.
#[derive(Debug)]
pub struct Reservation {
    budget: Budget,
    bytes: usize,
}

/// The bytes of one answer, before it is shared.
#[derive(Debug)]
pub struct Frame {
    buffer: Vec<u8>,
    length: usize,
    reservation: Reservation,
    _turn: Option<OwnedSemaphorePermit>,
}

impl Budget {
    /// A budget of so many bytes.
    pub fn new(limit: usize) -> Self {
        let pool = Mutex::new(Pool::default());
        let (used, turn) = (AtomicUsize::new(0), Arc::new(Semaphore::new(1)));
        Budget(Arc::new(Shared { limit, used, freed: Notify::new(), pool, turn }))
    }

    /// Bytes in flight now.
    pub fn used(&self) -> usize {
        self.0.used.load(Ordering::Relaxed)
    }

    /// Waits until there is room for so many bytes. More than the whole budget is given when all of it is free, because
    /// a batch that is larger has to pass too.
    pub async fn reserve(&self, bytes: usize) -> Reservation {
        loop {
            let freed = self.0.freed.notified();
            if let Some(reservation) = self.try_reserve(bytes) {
                return reservation;
            }
            freed.await;
        }
    }

    /// Takes charge of bytes that were filled here and not by the network. They are there already, so they are counted whatever
    /// the limit says, and what is reserved next has to wait for them.
    pub fn own(&self, bytes: Vec<u8>) -> Bytes {
        self.0.used.fetch_add(bytes.len(), Ordering::Relaxed);
        let reservation = Reservation { budget: self.clone(), bytes: bytes.len() };
        Bytes::from_owner(Owned { bytes, _reservation: reservation })
    }

    fn try_reserve(&self, bytes: usize) -> Option<Reservation> {
        let used = self.used();
        // Only the stream's own thread adds, so between the check and the addition it can only get less.
        if used != 0 && used + bytes > self.0.limit {
            return None;
        }
        self.0.used.fetch_add(bytes, Ordering::Relaxed);
        Some(Reservation { budget: self.clone(), bytes })
    }

    fn pool(&self) -> std::sync::MutexGuard<'_, Pool> {
        self.0.pool.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A buffer of at least so many bytes: the smallest pooled one that fits without waste, or a new one.
    fn take_buffer(&self, length: usize) -> Vec<u8> {
        let mut pool = self.pool();
        let fitting =
            pool.buffers.iter().enumerate().filter(|(_, buffer)| (length..=length * 2).contains(&buffer.len()));
        if let Some((at, _)) = fitting.min_by_key(|(_, buffer)| buffer.len()) {
            let buffer = pool.buffers.swap_remove(at);
            pool.bytes -= buffer.len();
            return buffer;
        }
        // Idle buffers of other sizes must not add to what is in flight.
        while self.used() + pool.bytes + length > self.0.limit {
            let Some(idle) = pool.buffers.pop() else { break };
            pool.bytes -= idle.len();
        }
        drop(pool);
        vec![0; if length < POOLED_FROM { length } else { length.next_multiple_of(POOLED_FROM) }]
    }

    fn give_buffer_back(&self, buffer: Vec<u8>) {
        let mut pool = self.pool();
        if buffer.len() >= POOLED_FROM && self.used() + pool.bytes + buffer.len() <= self.0.limit {
            pool.bytes += buffer.len();
            pool.buffers.push(buffer);
        }
    }
}

/// Bytes that count as reserved as long as they live.
struct Owned {
    bytes: Vec<u8>,
    _reservation: Reservation,
}

impl AsRef<[u8]> for Owned {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Reservation {
    /// Turns what was reserved for an answer into a buffer for the answer that came. A broker sends its first batch whole, so an
    /// answer may be longer than what was asked for; of those that do not fit there is one at a time.
    pub async fn into_frame(mut self, length: usize) -> Frame {
        let fits = length <= self.bytes || self.budget.used() - self.bytes + length <= self.budget.0.limit;
        // The turn is never closed, so waiting gives it.
        let turn = if fits { None } else { self.budget.0.turn.clone().acquire_owned().await.ok() };
        let buffer = self.budget.take_buffer(length);
        let used = &self.budget.0.used;
        used.fetch_add(buffer.len(), Ordering::Relaxed);
        used.fetch_sub(self.bytes, Ordering::Relaxed);
        self.bytes = buffer.len();
        self.budget.0.freed.notify_waiters();
        Frame { buffer, length, reservation: self, _turn: turn }
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.budget.0.used.fetch_sub(self.bytes, Ordering::Relaxed);
        self.budget.0.freed.notify_waiters();
    }
}

impl Frame {
    /// Where the answer is to be read into.
    pub fn space(&mut self) -> &mut [u8] {
        &mut self.buffer[..self.length]
    }

    /// Shares it; the buffer is free again when the last slice is dropped.
    pub fn freeze(self) -> Bytes {
        Bytes::from_owner(self)
    }
}

impl AsRef<[u8]> for Frame {
    fn as_ref(&self) -> &[u8] {
        &self.buffer[..self.length]
    }
}

impl Drop for Frame {
    fn drop(&mut self) {
        self.reservation.budget.0.used.fetch_sub(self.reservation.bytes, Ordering::Relaxed);
        self.reservation.bytes = 0;
        self.reservation.budget.give_buffer_back(std::mem::take(&mut self.buffer));
        // Dropping the reservation wakes who waits for room.
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(flavor = "current_thread")]
    async fn bytes_come_back_when_the_last_slice_goes() {
        let budget = Budget::new(1 << 20);
        let bytes = budget.reserve(500_000).await.into_frame(100_000).await.freeze();
        assert_eq!(budget.used(), 131_072);
        let slice = bytes.slice(10..20);
        drop(bytes);
        assert_eq!(budget.used(), 131_072, "a slice keeps the whole buffer");
        drop(slice);
        assert_eq!(budget.used(), 0);
        assert_eq!(budget.pool().bytes, 131_072, "the buffer is kept for the next answer");
    }

    #[tokio::test(flavor = "current_thread")]
    async fn of_answers_that_do_not_fit_there_is_one_at_a_time() {
        let budget = Budget::new(1 << 20);
        let (first, second, small) =
            (budget.reserve(1000).await, budget.reserve(1000).await, budget.reserve(1000).await);
        let first = first.into_frame(3 << 20).await;
        let mut second = Box::pin(second.into_frame(2 << 20));
        assert!(
            std::future::poll_fn(|context| std::task::Poll::Ready(second.as_mut().poll(context).is_pending())).await
        );
        drop(small.into_frame(900).await);
        assert!(
            std::future::poll_fn(|context| std::task::Poll::Ready(second.as_mut().poll(context).is_pending())).await
        );
        drop(first);
        drop(second.await);
        assert_eq!(budget.used(), 0);
    }

    #[test]
    fn nothing_is_given_above_the_limit_except_to_the_only_one() {
        let budget = Budget::new(1000);
        let first = budget.try_reserve(5000);
        assert!(first.is_some(), "one answer larger than the budget has to pass");
        assert!(budget.try_reserve(1).is_none());
        drop(first);
        let _held = budget.try_reserve(600);
        assert!(budget.try_reserve(500).is_none());
        assert!(budget.try_reserve(400).is_some());
    }
}
