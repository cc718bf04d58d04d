//! The brokers of a simulation answer as real ones do, in what the engine looks at: the same requests go to both.
//!
//! `KMIRROR_CONTRACT_BROKER=host:port cargo test --lib simulation::contract -- --ignored` asks the only broker of a real
//! cluster, and leaves a topic there. The tests on real brokers run it (`tests/it/kafka/contract.rs`).

use std::rc::Rc;

use bytes::Bytes;
use tokio::task::LocalSet;

use super::network::OfProcess;
use super::world::{SOURCE, World};
use crate::batch::compression::Codec;
use crate::batch::samples::{self, Told};
use crate::batch::{HEADER_LEN, Header};
use crate::clock::simulated::Time;
use crate::config::{ClientConfig, Properties};
use crate::terms::topic::{NewTopic, TopicPartition};
use crate::waiting::block_on;
use crate::wire::admin::create_topics;
use crate::wire::cluster::Cluster;
use crate::wire::connection::Connection;
use crate::wire::dialer::memory;
use crate::wire::markers::{self, Markers};
use crate::wire::positions::{self, Which};
use crate::wire::produce::{self, Part, TopicParts};

const PRODUCER: i64 = 0x1234_5678;

fn config(bootstrap: &str) -> ClientConfig {
    let mut properties = Properties::new();
    properties.set("topics", "t");
    properties.set("source.bootstrap.servers", bootstrap);
    properties.set("target.bootstrap.servers", "nowhere:1");
    properties.build().unwrap().0.source
}

/// A batch of so many records, with a sequence number of an epoch of the producer.
fn batch(count: i64, epoch: i16, base_sequence: i32) -> Vec<u8> {
    let record = |offset: i64| Told {
        offset,
        timestamp: 1_700_000_000_000 + offset,
        key: Some(b"key".to_vec()),
        value: Some(b"value".to_vec()),
        headers: Vec::new(),
    };
    let records: Vec<Told> = (0..count).map(record).collect();
    let (producer_id, partition_leader_epoch) = (PRODUCER, -1);
    let header = Header {
        base_offset: 0,
        producer_id,
        producer_epoch: epoch,
        base_sequence,
        partition_leader_epoch,
        ..samples::header()
    };
    samples::batch_of(&records, header, Codec::None, count - 1)
}

/// One broker, and a topic of one partition that it leads.
struct Asked {
    connection: Rc<Connection>,
    partition: TopicPartition,
    id: u128,
    seen: Vec<String>,
}

impl Asked {
    async fn produce(&mut self, what: &str, batch: Vec<u8>) {
        let mut header = [0; HEADER_LEN];
        header.copy_from_slice(&batch[..HEADER_LEN]);
        let part = Part { partition: 0, header, payload: Bytes::from(batch[HEADER_LEN..].to_vec()) };
        let topics = [TopicParts { name: self.partition.0.clone(), id: self.id, parts: vec![part] }];
        let sent = produce::send(&self.connection, &topics, std::time::Duration::from_secs(10)).await.unwrap();
        let response = sent.wait(&self.connection).await.unwrap();
        let answer = &response.responses[0].partition_responses[0];
        self.seen.push(format!("{what}: error {}, offset {}", answer.error_code, answer.base_offset));
    }

    async fn ends(&mut self) {
        let mut ends = Vec::new();
        for which in [
            Which::LogStart,
            Which::LogEnd,
            Which::HighWatermark,
            Which::LastStable,
            Which::Timestamp(1_700_000_000_001),
        ] {
            let partitions = [self.partition.clone(), (self.partition.0.clone(), 7), (Rc::from("is.not.there"), 0)];
            let mut answers = positions::list_offsets(&self.connection, &partitions, which).await.unwrap();
            let codes = partitions.map(|partition| answers.remove(&partition).unwrap().map_err(|error| error.code));
            ends.push(format!("{which:?} {codes:?}"));
        }
        self.seen.push(ends.join(", "));
    }

    async fn state(&mut self) {
        let partition = self.partition.clone();
        let producers =
            positions::producers(&self.connection, std::slice::from_ref(&partition), |_| true).await.unwrap().unwrap();
        let mut producers = producers[&partition].clone().unwrap();
        producers.sort_by_key(|producer| producer.producer_id);
        self.seen.push(format!("{producers:?}"));
        for epoch in [0, 5] {
            let ends = positions::epoch_ends(&self.connection, &[(partition.clone(), epoch)]).await.unwrap().unwrap();
            self.seen.push(format!("epoch {epoch} ends at {:?}", ends[&partition].map_err(|error| error.code)));
        }
    }

