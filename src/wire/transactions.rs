//! Fills holes of a partition with empty transactions: where control markers are not allowed, a transaction coordinator
//! can be had to write them, one for each transaction.
//!
//! Each partition has a transactional id of its own. Taking it ends what its user before has left open and shuts that
//! user out, so after that nobody but us moves the log by a transaction: the look at the log's end that follows is a
//! condition for what is written then. Only requests that change nothing when they are repeated are sent twice.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use kafka_protocol::messages::add_partitions_to_txn_request::AddPartitionsToTxnTopic;
use kafka_protocol::messages::{
    AddPartitionsToTxnRequest, BrokerId, EndTxnRequest, FindCoordinatorRequest, InitProducerIdRequest,
    ListTransactionsRequest, ProducerId, TransactionalId,
};
use kafka_protocol::protocol::StrBytes;
use tokio::time::Instant;

use super::cluster::{Cluster, topic_name};
use super::connection::Connection;
use super::markers::Markers;
use super::positions::{self, Which};
use crate::error::{Error, ErrorKind, Result};
use crate::terms::broker_error::{BrokerError, Class};
use crate::terms::topic::TopicPartition;

/// What a coordinator is asked for by: a transactional id, not a group.
const TRANSACTION: i8 = 1;
/// A transaction that is left open is aborted by the coordinator after this time.
const TRANSACTION_TIMEOUT: Duration = Duration::from_secs(10);
/// Pause before a coordinator that is still ending a transaction is asked again.
const ENDING_PAUSE: Duration = Duration::from_millis(2);
/// Pause before a coordinator that moved or is loading is looked for again.
const COORDINATOR_PAUSE: Duration = Duration::from_millis(50);
/// Pause before the log end is read again.
const LOG_PAUSE: Duration = Duration::from_millis(1);

/// The state of a transaction that is open.
const ONGOING: &str = "Ongoing";

const COORDINATOR_LOAD_IN_PROGRESS: i16 = 14;
const COORDINATOR_NOT_AVAILABLE: i16 = 15;
const NOT_COORDINATOR: i16 = 16;
const CONCURRENT_TRANSACTIONS: i16 = 51;

/// What the transactional ids of a mirror begin with. Its end is a character that neither a mirror's name nor a topic's has, so
/// that no two mirrors share an id, whatever dots are in their names.
fn prefix_of(mirror: &str) -> String {
    format!("kmirror.{mirror}:")
}

/// Fills a hole, one empty transaction for each offset, and returns where the log ends then. Nothing is written, and that is an
/// error, if the log does not end where the hole begins: what is in the way may be ours or not, which has to be looked at.
///
/// An error says nothing about how many were written. After one of the kind `Authorization` no transaction is open.
pub async fn fill(cluster: &Cluster, leader: &Connection, mirror: &str, markers: &Markers) -> Result<i64> {
    let (topic, partition) = &markers.partition;
    let prefix = prefix_of(mirror);
    let transactional_id = format!("{prefix}{topic}:{partition}");
    let mut owner = Owner::begin(cluster, &prefix, &transactional_id).await?;
    let end = log_end(leader, &markers.partition).await?;
    if end != markers.from {
        let from = markers.from;
        let message =
            format!("the log ends at {end}, so no empty transaction of '{transactional_id}' can fill offset {from}");
        return Err(Error::new(ErrorKind::Broker, message));
    }
    let next = markers.from + i64::from(markers.count);
    for offset in markers.from..next {
        owner.add_partition(&markers.partition).await?;
        owner.commit().await?;
        owner.wait_for_marker(leader, &markers.partition, offset).await?;
    }
    Ok(next)
}

/// Ends what a process that died has left open under transactional ids of a mirror, and returns how many those were: aborted
/// by the coordinator at some later time, each would add a marker at an offset that is another's by then.
pub async fn end_open(cluster: &Cluster, mirror: &str) -> Result<usize> {
    let prefix = prefix_of(mirror);
    let request = ListTransactionsRequest::default().with_state_filters(vec![StrBytes::from_static_str(ONGOING)]);
    let mut ended = 0;
    for broker in cluster.brokers() {
        // One that is down coordinates nothing.
        let Ok(coordinator) = cluster.broker(broker).await else { continue };
        // Before Kafka 3.0 nobody can tell.
        let Ok(version) = coordinator.version::<ListTransactionsRequest>(0) else { continue };
        let response = coordinator.call(&request, version).await?;
        if let Some(error) = BrokerError::of(response.error_code) {
            let message = format!("the target cluster refuses to list open transactions: {error}");
            return Err(Error::new(ErrorKind::Broker, message).with_kafka_code(error.code));
        }
        for open in response.transaction_states {
            if open.transactional_id.0.starts_with(prefix.as_str()) {
                Owner::begin(cluster, &prefix, &open.transactional_id.0).await?;
                ended += 1;
            }
        }
    }
    Ok(ended)
}

