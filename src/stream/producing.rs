//! Produces to one target broker: collects one batch of every partition that has one into a request, keeps up to
//! `max.in.flight.requests.per.connection` requests under way, and tells each machine what became of its batch.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::{Closings, Lane, PATIENCE, Side, Stream, Task, Tries};
use crate::error::{Error, ErrorKind, Result};
use crate::event::{Event, EventKind};
use crate::machine::partition::{Produced, Ticket};
use crate::planted::{self, Bug};
use crate::tasks;
use crate::terms::broker_error::{BrokerError, Class};
use crate::text::printable;
use crate::wire::connection::Connection;
use crate::wire::produce::{self, Part, Sent, TopicParts};

/// After so long without a batch the position is read again before the next one.
const SILENCE: Duration = Duration::from_secs(60);

/// Runs for ever.
pub(super) async fn run(stream: Rc<Stream>, broker: i32, lane: Rc<Lane>) {
    let mut sender = Sender { stream, broker, lane, connection: None, next: 0 };
    let in_flight = std::sync::Arc::new(Semaphore::new(sender.stream.config.target.max_in_flight));
    let mut tries = Tries::of(Side::Target);
    // Before the first partition is opened: what is opened over a connection that is older than its opening can be sent at once.
    if let Err(error) = sender.connect().await {
        sender.give_up(&error);
        tries.failed(&sender.stream, Some(&error));
        tries.pause(&sender.stream).await;
    }
    loop {
        if sender.lane.slots.borrow().is_empty() {
            sender.lane.changed.notified().await;
            continue;
        }
        // The semaphore is never closed.
        // Left open: nobody closes it.
        let Ok(permit) = in_flight.clone().acquire_owned().await else { return };
        match sender.send(permit).await {
            Ok(()) => tries.succeeded(),
            Err(error) => {
                sender.give_up(&error);
                tries.failed(&sender.stream, Some(&error));
                tries.pause(&sender.stream).await;
            }
        }
    }
}

struct Sender {
    stream: Rc<Stream>,
    broker: i32,
    lane: Rc<Lane>,
    connection: Option<Rc<Connection>>,
    /// The slot that is looked at first: a small batch is not to come before a large one again and again.
    next: usize,
}

/// The batches of a request, by slot.
type Tickets = BTreeMap<usize, Under>;

/// Bytes around the payloads, at most: of a request, of each topic beside its name, of each partition.
const FRAMING: [usize; 3] = [512, 32, 32];

/// A batch under way.
#[derive(Clone, Copy)]
struct Under {
    ticket: Ticket,
    source_offset: i64,
    base_sequence: i32,
    count: i32,
    max_timestamp: i64,
}
impl Sender {
    async fn send(&mut self, permit: OwnedSemaphorePermit) -> Result<()> {
        let connection = self.connect().await?;
        let (topics, tickets, size) = self.collect();
        if tickets.is_empty() {
            return Ok(());
        }
        let order = Order { broker: self.broker, dial: self.lane.connections.get(), size, batches: tickets.len() };
        let sent = produce::send(&connection, &topics, self.stream.config.target.request_timeout).await;
        match sent {
            Ok(sent) => {
                let under_way = (order, self.lane.clone());
                tasks::spawn(receive(self.stream.clone(), connection, sent, (tickets, under_way), permit));
                Ok(())
            }
            Err(error) => {
                order.lost(&self.stream, &self.lane, &error);
                lose(&self.stream, tickets);
                Err(error)
            }
        }
    }

    /// The connection, or a new one.
    async fn connect(&mut self) -> Result<Rc<Connection>> {
        if let Some(connection) = self.connection.as_ref().filter(|connection| connection.is_open()) {
            return Ok(connection.clone());
        }
        self.connection = None;
        let dialed = self.stream.target.dial(self.broker).await;
        self.lane.dialed(dialed.is_ok());
        self.stream.closed_changed.notify_one();
        let connection = dialed?;
        self.connection = Some(connection.clone());
        self.reopen_all();
        Ok(connection)
    }

    /// What was sent over an old connection may still arrive: nothing may follow it over a new one before the position
    /// was read again. And a broker that was away may have come back without its logs, so that is true of partitions that are idle, too: it
    /// would take whatever comes first, at whatever offset.
    fn reopen_all(&self) {
        let now = self.stream.now();
        for slot in self.stream.slots_led_by(Side::Target, self.broker) {
            if !self.stream.is_opened_over(slot, &self.lane, Task::Produce) {
                self.stream.with_machine(slot, |machine| machine.reopen(now));
            }
        }
    }

