//! What all contenders share: two clusters of one broker, topics, and the data to copy.
//!
//! One pair of clusters serves the whole run: warm brokers for everybody, and a target topic that is deleted and created
//! anew before each run, so that nobody finds the other's data. A run that is thrown away comes first, because
//! a JVM's first gigabyte is slower than its second; CPU time of the brokers is not measured at all.

use std::fs;
use std::time::Duration;

use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use kafka_protocol::messages::{BrokerId, ListOffsetsRequest};
use rdkafka::ClientConfig;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer, ProducerContext};

use crate::options::{Options, Part};
use crate::support::cluster::{self, Cluster, Pair};
use crate::support::raw::{Connection, check, topic_name};
use crate::support::{Failure, Outcome, fail, wait_for};

/// The size of a record: key and value.
pub(crate) const RECORD_BYTES: usize = 825;
/// What producers gather, as `batch.size` of librdkafka and of Java.
pub(crate) const BATCH_BYTES: usize = 128 << 10;
pub(crate) const LOAD_PARTITIONS: i32 = 8;
pub(crate) const LOAD_CODEC: &str = "lz4";
/// A hang limit for whatever takes a few seconds.
pub(crate) const LIMIT: Duration = Duration::from_secs(120);

/// The two clusters.
pub(crate) struct Stage {
    pub(crate) pair: Pair,
}

impl Stage {
    pub(crate) fn build(options: &Options) -> Outcome<Self> {
        let source = broker_options(options);
        let pair = Pair::start(source.clone(), source)?;
        Ok(Self { pair })
    }

    /// The processes of the brokers.
    pub(crate) fn brokers(&self) -> Vec<u32> {
        [&self.pair.source, &self.pair.target].into_iter().filter_map(|cluster| cluster.pid(1)).collect()
    }
}

/// Brokers as people run them: a heap that is large enough, and all of the JVM's compilers.
fn broker_options(options: &Options) -> cluster::Options {
    let mut broker = cluster::Options::default();
    if !options.quick {
        broker = broker.heap("-Xmx1g");
        broker.jvm.extend(["-XX:TieredStopAtLevel=4", "-XX:-UseSerialGC", "-XX:+UseParallelGC"].map(String::from));
    }
    if options.has(Part::Partitions) {
        // The files of thousands of indexes, each as large as its limit until the segment is closed.
        broker = broker.property("log.index.size.max.bytes", "1048576");
    }
    broker
}

/// Deletes a topic if it is there, waits until its data is gone, and creates it empty.
pub(crate) fn fresh_topic(cluster: &Cluster, topic: &str, partitions: i32) -> Outcome {
    remove_topic(cluster, topic)?;
    cluster.create_topic(topic, partitions, &[])
}

pub(crate) fn remove_topic(cluster: &Cluster, topic: &str) -> Outcome {
    if !cluster.client().topics()?.iter().any(|name| name == topic) {
        return Ok(());
    }
    cluster.client().delete_topic(topic)?;
    // Renamed at once, removed a second later; the next contender shall not wait for that disk.
    wait_for(&format!("the data of {topic} is gone"), LIMIT, || {
        let mut left = false;
        for entry in fs::read_dir(cluster.data_directory(1))? {
            left |= entry?.file_name().to_string_lossy().starts_with(&format!("{topic}-"));
        }
        let known = cluster.client().topics()?.iter().any(|name| name == topic);
        Ok((!known && !left).then_some(()))
    })
}

/// Deletes a topic if it is there and creates it empty, without waiting for its data to go.
pub(crate) fn recreate_topic(cluster: &Cluster, topic: &str, partitions: i32) -> Outcome {
    let known = || -> Outcome<bool> { Ok(cluster.client().topics()?.iter().any(|name| name == topic)) };
    if known()? {
        cluster.client().delete_topic(topic)?;
        wait_for(&format!("{topic} is gone"), LIMIT, || Ok((!known()?).then_some(())))?;
    }
    cluster.create_topic(topic, partitions, &[])
}

/// Bytes of a topic's log as it lies on the broker's disk: compressed, headers of batches included.
pub(crate) fn log_bytes(cluster: &Cluster, topic: &str) -> Outcome<u64> {
    let mut bytes = 0;
    for entry in fs::read_dir(cluster.data_directory(1))? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let is_partition = name.strip_prefix(topic).and_then(|rest| rest.strip_prefix('-'));
        if is_partition.is_none_or(|rest| rest.parse::<u32>().is_err()) {
            continue;
        }
        for file in fs::read_dir(entry.path())? {
            let file = file?;
            if file.path().extension().is_some_and(|extension| extension == "log") {
                bytes += file.metadata()?.len();
            }
        }
    }
    Ok(bytes)
}

/// Asks a broker for the ends of many partitions at once, over one connection.
pub(crate) struct Ends(Connection);

impl Ends {
    pub(crate) fn of(cluster: &Cluster) -> Outcome<Self> {
        Ok(Self(cluster.client().any()?))
    }

