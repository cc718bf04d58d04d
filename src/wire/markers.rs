//! Writes control markers for the holes of partitions: one request for many of them, then a look at where the logs end.
//!
//! A marker takes one offset, and no consumer ever sees it. The request is not conditional on what is in a log and must
//! never be sent a second time; brokers append marker by marker and answer for all markers of a producer id together,
//! so how far each log has come is read afterwards. WriteTxnMarkers is what transaction coordinators send; it needs ALTER (before
//! Kafka 3.8 CLUSTER_ACTION) on the cluster.

use std::collections::BTreeMap;

use kafka_protocol::messages::write_txn_markers_request::{WritableTxnMarker, WritableTxnMarkerTopic};
use kafka_protocol::messages::{ProducerId, WriteTxnMarkersRequest};

use super::cluster::topic_name;
use super::connection::Connection;
use super::positions::{self, ByPartition, Which};
use crate::batch::marker;
use crate::error::Result;
use crate::terms::broker_error::BrokerError;
use crate::terms::topic::TopicPartition;

/// Markers in one request, of all partitions together: brokers work on it as a whole, for about half a second.
pub const MARKERS_AT_ONCE: i32 = 20_000;
/// Version 1 is what every broker from 2.8 on takes.
const VERSION: i16 = 1;

/// Markers for one partition.
#[derive(Debug, Clone)]
pub struct Markers {
    /// The partition.
    pub partition: TopicPartition,
    /// The offset that the first one is meant for.
    pub from: i64,
    /// How many.
    pub count: i32,
    /// Their coordinator epoch: brokers refuse markers behind ones with a higher epoch.
    pub fence: i32,
}

/// Whether the broker offers the request in a version that is understood here.
pub fn are_offered(connection: &Connection) -> bool {
    connection.version::<WriteTxnMarkersRequest>(VERSION).is_ok()
}

/// Writes markers to partitions that the broker leads. For each partition the end of its log afterwards, or the first error.
pub async fn write(connection: &Connection, orders: &[Markers]) -> Result<ByPartition<i64>> {
    let version = connection.version::<WriteTxnMarkersRequest>(VERSION)?;
    let request = WriteTxnMarkersRequest::default().with_markers(orders.iter().flat_map(markers).collect());
    let response = connection.call(&request, version).await?;
    let mut errors: BTreeMap<(&str, i32), BrokerError> = BTreeMap::new();
    for topic in response.markers.iter().flat_map(|marker| &marker.topics) {
        for partition in &topic.partitions {
            if let Some(error) = BrokerError::of(partition.error_code) {
                errors.entry((topic.name.as_str(), partition.partition_index)).or_insert(error);
            }
        }
    }
    let partitions: Vec<TopicPartition> = orders.iter().map(|order| order.partition.clone()).collect();
    let mut ends = positions::list_offsets(connection, &partitions, Which::LogEnd).await?;
    for partition in partitions {
        if let Some(error) = errors.get(&(&*partition.0, partition.1)).copied() {
            ends.insert(partition, Err(error));
        }
    }
    Ok(ends)
}

fn markers(order: &Markers) -> impl Iterator<Item = WritableTxnMarker> {
    let topic = topic_name(&order.partition.0);
    let (index, fence) = (order.partition.1, order.fence);
    (order.from..order.from + i64::from(order.count)).map(move |offset| {
        let (producer_id, producer_epoch) = marker::identity_of(offset);
        let topic = WritableTxnMarkerTopic::default().with_name(topic.clone()).with_partition_indexes(vec![index]);
        WritableTxnMarker::default()
            .with_producer_id(ProducerId(producer_id))
            .with_producer_epoch(producer_epoch)
            .with_transaction_result(true)
            .with_coordinator_epoch(fence)
            .with_topics(vec![topic])
    })
}
