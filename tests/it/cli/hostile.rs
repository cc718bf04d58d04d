//! Brokers that lie, or that somebody on the way makes lie: mock clusters behind a proxy that changes what they say.
//! Whatever they send, nothing ends the command but an exit code with a sentence, no memory is taken for what is only claimed, and
//! nothing reaches the terminal that it would obey.

use std::io::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::{BufMut as _, Bytes, BytesMut};
use kafka_protocol::messages::metadata_response::MetadataResponseBroker;
use kafka_protocol::messages::{
    ApiKey, FetchResponse, FindCoordinatorResponse, ListOffsetsResponse, MetadataResponse, ProduceRequest,
    ProduceResponse, RequestHeader, ResponseHeader, TopicName,
};
use kafka_protocol::protocol::{Decodable, Encodable, HeaderVersion, StrBytes};
use rdkafka::mocking::MockCluster;

use super::mock::{Cluster, fill};
use super::{Finished, LIMIT, finish};
use crate::support::Outcome;
use crate::support::ledger::wait_caught_up;
use crate::support::process::Kmirror;
use crate::support::proxy::{Direction, Proxy};
use crate::support::records::{Record, Writing, produce};
use crate::support::tampering::{Passing, seal};

/// Terminals obey most of it, readers of lines the rest.
const EVIL: &str = "evil\u{1b}[2J\u{1b}]0;owned\u{7}\u{202e}\n2026-01-01T00:00:00Z ERROR forged line\n";
/// Megabytes that a mirror of these tests has at most, however large what it is sent claims to be; it begins with some 20.
const MEMORY_MB: u64 = 130;

/// A mock cluster of one broker, and the proxy by which it is reached.
pub(super) struct Hostile {
    pub(super) cluster: Cluster,
    proxy: Proxy,
}

/// Changes an answer.
pub(super) type Lie = Box<dyn Fn(ApiKey, Passing, &mut Vec<u8>) + Send + Sync>;

impl Hostile {
    fn start(lie: Lie) -> Outcome<Self> {
        Self::start_with(Box::new(|_, _, _| {}), lie)
    }

    /// The same, and what it is asked is changed too.
    pub(super) fn start_with(asked: Lie, lie: Lie) -> Outcome<Self> {
        let cluster = MockCluster::new(1)?;
        let proxy = Proxy::start(&cluster.bootstrap_servers())?;
        let port = i32::from(proxy.port());
        proxy.edit(Some(Arc::new(move |passing, frame| {
            let Ok(key) = ApiKey::try_from(passing.api_key) else { return };
            if passing.direction == Direction::ToBroker {
                return asked(key, passing, frame);
            }
            // Clients are to come by the proxy.
            match key {
                ApiKey::Metadata => change(passing, frame, |answer: &mut MetadataResponse| {
                    answer.brokers.iter_mut().for_each(|broker| broker.port = port);
                }),
                ApiKey::FindCoordinator => change(passing, frame, |answer: &mut FindCoordinatorResponse| {
                    answer.port = port;
                    answer.coordinators.iter_mut().for_each(|coordinator| coordinator.port = port);
                }),
                _ => {}
            }
            lie(key, passing, frame);
        })));
        Ok(Self { cluster, proxy })
    }

    /// One that tells the truth.
    pub(super) fn honest() -> Outcome<Self> {
        Self::start(Box::new(|_, _, _| {}))
    }

    /// Waits until a target has all of topic orders.
    pub(super) fn wait_caught_up(&self, target: &Self) -> Outcome {
        let [source, target] = [self, target].map(|side| side.cluster.bootstrap_servers());
        wait_caught_up(&source, &target, "orders", LIMIT)
    }
}

/// Decodes an answer, changes it and writes it again.
fn change<T: Decodable + Encodable + HeaderVersion>(
    passing: Passing,
    frame: &mut Vec<u8>,
    change: impl FnOnce(&mut T),
) {
    let mut bytes = Bytes::copy_from_slice(frame);
    let header_version = T::header_version(passing.version);
    let header = ResponseHeader::decode(&mut bytes, header_version).unwrap();
    let mut answer = T::decode(&mut bytes, passing.version).unwrap();
    change(&mut answer);
    let mut changed = BytesMut::new();
    header.encode(&mut changed, header_version).unwrap();
    answer.encode(&mut changed, passing.version).unwrap();
    *frame = changed.to_vec();
}

