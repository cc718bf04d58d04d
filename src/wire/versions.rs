//! Every request is one that can be written at every version that a broker may want, back to Kafka 2.4, and to 2.1 for a source.
//!
//! A field that a version does not have is an error of the encoder, and only a broker of that age would show it. So everything that
//! asks is pointed at a broker made of default answers, which offers one version less each time.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use kafka_protocol::messages::api_versions_response::{ApiVersion, ApiVersionsResponse};
use kafka_protocol::messages::list_offsets_response::{ListOffsetsPartitionResponse, ListOffsetsTopicResponse};
use kafka_protocol::messages::metadata_response::{
    MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
};
use kafka_protocol::messages::*;
use kafka_protocol::protocol::{Encodable, HeaderVersion, Request, StrBytes};

use super::cluster::{Cluster, topic_name};
use super::connection::Connection;
use super::fetch::{FetchLimits, Session};
use super::memory::Budget;
use super::positions::Which;
use super::*;
use crate::batch::{HEADER_LEN, marker};
use crate::config::Properties;
use crate::error::Result;
use crate::terms::acl::{Acl, AclOperation, AclPattern, AclPermission, AclResource};
use crate::terms::group::Committed;
use crate::terms::topic::{NewTopic, TopicPartition};

/// No request of ours has so high a version.
const HIGHEST: i16 = 20;
const TOPIC: &str = "t";
const TOPIC_ID: u128 = 5;

/// Requests that were seen, with their versions.
type Seen = Arc<Mutex<BTreeSet<(String, i16)>>>;

macro_rules! requests {
    ($($request:ident $response:ident $oldest:literal;)*) => {
        /// The name of a request, and the newest version of it that Kafka 2.4 has; -1 if it does not have it.
        const REQUESTS: &[(i16, &str, i16)] = &[$(($request::KEY, stringify!($request), $oldest),)*];

        /// An answer that says nothing.
        fn default_answer(key: i16, version: i16) -> Bytes {
            match key {
                $($request::KEY => encoded(&$response::default(), version),)*
                _ => panic!("request {key} is not in the table"),
            }
        }

        fn header_version(key: i16, version: i16) -> i16 {
            match key {
                $($request::KEY => $response::header_version(version),)*
                _ => 0,
            }
        }
    };
}

requests! {
    ProduceRequest ProduceResponse 8;
    FetchRequest FetchResponse 11;
    ListOffsetsRequest ListOffsetsResponse 5;
    MetadataRequest MetadataResponse 9;
    OffsetCommitRequest OffsetCommitResponse 8;
    OffsetFetchRequest OffsetFetchResponse 6;
    FindCoordinatorRequest FindCoordinatorResponse 3;
    DescribeGroupsRequest DescribeGroupsResponse 5;
    ListGroupsRequest ListGroupsResponse 3;
    CreateTopicsRequest CreateTopicsResponse 5;
    DeleteTopicsRequest DeleteTopicsResponse 4;
    DeleteRecordsRequest DeleteRecordsResponse 1;
    InitProducerIdRequest InitProducerIdResponse 2;
    OffsetForLeaderEpochRequest OffsetForLeaderEpochResponse 3;
    AddPartitionsToTxnRequest AddPartitionsToTxnResponse 1;
    EndTxnRequest EndTxnResponse 1;
    WriteTxnMarkersRequest WriteTxnMarkersResponse 0;
    DescribeAclsRequest DescribeAclsResponse 1;
    CreateAclsRequest CreateAclsResponse 1;
    DeleteAclsRequest DeleteAclsResponse 1;
    DescribeClientQuotasRequest DescribeClientQuotasResponse -1;
    DescribeConfigsRequest DescribeConfigsResponse 2;
    CreatePartitionsRequest CreatePartitionsResponse 1;
    IncrementalAlterConfigsRequest IncrementalAlterConfigsResponse 0;
    DescribeClusterRequest DescribeClusterResponse -1;
    DescribeProducersRequest DescribeProducersResponse -1;
    DescribeTransactionsRequest DescribeTransactionsResponse -1;
    DescribeQuorumRequest DescribeQuorumResponse -1;
    ListTransactionsRequest ListTransactionsResponse -1;
}

