//! Makes records from a seed and writes them with librdkafka, a client that shares no code with the engine.
//!
//! The same seed gives the same records. They cover what a copy can lose: absent keys and values, empty ones, headers
//! with duplicate names in a given order and with absent values, timestamps that do not increase.
//! [`produce`] writes a batch of them; [`Load`] keeps writing in the background and tells what was acknowledged.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rdkafka::ClientConfig;
use rdkafka::client::ClientContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Header, Message, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, DeliveryResult, Producer, ProducerContext};

use super::ledger::Fingerprint;
use super::{Failure, Outcome, fail, wait_for};

/// One record before it is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Record {
    pub(crate) key: Option<Vec<u8>>,
    pub(crate) value: Option<Vec<u8>>,
    pub(crate) headers: Vec<(String, Option<Vec<u8>>)>,
    /// Milliseconds since 1970.
    pub(crate) timestamp: i64,
}

impl Record {
    /// What the ledger will find for this record in a topic with CreateTime timestamps.
    pub(crate) fn fingerprint(&self) -> Fingerprint {
        let headers = self.headers.iter().map(|(name, value)| (name.as_str(), value.as_deref()));
        Fingerprint::new(
            self.key.as_deref(),
            self.value.as_deref(),
            headers,
            rdkafka::Timestamp::CreateTime(self.timestamp),
        )
    }
}

/// An endless, seeded source of records.
pub(crate) struct Generator {
    random: fastrand::Rng,
    value_size: std::ops::Range<usize>,
    clock: i64,
    /// Of the next record, where records are numbered.
    number: Option<u64>,
}

impl Generator {
    /// Values of up to 200 bytes; see [`Generator::value_size`].
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            random: fastrand::Rng::with_seed(seed),
            value_size: 0..200,
            // A fixed day in the past: newer brokers refuse records from the future.
            clock: 1_700_000_000_000,
            number: None,
        }
    }

    /// Gives every record a header that no other record of this generator has.
    pub(crate) fn numbered(mut self) -> Self {
        self.number = Some(0);
        self
    }

    pub(crate) fn value_size(mut self, sizes: std::ops::Range<usize>) -> Self {
        self.value_size = sizes;
        self
    }

    fn bytes(&mut self, length: usize) -> Vec<u8> {
        // Few different letters, so that compression has something to do.
        std::iter::repeat_with(|| self.random.u8(b'a'..=b'h')).take(length).collect()
    }

    fn headers(&mut self) -> Vec<(String, Option<Vec<u8>>)> {
        if self.random.bool() {
            return Vec::new();
        }
        (0..self.random.usize(1..5))
            .map(|_| {
                let name = ["trace", "trace", "tenant", "ünïcode", ""][self.random.usize(..5)];
                let value = match self.random.u8(..4) {
                    0 => None,
                    length => Some(self.bytes(usize::from(length - 1) * 8)),
                };
                (name.to_owned(), value)
            })
            .collect()
    }
}

impl Iterator for Generator {
    type Item = Record;

    fn next(&mut self) -> Option<Record> {
        let key = match self.random.u8(..10) {
            0 => None,
            1 => Some(Vec::new()),
            _ => Some(format!("key-{}", self.random.u16(..1000)).into_bytes()),
        };
        let value = match self.random.u8(..10) {
            0 => None,
            _ => {
                let length = self.random.usize(self.value_size.clone());
                Some(self.bytes(length))
            }
        };
        self.clock += self.random.i64(-50..100);
        let mut headers = self.headers();
        if let Some(number) = &mut self.number {
            headers.push(("number".to_owned(), Some(number.to_be_bytes().to_vec())));
            *number += 1;
        }
        Some(Record { key, value, headers, timestamp: self.clock })
    }
}

/// How to write. The default is an idempotent producer without compression.
#[derive(Clone, Debug)]
pub(crate) struct Writing {
    /// `none`, `gzip`, `snappy`, `lz4` or `zstd`.
    pub(crate) codec: &'static str,
    pub(crate) idempotent: bool,
    pub(crate) batch_bytes: usize,
    pub(crate) batch_records: usize,
    pub(crate) linger_ms: u32,
    /// Whether a [`Load`] gives its records the time at which they are written, instead of one in the past.
    pub(crate) live: bool,
}

impl Default for Writing {
    fn default() -> Self {
        Self {
            codec: "none",
            idempotent: true,
            batch_bytes: 1_000_000,
            batch_records: 10_000,
            linger_ms: 5,
            live: false,
        }
    }
}

impl Writing {
    pub(crate) fn codec(codec: &'static str) -> Self {
        Self { codec, ..Self::default() }
    }

