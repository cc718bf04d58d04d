//! Makes logs that start late: topics whose first records are gone, as retention leaves them.
//!
//! Empty records are written in large batches, uncompressed, and deleted again. Nothing here is shared with the engine, which
//! fills the target in a similar way.

use bytes::{Bytes, BytesMut};
use kafka_protocol::messages::create_acls_request::AclCreation;
use kafka_protocol::messages::delete_acls_request::DeleteAclsFilter;
use kafka_protocol::messages::incremental_alter_configs_request::{AlterConfigsResource, AlterableConfig};
use kafka_protocol::messages::produce_request::{PartitionProduceData, ProduceRequest, TopicProduceData};
use kafka_protocol::messages::{CreateAclsRequest, DeleteAclsRequest, IncrementalAlterConfigsRequest};
use kafka_protocol::protocol::StrBytes;
use kafka_protocol::records::{Compression, Record, RecordBatchEncoder, RecordEncodeOptions, TimestampType};

use super::cluster::Cluster;
use super::raw::{check, topic_name};
use super::{Failure, Outcome};

/// Records in one batch: less than a megabyte of them.
const BATCH: i64 = 100_000;

/// Moves the start and the end of an empty partition to `offset`.
pub(crate) fn advance(cluster: &Cluster, topic: &str, partition: i32, offset: i64) -> Outcome {
    let client = cluster.client();
    let mut connection = client.leader(topic, partition)?;
    let full = batch(BATCH)?;
    let mut next = 0;
    while next < offset {
        let count = BATCH.min(offset - next);
        let records = if count == BATCH { full.clone() } else { batch(count)? };
        let data = PartitionProduceData::default().with_index(partition).with_records(Some(records));
        let data = TopicProduceData::default().with_name(topic_name(topic)).with_partition_data(vec![data]);
        let request = ProduceRequest::default().with_acks(-1).with_timeout_ms(20_000).with_topic_data(vec![data]);
        for answer in connection.send(8, &request)?.responses.iter().flat_map(|topic| &topic.partition_responses) {
            check(answer.error_code, format!("cannot write to {topic}-{partition}"))?;
        }
        next += count;
    }
    if offset > 0 {
        client.delete_records(topic, partition, offset)?;
    }
    Ok(())
}

/// A batch of so many empty records.
pub(crate) fn batch(count: i64) -> Outcome<Bytes> {
    let record = |offset| Record {
        transactional: false,
        control: false,
        delete_horizon: false,
        partition_leader_epoch: -1,
        producer_id: -1,
        producer_epoch: -1,
        timestamp_type: TimestampType::Creation,
        offset,
        // The encoder begins a new batch where these do not go on; without a producer id nobody looks at them.
        sequence: offset as i32,
        timestamp: 1_700_000_000_000,
        key: Some(Bytes::new()),
        value: None,
        headers: Default::default(),
    };
    let records: Vec<Record> = (0..count).map(record).collect();
    let mut bytes = BytesMut::new();
    let options = RecordEncodeOptions { version: 2, compression: Compression::None };
    RecordBatchEncoder::encode(&mut bytes, &records, &options).map_err(|error| Failure(error.to_string()))?;
    Ok(bytes.freeze())
}

/// What the broker's authorizer calls everybody who does not say who he is.
const ANYBODY: &str = "User:ANONYMOUS";
const TOPIC_RESOURCE: i8 = 2;
const LITERAL: i8 = 3;
const DENY: i8 = 2;
const ALLOW: i8 = 3;
const ALL: i8 = 2;
const DELETE: i8 = 6;

/// Takes the permission to delete records or the topic from everybody; all else stays permitted. Needs a cluster with an
/// authorizer.
pub(crate) fn forbid_deletion(cluster: &Cluster, topic: &str) -> Outcome {
    let acl = |operation, permission| {
        AclCreation::default()
            .with_resource_type(TOPIC_RESOURCE)
            .with_resource_name(StrBytes::from_string(topic.to_owned()))
            .with_resource_pattern_type(LITERAL)
            .with_principal(StrBytes::from_static_str(ANYBODY))
            .with_host(StrBytes::from_static_str("*"))
            .with_operation(operation)
            .with_permission_type(permission)
    };
    let request = CreateAclsRequest::default().with_creations(vec![acl(ALL, ALLOW), acl(DELETE, DENY)]);
    for answer in cluster.client().any()?.send(3, &request)?.results {
        check(answer.error_code, format!("cannot forbid the deletion of {topic}"))?;
    }
    Ok(())
}

/// Gives it back.
pub(crate) fn permit_deletion(cluster: &Cluster, topic: &str) -> Outcome {
    let filter = DeleteAclsFilter::default()
        .with_resource_type_filter(TOPIC_RESOURCE)
        .with_resource_name_filter(Some(StrBytes::from_string(topic.to_owned())))
        .with_pattern_type_filter(LITERAL)
        .with_principal_filter(None)
        .with_host_filter(None)
        .with_operation(DELETE)
        .with_permission_type(DENY);
    let request = DeleteAclsRequest::default().with_filters(vec![filter]);
    for answer in cluster.client().any()?.send(3, &request)?.filter_results {
        check(answer.error_code, format!("cannot permit the deletion of {topic}"))?;
    }
    Ok(())
}

/// Sets configurations of a topic.
pub(crate) fn alter_topic(cluster: &Cluster, topic: &str, configs: &[(&str, &str)]) -> Outcome {
    const TOPIC: i8 = 2;
    let text = |text: &str| StrBytes::from_string(text.to_owned());
    let change =
        |(name, value): &(&str, &str)| AlterableConfig::default().with_name(text(name)).with_value(Some(text(value)));
    let resource = AlterConfigsResource::default()
        .with_resource_type(TOPIC)
        .with_resource_name(text(topic))
        .with_configs(configs.iter().map(change).collect());
    let request = IncrementalAlterConfigsRequest::default().with_resources(vec![resource]);
    for answer in cluster.client().any()?.send(1, &request)?.responses {
        check(answer.error_code, format!("cannot configure {topic}"))?;
    }
    Ok(())
}
