//! One cluster in this process: its brokers, topics and fetch sessions. What brokers answer is read from here.
//!
//! Whatever is changed is told to those who wait for it. What goes wrong, and when, is decided elsewhere.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;

use tokio::sync::Notify;

use super::log::Log;
use crate::clock::simulated;

/// What brokers answer of a partition that is not there, or led by another one.
pub(super) const UNKNOWN_TOPIC_OR_PARTITION: i16 = 3;
pub(super) const NOT_LEADER: i16 = 6;

/// A topic.
#[derive(Debug)]
pub(super) struct Topic {
    pub(super) id: u128,
    pub(super) logs: Vec<Log>,
    /// What is set on the topic itself.
    pub(super) configs: BTreeMap<String, String>,
}

/// A fetch session: where each partition is read, by topic and number.
#[derive(Debug, Default)]
pub(super) struct FetchSession {
    pub(super) epoch: i32,
    /// Offset, leader epoch of the record before it, and bytes at most.
    pub(super) wanted: BTreeMap<(String, i32), (i64, i32, i32)>,
}

/// What a cluster is.
#[derive(Debug)]
pub(super) struct State {
    /// Whether each broker is up.
    pub(super) up: Vec<bool>,
    pub(super) topics: BTreeMap<String, Topic>,
    pub(super) sessions: BTreeMap<i32, FetchSession>,
    pub(super) min_in_sync: usize,
    topics_created: u128,
    next_session: i32,
}

/// A cluster.
pub(super) struct Cluster {
    /// "source" or "target", as the names of its brokers begin.
    pub(super) side: &'static str,
    pub(super) id: String,
    /// Whether its brokers take topics by their ids in Fetch and Produce.
    pub(super) by_id: bool,
    pub(super) state: RefCell<State>,
    /// Something was changed.
    pub(super) changed: Notify,
    /// The next fetch is answered at once, and with nothing.
    pub(super) is_silent: Cell<bool>,
    verbose: bool,
}

impl Cluster {
    pub(super) fn new(side: &'static str, brokers: usize, by_id: bool, verbose: bool) -> Self {
        let state = State {
            up: vec![true; brokers],
            topics: BTreeMap::new(),
            sessions: BTreeMap::new(),
            min_in_sync: brokers.min(2),
            topics_created: 0,
            next_session: 1,
        };
        Cluster {
            side,
            id: format!("simulated-{side}"),
            by_id,
            state: RefCell::new(state),
            changed: Notify::new(),
            is_silent: Cell::new(false),
            verbose,
        }
    }

    /// Tells of something that a broker does, but for the mirror's own topic.
    pub(super) fn tell(&self, broker: usize, topic: &str, what: impl FnOnce() -> String) {
        if self.verbose && !topic.ends_with(".internal") {
            let now = simulated::passed().unwrap_or_default().as_millis();
            println!("{now:>7} ms  {}-{broker}: {topic}: {}", self.side, what());
        }
    }

    pub(super) fn bootstrap(&self) -> String {
        let brokers = 0..self.state.borrow().up.len();
        brokers.map(|broker| format!("{}-{broker}:9092", self.side)).collect::<Vec<_>>().join(",")
    }

    /// Changes it, and wakes whoever waits for that.
    pub(super) fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let changed = change(&mut self.state.borrow_mut());
        self.changed.notify_waiters();
        changed
    }

    /// Reads one log.
    pub(super) fn with_log<T>(&self, topic: &str, partition: usize, read: impl FnOnce(&Log) -> T) -> Option<T> {
        let state = self.state.borrow();
        state.topics.get(topic).and_then(|topic| topic.logs.get(partition)).map(read)
    }
}

impl State {
    /// Creates a topic, whose partitions are led by one broker after the other.
    pub(super) fn create(&mut self, name: &str, partitions: usize, configs: BTreeMap<String, String>) -> u128 {
        self.topics_created += 1;
        let id = (0x5157 << 64) | self.topics_created;
        let brokers = self.up.len();
        let logs = (0..partitions).map(|partition| Log::new(brokers, partition % brokers)).collect();
        self.topics.insert(name.to_owned(), Topic { id, logs, configs });
        // A broker that is down has no part in it.
        for broker in (0..brokers).filter(|broker| !self.up[*broker]).collect::<Vec<_>>() {
            self.leave(broker);
        }
        id
    }

    /// The name of a topic that is asked for by name or by id.
    pub(super) fn name_of(&self, name: &str, id: u128) -> Option<String> {
        if id == 0 {
            return Some(name.to_owned());
        }
        self.topics.iter().find(|(_, topic)| topic.id == id).map(|(name, _)| name.clone())
    }

    /// The log of a partition for its leader, or the error that another broker answers with.
    pub(super) fn led(&mut self, broker: usize, topic: &str, partition: i32) -> Result<&mut Log, i16> {
        let logs = self.topics.get_mut(topic).map(|topic| &mut topic.logs).ok_or(UNKNOWN_TOPIC_OR_PARTITION)?;
        let log = logs.get_mut(partition as usize).ok_or(UNKNOWN_TOPIC_OR_PARTITION)?;
        if log.leader == broker { Ok(log) } else { Err(NOT_LEADER) }
    }

    pub(super) fn new_session(&mut self) -> i32 {
        let id = self.next_session;
        self.next_session += 1;
        self.sessions.insert(id, FetchSession::default());
        id
    }

    pub(super) fn logs(&mut self) -> impl Iterator<Item = &mut Log> {
        self.topics.values_mut().flat_map(|topic| &mut topic.logs)
    }

    /// A broker goes down: it leaves the in-sync replicas, and others lead what it led.
    pub(super) fn leave(&mut self, broker: usize) {
        self.up[broker] = false;
        let up = self.up.clone();
        for log in self.logs() {
            if log.in_sync() > 1 {
                log.replicas[broker].in_sync = false;
            }
            let next = (0..up.len()).find(|other| up[*other] && log.replicas[*other].in_sync);
            if let Some(next) = next.filter(|_| log.leader == broker) {
                log.elect(next, 0);
            }
            log.advance();
        }
    }

    /// It comes back, and catches up from the leaders.
    pub(super) fn come_back(&mut self, broker: usize) {
        self.up[broker] = true;
        for log in self.logs() {
            log.replicas[broker].in_sync = true;
            log.replicate(broker);
            if log.leader == broker {
                log.restart();
            }
        }
    }
}