    async fn headers(&mut self, offsets: std::ops::Range<i64>) {
        for offset in offsets {
            let partition = self.partition.clone();
            let mut headers = positions::batch_headers(&self.connection, &[(partition.clone(), offset)]).await.unwrap();
            let header = headers.remove(&partition).unwrap().map(|seen| {
                seen.header().map(|it| Header { crc: 0, base_timestamp: 0, max_timestamp: 0, length: 0, ..it })
            });
            self.seen.push(format!("at {offset}: {:?}", header.map_err(|error| error.code)));
        }
    }

    async fn write_markers(&mut self, from: i64, count: i32, fence: i32) {
        let partition = self.partition.clone();
        let order = Markers { partition: partition.clone(), from, count, fence };
        let ends = markers::write(&self.connection, &[order]).await.unwrap();
        let end = ends[&partition].map_err(|error| error.code);
        self.seen.push(format!("{count} markers of {fence} from {from} on: {end:?}"));
    }
}

/// What a cluster of one broker says to everything that a mirror asks.
async fn ask(bootstrap: &str) -> Vec<String> {
    let cluster = Cluster::new("target", config(bootstrap));
    let name = format!("contract-{}", std::process::id());
    let new = NewTopic { name: name.clone(), partitions: 1, replication_factor: 1, configs: [].into() };
    let none: [String; 0] = [];
    let controller = cluster.metadata(Some(&none), false).await.unwrap().controller_id;
    create_topics(&cluster, controller, &[new]).await.unwrap();
    let topic = loop {
        let metadata = cluster.metadata(Some(std::slice::from_ref(&name)), false).await.unwrap();
        let topic = metadata.topics[&name].clone();
        if topic.leaders.first().is_some_and(|leader| *leader >= 0) {
            break topic;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    };
    let connection = cluster.dial(topic.leaders[0]).await.unwrap();
    let mut asked = Asked { connection, partition: (Rc::from(&*name), 0), id: topic.id, seen: Vec::new() };
    asked.ends().await;
    asked.produce("the first may have any number", batch(3, 0, 10)).await;
    asked.produce("the same once more", batch(3, 0, 10)).await;
    asked.produce("one that is not next", batch(1, 0, 14)).await;
    asked.produce("with the wrong end", batch(2, 0, 10)).await;
    for number in 13..18 {
        asked.produce("the next", batch(1, 0, number)).await;
    }
    asked.produce("the fifth from the end", batch(1, 0, 13)).await;
    asked.produce("the sixth from the end", batch(3, 0, 10)).await;
    let mut damaged = batch(1, 0, 18);
    *damaged.last_mut().unwrap() ^= 1;
    asked.produce("damaged", damaged).await;
    asked.produce("a new epoch begins at 0", batch(1, 1, 18)).await;
    asked.produce("a new epoch", batch(1, 1, 0)).await;
    asked.produce("the old epoch", batch(1, 0, 18)).await;
    asked.state().await;
    asked.write_markers(9, 2, 512).await;
    asked.write_markers(11, 1, 256).await;
    asked.write_markers(11, 1, 512).await;
    asked.write_markers(10, 1, 512).await;
    asked.state().await;
    asked.ends().await;
    asked.headers(0..12).await;
    asked.seen
}

#[test]
#[ignore = "asks a real broker: kafka::contract starts one and runs it"]
fn brokers_of_a_simulation_answer_as_real_ones_do() {
    let real = std::env::var("KMIRROR_CONTRACT_BROKER").expect("the address of a broker");
    let real = block_on(async move { ask(&real).await }).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    let simulated = runtime.block_on(async {
        let _time = Time::begin();
        let (world, accepting) = World::new(0, false, [1, 1]);
        let before = memory::use_network(Some(Rc::new(OfProcess { world: world.clone(), process: 0 })));
        let bootstrap = world.clusters[SOURCE].bootstrap();
        let answers = world.run(accepting, LocalSet::new().run_until(ask(&bootstrap))).await;
        memory::use_network(before);
        answers
    });
    for (real, simulated) in real.iter().zip(&simulated) {
        assert_eq!(real, simulated, "a real broker's answer, and a simulated one's");
    }
    assert_eq!(real.len(), simulated.len());
    println!("{} answers are the same", real.len());
}