    /// Takes the next batch of every partition in the lane, as long as they fit into a request, and tells how large that is. A batch that is
    /// larger than a request may be travels alone.
    fn collect(&mut self) -> (Vec<TopicParts>, Tickets, usize) {
        let mut topics: BTreeMap<Rc<str>, TopicParts> = BTreeMap::new();
        let mut tickets = Tickets::new();
        let (limit, [mut size, of_topic, of_part]) = (self.stream.config.target.max_request_size, FRAMING);
        let mut slots = self.stream.slots.borrow_mut();
        let now = self.stream.now();
        let mut reopened = Vec::new();
        let mut rest = self.lane.take();
        let behind = rest.split_off(&self.next);
        let mut left = BTreeSet::new();
        let mut in_turn = behind.into_iter().chain(rest);
        for index in in_turn.by_ref() {
            let Some(slot) = slots.get_mut(index) else { continue };
            if slot.leaders[Side::Target as usize] != self.broker {
                continue;
            }
            // A broker forgets who wrote to a silent partition, and then takes any sequence number.
            let is_silent = slot.machine.is_idle() && now.saturating_sub(slot.last_sent) > SILENCE;
            if is_silent || !slot.is_opened_over(&self.lane, Task::Produce) {
                slot.machine.reopen(now);
                reopened.push(index);
                continue;
            }
            let Some(next_size) = slot.machine.next_size() else { continue };
            let framing = if topics.contains_key(&slot.target_topic) { 0 } else { of_topic + slot.target_topic.len() };
            let grown = size + next_size + of_part + framing;
            if grown > limit && !tickets.is_empty() {
                self.next = index;
                left.insert(index);
                break;
            }
            let Some(mut batch) = slot.machine.poll_produce() else { continue };
            if planted::is(Bug::FreshSequence) {
                let count = batch.payload.header.record_count;
                batch.stamp.base_sequence = planted::fresh_sequence(index, batch.stamp.base_sequence, count);
            }
            slot.last_sent = now;
            size = grown;
            let header = batch.payload.rewrite_header(batch.stamp);
            let part = Part { partition: slot.partition, header, payload: batch.payload.payload() };
            let source = &batch.payload.header;
            let (source_offset, count) = (source.base_offset, source.record_count);
            let (base_sequence, max_timestamp) = (batch.stamp.base_sequence, source.max_timestamp);
            tickets.insert(index, Under { ticket: batch.ticket, source_offset, base_sequence, count, max_timestamp });
            let id = slot.ids[Side::Target as usize];
            let none = || TopicParts { name: slot.target_topic.clone(), id, parts: Vec::new() };
            topics.entry(slot.target_topic.clone()).or_insert_with(none).parts.push(part);
            if slot.machine.can_produce() {
                self.lane.put(index);
            }
        }
        for index in left.into_iter().chain(in_turn) {
            self.lane.put(index);
        }
        drop(slots);
        for index in reopened {
            self.stream.update(index);
        }
        (topics.into_values().collect(), tickets, size)
    }

    /// The broker cannot be reached: its partitions have to find another leader, or wait.
    fn give_up(&mut self, error: &Error) {
        self.connection = None;
        self.stream.leaders_are_stale(Side::Target);
        let now = self.stream.now();
        for slot in self.lane.take() {
            self.stream.with_machine(slot, |machine| machine.handle_unreachable(error.clone(), now));
        }
    }
}

/// A request as it was sent.
#[derive(Clone, Copy)]
struct Order {
    broker: i32,
    /// The connection that it was sent over, counted.
    dial: u32,
    size: usize,
    batches: usize,
}

impl Order {
    /// Its connection is closed. Brokers do that without a word with requests that they find too large.
    fn lost(self, stream: &Stream, lane: &Lane, error: &Error) {
        let Order { broker, dial, size, batches } = self;
        if error.kind() != ErrorKind::Connect {
            return;
        }
        let Some(times) = lane.closings.borrow_mut().lost(dial, size) else { return };
        if times != Closings::TOLD_AFTER {
            return;
        }
        let limit = stream.config.target.max_request_size;
        let message = format!(
            "broker {broker} of the target has closed the connection {times} times after a request with {batches} batches of together {size} \
             bytes ({}): its socket.request.max.bytes may be smaller; raise that, or set target.max.request.size, which is {limit}, below it, \
             unless a single batch is larger",
            error.message()
        );
        tracing::warn!(broker, size, batches, "{message}");
        stream.events.send(Event::of_error(EventKind::Error, &Error::new(ErrorKind::Broker, message)));
    }
}