/// Stands for a broker of Kafka 2.1 instead of a number of versions.
const KAFKA_2_1: i16 = -2;

/// What Kafka 2.1 has in other versions than 2.4, of all that a source is asked.
const OF_2_1: [(&str, i16); 15] = [
    ("ProduceRequest", 7),
    ("FetchRequest", 10),
    ("ListOffsetsRequest", 4),
    ("MetadataRequest", 7),
    ("OffsetCommitRequest", 6),
    ("OffsetFetchRequest", 5),
    ("FindCoordinatorRequest", 2),
    ("DescribeGroupsRequest", 2),
    ("ListGroupsRequest", 2),
    ("CreateTopicsRequest", 3),
    ("DeleteTopicsRequest", 3),
    ("InitProducerIdRequest", 1),
    ("OffsetForLeaderEpochRequest", 2),
    ("DescribeConfigsRequest", 2),
    ("IncrementalAlterConfigsRequest", -1),
];

/// The newest version that a broker offers; -1 if it does not have the request.
fn offered_of(name: &str, oldest: i16, newest: i16) -> i16 {
    match newest {
        KAFKA_2_1 => OF_2_1.iter().find(|(known, _)| *known == name).map_or(oldest, |(_, version)| *version),
        newest => newest.max(oldest),
    }
}

fn encoded(message: &impl Encodable, version: i16) -> Bytes {
    let mut bytes = BytesMut::new();
    message.encode(&mut bytes, version).unwrap();
    bytes.freeze()
}

/// Serves every connection with requests of versions up to `newest`, and notes which were asked. Its threads end with the process.
fn serve(newest: i16, seen: &Seen) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let seen = seen.clone();
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(std::result::Result::ok) {
            let seen = seen.clone();
            std::thread::spawn(move || while answer_one(&stream, port, newest, &seen).is_ok() {});
        }
    });
    port
}

fn answer_one(mut stream: &TcpStream, port: u16, newest: i16, seen: &Seen) -> std::io::Result<()> {
    let mut length = [0; 4];
    stream.read_exact(&mut length)?;
    let mut frame = vec![0; u32::from_be_bytes(length) as usize];
    stream.read_exact(&mut frame)?;
    let number = |at: usize| i16::from_be_bytes([frame[at], frame[at + 1]]);
    let (key, version) = (number(0), number(2));
    let mut answer = frame[4..8].to_vec();
    if header_version(key, version) > 0 {
        answer.push(0);
    }
    let body = match key {
        ApiVersionsRequest::KEY => encoded(&offered(newest), version),
        MetadataRequest::KEY => encoded(&metadata(port), version),
        ListOffsetsRequest::KEY => encoded(&offsets(), version),
        _ => default_answer(key, version),
    };
    if let Some((_, name, _)) = REQUESTS.iter().find(|(known, ..)| *known == key) {
        seen.lock().unwrap().insert(((*name).to_owned(), version));
    }
    answer.extend(body);
    stream.write_all(&(answer.len() as u32).to_be_bytes())?;
    stream.write_all(&answer)
}

fn offered(newest: i16) -> ApiVersionsResponse {
    let offered = REQUESTS.iter().map(|(key, name, oldest)| (*key, offered_of(name, *oldest, newest)));
    let api = |(key, newest)| ApiVersion::default().with_api_key(key).with_min_version(0).with_max_version(newest);
    ApiVersionsResponse::default().with_api_keys(offered.filter(|(_, newest)| *newest >= 0).map(api).collect())
}

fn metadata(port: u16) -> MetadataResponse {
    let broker =
        MetadataResponseBroker::default().with_host(StrBytes::from_static_str("127.0.0.1")).with_port(port.into());
    let topic = MetadataResponseTopic::default()
        .with_name(Some(topic_name(TOPIC)))
        .with_partitions(vec![MetadataResponsePartition::default()]);
    MetadataResponse::default().with_brokers(vec![broker]).with_topics(vec![topic])
}