/// A mirror of topic orders from one to the other, with records in it, until it has caught up or failed.
fn run(source: &Hostile, target: &Hostile, more: &[&str]) -> Outcome<(Finished, u64)> {
    let mut kmirror = start(source, target, more)?;
    kmirror.wait(LIMIT)?;
    let peak = kmirror.usage().peak_kib / 1024;
    let finished = finish(kmirror)?;
    assert!(peak < MEMORY_MB, "{peak} MB: {finished}");
    let harmless = |text: &str| !text.chars().any(|c| kmirror::text::is_obeyed(c) && c != '\n');
    assert!(harmless(&finished.stdout) && harmless(&finished.stderr), "{finished}");
    let forged = |text: &str| text.lines().any(|line| line.starts_with("2026-01-01T00:00:00Z ERROR forged"));
    assert!(!forged(&finished.stdout) && !forged(&finished.stderr), "{finished}");
    Ok((finished, peak))
}

pub(super) fn start(source: &Hostile, target: &Hostile, more: &[&str]) -> Outcome<Kmirror> {
    Kmirror::start(arguments(source, target, more)?)
}

/// What `kmirror` is started with, when topic orders is there and has records.
pub(super) fn arguments(source: &Hostile, target: &Hostile, more: &[&str]) -> Outcome<Vec<String>> {
    source.cluster.create_topic("orders", 1, 1)?;
    fill(&source.cluster, "orders", 0, 50)?;
    target.cluster.create_topic("orders", 1, 1)?;
    // It may be there already.
    target.cluster.create_topic("kmirror.cli.internal", 1, 1).ok();
    let mut set = vec![
        format!("source.bootstrap.servers={}", source.proxy.address()),
        format!("target.bootstrap.servers={}", target.proxy.address()),
    ];
    let fixed = [
        "name=cli",
        "topics=orders",
        "sync.topic.configs=false",
        "sync.group.offsets=false",
        "source.request.timeout.ms=3000",
        "target.request.timeout.ms=3000",
        "target.retry.backoff.ms=10",
        "source.retry.backoff.ms=10",
    ];
    set.extend(fixed.map(str::to_owned));
    let set = set.into_iter().flat_map(|property| ["--set".to_owned(), property]);
    let more = more.iter().map(|more| (*more).to_owned());
    Ok(["run".to_owned()].into_iter().chain(set).chain(more).collect())
}

/// What came out of a mirror that is stopped after a moment, as JSON.
fn run_for_a_moment(source: &Hostile, target: &Hostile) -> Outcome<(Finished, serde_json::Value)> {
    let (finished, _) = run(source, target, &["--timeout", "3", "--json"])?;
    let document = finished.json()?;
    Ok((finished, document))
}

fn partition_of(document: &serde_json::Value) -> &serde_json::Value {
    &document["status"]["topics"][0]["partitions"][0]
}

#[test]
fn names_of_hosts_are_shown_and_not_obeyed() -> Outcome {
    let source = Hostile::start(Box::new(|key, passing, frame| {
        if key == ApiKey::Metadata {
            change(passing, frame, |answer: &mut MetadataResponse| {
                let leads = answer.topics.iter_mut().flat_map(|topic| &mut topic.partitions);
                leads.for_each(|partition| partition.leader_id = 66.into());
                let host = StrBytes::from_string(EVIL.repeat(300));
                answer
                    .brokers
                    .push(MetadataResponseBroker::default().with_node_id(66.into()).with_host(host).with_port(1));
            });
        }
    }))?;
    let (finished, document) = run_for_a_moment(&source, &Hostile::honest()?)?;
    assert!(finished.stderr.contains(r"evil\u{1b}[2J\u{1b}]0;owned\u{7}\u{202e}\n2026-01-01"), "{finished}");
    assert!(finished.stderr.lines().all(|line| line.len() < 6000), "{finished}");
    assert_eq!(document["outcome"], "timed_out", "{finished}");
    Ok(())
}

