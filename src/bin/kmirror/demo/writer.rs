//! The writer of the demo: a producer that goes on at a steady rate whatever happens to the mirror.
//! It counts what the cluster acknowledged; one refused record ends the demo, as it would no longer prove anything.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rdkafka::ClientConfig;
use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, DeliveryResult, Producer as _, ProducerContext};

use super::{Outcome, broken};

const RECORDS_PER_SECOND: u64 = 20_000;
/// Compressed these stay well below the 5 MB that an embedded cluster keeps of a partition.
const MOST_RECORDS: u64 = 400_000;
const FLUSH_LIMIT: Duration = Duration::from_secs(30);

pub(super) struct Writer {
    shared: Arc<Shared>,
    thread: JoinHandle<Result<(), KafkaError>>,
}

#[derive(Default)]
struct Shared {
    stop: AtomicBool,
    acknowledged: AtomicU64,
    refused: AtomicU64,
}

impl Writer {
    pub(super) fn start(bootstrap: &str) -> Outcome<Self> {
        let shared = Arc::new(Shared::default());
        let lz4 = producer(bootstrap, "lz4", &shared)?;
        let zstd = producer(bootstrap, "zstd", &shared)?;
        let write = {
            let shared = shared.clone();
            move || write(&lz4, &zstd, &shared)
        };
        let thread = std::thread::Builder::new().name("kmirror-writer".to_owned()).spawn(write);
        let thread = thread.map_err(|error| broken("no thread can be started", error))?;
        Ok(Writer { shared, thread })
    }

    /// Records the source has acknowledged.
    pub(super) fn written(&self) -> u64 {
        self.shared.acknowledged.load(Ordering::Relaxed)
    }

    /// An error if it does not write any more.
    pub(super) fn check(&self) -> Outcome {
        match self.shared.refused.load(Ordering::Relaxed) {
            0 if !self.thread.is_finished() => Ok(()),
            0 => Err(broken("the writer ended", "it has written all the embedded clusters have room for")),
            refused => Err(broken("the source refused records of the writer", refused)),
        }
    }

    /// Writes nothing more, and returns how much was written when all of it is acknowledged.
    pub(super) fn stop(self) -> Outcome<u64> {
        self.shared.stop.store(true, Ordering::Relaxed);
        let ended = self.thread.join().map_err(|_| broken("the writer ended", "panic"))?;
        ended.map_err(|error| broken("the writer ended", error))?;
        match self.shared.refused.load(Ordering::Relaxed) {
            0 => Ok(self.shared.acknowledged.load(Ordering::Relaxed)),
            refused => Err(broken("the source refused records of the writer", refused)),
        }
    }
}

fn producer(bootstrap: &str, codec: &str, shared: &Arc<Shared>) -> Outcome<BaseProducer<Receipts>> {
    ClientConfig::new()
        .set("bootstrap.servers", bootstrap)
        .set("enable.idempotence", "true")
        .set("compression.type", codec)
        .set("linger.ms", "5")
        .create_with_context(Receipts(shared.clone()))
        .map_err(|error: KafkaError| broken("no writer can be started", error))
}

fn write(lz4: &BaseProducer<Receipts>, zstd: &BaseProducer<Receipts>, shared: &Shared) -> Result<(), KafkaError> {
    const TICK: Duration = Duration::from_millis(3);
    let started = Instant::now();
    let mut number = 0;
    while !shared.stop.load(Ordering::Relaxed) && number < MOST_RECORDS {
        let due = started.elapsed().as_micros() as u64 * RECORDS_PER_SECOND / 1_000_000;
        while number < due.min(MOST_RECORDS) {
            let (topic, producer) = match number % 10 {
                0..5 => ("clicks", lz4),
                5..8 => ("orders", zstd),
                _ => ("payments", lz4),
            };
            send(producer, topic, number)?;
            number += 1;
        }
        lz4.poll(Duration::ZERO);
        zstd.poll(Duration::ZERO);
        // Not in the polls: one that waits spins in its last millisecond.
        std::thread::sleep(TICK);
    }
    lz4.flush(FLUSH_LIMIT)?;
    zstd.flush(FLUSH_LIMIT)
}

fn send(producer: &BaseProducer<Receipts>, topic: &str, number: u64) -> Result<(), KafkaError> {
    // Digits that do not repeat soon, so that compression has something to do but not all.
    let noise = number.wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(29);
    let (customer, amount) = (noise % 5_000, noise % 100_000);
    let key = format!("customer-{customer}");
    let value = format!(
        r#"{{"number":{number},"topic":"{topic}","customer":{customer},"amount":{amount},"reference":"{noise:016x}"}}"#
    );
    let trace = noise.to_be_bytes();
    let mut headers = OwnedHeaders::new().insert(Header { key: "trace", value: Some(&trace[..]) });
    if number.is_multiple_of(3) {
        // The same name twice, and one without a value: a copy that takes records apart easily loses these.
        headers = headers.insert(Header { key: "trace", value: Some("again") });
        headers = headers.insert(Header::<&str> { key: "audit", value: None });
    }
    let mut record = BaseRecord::to(topic).payload(&value).headers(headers);
    if !number.is_multiple_of(7) {
        record = record.key(&key);
    }
    loop {
        match producer.send(record) {
            Ok(()) => return Ok(()),
            Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), back)) => {
                record = back;
                producer.poll(Duration::from_millis(10));
            }
            Err((error, _)) => return Err(error),
        }
    }
}

/// Counts what the source acknowledges.
struct Receipts(Arc<Shared>);

impl ClientContext for Receipts {
    fn log(&self, _: RDKafkaLogLevel, _: &str, _: &str) {}
    fn error(&self, _: KafkaError, _: &str) {}
}

impl ProducerContext for Receipts {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        let count = if result.is_ok() { &self.0.acknowledged } else { &self.0.refused };
        count.fetch_add(1, Ordering::Relaxed);
    }
}