fn offsets() -> ListOffsetsResponse {
    let partition = ListOffsetsPartitionResponse::default().with_offset(0);
    let topic = ListOffsetsTopicResponse::default().with_name(topic_name(TOPIC)).with_partitions(vec![partition]);
    ListOffsetsResponse::default().with_topics(vec![topic])
}

/// Notes what could not be written; every other error is what default answers are good for.
struct Asking {
    newest: i16,
    complaints: Vec<String>,
}

impl Asking {
    fn note<T>(&mut self, outcome: Result<T>) {
        if let Err(error) = outcome
            && error.message().contains("cannot be encoded")
        {
            self.complaints.push(format!("versions up to {}: {error}", self.newest));
        }
    }

    fn note_all<T>(&mut self, outcomes: impl IntoIterator<Item = Result<T>>) {
        outcomes.into_iter().for_each(|outcome| self.note(outcome));
    }
}

async fn ask_everything(cluster: &Cluster, asking: &mut Asking) {
    let partition: TopicPartition = (Rc::from(TOPIC), 0);
    let partitions = [partition.clone()];
    let topics = [TOPIC.to_owned()];
    asking.note(cluster.metadata(Some(&topics), true).await);
    let connection = cluster.broker(0).await.unwrap();
    ask_for_data(&connection, &partition, asking).await;
    for which in
        [Which::LogStart, Which::LogEnd, Which::HighWatermark, Which::LastStable, Which::Timestamp(1_700_000_000_000)]
    {
        asking.note(positions::list_offsets(&connection, &partitions, which).await);
    }
    asking.note(positions::producers(&connection, &partitions, |_| true).await);
    asking.note(positions::batch_headers(&connection, &[(partition.clone(), 5)]).await);
    asking.note(positions::look(&connection, &partition, 5, 100).await);
    asking.note(positions::epoch_ends(&connection, &[(partition.clone(), 5)]).await);
    let limit = Duration::from_millis(300);
    asking.note(removal::delete_records(&connection, &[(partition.clone(), 1)], limit).await);
    let markers = markers::Markers { partition, from: 0, count: 2, fence: 257 };
    asking.note(markers::write(&connection, std::slice::from_ref(&markers)).await);
    asking.note(transactions::fill(cluster, &connection, "m", &markers).await);
    asking.note(transactions::end_open(cluster, "m").await);
    asking.note(clock::of_controller(cluster).await);
    asking.note(quotas::of_client(cluster, "kmirror").await);
    asking.note(permissions::of_topics(cluster, &topics).await);
    asking.note(permissions::of_cluster(cluster).await);
    let entry = append::Entry { key: b"key".to_vec(), value: Some(b"value".to_vec()) };
    asking.note(append::append(cluster, TOPIC, 0, vec![entry], append::NO_TIME).await);
    ask_about_topics(cluster, &topics, asking).await;
    ask_about_groups(cluster, asking).await;
}

async fn ask_for_data(connection: &Connection, partition: &TopicPartition, asking: &mut Asking) {
    let part = produce::Part { partition: 0, header: [0; HEADER_LEN], payload: Bytes::new() };
    let topic = produce::TopicParts { name: partition.0.clone(), id: TOPIC_ID, parts: vec![part] };
    asking.note(produce::send(connection, &[topic], Duration::from_secs(1)).await);
    let limits = FetchLimits {
        max_wait: Duration::from_millis(5),
        min_bytes: 1,
        max_bytes: 1000,
        partition_max_bytes: 1000,
        read_committed: true,
    };
    let (budget, mut session) = (Budget::new(1 << 20), Session::default());
    session.want((&partition.0, TOPIC_ID), partition.1, 0, 5, 3);
    for _ in 0..2 {
        asking.note(session.fetch(connection, limits, budget.reserve(1000).await).await);
        session.forget_slot(0);
    }
}