#[test]
fn what_a_broker_says_is_shown_and_not_obeyed() -> Outcome {
    const INVALID_RECORD: i16 = 87;
    // What is said to be refused must not be there, so it goes elsewhere.
    let elsewhere: Lie = Box::new(|key, passing, frame| {
        if key == ApiKey::Produce {
            let mut bytes = Bytes::copy_from_slice(frame);
            let header_version = ProduceRequest::header_version(passing.version);
            let header = RequestHeader::decode(&mut bytes, header_version).unwrap();
            let mut request = ProduceRequest::decode(&mut bytes, passing.version).unwrap();
            for topic in request.topic_data.iter_mut().filter(|topic| topic.name.0.as_str() == "orders") {
                topic.name = TopicName(StrBytes::from_static_str("elsewhere"));
            }
            let mut changed = BytesMut::new();
            header.encode(&mut changed, header_version).unwrap();
            request.encode(&mut changed, passing.version).unwrap();
            *frame = changed.to_vec();
        }
    });
    let refusal: Lie = Box::new(|key, passing, frame| {
        if key == ApiKey::Produce {
            change(passing, frame, |answer: &mut ProduceResponse| {
                for topic in answer.responses.iter_mut().filter(|topic| topic.name.0.as_str() == "elsewhere") {
                    topic.name = TopicName(StrBytes::from_static_str("orders"));
                    for partition in &mut topic.partition_responses {
                        partition.error_code = INVALID_RECORD;
                        partition.error_message = Some(StrBytes::from_string(EVIL.repeat(300)));
                    }
                }
            });
        }
    });
    let target = Hostile::start_with(elsewhere, refusal)?;
    let (finished, _) = run(&Hostile::honest()?, &target, &["--until-caught-up"])?;
    let finished = finished.expect(5, &[r"INVALID_RECORD", r"evil\u{1b}[2J"])?;
    assert!(finished.stdout.contains(r"evil\u{1b}[2J") && finished.stdout.len() < 6000, "{finished}");
    Ok(())
}

/// An answer to Metadata that claims to have as many topics as bytes, and has none of them.
fn claims_topics(version: i16, correlation: &[u8], length: usize) -> Vec<u8> {
    let mut answer = BytesMut::from(correlation);
    let flexible = version >= 9;
    // The tags of the header, then the throttle time.
    answer.put_bytes(0, usize::from(flexible) + if version >= 3 { 4 } else { 0 });
    match flexible {
        // No brokers and no cluster id, a controller, then the number of topics in four bytes of variable size.
        true => {
            answer.put_slice(&[1, 0, 0, 0, 0, 1]);
            let count = length as u32;
            answer.put_slice(&[
                count as u8 | 0x80,
                (count >> 7) as u8 | 0x80,
                (count >> 14) as u8 | 0x80,
                (count >> 21) as u8,
            ]);
        }
        false => {
            answer.put_i32(0);
            if version >= 2 {
                answer.put_i16(-1);
            }
            answer.put_i32(1);
            answer.put_i32(length as i32);
        }
    }
    answer.resize(length, 0);
    answer.to_vec()
}

#[test]
fn an_answer_that_claims_more_than_it_has_takes_no_memory() -> Outcome {
    let source = Hostile::start(Box::new(|key, passing, frame| {
        if key == ApiKey::Metadata {
            *frame = claims_topics(passing.version, &frame[..4], 40 << 20);
        }
    }))?;
    let (finished, _) = run(&source, &Hostile::honest()?, &[])?;
    finished.expect(3, &["sent an answer to Metadata", "that cannot be read"])?;
    Ok(())
}

#[test]
fn an_answer_that_is_longer_than_any_of_its_kind_is_not_waited_for() -> Outcome {
    let source = Hostile::start(Box::new(|key, _, frame| {
        if key == ApiKey::ApiVersions {
            frame.resize(5 << 20, 0);
        }
    }))?;
    let (finished, _) = run(&source, &Hostile::honest()?, &[])?;
    finished.expect(3, &["sends an answer of 5242880 bytes; none of its kind has more than 4194304"])?;
    Ok(())
}

#[test]
fn an_answer_to_nothing_that_was_asked_is_told_as_that() -> Outcome {
    let source = Hostile::start(Box::new(|key, _, frame| {
        if key == ApiKey::Metadata {
            frame[..4].copy_from_slice(&77_777i32.to_be_bytes());
        }
    }))?;
    let (finished, _) = run(&source, &Hostile::honest()?, &[])?;
    let finished = finished.expect(3, &["answered a request that was not made (correlation id 77777)"])?;
    assert!(finished.stderr.lines().count() < 10, "the same is said once: {finished}");
    Ok(())
}

