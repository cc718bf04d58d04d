//! A broker in this process: decodes a request, does what a Kafka broker does with it, and encodes the answer.
//!
//! It offers what a mirror asks for and nothing else; what is not offered is not asked. Answers that read or change
//! logs are in [`data`](super::data), those about topics in [`topics`](super::topics).

use bytes::{BufMut, Bytes, BytesMut};
use kafka_protocol::messages::api_versions_response::ApiVersion;
use kafka_protocol::messages::*;
use kafka_protocol::protocol::{Decodable, Encodable, HeaderVersion, Request};

use super::cluster::Cluster;

/// What brokers offer: a request, and its newest version.
const OFFERED: [(ApiKey, i16); 15] = [
    (ApiKey::ApiVersions, 3),
    (ApiKey::Metadata, 12),
    (ApiKey::Fetch, BY_ID),
    (ApiKey::Produce, BY_ID),
    (ApiKey::ListOffsets, 7),
    (ApiKey::OffsetForLeaderEpoch, 4),
    (ApiKey::DescribeProducers, 0),
    (ApiKey::WriteTxnMarkers, 1),
    (ApiKey::DeleteRecords, 2),
    (ApiKey::CreateTopics, 7),
    (ApiKey::CreatePartitions, 3),
    (ApiKey::DeleteTopics, 6),
    (ApiKey::DescribeConfigs, 4),
    (ApiKey::IncrementalAlterConfigs, 1),
    (ApiKey::ListTransactions, 0),
];
/// From this version on Fetch and Produce name topics by their ids.
pub(super) const BY_ID: i16 = 13;
/// The last versions that name them by their names.
const FETCH_BY_NAME: i16 = 12;
const PRODUCE_BY_NAME: i16 = 8;

/// One broker of a cluster.
#[derive(Clone, Copy)]
pub(super) struct Broker<'a> {
    pub(super) cluster: &'a Cluster,
    pub(super) number: usize,
}

impl Broker<'_> {
    /// Answers one request, without its length; the answer is without its length as well. `None` for what is not
    /// offered.
    pub(super) async fn answer(self, mut frame: Bytes) -> Option<Bytes> {
        let key = ApiKey::try_from(i16::from_be_bytes([frame[0], frame[1]])).ok()?;
        let version = i16::from_be_bytes([frame[2], frame[3]]);
        let header = RequestHeader::decode(&mut frame, key.request_header_version(version)).ok()?;
        let id = header.correlation_id;
        macro_rules! answered {
            ($request:ident, $answer:expr) => {{
                let request = $request::decode(&mut frame, version).ok()?;
                let answer: &dyn Fn($request) -> <$request as Request>::Response = &$answer;
                encoded(id, &answer(request), version)
            }};
        }
        match key {
            ApiKey::Fetch => encoded(id, &self.fetch(FetchRequest::decode(&mut frame, version).ok()?).await, version),
            ApiKey::Produce => {
                encoded(id, &self.produce(ProduceRequest::decode(&mut frame, version).ok()?).await, version)
            }
            ApiKey::ApiVersions => answered!(ApiVersionsRequest, |_| self.offers()),
            ApiKey::Metadata => answered!(MetadataRequest, |request| self.metadata(&request)),
            ApiKey::ListOffsets => answered!(ListOffsetsRequest, |request| self.list_offsets(&request)),
            ApiKey::OffsetForLeaderEpoch => answered!(OffsetForLeaderEpochRequest, |request| self.epoch_ends(&request)),
            ApiKey::DescribeProducers => answered!(DescribeProducersRequest, |request| self.producers(&request)),
            ApiKey::WriteTxnMarkers => encoded(
                id,
                &self.write_markers(WriteTxnMarkersRequest::decode(&mut frame, version).ok()?).await,
                version,
            ),
            ApiKey::DeleteRecords => answered!(DeleteRecordsRequest, |request| self.delete_records(&request)),
            ApiKey::CreateTopics => answered!(CreateTopicsRequest, |request| self.create_topics(&request)),
            ApiKey::CreatePartitions => answered!(CreatePartitionsRequest, |request| self.create_partitions(&request)),
            ApiKey::DeleteTopics => answered!(DeleteTopicsRequest, |request| self.delete_topics(&request)),
            ApiKey::DescribeConfigs => answered!(DescribeConfigsRequest, |request| self.describe_configs(&request)),
            ApiKey::IncrementalAlterConfigs => {
                answered!(IncrementalAlterConfigsRequest, |request| self.alter_configs(&request))
            }
            ApiKey::ListTransactions => answered!(ListTransactionsRequest, |_| ListTransactionsResponse::default()),
            _ => None,
        }
    }

    fn offers(self) -> ApiVersionsResponse {
        let newest = |key: ApiKey, newest: i16| match key {
            ApiKey::Fetch if !self.cluster.by_id => FETCH_BY_NAME,
            ApiKey::Produce if !self.cluster.by_id => PRODUCE_BY_NAME,
            _ => newest,
        };
        let offer = |(key, version): &(ApiKey, i16)| {
            ApiVersion::default().with_api_key(*key as i16).with_max_version(newest(*key, *version))
        };
        ApiVersionsResponse::default().with_api_keys(OFFERED.iter().map(offer).collect())
    }
}

fn encoded<R: Encodable + HeaderVersion>(correlation_id: i32, response: &R, version: i16) -> Option<Bytes> {
    let mut bytes = BytesMut::new();
    let header = ResponseHeader::default().with_correlation_id(correlation_id);
    header.encode(&mut bytes, R::header_version(version)).ok()?;
    response.encode(&mut bytes, version).ok()?;
    Some(bytes.freeze())
}

/// An answer with its length.
pub(super) fn framed(answer: &Bytes) -> Bytes {
    let mut frame = BytesMut::with_capacity(answer.len() + 4);
    frame.put_i32(answer.len() as i32);
    frame.put_slice(answer);
    frame.freeze()
}
