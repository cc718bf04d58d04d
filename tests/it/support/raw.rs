//! Single Kafka requests over a blocking socket, for what librdkafka has no call for.
//!
//! One connection per question: slow and simple. Messages come from the crate `kafka-protocol`; request versions are
//! fixed to ones that Kafka 2.8, 3.9 and 4.3 all serve, and lower where older brokers are asked ([`Connection::ask`]). No TLS, no SASL. Nothing here is shared with the engine.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use kafka_protocol::error::ParseResponseErrorCode;
use kafka_protocol::messages::alter_client_quotas_request::{EntityData, EntryData, OpData};
use kafka_protocol::messages::alter_partition_reassignments_request::{
    AlterPartitionReassignmentsRequest, ReassignablePartition, ReassignableTopic,
};
use kafka_protocol::messages::create_topics_request::{CreatableTopic, CreatableTopicConfig, CreateTopicsRequest};
use kafka_protocol::messages::delete_records_request::{
    DeleteRecordsPartition, DeleteRecordsRequest, DeleteRecordsTopic,
};
use kafka_protocol::messages::delete_topics_request::{DeleteTopicState, DeleteTopicsRequest};
use kafka_protocol::messages::describe_producers_request::{DescribeProducersRequest, TopicRequest};
use kafka_protocol::messages::describe_producers_response::ProducerState;
use kafka_protocol::messages::elect_leaders_request::{ElectLeadersRequest, TopicPartitions};
use kafka_protocol::messages::incremental_alter_configs_request::{
    AlterConfigsResource, AlterableConfig, IncrementalAlterConfigsRequest,
};
use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsRequest, ListOffsetsTopic};
use kafka_protocol::messages::metadata_request::{MetadataRequest, MetadataRequestTopic};
use kafka_protocol::messages::{
    AddPartitionsToTxnRequest, AlterClientQuotasRequest, ApiKey, ApiVersionsRequest, BrokerId, CreateAclsRequest,
    DeleteAclsRequest, DeleteGroupsRequest, DescribeAclsRequest, FetchRequest, FindCoordinatorRequest,
    InitProducerIdRequest, MetadataResponse, OffsetCommitRequest, OffsetFetchRequest, ProduceRequest, RequestHeader,
    ResponseHeader, TopicName, WriteTxnMarkersRequest,
};
use kafka_protocol::protocol::{Decodable, Encodable, HeaderVersion, StrBytes};

use super::failure::Context;
use super::{Failure, Outcome, fail};

/// Longer than any answer a healthy test broker takes; a paused broker must not hang a test for ever.
const ANSWER_LIMIT: Duration = Duration::from_secs(30);
const CONNECT_LIMIT: Duration = Duration::from_secs(5);

/// One connection to one broker.
pub(crate) struct Connection {
    stream: TcpStream,
    correlation: i32,
}

impl Connection {
    /// Connects to `host:port`.
    pub(crate) fn open(address: &str) -> Outcome<Self> {
        let resolved = address.to_socket_addrs()?.next().ok_or_else(|| Failure(format!("{address} has no address")))?;
        let stream =
            TcpStream::connect_timeout(&resolved, CONNECT_LIMIT).context(format!("cannot connect to {address}"))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(ANSWER_LIMIT))?;
        Ok(Self { stream, correlation: 0 })
    }

    /// Limits how long an answer may take; for polling a broker that may be paused.
    pub(crate) fn answer_limit(self, limit: Duration) -> Outcome<Self> {
        self.stream.set_read_timeout(Some(limit))?;
        Ok(self)
    }

    /// Sends one request and waits for its answer. Error codes inside the answer are the caller's to look at.
    pub(crate) fn send<R: Question>(&mut self, version: i16, request: &R) -> Outcome<R::Answer> {
        self.correlation += 1;
        let mut frame = BytesMut::new();
        RequestHeader::default()
            .with_request_api_key(R::KEY as i16)
            .with_request_api_version(version)
            .with_correlation_id(self.correlation)
            .with_client_id(Some(StrBytes::from_static_str("kmirror-test")))
            .encode(&mut frame, R::header_version(version))
            .map_err(described)?;
        request.encode(&mut frame, version).map_err(described)?;
        self.stream.write_all(&u32::try_from(frame.len())?.to_be_bytes())?;
        self.stream.write_all(&frame)?;
        let mut answer = self.read_frame().context(format!("no answer to {:?} version {version}", R::KEY))?;
        let header = ResponseHeader::decode(&mut answer, R::Answer::header_version(version)).map_err(described)?;
        if header.correlation_id != self.correlation {
            return fail("the broker answered another request than the one that was sent");
        }
        R::Answer::decode(&mut answer, version).map_err(described)
    }

    /// As [`send`](Self::send), at a version that the broker offers, and this one at most.
    pub(crate) fn ask<R: Question>(&mut self, newest: i16, request: &R) -> Outcome<R::Answer> {
        let offered = self.send(0, &ApiVersionsRequest::default())?.api_keys;
        let offered = offered.iter().find(|api| api.api_key == R::KEY as i16);
        let Some(offered) = offered else { return fail(format!("the broker does not offer {:?}", R::KEY)) };
        self.send(newest.min(offered.max_version), request)
    }

    fn read_frame(&mut self) -> Outcome<Bytes> {
        let mut length = [0; 4];
        self.stream.read_exact(&mut length)?;
        let mut frame = vec![0; usize::try_from(u32::from_be_bytes(length))?];
        self.stream.read_exact(&mut frame)?;
        Ok(Bytes::from(frame))
    }
}