#[test]
fn a_cluster_of_a_hundred_thousand_brokers_is_not_believed() -> Outcome {
    let source = Hostile::start(Box::new(|key, passing, frame| {
        if key == ApiKey::Metadata {
            change(passing, frame, |answer: &mut MetadataResponse| {
                let broker = MetadataResponseBroker::default().with_host(StrBytes::from_static_str("127.0.0.1"));
                answer.brokers.extend((10..100_010).map(|id: i32| broker.clone().with_node_id(id.into()).with_port(1)));
            });
        }
    }))?;
    let (finished, _) = run(&source, &Hostile::honest()?, &[])?;
    let finished = finished.expect(3, &["names 100001 brokers of the source cluster"])?;
    assert!(finished.stderr.lines().count() < 10, "{finished}");
    Ok(())
}

#[test]
fn offsets_that_are_none_are_named() -> Outcome {
    let source = Hostile::start(Box::new(|key, passing, frame| {
        if key == ApiKey::ListOffsets {
            change(passing, frame, |answer: &mut ListOffsetsResponse| {
                let partitions = answer.topics.iter_mut().flat_map(|topic| &mut topic.partitions);
                partitions.for_each(|partition| partition.offset = -5);
            });
        }
    }))?;
    let (finished, document) = run_for_a_moment(&source, &Hostile::honest()?)?;
    let said = format!("{}{}", partition_of(&document)["error"], finished.stderr);
    assert!(said.contains("an offset that no log can have"), "{finished}");
    Ok(())
}

#[test]
fn an_answer_to_produce_that_leaves_a_partition_out_is_told() -> Outcome {
    let target = Hostile::start(Box::new(|key, passing, frame| {
        if key == ApiKey::Produce {
            change(passing, frame, |answer: &mut ProduceResponse| {
                answer.responses.retain(|topic| topic.name.0.as_str() != "orders");
            });
        }
    }))?;
    let (finished, document) = run_for_a_moment(&Hostile::honest()?, &target)?;
    let said = format!("{}{}", partition_of(&document)["error"], finished.stderr);
    assert!(said.contains("its answer does not name the partition"), "{finished}");
    Ok(())
}

/// How often fetches were answered in three seconds, each with what `spoil` makes of it.
fn fetches_answered(spoil: fn(&mut FetchResponse)) -> Outcome<(Finished, usize)> {
    let count = Arc::new(AtomicUsize::new(0));
    let counted = count.clone();
    let source = Hostile::start(Box::new(move |key, passing, frame| {
        if key == ApiKey::Fetch {
            counted.fetch_add(1, Ordering::Relaxed);
            change(passing, frame, spoil);
        }
    }))?;
    let (finished, _) = run_for_a_moment(&source, &Hostile::honest()?)?;
    Ok((finished, count.load(Ordering::Relaxed)))
}

#[test]
fn a_broker_that_answers_at_once_with_nothing_is_not_asked_as_fast_as_it_answers() -> Outcome {
    let (finished, empty) = fetches_answered(|answer| {
        let partitions = answer.responses.iter_mut().flat_map(|topic| &mut topic.partitions);
        partitions.for_each(|partition| partition.records = None);
    })?;
    assert!(empty < 300, "{empty} fetches: {finished}");
    let (finished, refused) = fetches_answered(|answer| {
        answer.error_code = 70;
        answer.responses.clear();
    })?;
    assert!(refused < 300, "{refused} fetches: {finished}");
    assert!(finished.stderr.contains("FETCH_SESSION_ID_NOT_FOUND"), "{finished}");
    Ok(())
}

/// Puts one batch of these records in place of what a Fetch answers for a topic.
fn records_of(answer: &mut FetchResponse, topic: &str, batch: &Bytes) {
    // With topic ids there is no name; only the topic of the test is read so.
    let is_it = |name: &str| name == topic || (name.is_empty() && topic == "orders");
    for found in answer.responses.iter_mut().filter(|found| is_it(found.topic.0.as_str())) {
        for partition in found.partitions.iter_mut().filter(|partition| partition.error_code == 0) {
            if partition.records.as_ref().is_some_and(|records| !records.is_empty()) {
                partition.records = Some(batch.clone());
            }
        }
    }
}

