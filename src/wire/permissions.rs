//! What a cluster permits to the mirror: the operations on topics and on the cluster itself, as brokers tell them.
//! Asked for by `plan`; a cluster without an authorizer permits everything.

use std::collections::BTreeMap;

use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::{DescribeClusterRequest, MetadataRequest};

use super::cluster::{Cluster, topic_name};
use crate::error::Result;
use crate::terms::broker_error::{BrokerError, Class};

/// Topics in one request.
const AT_ONCE: usize = 1000;
/// Metadata tells of permissions from this version on.
const TELLS_OF_TOPICS: i16 = 8;
/// ...and of the cluster up to this one.
const TELLS_OF_CLUSTER: i16 = 10;

/// Something that has to be permitted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Operation {
    /// Reading records.
    Read = 3,
    /// Writing records.
    Write = 4,
    /// Creating topics.
    Create = 5,
    /// Deleting records or topics.
    Delete = 6,
    /// Adding partitions; on the cluster, changing ACLs and writing markers.
    Alter = 7,
    /// Seeing that it is there.
    Describe = 8,
    /// Reading configurations.
    DescribeConfigs = 10,
    /// Changing configurations.
    AlterConfigs = 11,
    /// Writing idempotently.
    IdempotentWrite = 12,
}

impl Operation {
    /// The name in Kafka's tools.
    pub fn name(self) -> &'static str {
        match self {
            Operation::Read => "Read",
            Operation::Write => "Write",
            Operation::Create => "Create",
            Operation::Delete => "Delete",
            Operation::Alter => "Alter",
            Operation::Describe => "Describe",
            Operation::DescribeConfigs => "DescribeConfigs",
            Operation::AlterConfigs => "AlterConfigs",
            Operation::IdempotentWrite => "IdempotentWrite",
        }
    }
}

/// What is permitted, one bit for each operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Permitted(i32);

impl Permitted {
    /// Brokers that do not tell answer this, and everything may be permitted.
    const UNKNOWN: i32 = i32::MIN;

    /// Whether an operation is permitted, as far as is known.
    pub fn allows(self, operation: Operation) -> bool {
        self.0 == Self::UNKNOWN || self.0 & (1 << operation as u8) != 0
    }
}

/// What is permitted on topics. Those that are not there are missing.
pub async fn of_topics(cluster: &Cluster, topics: &[String]) -> Result<BTreeMap<String, Permitted>> {
    let mut permitted = BTreeMap::new();
    for some in topics.chunks(AT_ONCE) {
        let connection = cluster.any().await?;
        let version = connection.version::<MetadataRequest>(12)?;
        if version < TELLS_OF_TOPICS {
            return Ok(permitted);
        }
        let topic = |name: &String| MetadataRequestTopic::default().with_name(Some(topic_name(name)));
        let request = MetadataRequest::default()
            .with_topics(Some(some.iter().map(topic).collect()))
            .with_allow_auto_topic_creation(false)
            .with_include_topic_authorized_operations(true);
        for topic in connection.call(&request, version).await?.topics {
            let Some(name) = topic.name.as_ref().map(|name| name.0.to_string()) else { continue };
            match BrokerError::of(topic.error_code) {
                None => drop(permitted.insert(name, Permitted(topic.topic_authorized_operations))),
                Some(error) if error.class == Class::Unauthorized => drop(permitted.insert(name, Permitted(0))),
                Some(_) => {}
            }
        }
    }
    Ok(permitted)
}

/// What is permitted on the cluster.
pub async fn of_cluster(cluster: &Cluster) -> Result<Permitted> {
    let connection = cluster.any().await?;
    if let Ok(version) = connection.version::<DescribeClusterRequest>(1) {
        let request = DescribeClusterRequest::default().with_include_cluster_authorized_operations(true);
        return Ok(Permitted(connection.call(&request, version).await?.cluster_authorized_operations));
    }
    let Ok(version) = connection.version::<MetadataRequest>(TELLS_OF_CLUSTER) else {
        return Ok(Permitted(Permitted::UNKNOWN));
    };
    if version < TELLS_OF_TOPICS {
        return Ok(Permitted(Permitted::UNKNOWN));
    }
    let request = MetadataRequest::default()
        .with_topics(Some(Vec::new()))
        .with_allow_auto_topic_creation(false)
        .with_include_cluster_authorized_operations(true);
    Ok(Permitted(connection.call(&request, version).await?.cluster_authorized_operations))
}