    /// The sum of the end offsets of a topic, which is its number of records as nothing is ever removed here. A
    /// partition the broker does not know yet, or does not lead yet, has none.
    pub(crate) fn records(&mut self, topic: &str, partitions: i32) -> Outcome<u64> {
        let wanted = |index| {
            ListOffsetsPartition::default().with_partition_index(index).with_current_leader_epoch(-1).with_timestamp(-1)
        };
        let topic = ListOffsetsTopic::default()
            .with_name(topic_name(topic))
            .with_partitions((0..partitions).map(wanted).collect());
        let request = ListOffsetsRequest::default().with_replica_id(BrokerId(-1)).with_topics(vec![topic]);
        let answer = self.0.send(7, &request)?;
        let mut records = 0;
        for partition in answer.topics.iter().flat_map(|topic| &topic.partitions) {
            const UNKNOWN_TOPIC_OR_PARTITION: i16 = 3;
            const NOT_LEADER_OR_FOLLOWER: i16 = 6;
            if ![UNKNOWN_TOPIC_OR_PARTITION, NOT_LEADER_OR_FOLLOWER].contains(&partition.error_code) {
                check(partition.error_code, "cannot list offsets")?;
                records += u64::try_from(partition.offset)?;
            }
        }
        Ok(records)
    }
}

/// Writes the load: JSON of which lz4 saves about a third, in batches as large as the producer makes them.
pub(crate) fn write_load(cluster: &Cluster, topic: &str, records: u64) -> Outcome {
    let mut config = load_config(cluster, LOAD_CODEC);
    config.set("batch.size", BATCH_BYTES.to_string());
    write_with(config.create()?, cluster, topic, records)
}

/// Writes the same records in batches of so many.
pub(crate) fn write_batches(cluster: &Cluster, topic: &str, records: u64, batch: u32, codec: &str) -> Outcome {
    let mut config = load_config(cluster, codec);
    config.set("batch.size", "1000000").set("batch.num.messages", batch.to_string());
    write_with(config.create()?, cluster, topic, records)
}

fn load_config(cluster: &Cluster, codec: &str) -> ClientConfig {
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", cluster.bootstrap())
        .set("acks", "all")
        .set("enable.idempotence", "true")
        .set("compression.type", codec)
        .set("linger.ms", "200")
        .set("queue.buffering.max.messages", "200000");
    config
}

fn write_with(producer: BaseProducer, cluster: &Cluster, topic: &str, records: u64) -> Outcome {
    let mut payload = Payload::new();
    for number in 0..records {
        let key = format!("order-{number:012}");
        let partition = i32::try_from(number % LOAD_PARTITIONS.unsigned_abs() as u64)?;
        let timestamp = 1_700_000_000_000 + i64::try_from(number / 100)?;
        let value = payload.next(number, RECORD_BYTES - key.len());
        let record = BaseRecord::to(topic).partition(partition).key(key.as_bytes()).payload(value).timestamp(timestamp);
        send(&producer, record)?;
        if number % 256 == 0 {
            producer.poll(Duration::ZERO);
        }
    }
    producer.flush(LIMIT)?;
    match Ends::of(cluster)?.records(topic, LOAD_PARTITIONS)? {
        written if written == records => Ok(()),
        written => fail(format!("{written} of {records} records of the load were written")),
    }
}

/// Waits while the producer's queue is full.
pub(crate) fn send<C: ProducerContext<DeliveryOpaque = ()>>(
    producer: &BaseProducer<C>,
    mut record: BaseRecord<'_, [u8], [u8]>,
) -> Outcome {
    loop {
        match producer.send(record) {
            Ok(()) => return Ok(()),
            Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), back)) => {
                record = back;
                producer.poll(Duration::from_millis(5));
            }
            Err((error, _)) => return Err(Failure::from(error)),
        }
    }
}

/// JSON with the parts in it that differ from record to record, as tokens that do not compress.
struct Payload {
    random: fastrand::Rng,
    text: Vec<u8>,
}

impl Payload {
    /// Of a record of 825 bytes, lz4 leaves about 520.
    const TOKENS: [(&'static str, usize); 6] =
        [("customer", 70), ("session", 80), ("signature", 86), ("basket", 84), ("device", 86), ("trace", 64)];

    fn new() -> Self {
        Self { random: fastrand::Rng::with_seed(825), text: Vec::new() }
    }

    fn next(&mut self, number: u64, length: usize) -> &[u8] {
        const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
        self.text.clear();
        let head = format!(r#"{{"type":"order.created","version":3,"number":{number},"currency":"EUR""#);
        self.text.extend_from_slice(head.as_bytes());
        for (name, letters) in Self::TOKENS {
            self.text.extend_from_slice(format!(r#","{name}":""#).as_bytes());
            let mut bits = 0;
            for letter in 0..letters {
                if letter % 10 == 0 {
                    bits = self.random.u64(..);
                }
                self.text.push(ALPHABET[(bits & 63) as usize]);
                bits >>= 6;
            }
            self.text.push(b'"');
        }
        self.text.extend_from_slice(br#","note":""#);
        let sentence = b"to be delivered to the neighbour when nobody answers the bell; ".iter().cycle();
        let left = length.saturating_sub(self.text.len() + 2);
        self.text.extend(sentence.take(left));
        self.text.extend_from_slice(br#""}"#);
        &self.text
    }
}