/// Who may use a transactional id.
struct Owner<'a> {
    cluster: &'a Cluster,
    /// What all of the mirror's begin with.
    prefix: &'a str,
    transactional_id: &'a str,
    coordinator: Rc<Connection>,
    producer_id: i64,
    producer_epoch: i16,
}

impl<'a> Owner<'a> {
    /// Takes the transactional id from whoever used it before. What that one has left open is aborted then.
    async fn begin(cluster: &'a Cluster, prefix: &'a str, transactional_id: &'a str) -> Result<Self> {
        let coordinator = find_coordinator(cluster, prefix, transactional_id).await?;
        let mut owner = Owner { cluster, prefix, transactional_id, coordinator, producer_id: -1, producer_epoch: -1 };
        let request = InitProducerIdRequest::default()
            .with_transactional_id(Some(id(transactional_id)))
            .with_transaction_timeout_ms(TRANSACTION_TIMEOUT.as_millis() as i32)
            .with_producer_id(ProducerId(-1))
            .with_producer_epoch(-1);
        let producer = Cell::new((-1, -1));
        let taken = owner.patiently("give a producer id to", async |coordinator| {
            let response = coordinator.call(&request, coordinator.version::<InitProducerIdRequest>(4)?).await?;
            producer.set((response.producer_id.0, response.producer_epoch));
            Ok(response.error_code)
        });
        taken.await?;
        (owner.producer_id, owner.producer_epoch) = producer.get();
        Ok(owner)
    }

    /// Begins a transaction. The partition is in it already when this is asked a second time.
    async fn add_partition(&mut self, (topic, partition): &TopicPartition) -> Result<()> {
        let topic = AddPartitionsToTxnTopic::default().with_name(topic_name(topic)).with_partitions(vec![*partition]);
        let request = AddPartitionsToTxnRequest::default()
            .with_v3_and_below_transactional_id(id(self.transactional_id))
            .with_v3_and_below_producer_id(ProducerId(self.producer_id))
            .with_v3_and_below_producer_epoch(self.producer_epoch)
            .with_v3_and_below_topics(vec![topic]);
        self.patiently("begin a transaction of", async |coordinator| {
            let response = coordinator.call(&request, coordinator.version::<AddPartitionsToTxnRequest>(3)?).await?;
            let results = response.results_by_topic_v3_and_below.iter().flat_map(|topic| &topic.results_by_partition);
            let codes = results.map(|result| result.partition_error_code);
            Ok(codes.chain([response.error_code]).find(|code| *code != 0).unwrap_or(0))
        })
        .await
    }

    /// Commits it. One that is committed already is not committed again.
    async fn commit(&mut self) -> Result<()> {
        let request = EndTxnRequest::default()
            .with_transactional_id(id(self.transactional_id))
            .with_producer_id(ProducerId(self.producer_id))
            .with_producer_epoch(self.producer_epoch)
            .with_committed(true);
        let ended = self.patiently("commit a transaction of", async |coordinator| {
            let response = coordinator.call(&request, coordinator.version::<EndTxnRequest>(4)?).await?;
            Ok(response.error_code)
        });
        // The transaction is open: this is not the kind of error that says that none is.
        ended.await.map_err(|error| match error.kind() {
            ErrorKind::Authorization => Error::new(ErrorKind::Broker, error.message()),
            _ => error,
        })
    }

    /// The coordinator answers before the marker is in the log.
    async fn wait_for_marker(&self, leader: &Connection, partition: &TopicPartition, offset: i64) -> Result<()> {
        let deadline = self.deadline();
        loop {
            let end = log_end(leader, partition).await?;
            if end == offset + 1 {
                return Ok(());
            }
            if end != offset || Instant::now() > deadline {
                let message = format!(
                    "the log ends at {end} after an empty transaction of '{}' for offset {offset}",
                    self.transactional_id
                );
                return Err(Error::new(ErrorKind::Broker, message));
            }
            tokio::time::sleep(LOG_PAUSE).await;
        }
    }

