//! Record batches made byte by byte, and requests no client library sends: for what only old, odd or broken clients write.
//!
//! [`Batch`] is format v2, uncompressed, with every field of the header free to be set; [`produce`] has the leader take it,
//! [`write_markers`] has it write transaction markers of nobody's transactions. Shares no code with the engine.

use bytes::{BufMut, Bytes, BytesMut};
use kafka_protocol::messages::produce_request::{PartitionProduceData, ProduceRequest, TopicProduceData};
use kafka_protocol::messages::write_txn_markers_request::{
    WritableTxnMarker, WritableTxnMarkerTopic, WriteTxnMarkersRequest,
};
use kafka_protocol::messages::{ProducerId, TopicName};

use super::raw::{Client, check, topic_name};
use super::records::Record;
use super::{Failure, Outcome, fail};

/// The largest number of markers asked for at once; a request of that many takes a broker half a second.
const MARKERS_AT_ONCE: usize = 20_000;
const SKIP_AT_ONCE: usize = 500_000;
/// What a batch of [`skip`] needs at most as `max.message.bytes`.
pub(crate) const SKIP_BYTES: &str = "6000000";

/// A batch of format v2 as a producer without idempotence writes it.
#[derive(Clone, Debug)]
pub(crate) struct Batch {
    pub(crate) attributes: i16,
    /// `None`: number of records less one, as it should be.
    pub(crate) last_offset_delta: Option<i32>,
    pub(crate) record_count: Option<i32>,
    pub(crate) producer: (i64, i16, i32),
    pub(crate) records: Vec<Record>,
}

impl Batch {
    pub(crate) fn of(records: Vec<Record>) -> Self {
        Self { attributes: 0, last_offset_delta: None, record_count: None, producer: (-1, -1, -1), records }
    }

    /// The bytes, with base offset 0 and a right checksum.
    pub(crate) fn encode(&self) -> Bytes {
        let last = self.records.len() as i32 - 1;
        let times = || self.records.iter().map(|record| record.timestamp);
        let base = times().next().unwrap_or(-1);
        // Covered by the checksum: everything from the attributes on.
        let mut covered = BytesMut::new();
        covered.put_i16(self.attributes);
        covered.put_i32(self.last_offset_delta.unwrap_or(last));
        covered.put_i64(base);
        covered.put_i64(times().max().unwrap_or(-1));
        covered.put_i64(self.producer.0);
        covered.put_i16(self.producer.1);
        covered.put_i32(self.producer.2);
        covered.put_i32(self.record_count.unwrap_or(last + 1));
        for (delta, record) in (0..).zip(&self.records) {
            put_record(&mut covered, record, record.timestamp - base, delta);
        }
        let mut bytes = BytesMut::new();
        bytes.put_i64(0);
        // The leader's epoch, the format and the checksum come before what the checksum covers.
        bytes.put_i32(covered.len() as i32 + 9);
        bytes.put_i32(-1);
        bytes.put_i8(2);
        bytes.put_u32(crc32c::crc32c(&covered));
        bytes.put(covered);
        bytes.freeze()
    }
}

fn put_record(bytes: &mut BytesMut, record: &Record, timestamp_delta: i64, offset_delta: i64) {
    let mut body = BytesMut::new();
    body.put_i8(0);
    put_varint(&mut body, timestamp_delta);
    put_varint(&mut body, offset_delta);
    put_field(&mut body, record.key.as_deref());
    put_field(&mut body, record.value.as_deref());
    put_varint(&mut body, record.headers.len() as i64);
    for (name, value) in &record.headers {
        put_field(&mut body, Some(name.as_bytes()));
        put_field(&mut body, value.as_deref());
    }
    put_varint(bytes, body.len() as i64);
    bytes.put(body);
}

fn put_field(bytes: &mut BytesMut, field: Option<&[u8]>) {
    match field {
        None => put_varint(bytes, -1),
        Some(field) => {
            put_varint(bytes, field.len() as i64);
            bytes.put(field);
        }
    }
}