    /// For librdkafka, to be changed where that is not enough.
    pub(crate) fn config(&self, bootstrap: &str) -> ClientConfig {
        let mut config = ClientConfig::new();
        config
            .set("bootstrap.servers", bootstrap)
            .set("acks", "all")
            .set("enable.idempotence", self.idempotent.to_string())
            .set("compression.type", self.codec)
            .set("batch.size", self.batch_bytes.to_string())
            .set("batch.num.messages", self.batch_records.to_string())
            .set("linger.ms", self.linger_ms.to_string())
            .set("queue.buffering.max.messages", "200000")
            // Brokers die and come back in these tests; the writer must sit that out and find them again soon.
            .set("message.timeout.ms", "120000")
            .set("reconnect.backoff.ms", "50")
            .set("reconnect.backoff.max.ms", "500")
            .set("topic.metadata.refresh.fast.interval.ms", "100");
        config
    }
}

/// An acknowledged record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Acknowledged {
    pub(crate) partition: i32,
    pub(crate) offset: i64,
    pub(crate) hash: u64,
}

/// Writes records to one partition and returns their offsets in the order given; an error when any was refused.
pub(crate) fn produce(
    bootstrap: &str,
    topic: &str,
    partition: i32,
    records: impl IntoIterator<Item = Record>,
    writing: &Writing,
) -> Outcome<Vec<i64>> {
    let writer = Writer::open(bootstrap, writing)?;
    for record in records {
        writer.send(topic, partition, &record)?;
    }
    let written = writer.finish()?;
    Ok(written.into_iter().map(|acknowledged| acknowledged.offset).collect())
}

/// A librdkafka producer that remembers what was acknowledged.
pub(crate) struct Writer {
    producer: BaseProducer<Receipts>,
}

impl Writer {
    pub(crate) fn open(bootstrap: &str, writing: &Writing) -> Outcome<Self> {
        Self::from_config(&writing.config(bootstrap))
    }

    /// For what [`Writing`] does not name, such as a transactional id.
    pub(crate) fn from_config(config: &ClientConfig) -> Outcome<Self> {
        let producer = config.create_with_context(Receipts::default())?;
        Ok(Self { producer })
    }

    /// The producer itself, to begin and end transactions.
    pub(crate) fn producer(&self) -> &BaseProducer<Receipts> {
        &self.producer
    }

    /// Hands one record over; waits while librdkafka's queue is full.
    pub(crate) fn send(&self, topic: &str, partition: i32, record: &Record) -> Outcome {
        self.check_refused()?;
        let mut headers = OwnedHeaders::new_with_capacity(record.headers.len());
        for (key, value) in &record.headers {
            headers = headers.insert(Header { key, value: value.as_ref() });
        }
        let hash = Box::new(record.fingerprint().hash);
        let mut message = BaseRecord::with_opaque_to(topic, hash).partition(partition).timestamp(record.timestamp);
        message.key = record.key.as_deref();
        message.payload = record.value.as_deref();
        if !record.headers.is_empty() {
            message = message.headers(headers);
        }
        loop {
            match self.producer.send(message) {
                Ok(()) => break,
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), back)) => {
                    message = back;
                    self.producer.poll(Duration::from_millis(10));
                }
                Err((error, _)) => return Err(error.into()),
            }
        }
        self.producer.poll(Duration::ZERO);
        Ok(())
    }

    /// Waits until all that was sent so far is acknowledged; an error with the first refusal.
    pub(crate) fn flush(&self) -> Outcome {
        self.producer.flush(Duration::from_secs(150))?;
        self.check_refused()
    }

    /// Waits until all is acknowledged; an error with the first refusal.
    pub(crate) fn finish(self) -> Outcome<Vec<Acknowledged>> {
        self.flush()?;
        Ok(self.take_acknowledged())
    }

    /// What was acknowledged since the last call.
    pub(crate) fn take_acknowledged(&self) -> Vec<Acknowledged> {
        std::mem::take(&mut *self.producer.context().acknowledged())
    }

    fn check_refused(&self) -> Outcome {
        let refused = &self.producer.context().refused;
        match &*refused.lock().unwrap_or_else(|poisoned| poisoned.into_inner()) {
            Some(error) => fail(format!("a record was refused: {error}")),
            None => Ok(()),
        }
    }
}

/// Collects librdkafka's delivery reports. The opaque is the record's hash.
#[derive(Default)]
pub(crate) struct Receipts {
    acknowledged: Mutex<Vec<Acknowledged>>,
    refused: Mutex<Option<KafkaError>>,
}

impl Receipts {
    fn acknowledged(&self) -> std::sync::MutexGuard<'_, Vec<Acknowledged>> {
        self.acknowledged.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

impl ClientContext for Receipts {
    // librdkafka reports every failed dial of a killed broker here; the tests judge by what was acknowledged.
    fn error(&self, _: KafkaError, _: &str) {}
}

impl ProducerContext for Receipts {
    type DeliveryOpaque = Box<u64>;

