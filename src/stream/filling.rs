//! Has holes filled by one target broker: collects what partitions have to be filled, one request after the other, and tells
//! each machine where its log ended afterwards.
//!
//! Control markers are written where the cluster allows it. Where it does not, an empty transaction of a transactional id of
//! the partition's own does the same for one offset after the other; where that is not allowed either, the partition
//! waits for the permission, and says which.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use tokio::sync::Semaphore;

use super::{Lane, Side, Stream, Task, Tries};
use crate::error::{Error, ErrorKind, Result};
use crate::machine::partition::{Filled, MARKERS_PER_SECOND, TRANSACTIONS_PER_SECOND, Ticket};
use crate::planted::{self, Bug};
use crate::tasks;
use crate::terms::broker_error::{BrokerError, Class};
use crate::wire::connection::Connection;
use crate::wire::markers::{self, MARKERS_AT_ONCE, Markers};
use crate::wire::transactions;

/// How holes are filled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    /// By control markers, as a coordinator writes them.
    Markers,
    /// By empty transactions, because markers are not allowed or not offered; until then, when it is tried again.
    Transactions { until: Duration },
}

impl Way {
    /// Offsets that one partition is filled by in a second.
    pub(super) fn per_second(self) -> i64 {
        match self {
            Way::Markers => MARKERS_PER_SECOND,
            Way::Transactions { .. } => TRANSACTIONS_PER_SECOND,
        }
    }
}

/// How long it is gone without markers after they were refused.
const WITHOUT_MARKERS: Duration = Duration::from_secs(60);
/// Partitions of a broker that are filled by transactions at the same time.
const TRANSACTIONS_AT_ONCE: usize = 8;
/// Transactions between two looks whether it is still to be filled.
const TRANSACTIONS_IN_A_ROW: i32 = 100;

/// Runs for ever.
pub(super) async fn run(stream: Rc<Stream>, broker: i32, lane: Rc<Lane>) {
    let places = Rc::new(Semaphore::new(TRANSACTIONS_AT_ONCE));
    let mut filler = Filler { stream, broker, lane, connection: None, places, told: Rc::default() };
    let mut tries = Tries::of(Side::Target);
    loop {
        // A mirror that ends or is paused fills nothing more: what is left is filled afterwards.
        if filler.stream.halted.get() || filler.lane.slots.borrow().is_empty() {
            filler.lane.changed.notified().await;
            continue;
        }
        match filler.fill().await {
            Ok(()) => tries.succeeded(),
            Err(error) => {
                filler.connection = None;
                filler.stream.leaders_are_stale(Side::Target);
                tries.failed(&filler.stream, Some(&error));
                tries.pause(&filler.stream).await;
            }
        }
    }
}

struct Filler {
    stream: Rc<Stream>,
    broker: i32,
    lane: Rc<Lane>,
    connection: Option<Rc<Connection>>,
    /// For partitions to be filled by transactions.
    places: Rc<Semaphore>,
    /// Whether it was told that transactions have to do.
    told: Rc<Cell<bool>>,
}

/// What was ordered: whose it is, and what.
struct Order {
    slot: usize,
    ticket: Ticket,
    markers: Markers,
}

impl Filler {
    async fn fill(&mut self) -> Result<()> {
        // Before an order is taken: an order that was taken and not sent would count as lost.
        let connection = match self.connection.take().filter(|connection| connection.is_open()) {
            Some(connection) => connection,
            None => {
                let dialed = self.stream.target.dial(self.broker).await;
                self.lane.dialed(dialed.is_ok());
                dialed.inspect_err(|error| self.give_up(error))?
            }
        };
        self.connection = Some(connection.clone());
        let orders = self.collect();
        if orders.is_empty() {
            return Ok(());
        }
        let now = self.stream.now();
        let markers = match self.stream.markers.get() {
            Way::Transactions { until } => until <= now,
            Way::Markers => true,
        } && markers::are_offered(&connection);
        let (by_markers, by_transactions): (Vec<Order>, Vec<Order>) =
            orders.into_iter().partition(|order| markers && !self.is_in_transaction(order));
        self.commit_empty(&connection, by_transactions);
        if by_markers.is_empty() { Ok(()) } else { self.write_markers(&connection, by_markers).await }
    }

    fn is_in_transaction(&self, order: &Order) -> bool {
        self.stream.slots.borrow().get(order.slot).is_some_and(|slot| slot.in_transaction)
    }

    /// Takes orders of every partition in the lane, as long as they fit into a request.
    fn collect(&self) -> Vec<Order> {
        let (mut orders, mut count) = (Vec::new(), 0);
        let now = self.stream.now();
        let mut rest = self.lane.take();
        let mut touched = Vec::new();
        while let Some(index) = rest.pop_first() {
            let mut slots = self.stream.slots.borrow_mut();
            let Some(slot) = slots.get_mut(index) else { continue };
            if slot.leaders[Side::Target as usize] != self.broker {
                continue;
            }
            touched.push(index);
            // As for records: a broker that was away may have come back without its log, and takes markers anywhere.
            if slot.machine.can_fill() && !slot.is_opened_over(&self.lane, Task::Fill) {
                slot.machine.reopen(now);
                continue;
            }
            let Some(fill) = slot.machine.poll_fill(now) else { continue };
            slot.last_sent = now;
            count += fill.count;
            let partition = (slot.target_topic.clone(), slot.partition);
            let markers = Markers { partition, from: fill.from, count: fill.count, fence: fill.fence };
            orders.push(Order { slot: index, ticket: fill.ticket, markers });
            if count + super::MARKERS > MARKERS_AT_ONCE {
                break;
            }
        }
        for index in rest {
            self.lane.put(index);
        }
        // One that has to wait until its log has stood still is closed now.
        for index in touched {
            self.stream.update(index);
        }
        orders
    }

