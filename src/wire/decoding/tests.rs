//! What is decoded equals what the generated decoder makes of it; lengths that lie are found.
//! What is compared is made by `kafka-protocol`; what is damaged must end in an error, never in memory taken.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::fmt::Debug;

use bytes::{Bytes, BytesMut};
use kafka_protocol::messages::fetch_response::{AbortedTransaction, FetchableTopicResponse, PartitionData};
use kafka_protocol::messages::*;
use kafka_protocol::protocol::{Decodable, Encodable, StrBytes};

use super::*;

pub mod made;

fn encoded(answer: &impl Encodable, version: i16) -> Bytes {
    let mut bytes = BytesMut::new();
    answer.encode(&mut bytes, version).unwrap();
    bytes.freeze()
}

/// Compares with the generated decoder, and looks at every answer that ends too early.
fn compare<T: Decode + Decodable + Encodable + PartialEq + Debug>(answer: &T, version: i16) {
    let whole = encoded(answer, version);
    let mut bytes = [&whole[..], b"next"].concat().into();
    let decoded = T::decode_bounded(&mut bytes, version).unwrap();
    assert_eq!(decoded, T::decode(&mut whole.clone(), version).unwrap(), "version {version}");
    assert_eq!(&decoded, answer, "version {version}");
    assert_eq!(&bytes[..], b"next", "version {version}");
    for end in 0..whole.len() {
        assert!(T::decode_bounded(&mut whole.slice(..end), version).is_err(), "version {version}, {end} bytes");
    }
}

#[test]
fn equals_what_the_generated_code_reads() {
    for seed in 0..25 {
        let mut random = fastrand::Rng::with_seed(seed);
        (4..=13).for_each(|version| compare(&samples::fetch(&mut random, version), version));
        (3..=13).for_each(|version| compare(&samples::produce(&mut random, version), version));
        (1..=12).for_each(|version| compare(&samples::metadata(&mut random, version), version));
    }
}

#[test]
fn arrays_of_the_smallest_elements_are_taken() {
    let name = || TopicName(StrBytes::from_static_str("t"));
    let aborted = AbortedTransaction::default();
    for version in 4..=13 {
        let data = PartitionData::default().with_aborted_transactions(None).with_records(None);
        let topic = match version {
            13.. => FetchableTopicResponse::default(),
            _ => FetchableTopicResponse::default().with_topic(name()),
        };
        for topics in [
            vec![topic.clone().with_partitions(vec![data.clone(); 50])],
            vec![topic.clone(); 50],
            vec![topic.clone().with_partitions(vec![data.with_aborted_transactions(Some(vec![aborted.clone(); 50]))])],
        ] {
            compare(&FetchResponse::default().with_responses(topics), version);
        }
    }
    for version in 3..=13 {
        let partition = produce_response::PartitionProduceResponse::default();
        let topic = match version {
            13.. => produce_response::TopicProduceResponse::default(),
            _ => produce_response::TopicProduceResponse::default().with_name(name()),
        };
        let topics = vec![topic.clone().with_partition_responses(vec![partition.clone(); 50])];
        compare(&ProduceResponse::default().with_responses(topics), version);
        compare(&ProduceResponse::default().with_responses(vec![topic.clone(); 50]), version);
        if version >= 8 {
            let errors = vec![produce_response::BatchIndexAndErrorMessage::default(); 50];
            let topics = vec![topic.with_partition_responses(vec![partition.with_record_errors(errors)])];
            compare(&ProduceResponse::default().with_responses(topics), version);
        }
    }
}

#[test]
fn what_a_broker_asks_to_wait_is_read_from_every_kind_of_answer() {
    fn asked<T: Decode>(answer: &impl Encodable, version: i16) -> i32 {
        T::throttle_time_ms(&encoded(answer, version), version)
    }
    let metadata = MetadataResponse::default().with_throttle_time_ms(7);
    assert_eq!([3, 12].map(|version| asked::<MetadataResponse>(&metadata, version)), [7, 7]);
    // Version 2 begins with the brokers.
    let no_time = MetadataResponse::default().with_brokers(vec![Default::default(); 9]);
    assert_eq!(asked::<MetadataResponse>(&no_time, 2), 0);
    let fetch = FetchResponse::default().with_throttle_time_ms(8);
    assert_eq!([4, 13].map(|version| asked::<FetchResponse>(&fetch, version)), [8, 8]);
    let offsets = ListOffsetsResponse::default().with_throttle_time_ms(9);
    assert_eq!(asked::<ListOffsetsResponse>(&offsets, 7), 9);
    assert_eq!(ListOffsetsResponse::throttle_time_ms(&[0, 0], 7), 0, "an answer that ends too early");
}

#[test]
fn unknown_tagged_fields_are_skipped() {
    let make = |tagged: bool| {
        let tags = || (0..2).filter(|_| tagged).map(|tag| (tag + 20, Bytes::from(vec![7; 300]))).collect();
        let aborted = AbortedTransaction::default().with_first_offset(5).with_unknown_tagged_fields(tags());
        let data = PartitionData::default()
            .with_aborted_transactions(Some(vec![aborted; 2]))
            .with_unknown_tagged_fields(tags());
        let topic = FetchableTopicResponse::default()
            .with_topic(TopicName(StrBytes::from_static_str("orders")))
            .with_partitions(vec![data; 2])
            .with_unknown_tagged_fields(tags());
        FetchResponse::default().with_responses(vec![topic; 2]).with_unknown_tagged_fields(tags())
    };
    let mut bytes = encoded(&make(true), 12);
    assert_eq!(FetchResponse::decode_bounded(&mut bytes, 12).unwrap(), make(false));
    assert!(bytes.is_empty());
}

