//! An answer of any bytes, of every kind that the engine asks for, is decoded or refused; the first bytes choose its kind and version.
//! It takes no more memory than a multiple of its length, whatever it claims to hold.
#![no_main]
#![allow(dead_code, unused_imports, reason = "only a part of the engine is used")]

#[path = "../../../src/wire/decoding/mod.rs"]
mod decoding;

use bytes::Bytes;
use decoding::Decode;
use kafka_protocol::messages::*;
use kafka_protocol::protocol::Message;
use libfuzzer_sys::fuzz_target;
use peak_alloc::PeakAlloc;

#[global_allocator]
static MEMORY: PeakAlloc = PeakAlloc;

fn look<T: Decode + Message>(version: u8, bytes: &[u8]) {
    let (min, max) = (T::VERSIONS.min, T::VERSIONS.max);
    let version = min + i16::from(version) % (max - min + 1);
    let mut answer = Bytes::copy_from_slice(bytes);
    let before = MEMORY.current_usage();
    MEMORY.reset_peak_usage();
    let decoded = T::decode_bounded(&mut answer, version);
    let taken = MEMORY.peak_usage().saturating_sub(before);
    assert!(taken <= 64 * bytes.len() + (256 << 10), "version {version}: {} bytes took {taken}", bytes.len());
    drop(decoded);
}

macro_rules! kinds {
    ($kind:expr, $version:expr, $bytes:expr; $($message:ident)*) => {{
        const LOOKS: &[fn(u8, &[u8])] = &[$(look::<$message>,)*];
        LOOKS[usize::from($kind) % LOOKS.len()]($version, $bytes);
    }};
}

fuzz_target!(|input: (u8, u8, &[u8])| {
    let (kind, version, bytes) = input;
    kinds!(kind, version, bytes;
        AddPartitionsToTxnResponse ApiVersionsResponse CreateAclsResponse CreatePartitionsResponse CreateTopicsResponse
        DeleteAclsResponse DeleteRecordsResponse DeleteTopicsResponse DescribeAclsResponse DescribeClusterResponse
        DescribeConfigsResponse DescribeGroupsResponse DescribeProducersResponse DescribeQuorumResponse EndTxnResponse
        FetchResponse FindCoordinatorResponse IncrementalAlterConfigsResponse InitProducerIdResponse ListGroupsResponse
        ListOffsetsResponse ListTransactionsResponse MetadataResponse OffsetCommitResponse OffsetFetchResponse
        OffsetForLeaderEpochResponse ProduceResponse ResponseHeader WriteTxnMarkersResponse
    );
});