    fn delivery(&self, result: &DeliveryResult<'_>, hash: Box<u64>) {
        match result {
            Ok(message) => self.acknowledged().push(Acknowledged {
                partition: message.partition(),
                offset: message.offset(),
                hash: *hash,
            }),
            Err((error, _)) => {
                if let Ok(mut refused) = self.refused.lock() {
                    refused.get_or_insert(error.clone());
                }
            }
        }
    }
}

/// Writes in the background until stopped.
pub(crate) struct Load {
    shared: Arc<LoadState>,
    thread: JoinHandle<Outcome<Vec<Acknowledged>>>,
}

#[derive(Default)]
struct LoadState {
    stop: AtomicBool,
    acknowledged: AtomicU64,
    gave_up: Mutex<Option<Failure>>,
}

impl LoadState {
    fn write(
        &self,
        writer: Writer,
        topic: &str,
        partitions: i32,
        records_per_second: u32,
        seed: u64,
        live: bool,
    ) -> Outcome<Vec<Acknowledged>> {
        let mut generator = Generator::new(seed);
        let start = Instant::now();
        let mut sent = 0.0;
        while !self.stop.load(Ordering::Relaxed) {
            let written = writer.producer.context().acknowledged().len();
            self.acknowledged.store(written as u64, Ordering::Relaxed);
            if sent >= start.elapsed().as_secs_f64() * f64::from(records_per_second) {
                writer.producer.poll(Duration::ZERO);
                // A poll that waits spins in its last millisecond, and took a core of the tests' machine.
                thread::sleep(Duration::from_millis(2));
                continue;
            }
            let partition = generator.random.i32(0..partitions);
            if let Some(mut record) = generator.next() {
                if live {
                    let now = SystemTime::now().duration_since(UNIX_EPOCH)?;
                    record.timestamp = i64::try_from(now.as_millis())?;
                }
                writer.send(topic, partition, &record)?;
            }
            sent += 1.0;
        }
        writer.finish()
    }
}

impl Load {
    /// Starts writing `records_per_second` in all, to the partitions `0..partitions` in random order.
    pub(crate) fn start(
        bootstrap: &str,
        topic: &str,
        partitions: i32,
        records_per_second: u32,
        seed: u64,
        writing: &Writing,
    ) -> Outcome<Self> {
        let writer = Writer::open(bootstrap, writing)?;
        let shared = Arc::new(LoadState::default());
        let state = Arc::clone(&shared);
        let (topic, live) = (topic.to_owned(), writing.live);
        let thread = thread::spawn(move || {
            let result = state.write(writer, &topic, partitions, records_per_second, seed, live);
            if let (Err(error), Ok(mut gave_up)) = (&result, state.gave_up.lock()) {
                *gave_up = Some(error.clone());
            }
            result
        });
        Ok(Self { shared, thread })
    }

    /// Records acknowledged so far.
    pub(crate) fn acknowledged(&self) -> u64 {
        self.shared.acknowledged.load(Ordering::Relaxed)
    }

    /// Waits until this many more records are acknowledged.
    pub(crate) fn wait_for_more(&self, records: u64) -> Outcome {
        let wanted = self.acknowledged() + records;
        let what = format!("{records} more records are acknowledged");
        wait_for(&what, Duration::from_secs(90), || {
            if self.thread.is_finished() {
                let why = self.shared.gave_up.lock().map_or(None, |why| why.clone());
                return fail(format!("the load has given up writing: {why:?}"));
            }
            Ok((self.acknowledged() >= wanted).then_some(()))
        })
    }

    /// Stops, waits for the last acknowledgement, and returns what was acknowledged per partition, by offset.
    pub(crate) fn stop(self) -> Outcome<BTreeMap<i32, Vec<Acknowledged>>> {
        self.shared.stop.store(true, Ordering::Relaxed);
        let all = self.thread.join().map_err(|_| Failure("the load writer panicked".to_owned()))??;
        let mut partitions = BTreeMap::<i32, Vec<Acknowledged>>::new();
        for acknowledged in all {
            partitions.entry(acknowledged.partition).or_default().push(acknowledged);
        }
        for records in partitions.values_mut() {
            records.sort_by_key(|record| record.offset);
        }
        Ok(partitions)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_records() {
        let first: Vec<_> = Generator::new(7).take(100).collect();
        assert_eq!(first, Generator::new(7).take(100).collect::<Vec<_>>());
        assert_ne!(first, Generator::new(8).take(100).collect::<Vec<_>>());
    }

    #[test]
    fn the_awkward_kinds_of_record_all_come_up() {
        let records: Vec<_> = Generator::new(1).take(2_000).collect();
        let any = |test: &dyn Fn(&Record) -> bool| records.iter().any(test);
        assert!(any(&|record| record.key.is_none()));
        assert!(any(&|record| record.key.as_deref() == Some(b"")));
        assert!(any(&|record| record.value.is_none()));
        assert!(any(&|record| record.headers.iter().any(|(_, value)| value.is_none())));
        assert!(any(&|record| record.headers.iter().any(|(name, _)| name.is_empty())));
        assert!(any(&|record| { record.headers.iter().filter(|(name, _)| name == "trace").count() > 1 }));
        assert!(records.windows(2).any(|pair| pair[0].timestamp > pair[1].timestamp));
    }
}