    async fn write_markers(&mut self, connection: &Rc<Connection>, orders: Vec<Order>) -> Result<()> {
        let wanted: Vec<Markers> = orders.iter().map(|order| order.markers.clone()).collect();
        let mut written = markers::write(connection, &wanted).await;
        if written.is_err() && planted::is(Bug::MarkersTwice) {
            let again = self.stream.target.dial(self.broker).await?;
            written = markers::write(&again, &wanted).await;
        }
        let ends = match written {
            Ok(ends) => ends,
            Err(error) => {
                for order in orders {
                    self.tell(&order, Filled::Lost);
                }
                return Err(error);
            }
        };
        let mut forbidden = Vec::new();
        for order in orders {
            match ends.get(&order.markers.partition).copied().unwrap_or(Err(BrokerError::UNKNOWN_PARTITION)) {
                Ok(end) => self.tell(&order, Filled::LogEnd(end)),
                Err(error) if error.class == Class::Unauthorized => forbidden.push(order),
                Err(error) => {
                    if error.class == Class::Leader {
                        self.stream.leaders_are_stale(Side::Target);
                    }
                    self.tell(&order, Filled::Refused(error));
                }
            }
        }
        if !forbidden.is_empty() {
            let until = self.stream.now() + WITHOUT_MARKERS;
            self.stream.markers.set(Way::Transactions { until });
            self.commit_empty(connection, forbidden);
        }
        Ok(())
    }

    /// Fills by empty transactions, each partition on its own: that takes long, and others are not to wait for it.
    fn commit_empty(&self, connection: &Rc<Connection>, orders: Vec<Order>) {
        for order in orders {
            let (stream, connection) = (self.stream.clone(), connection.clone());
            let (places, told) = (self.places.clone(), self.told.clone());
            tasks::spawn(async move {
                // It is never closed; if it were, there would be no limit.
                let _place = places.acquire().await;
                let filled = commit_empty(&stream, &connection, &order).await;
                match &filled {
                    Filled::Failed(error) if error.kind() == ErrorKind::Authorization => {
                        // Whichever is allowed first will do.
                        stream.markers.set(Way::Markers);
                    }
                    Filled::LogEnd(_) if !told.replace(true) => tracing::warn!(
                        "the target allows no control markers: holes are filled by empty transactions, which is slow; to \
                         allow markers, grant ALTER on the cluster (CLUSTER_ACTION before Kafka 3.8)"
                    ),
                    _ => {}
                }
                tell(&stream, &order, filled);
            });
        }
    }

    fn tell(&self, order: &Order, filled: Filled) {
        tell(&self.stream, order, filled);
    }

    /// The broker cannot be reached: its partitions have to find another leader, or wait.
    fn give_up(&self, error: &Error) {
        let now = self.stream.now();
        for slot in self.lane.take() {
            self.stream.with_machine(slot, |machine| machine.handle_unreachable(error.clone(), now));
        }
    }
}

fn tell(stream: &Stream, order: &Order, filled: Filled) {
    let now = stream.now();
    stream.with_machine(order.slot, |machine| machine.handle_filled(order.ticket, filled, now));
}

/// Fills what was ordered for one partition, and tells how far that came.
async fn commit_empty(stream: &Stream, connection: &Connection, order: &Order) -> Filled {
    let (topic, partition) = &order.markers.partition;
    let next = order.markers.from + i64::from(order.markers.count);
    let mut from = order.markers.from;
    while from < next {
        if stream.halted.get() && from > order.markers.from {
            // It ends, or is paused: what is left is filled afterwards.
            break;
        }
        let count = (next - from).min(i64::from(TRANSACTIONS_IN_A_ROW)) as i32;
        let some = Markers { from, count, ..order.markers.clone() };
        let before = set_in_transaction(stream, order.slot, true);
        match transactions::fill(&stream.target, connection, &stream.name, &some).await {
            Ok(end) => {
                set_in_transaction(stream, order.slot, false);
                let as_wanted = end == from + i64::from(count);
                from = end;
                if !as_wanted {
                    break;
                }
            }
            Err(error) if error.kind() == ErrorKind::Authorization => {
                set_in_transaction(stream, order.slot, before);
                return Filled::Failed(error);
            }
            Err(error) => {
                set_in_transaction(stream, order.slot, true);
                stream.leaders_are_stale(Side::Target);
                if error.kind() != ErrorKind::Connect {
                    return Filled::Failed(error);
                }
                tracing::warn!(topic = &**topic, partition, %error, "filling was broken off");
                return Filled::Lost;
            }
        }
    }
    Filled::LogEnd(from)
}

/// Notes whether a transaction may be open, and returns what was noted before.
fn set_in_transaction(stream: &Stream, slot: usize, value: bool) -> bool {
    let mut slots = stream.slots.borrow_mut();
    slots.get_mut(slot).is_some_and(|slot| std::mem::replace(&mut slot.in_transaction, value))
}