    /// Asks the coordinator, again while it is ending a transaction, and the next one when it has moved.
    async fn patiently(&mut self, what: &str, ask: impl AsyncFn(&Connection) -> Result<i16>) -> Result<()> {
        let deadline = self.deadline();
        loop {
            let code = ask(&self.coordinator).await?;
            let Some(error) = BrokerError::of(code) else { return Ok(()) };
            if Instant::now() > deadline {
                return Err(refused(what, self.prefix, self.transactional_id, error));
            }
            match code {
                CONCURRENT_TRANSACTIONS => tokio::time::sleep(ENDING_PAUSE).await,
                COORDINATOR_LOAD_IN_PROGRESS | COORDINATOR_NOT_AVAILABLE | NOT_COORDINATOR => {
                    tokio::time::sleep(COORDINATOR_PAUSE).await;
                    self.coordinator = find_coordinator(self.cluster, self.prefix, self.transactional_id).await?;
                }
                _ => return Err(refused(what, self.prefix, self.transactional_id, error)),
            }
        }
    }

    fn deadline(&self) -> Instant {
        Instant::now() + self.cluster.config().request_timeout
    }
}

async fn log_end(leader: &Connection, partition: &TopicPartition) -> Result<i64> {
    let ends = positions::list_offsets(leader, std::slice::from_ref(partition), Which::LogEnd).await?;
    ends.get(partition).copied().unwrap_or(Err(BrokerError::UNKNOWN_PARTITION)).map_err(|error| {
        let message = format!("the target does not tell where the log ends: {error}");
        Error::new(ErrorKind::Broker, message).with_kafka_code(error.code)
    })
}

/// The broker that coordinates the transactions of an id.
async fn find_coordinator(cluster: &Cluster, prefix: &str, transactional_id: &str) -> Result<Rc<Connection>> {
    let deadline = Instant::now() + cluster.config().request_timeout;
    let request = FindCoordinatorRequest::default()
        .with_key(StrBytes::from_string(transactional_id.to_owned()))
        .with_key_type(TRANSACTION);
    loop {
        let connection = cluster.any().await?;
        let response = connection.call(&request, connection.version::<FindCoordinatorRequest>(3)?).await?;
        match BrokerError::of(response.error_code) {
            None => return coordinator_at(cluster, response.node_id).await,
            // The first one who asks has the coordinator's topic created.
            Some(error) if error.class == Class::Wait && Instant::now() < deadline => {
                tokio::time::sleep(COORDINATOR_PAUSE).await;
            }
            Some(error) => return Err(refused("name the coordinator of", prefix, transactional_id, error)),
        }
    }
}

async fn coordinator_at(cluster: &Cluster, broker: BrokerId) -> Result<Rc<Connection>> {
    match cluster.broker(broker.0).await {
        Ok(connection) => Ok(connection),
        Err(_) => {
            // One that came up after the addresses were read.
            let none: [String; 0] = [];
            cluster.metadata(Some(&none), false).await?;
            cluster.broker(broker.0).await
        }
    }
}

fn id(transactional_id: &str) -> TransactionalId {
    TransactionalId(StrBytes::from_string(transactional_id.to_owned()))
}

/// The sentence for a refusal; where a permission is missing, it names both that would do.
fn refused(what: &str, prefix: &str, transactional_id: &str, error: BrokerError) -> Error {
    let (kind, message) = match error.class {
        Class::Unauthorized => {
            let message = format!(
                "offsets without a record cannot be filled on the target: allow ALTER on the cluster (CLUSTER_ACTION before \
                 Kafka 3.8) for control markers, or, slower, WRITE and DESCRIBE on TransactionalId '{transactional_id}' (for \
                 all partitions: prefixed '{prefix}') for empty transactions; the cluster refuses to {what} the latter: {error}"
            );
            (ErrorKind::Authorization, message)
        }
        _ => (ErrorKind::Broker, format!("the target cluster refuses to {what} '{transactional_id}': {error}")),
    };
    Error::new(kind, message).with_kafka_code(error.code)
}
