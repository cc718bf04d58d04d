//! How a cluster can be reached, as all threads of a mirror have met it: one outage is told once, not by each connection that
//! meets it, and so is a quota that makes brokers hold requests back.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use crate::clock::Instant;
use crate::error::{Error, ErrorKind};
use crate::event::{Event, EventKind, Events};
use crate::repeat::Repeated;

/// A cluster that has held nothing back for so long does not hold back.
const RECENT: Duration = Duration::from_secs(30);

/// These words are in the error about an address that leads to another cluster: that is told apart from an outage.
pub const OTHER_CLUSTER: &str = "answers for cluster";

/// What is met on the way to one cluster.
#[derive(Debug)]
pub struct Reach {
    side: &'static str,
    events: Option<Events>,
    began: Instant,
    /// No broker, or not all that are needed, can be reached.
    outage: Repeated,
    /// What answers is another cluster.
    other_cluster: Repeated,
    losses: Repeated,
    quota: Repeated,
    held_back_ms: AtomicU64,
    held_back_at: AtomicI64,
}

impl Reach {
    /// To the cluster "source" or "target"; nothing is told.
    pub fn of(side: &'static str) -> Self {
        Reach {
            side,
            events: None,
            began: Instant::now(),
            outage: Repeated::default(),
            other_cluster: Repeated::default(),
            losses: Repeated::default(),
            quota: Repeated::default(),
            held_back_ms: AtomicU64::new(0),
            held_back_at: AtomicI64::new(-1),
        }
    }

    /// The same, told in the log and as events.
    pub fn telling(self, events: Events) -> Self {
        Reach { events: Some(events), ..self }
    }

    /// Something could not be done that will be tried again: tells of it, once for all who meet the same outage.
    pub fn failed(&self, error: &Error, what: &str) {
        if self.events.is_none() {
            // Whoever asks once, and is told himself.
            return;
        }
        let series = if error.message().contains(OTHER_CLUSTER) { &self.other_cluster } else { &self.outage };
        let told = series.met(Instant::now());
        match told.map(|told| (told.times, told.lasted.as_secs())) {
            None => return tracing::debug!(cluster = self.side, %error, "{what}"),
            Some((1, _)) => tracing::warn!(cluster = self.side, %error, "{what}"),
            Some((times, seconds)) => tracing::warn!(cluster = self.side, times, seconds, %error, "{what}; it lasts"),
        }
        if let Some(events) = self.events.as_ref().filter(|_| error.kind() == ErrorKind::Connect) {
            events.send(Event::of_error(EventKind::Error, error));
        }
    }

    /// A connection was lost. If another one cannot be made, that will be told; that it happens again and again is told here.
    pub fn lost(&self, error: &Error) {
        if self.events.is_none() {
            return;
        }
        match self.losses.met(Instant::now()).map(|told| told.times).filter(|times| *times > 1) {
            None => tracing::debug!(cluster = self.side, %error, "a connection was lost"),
            Some(times) => {
                tracing::warn!(cluster = self.side, times, %error, "connections are lost again and again");
            }
        }
    }

    /// The whole cluster answers.
    pub fn answered(&self) {
        let now = Instant::now();
        let over = [&self.outage, &self.other_cluster].map(|series| series.over(now));
        if let Some(lasted) = over.into_iter().flatten().max() {
            tracing::info!(cluster = self.side, seconds = lasted.as_secs(), "all brokers that are needed answer again");
        }
    }

    /// A broker asks to send nothing for so long, because a quota is used up.
    pub fn held_back(&self, address: &str, time: Duration) {
        self.held_back_ms.store(time.as_millis() as u64, Ordering::Relaxed);
        self.held_back_at.store(self.began.elapsed().as_millis() as i64, Ordering::Relaxed);
        if let Some(told) = self.events.as_ref().and_then(|_| self.quota.met(Instant::now())) {
            let (ms, times, side) = (time.as_millis() as u64, told.times, self.side);
            tracing::warn!(
                cluster = side,
                broker = address,
                ms,
                times,
                "a quota of the {side} slows the mirror down: it waits as its brokers ask; see what \
                 kafka-configs.sh --describe --entity-type clients says of {side}.client.id"
            );
        }
    }

    /// For how long a broker has held the mirror back with its last answer that did so, if that is not long ago.
    pub fn held_back_ms(&self) -> Option<u64> {
        let at = self.held_back_at.load(Ordering::Relaxed);
        let ms = self.held_back_ms.load(Ordering::Relaxed);
        let until = at.saturating_add(ms as i64).saturating_add(RECENT.as_millis() as i64);
        (at >= 0 && self.began.elapsed().as_millis() as i64 <= until).then_some(ms)
    }
}
