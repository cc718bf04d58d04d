//! Answers at random, with what their version can say.
//! They are written by `kafka-protocol`, so that the hand-written reader cannot agree with itself.

use bytes::Bytes;
use kafka_protocol::messages::fetch_response::{AbortedTransaction, FetchableTopicResponse, PartitionData};
use kafka_protocol::messages::metadata_response::{
    MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
};
use kafka_protocol::messages::produce_response::{
    BatchIndexAndErrorMessage, PartitionProduceResponse, TopicProduceResponse,
};
use kafka_protocol::messages::{FetchResponse, MetadataResponse, ProduceResponse, TopicName};
use kafka_protocol::protocol::StrBytes;

use fastrand::Rng;
use uuid::Uuid;

fn text(random: &mut Rng) -> StrBytes {
    StrBytes::from_string((0..random.usize(1..200)).map(|_| random.char('a'..'ÿ')).collect())
}

fn id(random: &mut Rng) -> Uuid {
    Uuid::from_u128(random.u128(..))
}

fn some<T>(random: &mut Rng, sample: impl FnMut(&mut Rng) -> T) -> Option<Vec<T>> {
    let mut sample = sample;
    random.bool().then(|| (0..random.usize(..4)).map(|_| sample(random)).collect())
}

fn list<T>(random: &mut Rng, sample: impl FnMut(&mut Rng) -> T) -> Vec<T> {
    some(random, sample).unwrap_or_default()
}

/// An answer to Fetch.
pub fn fetch(random: &mut Rng, version: i16) -> FetchResponse {
    let mut response = FetchResponse::default().with_throttle_time_ms(random.i32(..));
    if version >= 7 {
        response = response.with_error_code(random.i16(..)).with_session_id(random.i32(..));
    }
    response.with_responses(list(random, |random| {
        let topic = FetchableTopicResponse::default().with_partitions(list(random, |random| fetched(random, version)));
        match version {
            13.. => topic.with_topic_id(id(random)),
            _ => topic.with_topic(TopicName(text(random))),
        }
    }))
}

fn fetched(random: &mut Rng, version: i16) -> PartitionData {
    let aborted = some(random, |random| {
        AbortedTransaction::default().with_producer_id(random.i64(..).into()).with_first_offset(random.i64(..))
    });
    let records =
        random.bool().then(|| Bytes::from((0..random.usize(..500)).map(|_| random.u8(..)).collect::<Vec<_>>()));
    let mut data = PartitionData::default()
        .with_partition_index(random.i32(..))
        .with_error_code(random.i16(..))
        .with_high_watermark(random.i64(..))
        .with_last_stable_offset(random.i64(..))
        .with_aborted_transactions(aborted)
        .with_records(records);
    if version >= 5 {
        data.log_start_offset = random.i64(..);
    }
    if version >= 11 {
        data.preferred_read_replica = random.i32(..).into();
    }
    if version >= 12 && random.bool() {
        data.diverging_epoch.epoch = random.i32(..);
        data.diverging_epoch.end_offset = random.i64(..);
        data.current_leader.leader_id = random.i32(..).into();
        data.current_leader.leader_epoch = random.i32(..);
        data.snapshot_id.end_offset = random.i64(..);
        data.snapshot_id.epoch = random.i32(..);
    }
    data
}

/// An answer to Produce.
pub fn produce(random: &mut Rng, version: i16) -> ProduceResponse {
    let topics = list(random, |random| {
        let topic =
            TopicProduceResponse::default().with_partition_responses(list(random, |random| produced(random, version)));
        match version {
            13.. => topic.with_topic_id(id(random)),
            _ => topic.with_name(TopicName(text(random))),
        }
    });
    ProduceResponse::default().with_responses(topics).with_throttle_time_ms(random.i32(..))
}

fn produced(random: &mut Rng, version: i16) -> PartitionProduceResponse {
    let mut answer = PartitionProduceResponse::default()
        .with_index(random.i32(..))
        .with_error_code(random.i16(..))
        .with_base_offset(random.i64(..))
        .with_log_append_time_ms(random.i64(..));
    if version >= 5 {
        answer.log_start_offset = random.i64(..);
    }
    if version >= 10 && random.bool() {
        answer.current_leader.leader_id = random.i32(..).into();
        answer.current_leader.leader_epoch = random.i32(..);
    }
    if version >= 8 {
        answer.error_message = random.bool().then(|| text(random));
        answer.record_errors = list(random, |random| {
            BatchIndexAndErrorMessage::default()
                .with_batch_index(random.i32(..))
                .with_batch_index_error_message(random.bool().then(|| text(random)))
        });
    }
    answer
}

/// An answer to Metadata.
pub fn metadata(random: &mut Rng, version: i16) -> MetadataResponse {
    let brokers = list(random, |random| {
        MetadataResponseBroker::default()
            .with_node_id(random.i32(..).into())
            .with_host(text(random))
            .with_port(random.i32(..))
    });
    let topics = list(random, |random| {
        MetadataResponseTopic::default().with_name(Some(TopicName(text(random)))).with_partitions(list(
            random,
            |random| {
                let epoch = if version >= 7 { random.i32(..) } else { -1 };
                MetadataResponsePartition::default()
                    .with_partition_index(random.i32(..))
                    .with_leader_id(random.i32(..).into())
                    .with_leader_epoch(epoch)
                    .with_replica_nodes(list(random, |random| random.i32(..).into()))
            },
        ))
    });
    MetadataResponse::default().with_brokers(brokers).with_topics(topics)
}