/// A batch with a right checksum.
fn batch(attributes: i16, records: i32, last_offset_delta: i32, payload: &[u8]) -> Bytes {
    let mut batch = BytesMut::new();
    batch.put_i64(0);
    batch.put_i32(49 + payload.len() as i32);
    batch.put_i32(0);
    batch.put_i8(2);
    batch.put_u32(0);
    batch.put_i16(attributes);
    batch.put_i32(last_offset_delta);
    batch.put_i64(1_700_000_000_000);
    batch.put_i64(1_700_000_000_000);
    batch.put_i64(-1);
    batch.put_i16(-1);
    batch.put_i32(-1);
    batch.put_i32(records);
    batch.put_slice(payload);
    let mut batch = batch.to_vec();
    seal(&mut batch);
    batch.into()
}

#[test]
fn counts_in_the_internal_topic_end_no_process() -> Outcome {
    // A record without key and value that claims to have 2^31 - 1 headers.
    let headers: &[u8] = &[0x14, 0, 0, 0, 1, 1, 0xfe, 0xff, 0xff, 0xff, 0x0f];
    for lie in [batch(0, i32::MAX, i32::MAX - 1, &[]), batch(0, 1, 0, headers)] {
        let target = Hostile::start(Box::new(move |key, passing, frame| {
            if key == ApiKey::Fetch {
                change(passing, frame, |answer| records_of(answer, "kmirror.cli.internal", &lie));
            }
        }))?;
        let (finished, _) = run(&Hostile::honest()?, &target, &[])?;
        finished.expect(5, &["'kmirror.cli.internal'", "cannot be read", "is no record batch"])?;
    }
    Ok(())
}

/// Whoever may write to the internal topic may number a start so that there is no next number.
#[test]
fn a_start_behind_which_there_is_no_number_is_no_endless_loop() -> Outcome {
    let target = Hostile::honest()?;
    target.cluster.create_topic("kmirror.cli.internal", 1, 1)?;
    let value = Some(br#"{"started_at_ms":1,"nonce":1}"#.to_vec());
    let start = Record { key: Some(b"start/2147483647".to_vec()), value, headers: Vec::new(), timestamp: 1 };
    produce(&target.cluster.bootstrap_servers(), "kmirror.cli.internal", 0, [start], &Writing::default())?;
    let (finished, _) = run(&Hostile::honest()?, &target, &[])?;
    finished.expect(5, &["was started 2147483647 times", "start/2147483647"])?;
    Ok(())
}

#[test]
fn a_batch_that_becomes_large_is_copied_in_little_memory() -> Outcome {
    const RECORDS: i32 = 50;
    const LOG_APPEND_TIME_AND_GZIP: i16 = 0x08 | 0x01;
    let mut zipped = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    for offset in 0..RECORDS {
        // Its length as a number of variable size, then attributes, time, offset, no key, a megabyte of value, no headers.
        let inside = 1 + 1 + 1 + 1 + 4 + (1 << 20) + 1;
        varint(&mut zipped, inside)?;
        zipped.write_all(&[0, 0, offset as u8 * 2, 1])?;
        varint(&mut zipped, 1 << 20)?;
        zipped.write_all(&vec![b'x'; 1 << 20])?;
        zipped.write_all(&[0])?;
    }
    let bomb = batch(LOG_APPEND_TIME_AND_GZIP, RECORDS, RECORDS - 1, &zipped.finish()?);
    assert!(bomb.len() < 1 << 20);
    let source = Hostile::start(Box::new(move |key, passing, frame| {
        if key == ApiKey::Fetch {
            change(passing, frame, |answer| records_of(answer, "orders", &bomb));
        }
    }))?;
    let target = Hostile::honest()?;
    let (finished, peak) = run(&source, &target, &["--until-caught-up"])?;
    finished.expect(0, &[])?;
    println!("a batch of 50 MB took {peak} MB");
    Ok(())
}

/// A number of variable size, as records have it.
fn varint(to: &mut impl std::io::Write, value: u32) -> Outcome {
    let mut value = value << 1;
    while value > 0x7f {
        to.write_all(&[value as u8 | 0x80])?;
        value >>= 7;
    }
    to.write_all(&[value as u8])?;
    Ok(())
}