/// Zigzag, seven bits a byte.
fn put_varint(bytes: &mut BytesMut, value: i64) {
    let mut left = ((value << 1) ^ (value >> 63)) as u64;
    while left >= 0x80 {
        bytes.put_u8(left as u8 | 0x80);
        left >>= 7;
    }
    bytes.put_u8(left as u8);
}

/// Has the leader of a partition append a batch; returns the offset of its first record.
pub(crate) fn produce(client: &Client, topic: &str, partition: i32, batch: Bytes) -> Outcome<i64> {
    let data = PartitionProduceData::default().with_index(partition).with_records(Some(batch));
    let topic_data = TopicProduceData::default().with_name(topic_name(topic)).with_partition_data(vec![data]);
    let request = ProduceRequest::default().with_acks(-1).with_timeout_ms(20_000).with_topic_data(vec![topic_data]);
    let answer = client.leader(topic, partition)?.send(8, &request)?;
    let found = answer
        .responses
        .first()
        .and_then(|topic| topic.partition_responses.first())
        .ok_or_else(|| Failure("Produce answered nothing".to_owned()))?;
    check(found.error_code, format!("cannot produce to {topic}-{partition}"))?;
    Ok(found.base_offset)
}

/// Moves the end of a partition by so many offsets in few requests: records with an empty key and nothing else, half a
/// million in a batch. The topic has to take batches of [`SKIP_BYTES`].
pub(crate) fn skip(client: &Client, topic: &str, partition: i32, offsets: usize) -> Outcome {
    let nothing = Record { key: Some(Vec::new()), value: None, headers: Vec::new(), timestamp: 1_700_000_000_000 };
    let mut left = offsets;
    while left > 0 {
        let now = left.min(SKIP_AT_ONCE);
        produce(client, topic, partition, Batch::of(vec![nothing.clone(); now]).encode())?;
        left -= now;
    }
    Ok(())
}

/// Writes so many transaction markers, each of them one offset that no consumer sees; returns the log end. Nobody else may
/// write meanwhile.
///
/// `producer_id` must be nobody's: a client's own id would be fenced by them.
pub(crate) fn write_markers(
    client: &Client,
    topic: &str,
    partition: i32,
    producer_id: i64,
    count: usize,
) -> Outcome<i64> {
    let before = client.offset_at(topic, partition, -1)?;
    send_markers(client, topic, partition, producer_id, count)?;
    // The answers hide what was not written when it is for the same producer id; only the log end tells.
    match client.offset_at(topic, partition, -1)? {
        end if end == before + count as i64 => Ok(end),
        end => fail(format!("{count} markers moved the end of {topic}-{partition} from {before} to {end}")),
    }
}

/// The same where others write too.
pub(crate) fn send_markers(client: &Client, topic: &str, partition: i32, producer_id: i64, count: usize) -> Outcome {
    let mut leader = client.leader(topic, partition)?;
    let mut left = count;
    while left > 0 {
        let marker = WritableTxnMarker::default()
            .with_producer_id(ProducerId(producer_id))
            .with_transaction_result(true)
            .with_topics(vec![marker_topic(topic_name(topic), partition)]);
        let now = left.min(MARKERS_AT_ONCE);
        let request = WriteTxnMarkersRequest::default().with_markers(vec![marker; now]);
        for marker in leader.send(1, &request)?.markers {
            for found in marker.topics.into_iter().flat_map(|topic| topic.partitions) {
                check(found.error_code, format!("cannot write markers to {topic}-{partition}"))?;
            }
        }
        left -= now;
    }
    Ok(())
}

fn marker_topic(topic: TopicName, partition: i32) -> WritableTxnMarkerTopic {
    WritableTxnMarkerTopic::default().with_name(topic).with_partition_indexes(vec![partition])
}