/// A request this client can send. The crate has such a trait only with its `broker` feature, and switching that on
/// for the tests would switch it on for the engine's code in test builds too.
pub(crate) trait Question: Encodable + HeaderVersion {
    const KEY: ApiKey;
    type Answer: Decodable + HeaderVersion;
}

macro_rules! questions {
    ($($request:ty => $answer:ident, $key:ident;)*) => {$(
        impl Question for $request {
            const KEY: ApiKey = ApiKey::$key;
            type Answer = kafka_protocol::messages::$answer;
        }
    )*};
}

questions! {
    AddPartitionsToTxnRequest => AddPartitionsToTxnResponse, AddPartitionsToTxn;
    AlterClientQuotasRequest => AlterClientQuotasResponse, AlterClientQuotas;
    ApiVersionsRequest => ApiVersionsResponse, ApiVersions;
    AlterPartitionReassignmentsRequest => AlterPartitionReassignmentsResponse, AlterPartitionReassignments;
    CreateAclsRequest => CreateAclsResponse, CreateAcls;
    CreateTopicsRequest => CreateTopicsResponse, CreateTopics;
    DeleteAclsRequest => DeleteAclsResponse, DeleteAcls;
    DeleteGroupsRequest => DeleteGroupsResponse, DeleteGroups;
    DeleteRecordsRequest => DeleteRecordsResponse, DeleteRecords;
    DeleteTopicsRequest => DeleteTopicsResponse, DeleteTopics;
    DescribeAclsRequest => DescribeAclsResponse, DescribeAcls;
    DescribeProducersRequest => DescribeProducersResponse, DescribeProducers;
    ElectLeadersRequest => ElectLeadersResponse, ElectLeaders;
    FetchRequest => FetchResponse, Fetch;
    FindCoordinatorRequest => FindCoordinatorResponse, FindCoordinator;
    IncrementalAlterConfigsRequest => IncrementalAlterConfigsResponse, IncrementalAlterConfigs;
    InitProducerIdRequest => InitProducerIdResponse, InitProducerId;
    ListOffsetsRequest => ListOffsetsResponse, ListOffsets;
    MetadataRequest => MetadataResponse, Metadata;
    OffsetCommitRequest => OffsetCommitResponse, OffsetCommit;
    OffsetFetchRequest => OffsetFetchResponse, OffsetFetch;
    ProduceRequest => ProduceResponse, Produce;
    WriteTxnMarkersRequest => WriteTxnMarkersResponse, WriteTxnMarkers;
}

/// Where a partition begins and ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Bounds {
    /// The log start offset.
    pub(crate) start: i64,
    /// The high watermark: the offset the next record will get, once all is replicated.
    pub(crate) end: i64,
}

/// One partition as one broker's metadata has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Partition {
    pub(crate) index: i32,
    /// -1 while there is none.
    pub(crate) leader: i32,
    pub(crate) leader_epoch: i32,
    pub(crate) replicas: Vec<i32>,
    pub(crate) in_sync: Vec<i32>,
}

/// Questions to a cluster by its bootstrap addresses.
pub(crate) struct Client {
    bootstrap: String,
}

impl Client {
    pub(crate) fn new(bootstrap: impl Into<String>) -> Self {
        Self { bootstrap: bootstrap.into() }
    }

