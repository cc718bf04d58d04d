//! The mirror's producer id, kept in its compacted internal topic on the target.
//!
//! The producer id is what makes every append conditional, across restarts and machines, so all processes of a mirror must
//! use the same one for ever. Whoever starts first writes a claim; when two start at once both write one, and the
//! claim with the lowest offset counts for both. Claims have keys of their own, so compaction keeps them all.

use std::rc::Rc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::{BrokerId, FetchRequest, ProduceRequest};
use kafka_protocol::records::{
    Compression, Record, RecordBatchDecoder, RecordBatchEncoder, RecordEncodeOptions, TimestampType,
};
use serde::{Deserialize, Serialize};

use crate::config::ReplicationFactor;
use crate::error::{Error, ErrorKind, Result};
use crate::event::now_ms;
use crate::machine::partition::Identity;
use crate::wire::admin::{self, NewTopic};
use crate::wire::cluster::{Cluster, topic_name};
use crate::wire::errors::BrokerError;
use crate::wire::positions::{self, Which};

/// What a claim says. Fields may be added; a larger `version` is one that this build cannot read.
#[derive(Debug, Serialize, Deserialize)]
struct Claim {
    version: u32,
    producer_id: i64,
    producer_epoch: i16,
    source_cluster_id: String,
    claimed_at_ms: i64,
}

const CLAIM_VERSION: u32 = 1;
const CLAIM_PREFIX: &str = "producer/";
/// Replicas of the internal topic, where the target has so many brokers.
const REPLICAS: i16 = 3;
const PAUSE: Duration = Duration::from_millis(50);

/// Name of the internal topic of a mirror.
pub(crate) fn topic_of(name: &str) -> String {
    format!("kmirror.{name}.internal")
}

/// Reads the mirror's identity on the target, or claims one.
pub(crate) async fn establish(
    target: &Cluster,
    name: &str,
    source_cluster_id: &str,
    replication_factor: ReplicationFactor,
) -> Result<Identity> {
    let topic = topic_of(name);
    let leader = find_or_create(target, &topic, replication_factor).await?;
    let log = InternalLog { target, topic: Rc::from(topic), leader };
    if let Some(claim) = log.first_claim().await? {
        return accept(claim, name, source_cluster_id);
    }
    let (producer_id, producer_epoch) = admin::new_producer_id(target).await?;
    let claim = Claim {
        version: CLAIM_VERSION,
        producer_id,
        producer_epoch,
        source_cluster_id: source_cluster_id.to_owned(),
        claimed_at_ms: now_ms(),
    };
    log.append(&claim).await?;
    match log.first_claim().await? {
        Some(claim) => accept(claim, name, source_cluster_id),
        None => {
            Err(Error::new(ErrorKind::Internal, format!("the claim written to '{}' cannot be read back", log.topic)))
        }
    }
}

/// Reads the mirror's identity on the target; `None` if the mirror has never run. Writes nothing.
pub(crate) async fn find(target: &Cluster, name: &str, source_cluster_id: &str) -> Result<Option<Identity>> {
    let topic = topic_of(name);
    let metadata = target.metadata(Some(std::slice::from_ref(&topic)), false).await?;
    let leader = metadata.topics.get(&topic).and_then(|found| found.leaders.first()).copied();
    let Some(leader) = leader.filter(|leader| *leader >= 0) else { return Ok(None) };
    let log = InternalLog { target, topic: Rc::from(topic), leader };
    log.first_claim().await?.map(|claim| accept(claim, name, source_cluster_id)).transpose()
}

fn accept(claim: Claim, name: &str, source_cluster_id: &str) -> Result<Identity> {
    if claim.version > CLAIM_VERSION {
        let message =
            format!("the mirror '{name}' was last run by a newer kmirror (format {}); use that", claim.version);
        return Err(Error::new(ErrorKind::Config, message));
    }
    if claim.source_cluster_id != source_cluster_id {
        let message = format!(
            "the mirror '{name}' copies cluster {} to this target, but the source is cluster {source_cluster_id}; set another 'name'",
            claim.source_cluster_id
        );
        return Err(Error::new(ErrorKind::Config, message));
    }
    Ok(Identity { producer_id: claim.producer_id, producer_epoch: claim.producer_epoch, fence: 256 })
}

