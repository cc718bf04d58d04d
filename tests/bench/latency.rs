//! Added latency: 500 small records a second, from the produce call at the source to the arrival at a consumer.
//!
//! The same records are read at the source and at the target at the same time by equal consumers, so what the copy adds
//! is the difference within one run. This process writes and reads, hence one clock. The first records, until the
//! contender has started and a few seconds more, are left out.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::Message;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};

use crate::contender::{Contender, Work};
use crate::options::Options;
use crate::process::{Company, Process};
use crate::report::{Latency, Percentiles, progress};
use crate::stage::{LIMIT, Stage, fresh_topic, send};
use crate::support::{Failure, Outcome, fail};

const PARTITIONS: i32 = 4;
const EVERY: Duration = Duration::from_millis(2);
const RECORD_BYTES: usize = 100;

pub(crate) fn measure(options: &Options, stage: &Stage) -> Outcome<Vec<Latency>> {
    // MirrorMaker's defaults are not about latency, and its start alone would take half of the smoke test.
    let follows = |contender: &Contender| match contender {
        Contender::Kmirror | Contender::KmirrorBefore | Contender::Rdkafka => true,
        Contender::MirrorMakerTuned => !options.quick,
        Contender::KmirrorC | Contender::KmirrorPython | Contender::Relay | Contender::MirrorMakerDefaults => false,
    };
    options.contenders.iter().copied().filter(follows).map(|contender| trickle(options, stage, contender)).collect()
}

fn trickle(options: &Options, stage: &Stage, contender: Contender) -> Outcome<Latency> {
    progress(&format!("latency of {}", contender.title()));
    let topic = format!("bench-trickle-{}", contender.name());
    fresh_topic(&stage.pair.source, &topic, PARTITIONS)?;
    fresh_topic(&stage.pair.target, &topic, PARTITIONS)?;
    let mut process = Process::start(contender.name(), contender.command(options, stage, &topic, Work::Follow)?)?;

    let clock = Instant::now();
    let source = Reader::start(&stage.pair.source.bootstrap(), &topic, clock)?;
    let target = Reader::start(&stage.pair.target.bootstrap(), &topic, clock)?;
    let mut writer = Writer::open(&stage.pair.source.bootstrap(), &topic, clock)?;
    writer.write_until(|| target.shared.seen.load(Ordering::Relaxed) > 0)?;
    let settled = Instant::now() + Duration::from_secs(if options.quick { 1 } else { 4 });
    writer.write_until(|| Instant::now() >= settled)?;

    let company = Company::watch(stage.brokers())?;
    let before = process.look()?;
    writer.measured = true;
    let end = Instant::now() + Duration::from_secs(options.latency_seconds);
    writer.write_until(|| Instant::now() >= end)?;
    let mut used = process.look()?;
    used.cpu_seconds -= before.cpu_seconds;
    let cpu_percent = used.cpu_seconds / (used.wall_seconds - before.wall_seconds) * 100.0;
    let others_cores = company.cores(used)?;

    let written = writer.finish()?;
    let (direct, mirrored) = (source.finish(written)?, target.finish(written)?);
    Ok(Latency::new(contender, Percentiles::of(direct), Percentiles::of(mirrored), cpu_percent, others_cores))
}

/// Writes at a steady pace; each record carries when it was written and whether it counts.
struct Writer {
    producer: BaseProducer,
    topic: String,
    clock: Instant,
    next: Instant,
    number: u64,
    measured: bool,
    counted: u64,
}

impl Writer {
    fn open(bootstrap: &str, topic: &str, clock: Instant) -> Outcome<Self> {
        let producer = ClientConfig::new()
            .set("bootstrap.servers", bootstrap)
            .set("linger.ms", "0")
            .set("acks", "all")
            .set("socket.nagle.disable", "true")
            .create()?;
        let topic = topic.to_owned();
        Ok(Self { producer, topic, clock, next: Instant::now(), number: 0, measured: false, counted: 0 })
    }