    /// A connection to the first bootstrap broker that takes one.
    pub(crate) fn any(&self) -> Outcome<Connection> {
        let mut last = Failure("no bootstrap address is given".to_owned());
        for address in self.bootstrap.split(',') {
            match Connection::open(address) {
                Ok(connection) => return Ok(connection),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    /// A connection to the leader of a partition.
    pub(crate) fn leader(&self, topic: &str, partition: i32) -> Outcome<Connection> {
        let metadata = metadata(&mut self.any()?, Some(topic))?;
        let leader = partitions_of(&metadata, topic)?
            .iter()
            .find(|found| found.index == partition)
            .map(|found| found.leader)
            .ok_or_else(|| Failure(format!("{topic} has no partition {partition}")))?;
        let broker = metadata
            .brokers
            .iter()
            .find(|broker| broker.node_id.0 == leader)
            .ok_or_else(|| Failure(format!("{topic}-{partition} has no living leader")))?;
        Connection::open(&format!("{}:{}", broker.host.as_str(), broker.port))
    }

    /// The partitions of a topic in order; an error when there is no such topic.
    pub(crate) fn partitions(&self, topic: &str) -> Outcome<Vec<Partition>> {
        partitions_of(&metadata(&mut self.any()?, Some(topic))?, topic)
    }

    /// Names of all topics.
    pub(crate) fn topics(&self) -> Outcome<Vec<String>> {
        let answer = metadata(&mut self.any()?, None)?;
        let name = |name: TopicName| name.0.as_str().to_owned();
        Ok(answer.topics.into_iter().filter_map(|topic| topic.name.map(name)).collect())
    }

    /// How many brokers the cluster names.
    pub(crate) fn brokers(&self) -> Outcome<usize> {
        Ok(metadata(&mut self.any()?, Some(""))?.brokers.len())
    }

    pub(crate) fn cluster_id(&self) -> Outcome<String> {
        metadata(&mut self.any()?, Some(""))?
            .cluster_id
            .map(|id| id.as_str().to_owned())
            .ok_or_else(|| Failure("the broker has no cluster id".to_owned()))
    }

    /// Creates a topic; does not wait until every broker knows it.
    pub(crate) fn create_topic(&self, name: &str, partitions: i32, replicas: i16, configs: &[(&str, &str)]) -> Outcome {
        let configs = configs
            .iter()
            .map(|(name, value)| CreatableTopicConfig::default().with_name(text(name)).with_value(Some(text(value))))
            .collect();
        let topic = CreatableTopic::default()
            .with_name(topic_name(name))
            .with_num_partitions(partitions)
            .with_replication_factor(replicas)
            .with_configs(configs);
        let request = CreateTopicsRequest::default().with_topics(vec![topic]).with_timeout_ms(20_000);
        for topic in self.any()?.ask(7, &request)?.topics {
            let why = topic.error_message.unwrap_or_default();
            check(topic.error_code, format!("cannot create {name} ({})", why.as_str()))?;
        }
        Ok(())
    }

    pub(crate) fn delete_topic(&self, name: &str) -> Outcome {
        let topic = DeleteTopicState::default().with_name(Some(topic_name(name)));
        let request = DeleteTopicsRequest::default().with_topics(vec![topic]).with_timeout_ms(20_000);
        for topic in self.any()?.send(6, &request)?.responses {
            check(topic.error_code, format!("cannot delete {name}"))?;
        }
        Ok(())
    }

    /// Sets configs of a topic, and leaves its other ones as they are.
    pub(crate) fn alter_topic(&self, name: &str, configs: &[(&str, &str)]) -> Outcome {
        let configs: Vec<_> = configs.iter().map(|(key, value)| (*key, Some(*value))).collect();
        self.change_topic(name, &configs)
    }

    /// Sets configs of a topic, or with `None` leaves them to the default.
    pub(crate) fn change_topic(&self, name: &str, configs: &[(&str, Option<&str>)]) -> Outcome {
        self.change(2, name, configs)
    }

    /// Sets configs of all brokers of the cluster.
    pub(crate) fn alter_brokers(&self, configs: &[(&str, &str)]) -> Outcome {
        let configs: Vec<_> = configs.iter().map(|(key, value)| (*key, Some(*value))).collect();
        self.change(4, "", &configs)
    }

    /// Sets, or takes away, what clients of this id may read in a second.
    pub(crate) fn limit_reader(&self, client_id: &str, bytes_per_second: Option<f64>) -> Outcome {
        self.set_quota(client_id, "consumer_byte_rate", bytes_per_second)
    }

    /// Sets a quota of the clients of one client id, or with `None` takes it away.
    pub(crate) fn set_quota(&self, client_id: &str, key: &str, value: Option<f64>) -> Outcome {
        let entity = EntityData::default().with_entity_type(text("client-id")).with_entity_name(Some(text(client_id)));
        let quota =
            OpData::default().with_key(text(key)).with_value(value.unwrap_or_default()).with_remove(value.is_none());
        let entry = EntryData::default().with_entity(vec![entity]).with_ops(vec![quota]);
        for altered in self.any()?.send(1, &AlterClientQuotasRequest::default().with_entries(vec![entry]))?.entries {
            check(altered.error_code, format!("cannot set {key} of client id {client_id}"))?;
        }
        Ok(())
    }

    fn change(&self, resource_type: i8, name: &str, configs: &[(&str, Option<&str>)]) -> Outcome {
        const SET: i8 = 0;
        const DELETE: i8 = 1;
        let configs = configs.iter().map(|(name, value)| {
            let operation = if value.is_some() { SET } else { DELETE };
            let config = AlterableConfig::default().with_name(text(name)).with_config_operation(operation);
            config.with_value(value.map(text))
        });
        let resource = AlterConfigsResource::default()
            .with_resource_type(resource_type)
            .with_resource_name(text(name))
            .with_configs(configs.collect());
        let request = IncrementalAlterConfigsRequest::default().with_resources(vec![resource]);
        for altered in self.any()?.send(1, &request)?.responses {
            let why = altered.error_message.unwrap_or_default();
            check(altered.error_code, format!("cannot alter {name} ({})", why.as_str()))?;
        }
        Ok(())
    }

    /// Start and end of every partition of a topic, read from the leaders.
    pub(crate) fn bounds(&self, topic: &str) -> Outcome<BTreeMap<i32, Bounds>> {
        self.bounds_of(topic, Client::offset_at)
    }

    /// The same for a reader of committed data: the end is the last stable offset, where an open transaction begins.
    pub(crate) fn stable_bounds(&self, topic: &str) -> Outcome<BTreeMap<i32, Bounds>> {
        self.bounds_of(topic, Client::stable_offset_at)
    }

    fn bounds_of(
        &self,
        topic: &str,
        offset_at: fn(&Self, &str, i32, i64) -> Outcome<i64>,
    ) -> Outcome<BTreeMap<i32, Bounds>> {
        self.partitions(topic)?
            .iter()
            .map(|partition| {
                let start = offset_at(self, topic, partition.index, -2)?;
                let end = offset_at(self, topic, partition.index, -1)?;
                Ok((partition.index, Bounds { start, end }))
            })
            .collect()
    }

    /// ListOffsets for a timestamp, or -1 for the high watermark, -2 for the log start; isolation read_uncommitted.
    pub(crate) fn offset_at(&self, topic: &str, partition: i32, timestamp: i64) -> Outcome<i64> {
        self.list_offset(topic, partition, timestamp, 0)
    }

    /// The same with isolation read_committed: -1 asks for the last stable offset.
    pub(crate) fn stable_offset_at(&self, topic: &str, partition: i32, timestamp: i64) -> Outcome<i64> {
        self.list_offset(topic, partition, timestamp, 1)
    }

    fn list_offset(&self, topic: &str, partition: i32, timestamp: i64, isolation: i8) -> Outcome<i64> {
        let wanted = ListOffsetsPartition::default()
            .with_partition_index(partition)
            .with_current_leader_epoch(-1)
            .with_timestamp(timestamp);
        let request = ListOffsetsRequest::default()
            .with_replica_id(BrokerId(-1))
            .with_isolation_level(isolation)
            .with_topics(vec![ListOffsetsTopic::default().with_name(topic_name(topic)).with_partitions(vec![wanted])]);
        let answer = self.leader(topic, partition)?.ask(6, &request)?;
        let found = answer
            .topics
            .first()
            .and_then(|topic| topic.partitions.first())
            .ok_or_else(|| Failure("ListOffsets answered nothing".to_owned()))?;
        check(found.error_code, format!("cannot list offsets of {topic}-{partition}"))?;
        Ok(found.offset)
    }

    /// Deletes all records before `offset`; -1 means all there are. Returns the new log start.
    pub(crate) fn delete_records(&self, topic: &str, partition: i32, offset: i64) -> Outcome<i64> {
        let wanted = DeleteRecordsPartition::default().with_partition_index(partition).with_offset(offset);
        let request = DeleteRecordsRequest::default()
            .with_topics(vec![DeleteRecordsTopic::default().with_name(topic_name(topic)).with_partitions(vec![wanted])])
            .with_timeout_ms(20_000);
        let answer = self.leader(topic, partition)?.send(2, &request)?;
        let found = answer
            .topics
            .first()
            .and_then(|topic| topic.partitions.first())
            .ok_or_else(|| Failure("DeleteRecords answered nothing".to_owned()))?;
        check(found.error_code, format!("cannot delete records of {topic}-{partition}"))?;
        Ok(found.low_watermark)
    }

    /// The producer states the leader of a partition holds.
    pub(crate) fn producers(&self, topic: &str, partition: i32) -> Outcome<Vec<ProducerState>> {
        let request = DescribeProducersRequest::default().with_topics(vec![
            TopicRequest::default().with_name(topic_name(topic)).with_partition_indexes(vec![partition]),
        ]);
        let answer = self.leader(topic, partition)?.send(0, &request)?;
        let found = answer
            .topics
            .into_iter()
            .flat_map(|topic| topic.partitions)
            .next()
            .ok_or_else(|| Failure("DescribeProducers answered nothing".to_owned()))?;
        check(found.error_code, format!("cannot describe the producers of {topic}-{partition}"))?;
        Ok(found.active_producers)
    }

    /// Gives a partition these replicas, the first being the preferred leader; does not wait for data to move.
    pub(crate) fn reassign(&self, topic: &str, partition: i32, replicas: &[i32]) -> Outcome {
        let wanted = ReassignablePartition::default()
            .with_partition_index(partition)
            .with_replicas(Some(replicas.iter().copied().map(BrokerId).collect()));
        let request = AlterPartitionReassignmentsRequest::default()
            .with_topics(vec![ReassignableTopic::default().with_name(topic_name(topic)).with_partitions(vec![wanted])])
            .with_timeout_ms(20_000);
        let doing = format!("cannot give {topic}-{partition} the replicas {replicas:?}");
        let answer = self.any()?.send(0, &request)?;
        check(answer.error_code, &doing)?;
        for found in answer.responses.into_iter().flat_map(|topic| topic.partitions) {
            check(found.error_code, &doing)?;
        }
        Ok(())
    }

    /// Asks for the preferred leader. Returns the error code: "not needed" and "not in sync yet" are normal answers.
    pub(crate) fn elect_preferred(&self, topic: &str, partition: i32) -> Outcome<i16> {
        let wanted = TopicPartitions::default().with_topic(topic_name(topic)).with_partitions(vec![partition]);
        let request = ElectLeadersRequest::default().with_topic_partitions(Some(vec![wanted])).with_timeout_ms(20_000);
        let answer = self.any()?.send(2, &request)?;
        check(answer.error_code, "cannot elect a leader")?;
        Ok(answer
            .replica_election_results
            .iter()
            .flat_map(|topic| &topic.partition_result)
            .map(|result| result.error_code)
            .next()
            .unwrap_or(0))
    }
}

/// Metadata of one topic, of all (`None`), or of the brokers alone (an empty name).
pub(crate) fn metadata(connection: &mut Connection, topic: Option<&str>) -> Outcome<MetadataResponse> {
    let topics = topic.map(|name| match name {
        "" => Vec::new(),
        name => vec![MetadataRequestTopic::default().with_name(Some(topic_name(name)))],
    });
    let request = MetadataRequest::default().with_topics(topics).with_allow_auto_topic_creation(false);
    connection.ask(11, &request)
}

/// The partitions of `topic` in a metadata answer.
pub(crate) fn partitions_of(metadata: &MetadataResponse, topic: &str) -> Outcome<Vec<Partition>> {
    let found = metadata
        .topics
        .iter()
        .find(|found| found.name.as_ref().is_some_and(|name| name.0.as_str() == topic))
        .ok_or_else(|| Failure(format!("the metadata answer has no topic {topic}")))?;
    check(found.error_code, format!("no metadata of {topic}"))?;
    let ids = |nodes: &[BrokerId]| nodes.iter().map(|node| node.0).collect();
    let mut partitions: Vec<_> = found
        .partitions
        .iter()
        .map(|partition| Partition {
            index: partition.partition_index,
            leader: partition.leader_id.0,
            leader_epoch: partition.leader_epoch,
            replicas: ids(&partition.replica_nodes),
            in_sync: ids(&partition.isr_nodes),
        })
        .collect();
    partitions.sort_by_key(|partition| partition.index);
    Ok(partitions)
}

/// Turns a Kafka error code into a sentence.
pub(crate) fn check(code: i16, doing: impl std::fmt::Display) -> Outcome {
    match code.err() {
        None => Ok(()),
        Some(error) => fail(format!("{doing}: the broker answered {error:?} ({code})")),
    }
}

/// A topic name as the protocol crate wants it.
pub(crate) fn topic_name(name: &str) -> TopicName {
    TopicName(text(name))
}

pub(crate) fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

// `anyhow::Error` is no `std::error::Error`, so `?` alone does not do.
pub(crate) fn described(error: impl std::fmt::Display) -> Failure {
    Failure(format!("a Kafka message could not be coded: {error}"))
}