/// The error for an answer of which four bytes are replaced by a length that lies.
fn lied<T: Decode + Debug>(answer: &impl Encodable, version: i16, at: usize, length: i32) -> String {
    let mut bytes = encoded(answer, version).to_vec();
    bytes[at..at + 4].copy_from_slice(&length.to_be_bytes());
    T::decode_bounded(&mut bytes.into(), version).unwrap_err()
}

#[test]
fn a_length_that_lies_is_named() {
    let data = PartitionData::default().with_records(Some(Bytes::from_static(&[1; 100])));
    let topic = FetchableTopicResponse::default()
        .with_topic(TopicName(StrBytes::from_static_str("orders")))
        .with_partitions(vec![data]);
    let answer = FetchResponse::default().with_responses(vec![topic]);
    let error = |at, length| lied::<FetchResponse>(&answer, 4, at, length);
    assert_eq!(error(4, i32::MAX), "it claims 2147483647 topics where 142 bytes are left");
    // 130 bytes are left, and a partition has 30 of them at least.
    assert_eq!(error(16, 5), "it claims 5 partitions where 130 bytes are left");
    assert_eq!(error(16, 4), "it ends too early");
    assert_eq!(error(16, -2), "the number of partitions is -2");
    assert_eq!(error(16, -1), "the partitions are missing");
    assert_eq!(error(42, 7), "it claims 7 aborted transactions where 104 bytes are left");
    assert_eq!(error(46, 101), "it claims 101 bytes of records where 100 bytes are left");
}

#[test]
fn an_answer_takes_no_memory_for_what_it_only_claims_to_hold() {
    let broker = metadata_response::MetadataResponseBroker::default().with_port(i32::MAX).with_node_id(i32::MAX.into());
    let answer = MetadataResponse::default().with_brokers(vec![broker]);
    compare(&answer, 1);
    compare(&answer, 12);
    for length in [2, 100, 1 << 28, i32::MAX, -1, i32::MIN] {
        lied::<MetadataResponse>(&answer, 1, 0, length);
    }
    // Version 12: throttle time, then the number of brokers; 2^32 - 1, written as five bytes.
    let lie = Bytes::from_static(&[0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0x0f, 0, 0, 0]);
    assert!(MetadataResponse::decode_bounded(&mut lie.clone(), 12).unwrap_err().contains("4294967294"));
    // As many topics as bytes, which would be a hundred times the memory.
    let error = MetadataResponse::decode_bounded(&mut made::zeros_that_claim_to_be_topics(1 << 20), 1).unwrap_err();
    assert_eq!(error, "it ends too early");
    // Groups without a name do have their three bytes each, but would take fifty times as much.
    let groups = list_groups_response::ListedGroup::default();
    let answer = ListGroupsResponse::default().with_groups(vec![groups; 100_000]);
    let error = ListGroupsResponse::decode_bounded(&mut encoded(&answer, 3), 3).unwrap_err();
    assert!(error.contains("would take"), "{error}");
    // What some have is another matter.
    let some = ListGroupsResponse::default().with_groups(answer.groups[..300].to_vec());
    compare(&some, 3);
}

#[test]
#[ignore = "measures"]
fn speed() {
    let records = Bytes::from(vec![1; 400]);
    let aborted = vec![AbortedTransaction::default(); 2];
    let mut data = PartitionData::default().with_records(Some(records)).with_aborted_transactions(Some(aborted));
    data.diverging_epoch.epoch = 1;
    let topics = (0..50).map(|topic| {
        FetchableTopicResponse::default()
            .with_topic(TopicName(StrBytes::from_string(format!("topic-{topic}"))))
            .with_partitions(vec![data.clone(); 100])
    });
    let answer = FetchResponse::default().with_responses(topics.collect());
    let partition = produce_response::PartitionProduceResponse::default();
    let topics = (0..50).map(|topic| {
        produce_response::TopicProduceResponse::default()
            .with_name(TopicName(StrBytes::from_string(format!("topic-{topic}"))))
            .with_partition_responses(vec![partition.clone(); 100])
    });
    let produced = ProduceResponse::default().with_responses(topics.collect());
    let time = |what: &str, run: &dyn Fn()| {
        let best = (0..200).map(|_| {
            let start = crate::clock::Instant::now();
            run();
            start.elapsed()
        });
        println!("{what}: {:?}", best.min().unwrap());
    };
    for version in [4, 11, 12] {
        let bytes = encoded(&answer, version);
        time(&format!("fetch {version} generated"), &|| {
            drop(FetchResponse::decode(&mut bytes.clone(), version).unwrap())
        });
        time(&format!("fetch {version} walk"), &|| {
            drop(FetchResponse::decode_bounded(&mut bytes.clone(), version).unwrap())
        });
    }
    let bytes = encoded(&produced, 8);
    time("produce 8 generated", &|| drop(ProduceResponse::decode(&mut bytes.clone(), 8).unwrap()));
    time("produce 8 walk", &|| drop(ProduceResponse::decode_bounded(&mut bytes.clone(), 8).unwrap()));
}
