//! Appends a few small records to a topic of one partition, as the mirror's own topic and those for MirrorMaker 2's tools are.
//! They have no producer: whoever writes them can bear a record that is there twice.

use bytes::{Bytes, BytesMut};
use kafka_protocol::messages::ProduceRequest;
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::records::{Compression, Record, RecordBatchEncoder, RecordEncodeOptions, TimestampType};

use super::cluster::{Cluster, topic_name};
use crate::error::{Error, ErrorKind, Result};
use crate::terms::broker_error::BrokerError;

/// A record to be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its key.
    pub key: Vec<u8>,
    /// Its value; `None` takes the record of this key away.
    pub value: Option<Vec<u8>>,
}

impl Entry {
    fn size(&self) -> usize {
        self.key.len() + self.value.as_ref().map_or(0, Vec::len)
    }
}

/// Records in one batch, and bytes of their keys and values: all of it stays far below the smallest limit for a batch.
const ENTRIES_AT_ONCE: usize = 500;
/// Bytes of keys and values in one batch.
pub const BYTES_AT_ONCE: usize = 512 << 10;

/// Divides records into what fits into one batch each, in this order.
pub fn portions(entries: Vec<Entry>) -> Vec<Vec<Entry>> {
    let (mut portions, mut portion, mut bytes) = (Vec::new(), Vec::new(), 0);
    for entry in entries {
        let size = entry.size();
        if portion.len() == ENTRIES_AT_ONCE || (bytes + size > BYTES_AT_ONCE && !portion.is_empty()) {
            portions.push(std::mem::take(&mut portion));
            bytes = 0;
        }
        bytes += size;
        portion.push(entry);
    }
    if !portion.is_empty() {
        portions.push(portion);
    }
    portions
}

/// A record without a time: the broker takes it whatever its clock says, and sets its own where the topic wants that.
pub const NO_TIME: i64 = -1;

/// Writes records of this time to partition 0, all of them or none; inside is the offset behind the last, or what the broker says.
pub async fn append(
    cluster: &Cluster,
    topic: &str,
    leader: i32,
    entries: Vec<Entry>,
    timestamp_ms: i64,
) -> Result<Result<i64, BrokerError>> {
    let count = entries.len() as i64;
    let data = PartitionProduceData::default().with_index(0).with_records(Some(encode(entries, timestamp_ms)?));
    let topic = TopicProduceData::default().with_name(topic_name(topic)).with_partition_data(vec![data]);
    let request = ProduceRequest::default()
        .with_acks(-1)
        .with_timeout_ms(cluster.config().request_timeout.as_millis() as i32)
        .with_topic_data(vec![topic]);
    let connection = cluster.broker(leader).await?;
    let response = connection.call(&request, connection.version::<ProduceRequest>(8)?).await?;
    let answer = response.responses.into_iter().flat_map(|topic| topic.partition_responses).next();
    let Some(answer) = answer else { return Ok(Err(BrokerError::UNKNOWN_PARTITION)) };
    Ok(BrokerError::of(answer.error_code).map_or(Ok(answer.base_offset.saturating_add(count)), Err))
}

/// Makes records one batch: brokers refuse a request with more of them for a partition.
pub fn encode(entries: Vec<Entry>, timestamp_ms: i64) -> Result<Bytes> {
    let record = |(offset, entry): (i32, Entry)| Record {
        transactional: false,
        control: false,
        delete_horizon: false,
        partition_leader_epoch: -1,
        producer_id: -1,
        producer_epoch: -1,
        timestamp_type: TimestampType::Creation,
        offset: i64::from(offset),
        // The encoder begins a new batch where offset and sequence number do not go up together. The first is -1: none.
        sequence: offset - 1,
        timestamp: timestamp_ms,
        key: Some(Bytes::from(entry.key)),
        value: entry.value.map(Bytes::from),
        headers: Default::default(),
    };
    let records: Vec<Record> = (0..).zip(entries).map(record).collect();
    let mut batch = BytesMut::new();
    let options = RecordEncodeOptions { version: 2, compression: Compression::None };
    RecordBatchEncoder::encode(&mut batch, &records, &options)
        .map_err(|error| Error::new(ErrorKind::Internal, error.to_string()))?;
    Ok(batch.freeze())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_portion_is_too_long_or_too_large_and_nothing_is_lost() {
        let entry = |n: usize, size: usize| Entry { key: n.to_be_bytes().to_vec(), value: Some(vec![0; size]) };
        let sizes = |entries: Vec<Entry>| -> Vec<usize> { portions(entries).iter().map(Vec::len).collect() };
        assert_eq!(sizes((0..1001).map(|n| entry(n, 10)).collect()), [500, 500, 1]);
        assert_eq!(sizes((0..7).map(|n| entry(n, 200_000)).collect()), [2, 2, 2, 1]);
        assert_eq!(sizes((0..3).map(|n| entry(n, BYTES_AT_ONCE)).collect()), [1, 1, 1]);
        assert_eq!(sizes(Vec::new()), [0; 0]);
        let all: Vec<Entry> = (0..1300).map(|n| entry(n, n)).collect();
        assert_eq!(portions(all.clone()).concat(), all);
    }
}
