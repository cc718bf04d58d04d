//! One cluster as one thread sees it: how to find its brokers and who leads which partition.
//!
//! A cluster is asked through any broker that answers: those it named before, and the bootstrap servers. Requests that
//! go to a certain broker share one connection to it here; the streams of data have their own
//! ([`Cluster::dial`]), because a broker works on one request per connection at a time.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, HashMap};
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::time::Duration;

use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::{MetadataRequest, TopicName};
use kafka_protocol::protocol::StrBytes;

use super::connection::Connection;
use super::reach::{OTHER_CLUSTER, Reach};
use super::releases;
use super::together::all;
use crate::config::ClientConfig;
use crate::error::{Error, ErrorKind, Result};
use crate::lease::Lease;
use crate::text::printable;

/// What a cluster says of itself.
#[derive(Debug, Clone, Default)]
pub struct Metadata {
    /// Its id; clusters older than 0.10.1 have none.
    pub cluster_id: Option<String>,
    /// The broker that creates topics.
    pub controller_id: i32,
    /// Number of brokers that are up.
    pub broker_count: usize,
    /// The topics asked for, by name.
    pub topics: BTreeMap<String, TopicMetadata>,
}

impl Metadata {
    /// How many partitions a topic has; none of one that is not there.
    pub fn partitions_of(&self, topic: &str) -> i32 {
        self.topics.get(topic).map_or(0, |topic| topic.leaders.len() as i32)
    }
}

/// What a cluster says of one topic.
#[derive(Debug, Clone, Default)]
pub struct TopicMetadata {
    /// 0, or why there is no more.
    pub error_code: i16,
    /// The id that a topic created anew does not share; nil before Kafka 2.8.
    pub id: u128,
    /// Kafka's own.
    pub is_internal: bool,
    /// Leader of each partition, by number; -1 without one.
    pub leaders: Vec<i32>,
    /// Replicas of the first partition.
    pub replication_factor: i16,
}

/// Another broker is asked when one does not describe the cluster within this time.
const METADATA_PATIENCE: Duration = Duration::from_secs(5);

/// Brokers of the largest cluster: each may be connected to, and be told of.
const MOST_BROKERS: usize = 10_000;
const TRIED_AGAIN: &str = "a broker cannot be reached; will be tried again";

/// Where the connection to a broker is, once the first who needs it has made it.
type Place = Rc<tokio::sync::Mutex<Option<Rc<Connection>>>>;

/// A cluster and the connections to it.
pub struct Cluster {
    /// "source" or "target", for messages.
    pub side: &'static str,
    config: ClientConfig,
    /// Its id, once somebody has told it. What answers with another one is not this cluster.
    id: RefCell<Option<String>>,
    reach: Arc<Reach>,
    addresses: RefCell<BTreeMap<i32, String>>,
    shared: RefCell<HashMap<i32, Place>>,
    any: RefCell<Option<Rc<Connection>>>,
    turn: Cell<usize>,
    /// What requests need that change the cluster, and the connections over which such requests may be under way.
    lease: Option<Arc<Lease>>,
    /// Where it is noted what is appended to the internal topic.
    notes: Option<Arc<Lease>>,
    opened: RefCell<Vec<Weak<Connection>>>,
}

impl Cluster {
    /// A cluster that nothing is known of yet.
    pub fn new(side: &'static str, config: ClientConfig) -> Self {
        Cluster {
            side,
            config,
            id: RefCell::default(),
            reach: Arc::new(Reach::of(side)),
            addresses: RefCell::default(),
            shared: RefCell::default(),
            any: RefCell::default(),
            turn: Cell::new(0),
            lease: None,
            notes: None,
            opened: RefCell::default(),
        }
    }

    /// Whatever changes the cluster needs this lease.
    pub fn under(self, lease: Arc<Lease>) -> Self {
        Cluster { lease: Some(lease.clone()), ..self }.noted_by(lease)
    }

    /// It is noted there what is appended to the internal topic.
    pub fn noted_by(self, lease: Arc<Lease>) -> Self {
        Cluster { notes: Some(lease), ..self }
    }

    /// Where that is noted.
    pub fn notes(&self) -> Option<&Lease> {
        self.notes.as_deref()
    }

    fn opened(&self) -> Vec<Rc<Connection>> {
        self.opened.borrow().iter().filter_map(Weak::upgrade).collect()
    }

    /// Whether a request that changes the cluster is under way.
    pub fn has_changes(&self) -> bool {
        self.opened().iter().any(|connection| connection.has_changes())
    }