    fn write_until(&mut self, done: impl Fn() -> bool) -> Outcome {
        let began = Instant::now();
        // An earlier phase that was held up is not made up for.
        self.next = began;
        while !done() {
            if began.elapsed() > LIMIT {
                return fail(format!("no record of {} has arrived at the target for {LIMIT:?}", self.topic));
            }
            self.next += EVERY;
            self.producer.poll(Duration::ZERO);
            thread::sleep(self.next.saturating_duration_since(Instant::now()));
            self.write_one()?;
        }
        Ok(())
    }

    fn write_one(&mut self) -> Outcome {
        let partition = i32::try_from(self.number % PARTITIONS.unsigned_abs() as u64)?;
        let mut value = [b'.'; RECORD_BYTES];
        value[8] = u8::from(self.measured);
        value[..8].copy_from_slice(&u64::try_from(self.clock.elapsed().as_nanos())?.to_be_bytes());
        send(&self.producer, BaseRecord::to(&self.topic).partition(partition).payload(&value[..]))?;
        self.number += 1;
        self.counted += u64::from(self.measured);
        Ok(())
    }

    /// How many records count.
    fn finish(self) -> Outcome<u64> {
        self.producer.flush(LIMIT)?;
        Ok(self.counted)
    }
}

/// A consumer in a thread of its own.
struct Reader {
    shared: Arc<Shared>,
    thread: JoinHandle<Outcome<Vec<u64>>>,
}

struct Shared {
    /// Records that have arrived, counting or not.
    seen: AtomicU64,
    /// How many that count shall arrive, once that is known.
    expected: AtomicU64,
}

impl Reader {
    fn start(bootstrap: &str, topic: &str, clock: Instant) -> Outcome<Self> {
        let consumer: BaseConsumer = ClientConfig::new()
            .set("bootstrap.servers", bootstrap)
            .set("group.id", "bench-reader")
            .set("enable.auto.commit", "false")
            .set("fetch.min.bytes", "1")
            .set("fetch.wait.max.ms", "500")
            .set("socket.nagle.disable", "true")
            .create()?;
        let mut assignment = TopicPartitionList::new();
        for partition in 0..PARTITIONS {
            assignment.add_partition_offset(topic, partition, Offset::Beginning)?;
        }
        consumer.assign(&assignment)?;
        let shared = Arc::new(Shared { seen: AtomicU64::new(0), expected: AtomicU64::new(u64::MAX) });
        let state = Arc::clone(&shared);
        let thread = thread::spawn(move || state.read(&consumer, clock));
        Ok(Self { shared, thread })
    }

    /// Nanoseconds from writing to arrival, of every record that counts.
    fn finish(self, expected: u64) -> Outcome<Vec<u64>> {
        self.shared.expected.store(expected, Ordering::Relaxed);
        self.thread.join().map_err(|_| Failure("a reader panicked".to_owned()))?
    }
}

impl Shared {
    fn read(&self, consumer: &BaseConsumer, clock: Instant) -> Outcome<Vec<u64>> {
        let mut latencies = Vec::new();
        let mut last = Instant::now();
        loop {
            let expected = self.expected.load(Ordering::Relaxed);
            if latencies.len() as u64 >= expected {
                return Ok(latencies);
            }
            let Some(message) = consumer.poll(Duration::from_millis(100)) else {
                if expected < u64::MAX && last.elapsed() > LIMIT {
                    return fail(format!("only {} of {expected} records arrived", latencies.len()));
                }
                continue;
            };
            let now = u64::try_from(clock.elapsed().as_nanos())?;
            last = Instant::now();
            self.seen.fetch_add(1, Ordering::Relaxed);
            let message = message?;
            let value = message.payload().unwrap_or_default();
            if let Some((written, rest)) = value.split_first_chunk::<8>()
                && rest.first() == Some(&1)
            {
                latencies.push(now.saturating_sub(u64::from_be_bytes(*written)));
            }
        }
    }
}
