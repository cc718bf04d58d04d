//! How answers of brokers are decoded, so that a damaged one is an error and never takes memory for what it only claims to hold.
//!
//! `kafka-protocol` makes room for as many elements as an array says it has, before it looks for them. What stands
//! between that and the network:
//! - Fetch and Produce, the answers of every second, are read by hand in [`walk`]: no array may have more elements than
//!   the bytes that are left can hold, so what is decoded takes a small multiple of the answer.
//! - All others are decoded by `kafka-protocol` through [`guard`]: no length goes beyond the bytes that are left. Room
//!   is still made for elements in memory where one byte each would be enough on the wire, so a damaged answer can take
//!   some hundred times its length for a moment. These answers are short: the longest, Metadata of thousands of
//!   partitions and OffsetFetch of hundreds of groups, have a few hundred kilobytes to a few megabytes.
//!
//! What is not decided here: the length of a frame is believed up to a limit (`connection`), and the records of the
//! topic of claims are decoded by `kafka-protocol`, which checks their checksum before it believes their number.

mod guard;
#[cfg(test)]
pub mod samples;
#[cfg(test)]
mod tests;
mod walk;

use bytes::Bytes;
use kafka_protocol::messages::*;

/// A message of which a damaged one takes no memory.
pub trait Decode: Sized {
    /// Decodes it from the front of `answer`; the error says what is wrong with it.
    fn decode_bounded(answer: &mut Bytes, version: i16) -> Result<Self, String>;
}

impl Decode for FetchResponse {
    fn decode_bounded(answer: &mut Bytes, version: i16) -> Result<Self, String> {
        walk::fetch(answer, version)
    }
}

impl Decode for ProduceResponse {
    fn decode_bounded(answer: &mut Bytes, version: i16) -> Result<Self, String> {
        walk::produce(answer, version)
    }
}

macro_rules! guarded {
    ($($message:ty,)*) => {
        $(impl Decode for $message {
            fn decode_bounded(answer: &mut Bytes, version: i16) -> Result<Self, String> {
                guard::decode(answer, version)
            }
        })*
    };
}

guarded! {
    AddPartitionsToTxnResponse,
    ApiVersionsResponse,
    CreateAclsResponse,
    CreatePartitionsResponse,
    CreateTopicsResponse,
    DeleteAclsResponse,
    DeleteRecordsResponse,
    DeleteTopicsResponse,
    DescribeAclsResponse,
    DescribeClusterResponse,
    DescribeConfigsResponse,
    DescribeGroupsResponse,
    DescribeProducersResponse,
    DescribeQuorumResponse,
    EndTxnResponse,
    FindCoordinatorResponse,
    IncrementalAlterConfigsResponse,
    InitProducerIdResponse,
    ListGroupsResponse,
    ListOffsetsResponse,
    ListTransactionsResponse,
    MetadataResponse,
    OffsetCommitResponse,
    OffsetFetchResponse,
    OffsetForLeaderEpochResponse,
    ResponseHeader,
    WriteTxnMarkersResponse,
}
