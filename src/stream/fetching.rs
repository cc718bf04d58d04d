//! Fetches from one source broker: one request at a time, the next one as soon as the answer was handed out.
//!
//! A fetch is sent only when the stream's memory has room for its answer, so a slow target slows this down. One
//! partition that takes no more is left out of the session until it does, so that it does not hold the others up; one of
//! which nothing comes although the source has more is asked for apart ([`silence`](super::silence)).

use std::collections::BTreeSet;
use std::rc::Rc;
use std::time::Duration;

use super::{Lane, PATIENCE, Side, Stream, Tries};
use crate::clock::Instant;
use crate::error::{Error, ErrorKind, Result};
use crate::machine::partition::Phase;
use crate::planted::{self, Bug};
use crate::terms::broker_error::{BrokerError, Class};
use crate::wire::connection::Connection;
use crate::wire::fetch::{FetchLimits, FetchedRecords, Session};

/// Answers larger than this do not become cheaper from a broker nearby, but leave the processor's cache.
const NEAR_FETCH: usize = 2 << 20;
const SMALLEST_FETCH: usize = 64 << 10;
/// A broker whose full answer takes longer is far away, or slow to read from: more is asked for at once, because there is
/// only one request at a time.
const FAR: Duration = Duration::from_millis(40);
/// How long the broker may wait while some partition is left out for a moment.
const SHORT_WAIT: Duration = Duration::from_millis(5);

/// Answers in a row that came at once and brought nothing, from which on the broker is asked more slowly. It waits for records
/// as long as it was told to; one that does not would keep a processor busy.
const USELESS: u32 = 4;
/// The first pause after so many, doubled up to the longest one.
const USELESS_PAUSES: [Duration; 2] = [Duration::from_millis(5), Duration::from_millis(500)];

/// Runs for ever.
pub(super) async fn run(stream: Rc<Stream>, broker: i32, lane: Rc<Lane>) {
    let mut fetcher = Fetcher::new(stream, broker);
    let mut tries = Tries::of(Side::Source);
    let mut useless = 0;
    loop {
        fetcher.look_at(lane.take());
        if fetcher.session.is_empty() {
            lane.changed.notified().await;
            continue;
        }
        match fetcher.fetch(None).await {
            Ok(brought) => {
                tries.succeeded();
                if brought.had_room {
                    lane.answers_with_room.set(lane.answers_with_room.get().wrapping_add(1));
                }
                useless = if brought.is_useless() { useless + 1 } else { 0 };
                fetcher.slow_down(useless).await;
            }
            Err(error) => {
                fetcher.failed(&error);
                fetcher.show_stalled(&error);
                tries.failed(&fetcher.stream, Some(&error));
                tries.pause(&fetcher.stream).await;
            }
        }
    }
}

/// What one fetch has brought.
#[derive(Debug, Clone, Copy)]
pub(super) struct Brought {
    /// Bytes of records.
    pub(super) bytes: usize,
    /// Whether the answer had room for more.
    had_room: bool,
    /// Partitions that the broker refused.
    errors: usize,
    /// Time it took, and how long the broker was asked to wait for records.
    pub(super) took: Duration,
    wait: Duration,
}

impl Brought {
    /// Whether it neither brought anything nor waited for it.
    fn is_useless(&self) -> bool {
        self.bytes == 0 && self.errors == 0 && self.took < self.wait / 2
    }
}

pub(super) struct Fetcher {
    pub(super) stream: Rc<Stream>,
    pub(super) broker: i32,
    pub(super) session: Session,
    /// Partitions of this broker that run but take no more at the moment.
    left_out: BTreeSet<usize>,
    connection: Option<Rc<Connection>>,
    /// Bytes to ask for at once, as long as the memory allows it.
    size: usize,
}

impl Fetcher {
    /// One that asks for nothing yet.
    pub(super) fn new(stream: Rc<Stream>, broker: i32) -> Self {
        let (session, left_out) = (Session::default(), BTreeSet::new());
        Fetcher { stream, broker, session, left_out, connection: None, size: NEAR_FETCH }
    }

    /// The next fetch uses a new connection, and perhaps another broker leads by then.
    pub(super) fn failed(&mut self, error: &Error) {
        tracing::debug!(broker = self.broker, %error, "fetch failed");
        self.connection = None;
        self.stream.leaders_are_stale(Side::Source);
    }

    /// A broker that answers at once and with nothing, again and again, is given time.
    async fn slow_down(&self, useless: u32) {
        let Some(beyond) = useless.checked_sub(USELESS) else { return };
        if beyond == USELESS {
            let broker = self.broker;
            tracing::warn!(
                cluster = "source",
                broker,
                "fetches are answered at once and with nothing, and are sent more slowly"
            );
        }
        let [first, longest] = USELESS_PAUSES;
        tokio::time::sleep(first.saturating_mul(1 << beyond.min(16)).min(longest)).await;
    }