async fn ask_about_topics(cluster: &Cluster, topics: &[String], asking: &mut Asking) {
    let configs = BTreeMap::from([("retention.ms".to_owned(), "1".to_owned())]);
    let new = [NewTopic { name: TOPIC.to_owned(), partitions: 2, replication_factor: 3, configs }];
    asking.note(admin::create_topics(cluster, 0, &new).await);
    asking.note(admin::may_create_topics(cluster, 0, &new).await);
    asking.note(
        admin::grow_topics(cluster, 0, &BTreeMap::from([(TOPIC.to_owned(), admin::Growth { from: 1, to: 5 })]), true)
            .await,
    );
    asking.note(admin::delete_topic(cluster, 0, TOPIC, 5).await);
    admin::transactional_id_of(cluster, 5).await;
    asking.note(configs::describe(cluster, topics).await);
    asking.note(configs::inherited(cluster, topics).await);
    let changes = vec![("retention.ms".to_owned(), Some("5".to_owned()))];
    asking.note(configs::alter(cluster, &[(TOPIC.to_owned(), changes)], true).await);
    let acl = Acl {
        resource: AclResource::Topic,
        pattern: AclPattern::Prefixed,
        name: TOPIC.to_owned(),
        principal: "User:a".to_owned(),
        host: "*".to_owned(),
        operation: AclOperation(3),
        permission: AclPermission::Allow,
    };
    asking.note(acls::describe(cluster).await);
    asking.note(acls::create(cluster, std::slice::from_ref(&acl)).await);
    asking.note(acls::delete(cluster, &[acl]).await);
}

async fn ask_about_groups(cluster: &Cluster, asking: &mut Asking) {
    let group = "g".to_owned();
    asking.note(groups::list(cluster).await);
    asking.note_all(groups::coordinators(cluster, std::slice::from_ref(&group)).await.into_values());
    let coordinators = BTreeMap::from([(group.clone(), 0)]);
    asking.note_all(groups::offsets(cluster, &coordinators, &[Rc::from(TOPIC)].into()).await.into_values());
    asking.note_all(groups::describe(cluster, &coordinators).await.into_values());
    let committed = Committed { offset: 5, metadata: "text".to_owned() };
    let offsets = BTreeMap::from([((Rc::from(TOPIC), 0), committed)]);
    let outcomes =
        groups::commit_all(cluster, vec![(0, groups::Commit { group, offsets, decided_by: BTreeMap::new() })]).await;
    asking.note_all(outcomes.into_values().map(|outcome| outcome.error.map_or(Ok(()), Err)));
}

/// The requests for which some code asks a connection for the version.
fn requests_in(folder: &Path, found: &mut BTreeSet<String>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            requests_in(&path, found);
            continue;
        }
        let text = std::fs::read_to_string(&path).unwrap_or_default();
        let names = text.split("version::<").skip(1).filter_map(|rest| rest.split_once('>'));
        found.extend(names.map(|(name, _)| name.to_owned()).filter(|name| name.ends_with("Request")));
    }
}

#[test]
fn every_request_can_be_written_at_every_version_that_brokers_may_want() {
    assert!(marker::offset_of(0, 0).is_none(), "a default answer holds no marker");
    let seen = Seen::default();
    let mut complaints = Vec::new();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    for newest in KAFKA_2_1..=HIGHEST {
        let mut properties = Properties::new();
        let servers = format!("127.0.0.1:{}", serve(newest, &seen));
        properties.set("source.bootstrap.servers", "127.0.0.1:1").set("target.bootstrap.servers", servers.as_str());
        properties.set("target.request.timeout.ms", "1000");
        let config = properties.build().unwrap().0;
        let mut asking = Asking { newest, complaints: Vec::new() };
        let local = tokio::task::LocalSet::new();
        let side = if newest == KAFKA_2_1 { "source" } else { "target" };
        local.block_on(&runtime, ask_everything(&Cluster::new(side, config.target), &mut asking));
        complaints.append(&mut asking.complaints);
    }
    assert!(complaints.is_empty(), "{}", complaints.join("\n"));
    let seen = seen.lock().unwrap();
    let mut wanted = BTreeSet::new();
    requests_in(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut wanted);
    let asked: BTreeSet<&String> = seen.iter().map(|(name, _)| name).collect();
    let missing: Vec<_> = wanted.iter().filter(|name| !asked.contains(name)).collect();
    assert!(wanted.len() > 20 && missing.is_empty(), "nobody has tried {missing:?}");
}