/// Waits for the answer to a request, and tells the machines.
async fn receive(
    stream: Rc<Stream>,
    connection: Rc<Connection>,
    sent: Sent,
    (mut tickets, (order, lane)): (Tickets, (Order, Rc<Lane>)),
    permit: OwnedSemaphorePermit,
) {
    let response = stream.watched(Side::Target, PATIENCE, sent.wait(&connection)).await;
    drop(permit);
    let now = stream.now();
    match response {
        Ok(response) => {
            lane.closings.borrow_mut().answered(order.size);
            for topic in &response.responses {
                let name = stream.name_of_answered(&topic.name.0, topic.topic_id.as_u128());
                let Some(name) = name else { continue };
                for partition in &topic.partition_responses {
                    let slot = stream.slot(&name, partition.index);
                    let Some((slot, under)) = slot.and_then(|slot| tickets.remove_entry(&slot)) else { continue };
                    let append_time = partition.log_append_time_ms;
                    let produced = match BrokerError::of(partition.error_code) {
                        // The answer to a batch that was there already carries the time of its newest record.
                        None if is_clock_time(append_time) && append_time != under.max_timestamp => Produced::Restamped,
                        None if stream.translates() => translate(&stream, slot, &under, partition.base_offset),
                        None if planted::is(Bug::IgnoresBaseOffset) => {
                            Produced::Appended { base_offset: under.source_offset }
                        }
                        None => Produced::Appended { base_offset: partition.base_offset },
                        Some(error) if planted::is(Bug::RefusedIsAppended) && [7, 19, 20].contains(&error.code) => {
                            Produced::Appended { base_offset: under.source_offset }
                        }
                        Some(error) => {
                            match error.class {
                                Class::Leader => stream.leaders_are_stale(Side::Target),
                                Class::Topic => stream.is_another_topic(slot, Side::Target, &error),
                                _ => {}
                            }
                            let detail = partition.error_message.as_ref().map(|text| printable(text).into_owned());
                            Produced::Refused(error, detail)
                        }
                    };
                    stream.with_machine(slot, |machine| machine.handle_produced(under.ticket, produced, now));
                }
            }
            // An answer that does not speak of a batch says nothing of it; whether it landed is read off the log.
            for (slot, under) in std::mem::take(&mut tickets) {
                let silence = "its answer does not name the partition".to_owned();
                let produced = Produced::Refused(BrokerError::UNKNOWN_PARTITION, Some(silence));
                stream.leaders_are_stale(Side::Target);
                stream.with_machine(slot, |machine| machine.handle_produced(under.ticket, produced, now));
            }
        }
        Err(error) => {
            tracing::debug!(%error, "produce requests lost");
            order.lost(&stream, &lane, &error);
            stream.leaders_are_stale(Side::Target);
        }
    }
    lose(&stream, tickets);
}

/// Whether a broker's clock can have said this. Brokers that do not stamp records answer -1; librdkafka's mock cluster, which
/// does not stamp them either, answers with a small number.
fn is_clock_time(append_time: i64) -> bool {
    /// The year 2011, in which Kafka was first released.
    const FIRST_RELEASE_MS: i64 = 1_293_840_000_000;
    append_time >= FIRST_RELEASE_MS
}

/// No answer came for these.
fn lose(stream: &Stream, tickets: Tickets) {
    let now = stream.now();
    for (slot, under) in tickets {
        stream.with_machine(slot, |machine| machine.handle_produced(under.ticket, Produced::Lost, now));
    }
}

/// Notes where the target has put a batch. The machine hears of it as of a copy at the same offset.
fn translate(stream: &Stream, index: usize, under: &Under, target_offset: i64) -> Produced {
    if target_offset < 0 {
        // It is there, and its log says where.
        return Produced::Lost;
    }
    let is_awaited = stream.slots.borrow().get(index).is_some_and(|slot| slot.machine.is_awaited(under.ticket));
    if is_awaited {
        stream.with_map(index, |map| {
            let number = map.number_of(under.base_sequence);
            map.append(number, under.source_offset, target_offset, i64::from(under.count));
        });
    }
    Produced::Appended { base_offset: under.source_offset }
}