    /// Waits until no request is under way that changes the cluster, but not for longer than that.
    pub async fn wait_for_changes(&self, limit: Duration) {
        let deadline = tokio::time::Instant::now() + limit;
        while self.has_changes() && tokio::time::Instant::now() < deadline {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Runs for ever: whenever the lease lapses, or another process has started, ends the connections that have a change under way.
    /// What waits in the system's buffers for a slow broker would be sent however much later.
    pub async fn watch_lease(&self) {
        let Some(lease) = &self.lease else { return };
        loop {
            lease.lapsed().await;
            if !lease.is_held() {
                self.opened().iter().for_each(|connection| connection.break_off_changes());
                lease.regained().await;
            } else {
                // What is under way may still be answered, as long as the lease is held.
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
    }

    /// Tells there what it meets, together with others.
    #[must_use]
    pub fn told_by(self, reach: Arc<Reach>) -> Self {
        Cluster { reach, ..self }
    }

    /// Where it is told how the cluster can be reached.
    pub fn reach(&self) -> &Reach {
        &self.reach
    }

    /// The cluster of this id, and no other. Without an id, the one that answers first.
    #[must_use]
    pub fn known_as(self, id: Option<String>) -> Self {
        *self.id.borrow_mut() = id;
        self
    }

    /// The cluster of this id, and no other, from now on.
    pub fn is_known_as(&self, id: Option<&str>) {
        *self.id.borrow_mut() = id.map(str::to_owned);
    }

    /// The same cluster without its connections, for what needs no lease.
    pub fn anew(&self) -> Self {
        Cluster::new(self.side, self.config.clone()).known_as(self.id.borrow().clone())
    }

    /// How it is reached.
    pub fn config(&self) -> &ClientConfig {
        &self.config
    }

    /// The brokers that it has named.
    pub fn brokers(&self) -> Vec<i32> {
        self.addresses.borrow().keys().copied().collect()
    }

    /// A connection to any broker.
    pub async fn any(&self) -> Result<Rc<Connection>> {
        if let Some(connection) = self.any.borrow().as_ref().filter(|connection| connection.is_open()) {
            return Ok(connection.clone());
        }
        let mut candidates: Vec<String> = self.addresses.borrow().values().cloned().collect();
        candidates.extend(self.config.bootstrap_servers.iter().cloned());
        // Another broker each time, so that a silent one is not asked again and again.
        let turn = self.turn.get();
        self.turn.set(turn.wrapping_add(1));
        let count = candidates.len().max(1);
        candidates.rotate_left(turn % count);
        let mut problems: Vec<String> = Vec::new();
        for address in candidates {
            match self.open(&address).await {
                Ok(connection) => {
                    *self.any.borrow_mut() = Some(connection.clone());
                    return Ok(connection);
                }
                Err(error) if error.kind() == ErrorKind::Connect => {
                    if !problems.iter().any(|problem| problem == error.message()) {
                        problems.push(error.message().to_owned());
                    }
                }
                Err(error) => return Err(error),
            }
        }
        let message = format!(
            "no broker of the {side} cluster can be reached: {}; check {side}.bootstrap.servers, and that its brokers are up",
            problems.join("; "),
            side = self.side
        );
        let error = Error::new(ErrorKind::Connect, message);
        // Whoever asks for the first time hears of it himself.
        if self.id.borrow().is_some() {
            self.reach.failed(&error, TRIED_AGAIN);
        }
        Err(error)
    }

    /// The connection to a broker that everything but data shares.
    pub async fn broker(&self, id: i32) -> Result<Rc<Connection>> {
        let place = self.shared.borrow_mut().entry(id).or_default().clone();
        // Whoever comes while it is being opened waits for that one.
        let mut place = place.lock().await;
        if let Some(connection) = place.as_ref().filter(|connection| connection.is_open()) {
            return Ok(connection.clone());
        }
        let connection = self.dial(id).await?;
        *place = Some(connection.clone());
        Ok(connection)
    }

    /// A connection of one's own to a broker.
    pub async fn dial(&self, id: i32) -> Result<Rc<Connection>> {
        let address = self.addresses.borrow().get(&id).cloned();
        let Some(address) = address else {
            let message = format!("the {} cluster does not name the address of its broker {id}", self.side);
            return Err(Error::new(ErrorKind::Connect, message));
        };
        self.open(&address).await.map_err(|error| {
            let advertised = format!("broker {id} of the {} cluster, at its advertised listener", self.side);
            let error = error.context(advertised);
            self.reach.failed(&error, TRIED_AGAIN);
            error
        })
    }

    /// Connects, and asks before anything else which cluster answers: an address may lead to another cluster than before.
    async fn open(&self, address: &str) -> Result<Rc<Connection>> {
        let connection = Connection::open(address, &self.config, self.lease.clone()).await?;
        if self.lease.is_some() {
            let mut opened = self.opened.borrow_mut();
            opened.retain(|connection| connection.strong_count() > 0);
            opened.push(Rc::downgrade(&connection));
        }
        connection.told_by(&self.reach);
        releases::check(self.side, &connection)?;
        if self.id.borrow().is_some() {
            let none = MetadataRequest::default().with_topics(Some(Vec::new()));
            let version = connection.version::<MetadataRequest>(12)?;
            let limit = self.config.request_timeout.min(METADATA_PATIENCE);
            let response = connection.call_within(&none, version, limit).await?;
            self.check_id(&connection, response.cluster_id.as_deref())?;
        }
        Ok(connection)
    }

    /// Whether an answer is this cluster's.
    fn check_id(&self, connection: &Connection, answered: Option<&str>) -> Result<()> {
        let mut known = self.id.borrow_mut();
        let Some(answered) = answered else { return Ok(()) };
        match known.as_deref() {
            Some(known) if known != answered => {
                let message = format!(
                    "{} {OTHER_CLUSTER} {answered}, but the {side} is cluster {known}: nothing is read from it or written to it; \
                     check where {side}.bootstrap.servers and the advertised listeners of its brokers lead to",
                    connection.address(),
                    side = self.side
                );
                Err(Error::new(ErrorKind::Connect, message))
            }
            Some(_) => Ok(()),
            None => {
                *known = Some(answered.to_owned());
                Ok(())
            }
        }
    }

    /// Asks for topics, all of them with `None`, and remembers the brokers. A broker that goes down or is silent while it
    /// is asked is no reason to fail as long as another one answers.
    pub async fn metadata(&self, topics: Option<&[String]>, create_missing: bool) -> Result<Metadata> {
        let mut others = self.addresses.borrow().len() + self.config.bootstrap_servers.len();
        loop {
            let connection = self.any().await?;
            match self.metadata_from(&connection, topics, create_missing).await {
                Err(error) if error.kind() == ErrorKind::Connect && others > 0 => {
                    *self.any.borrow_mut() = None;
                    others -= 1;
                }
                outcome => return outcome,
            }
        }
    }

    /// What one broker shows of all topics.
    pub async fn metadata_of(&self, broker: i32) -> Result<Metadata> {
        let connection = self.broker(broker).await?;
        self.metadata_from(&connection, None, false).await
    }

    /// What each broker shows of some topics, of those that answer: one may show what was a while ago.
    pub async fn views(&self, topics: &[String]) -> Vec<Metadata> {
        let ask = |broker: i32| async move {
            let connection = self.broker(broker).await.ok()?;
            self.metadata_from(&connection, Some(topics), false).await.ok()
        };
        all(self.brokers().into_iter().map(ask).collect()).await.into_iter().flatten().collect()
    }

    /// What a broker shows over a connection.
    pub async fn metadata_from(
        &self,
        connection: &Connection,
        topics: Option<&[String]>,
        create_missing: bool,
    ) -> Result<Metadata> {
        let version = connection.version::<MetadataRequest>(12)?;
        let names = topics.map(|topics| {
            let topic = |name: &String| MetadataRequestTopic::default().with_name(Some(topic_name(name)));
            topics.iter().map(topic).collect()
        });
        let request = MetadataRequest::default()
            .with_topics(names)
            .with_allow_auto_topic_creation(create_missing && version >= 4);
        let limit = self.config.request_timeout.min(METADATA_PATIENCE);
        let response = connection.call_within(&request, version, limit).await?;
        self.check_id(connection, response.cluster_id.as_deref())?;
        if response.brokers.len() > MOST_BROKERS {
            let message = format!(
                "{} names {} brokers of the {} cluster, and no cluster has more than {MOST_BROKERS}; none of them is believed",
                connection.address(),
                response.brokers.len(),
                self.side
            );
            return Err(Error::new(ErrorKind::Broker, message));
        }
        let mut addresses = BTreeMap::new();
        for broker in &response.brokers {
            // No host has such a name that anything of it is changed here; it is what messages show.
            let host = printable(&broker.host);
            let host = if host.contains(':') { format!("[{host}]") } else { host.into_owned() };
            addresses.insert(broker.node_id.0, format!("{host}:{}", broker.port));
        }
        let broker_count = addresses.len();
        self.remember(addresses);
        // Each is dropped as it is taken over: there may be a million.
        let topics = response.topics.into_iter().filter_map(|topic| {
            let name = topic.name.as_ref()?.0.to_string();
            let mut leaders = vec![-1; topic.partitions.len()];
            for partition in &topic.partitions {
                if let Some(leader) = leaders.get_mut(partition.partition_index as usize) {
                    *leader = partition.leader_id.0;
                }
            }
            let first = topic.partitions.first();
            let described = TopicMetadata {
                error_code: topic.error_code,
                id: topic.topic_id.as_u128(),
                is_internal: topic.is_internal,
                leaders,
                replication_factor: first
                    .map_or(1, |partition| i16::try_from(partition.replica_nodes.len()).unwrap_or(i16::MAX)),
            };
            Some((name, described))
        });
        Ok(Metadata {
            cluster_id: response.cluster_id.as_ref().map(ToString::to_string),
            controller_id: response.controller_id.0,
            broker_count,
            topics: topics.collect(),
        })
    }

    /// Takes over the addresses. A broker that moved gets new connections.
    fn remember(&self, addresses: BTreeMap<i32, String>) {
        if addresses.is_empty() {
            return;
        }
        let mut known = self.addresses.borrow_mut();
        self.shared.borrow_mut().retain(|id, _| known.get(id) == addresses.get(id));
        *known = addresses;
    }
}

/// A topic's name as the messages want it.
pub fn topic_name(name: &str) -> TopicName {
    TopicName(StrBytes::from_string(name.to_owned()))
}