    /// Tells the session what these partitions want now.
    fn look_at(&mut self, changed: BTreeSet<usize>) {
        let mut slots = self.stream.slots.borrow_mut();
        for index in changed {
            let Some(slot) = slots.get_mut(index) else {
                self.session.forget_slot(index);
                self.left_out.remove(&index);
                continue;
            };
            let ours = slot.leaders[Side::Source as usize] == self.broker;
            let wanted = slot.machine.poll_fetch().filter(|_| ours && !self.stream.halted.get() && !slot.apart);
            match wanted {
                Some(offset) => {
                    let topic = (&slot.topic, slot.ids[Side::Source as usize]);
                    let epoch = if planted::is(Bug::NoEpochInFetch) { -1 } else { slot.machine.fetch_epoch() };
                    self.session.want(topic, slot.partition, index, offset, epoch);
                }
                None => self.session.forget(&slot.topic, slot.partition, index),
            }
            if ours {
                slot.fetch_told = wanted;
            }
            let runs = slot.machine.phase() == Phase::Running && !slot.machine.has_ended() && !slot.apart;
            if ours && wanted.is_none() && runs {
                self.left_out.insert(index);
            } else {
                self.left_out.remove(&index);
            }
        }
    }

    /// Sends one fetch of what the session wants and hands out what it brings. The broker waits for records as long as usual, or
    /// for `wait`.
    pub(super) async fn fetch(&mut self, wait: Option<Duration>) -> Result<Brought> {
        let connection = match self.connection.take().filter(|connection| connection.is_open()) {
            Some(connection) => connection,
            None => {
                self.session.reset();
                self.stream.source.dial(self.broker).await?
            }
        };
        self.stream.throttle.wait().await;
        let mut limits = self.limits();
        limits.max_wait = wait.unwrap_or(limits.max_wait);
        let room = self.stream.budget.reserve(limits.max_bytes as usize).await;
        let asked = Instant::now();
        let answer = self.session.fetch(&connection, limits, room);
        let fetched = self.stream.watched(Side::Source, limits.max_wait + PATIENCE, answer).await?;
        self.connection = Some(connection);
        if self.stream.translates() {
            self.stream.look_up_producers(&fetched).await?;
        }
        let received: usize =
            // Left open: errors bring no bytes; they are handled below.
            fetched.iter().filter_map(|partition| Some(partition.result.as_ref().ok()?.records.len())).sum();
        self.stream.throttle.spend(received);
        let took = asked.elapsed();
        self.size = next_size(self.size, received, took);
        let had_room = received < limits.max_bytes as usize / 2;
        let mut brought = Brought { bytes: received, had_room, errors: 0, took, wait: limits.max_wait };
        for partition in fetched {
            match partition.result {
                Ok(records) => self.hand_out(partition.slot, partition.fetch_offset, records),
                Err(error) => {
                    brought.errors += 1;
                    self.handle_error(partition.slot, partition.fetch_offset, error);
                }
            }
        }
        Ok(brought)
    }

    fn limits(&self) -> FetchLimits {
        let config = &self.stream.config.source;
        let share = self.stream.config.buffer_memory / self.stream.config.num_streams / 4;
        let share = share / self.stream.fetchers.borrow().len().max(1);
        let share = share.min(self.stream.throttle.share());
        let max_bytes = self.size.min(share).max(SMALLEST_FETCH).min(config.fetch_max_bytes as usize);
        FetchLimits {
            max_wait: if self.left_out.is_empty() { config.fetch_max_wait } else { SHORT_WAIT },
            min_bytes: config.fetch_min_bytes,
            max_bytes: max_bytes as i32,
            partition_max_bytes: config.max_partition_fetch_bytes.min(max_bytes as i32),
            read_committed: self.stream.read_committed(),
        }
    }

    fn hand_out(&mut self, slot: usize, fetch_offset: i64, fetched: FetchedRecords) {
        if fetched.diverges && !planted::is(Bug::IgnoresDivergence) {
            let now = self.stream.now();
            return self.stream.with_machine(slot, |machine| machine.handle_diverged(fetch_offset, now));
        }
        self.stream.take_fetched(slot, fetch_offset, fetched);
    }

    fn handle_error(&mut self, slot: usize, fetch_offset: i64, error: BrokerError) {
        let now = self.stream.now();
        match error.class {
            Class::OutOfRange => {
                self.stream.with_machine(slot, |machine| machine.handle_out_of_range(fetch_offset, now));
            }
            Class::Topic => self.stream.is_another_topic(slot, Side::Source, &error),
            class => {
                if class == Class::Session {
                    self.session.reset();
                }
                if class == Class::Leader {
                    self.stream.leaders_are_stale(Side::Source);
                }
                let kind = if class == Class::Unauthorized { ErrorKind::Authorization } else { ErrorKind::Broker };
                let message = format!("the source does not give offset {fetch_offset}: {error}");
                let error = Error::new(kind, message).with_offset(fetch_offset).with_kafka_code(error.code);
                self.stream.with_machine(slot, |machine| machine.handle_unreachable(error, now));
            }
        }
    }

    /// Shows on all partitions of this broker that they wait for it.
    fn show_stalled(&self, error: &Error) {
        let now = self.stream.now();
        for slot in self.stream.slots_led_by(Side::Source, self.broker) {
            self.stream.with_machine(slot, |machine| machine.handle_unreachable(error.clone(), now));
        }
    }
}

/// How much to ask for after an answer of so many bytes that took so long.
fn next_size(size: usize, received: usize, took: Duration) -> usize {
    let full = received >= size / 2;
    match (full, took > FAR) {
        (true, true) => size.saturating_mul(2),
        (true, false) => NEAR_FETCH.max(size / 2),
        // The broker waited for records, or the memory allowed no more: that says nothing of the distance.
        (false, _) => size,
    }
}