/// The leader of the internal topic, which is created when it is missing.
async fn find_or_create(target: &Cluster, topic: &str, replication_factor: ReplicationFactor) -> Result<i32> {
    let names = [topic.to_owned()];
    let deadline = tokio::time::Instant::now() + target.config().request_timeout;
    let mut created = false;
    loop {
        let metadata = target.metadata(Some(&names), false).await?;
        let found = metadata.topics.get(topic);
        let leader = found.and_then(|found| found.leaders.first()).copied().unwrap_or(-1);
        if leader >= 0 {
            return Ok(leader);
        }
        let error = found.and_then(|found| BrokerError::of(found.error_code)).unwrap_or(BrokerError::UNKNOWN_PARTITION);
        if error.class == crate::wire::errors::Class::Unauthorized || tokio::time::Instant::now() > deadline {
            return Err(admin::refused(target, &format!("show the mirror's internal topic '{topic}'"), error, None));
        }
        if error.code == BrokerError::UNKNOWN_PARTITION.code && !created {
            let brokers = metadata.broker_count as i16;
            let replicas = match replication_factor {
                ReplicationFactor::Source => REPLICAS.min(brokers),
                ReplicationFactor::Count(count) => count.min(brokers),
            };
            let configs = [("cleanup.policy", "compact"), ("compression.type", "uncompressed")];
            let new = NewTopic {
                name: topic.to_owned(),
                partitions: 1,
                replication_factor: replicas,
                configs: configs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect(),
            };
            for (_, result) in admin::create_topics(target, metadata.controller_id, &[new]).await? {
                result?;
            }
            created = true;
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// The one partition of the internal topic.
struct InternalLog<'a> {
    target: &'a Cluster,
    topic: Rc<str>,
    leader: i32,
}

impl InternalLog<'_> {
    /// The claim with the lowest offset.
    async fn first_claim(&self) -> Result<Option<Claim>> {
        let start = self.offset(Which::LogStart).await?;
        let end = self.offset(Which::HighWatermark).await?;
        let mut next = start;
        while next < end {
            let records = self.fetch(next).await?;
            let Some(last) = records.last() else { break };
            next = last.offset + 1;
            for record in records {
                if let Some(claim) = self.claim(&record)? {
                    return Ok(Some(claim));
                }
            }
        }
        Ok(None)
    }

    fn claim(&self, record: &Record) -> Result<Option<Claim>> {
        let is_claim = record.key.as_ref().is_some_and(|key| key.starts_with(CLAIM_PREFIX.as_bytes()));
        let Some(value) = record.value.as_ref().filter(|_| is_claim) else { return Ok(None) };
        serde_json::from_slice(value).map(Some).map_err(|error| {
            let message = format!(
                "the claim at offset {} of '{}' on the target is damaged ({error}): restore the topic, or delete it and the \
                 mirrored topics to start anew",
                record.offset, self.topic
            );
            Error::new(ErrorKind::TargetConflict, message)
        })
    }

    async fn offset(&self, which: Which) -> Result<i64> {
        let deadline = tokio::time::Instant::now() + self.target.config().request_timeout;
        let partition = (self.topic.clone(), 0);
        loop {
            let connection = self.target.broker(self.leader).await?;
            let offsets = positions::list_offsets(&connection, std::slice::from_ref(&partition), which).await?;
            match offsets.get(&partition) {
                Some(Ok(offset)) => return Ok(*offset),
                // A leader that was elected a moment ago does not know it everywhere yet.
                _ if tokio::time::Instant::now() < deadline => tokio::time::sleep(PAUSE).await,
                Some(Err(error)) => return Err(self.refused("read", *error)),
                None => return Err(self.refused("read", BrokerError::UNKNOWN_PARTITION)),
            }
        }
    }

    fn refused(&self, verb: &str, error: BrokerError) -> Error {
        admin::refused(self.target, &format!("{verb} the mirror's internal topic '{}'", self.topic), error, None)
    }

    async fn fetch(&self, offset: i64) -> Result<Vec<Record>> {
        const ENOUGH: i32 = 1 << 20;
        let connection = self.target.broker(self.leader).await?;
        let wanted = FetchPartition::default()
            .with_fetch_offset(offset)
            .with_partition_max_bytes(ENOUGH)
            .with_current_leader_epoch(-1)
            .with_last_fetched_epoch(-1)
            .with_log_start_offset(-1);
        let topic = FetchTopic::default().with_topic(topic_name(&self.topic)).with_partitions(vec![wanted]);
        let request = FetchRequest::default()
            .with_replica_id(BrokerId(-1))
            .with_max_wait_ms(500)
            .with_min_bytes(1)
            .with_max_bytes(ENOUGH)
            .with_session_epoch(-1)
            .with_topics(vec![topic]);
        let response = connection.call(&request, connection.version::<FetchRequest>(12)?).await?;
        let data = response.responses.into_iter().flat_map(|topic| topic.partitions).next().unwrap_or_default();
        if let Some(error) = BrokerError::of(data.error_code) {
            return Err(self.refused("read", error));
        }
        let mut records = Vec::new();
        let mut bytes = data.records.unwrap_or_default();
        // The decoder wants whole batches; brokers may cut off the last one.
        while let Some(length) = whole_batch(&bytes) {
            let decoded = RecordBatchDecoder::decode(&mut bytes.split_to(length)).map_err(|error| {
                Error::new(ErrorKind::TargetConflict, format!("'{}' on the target cannot be read: {error}", self.topic))
            })?;
            records.extend(decoded.records);
        }
        records.retain(|record| record.offset >= offset);
        Ok(records)
    }

    async fn append(&self, claim: &Claim) -> Result<()> {
        let value = serde_json::to_vec(claim).map_err(|error| Error::new(ErrorKind::Internal, error.to_string()))?;
        let record = Record {
            transactional: false,
            control: false,
            delete_horizon: false,
            partition_leader_epoch: -1,
            producer_id: -1,
            producer_epoch: -1,
            timestamp_type: TimestampType::Creation,
            offset: 0,
            sequence: -1,
            timestamp: claim.claimed_at_ms,
            key: Some(Bytes::from(format!("{CLAIM_PREFIX}{}", claim.producer_id))),
            value: Some(Bytes::from(value)),
            headers: Default::default(),
        };
        let mut batch = BytesMut::new();
        let options = RecordEncodeOptions { version: 2, compression: Compression::None };
        RecordBatchEncoder::encode(&mut batch, [&record], &options)
            .map_err(|error| Error::new(ErrorKind::Internal, error.to_string()))?;
        let data = PartitionProduceData::default().with_index(0).with_records(Some(batch.freeze()));
        let topic = TopicProduceData::default().with_name(topic_name(&self.topic)).with_partition_data(vec![data]);
        let request = ProduceRequest::default()
            .with_acks(-1)
            .with_timeout_ms(self.target.config().request_timeout.as_millis() as i32)
            .with_topic_data(vec![topic]);
        let connection = self.target.broker(self.leader).await?;
        let response = connection.call(&request, connection.version::<ProduceRequest>(8)?).await?;
        let answer =
            response.responses.into_iter().flat_map(|topic| topic.partition_responses).next().unwrap_or_default();
        match BrokerError::of(answer.error_code) {
            None => Ok(()),
            Some(error) => Err(self.refused("write", error)),
        }
    }
}

/// Length of the batch in front, if all of it is there.
fn whole_batch(bytes: &Bytes) -> Option<usize> {
    let length = bytes.get(8..12).and_then(|field| field.try_into().ok()).map(i32::from_be_bytes)?;
    let total = usize::try_from(length).ok()? + 12;
    (total <= bytes.len()).then_some(total)
}
