//! The copier people write by hand: an rdkafka consumer, a loop, an rdkafka producer; record by record.
//!
//! Tuned as well as the library allows: large fetches, batches as large as the source's, few polls, error reports only,
//! headers made only where there are any. It keeps partition, key, value, headers and timestamp; offsets only because the
//! source has no holes here, and a crash would lose or repeat records.

use std::collections::BTreeSet;
use std::process::Command;
use std::sync::Mutex;
use std::time::Duration;

use rdkafka::client::ClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::{BorrowedMessage, Message};
use rdkafka::producer::{BaseProducer, BaseRecord, DeliveryResult, Producer, ProducerContext};
use rdkafka::{Offset, TopicPartitionList};

use crate::contender::Work;
use crate::stage::{BATCH_BYTES, LIMIT, Stage, send};
use crate::support::{Failure, Outcome, fail, nursery};

/// The first argument of this program as a child.
pub(crate) const ROLE: &str = "as-rdkafka-loop";

/// Copies a topic whose records are compressed with `codec`, and compresses them likewise.
pub(crate) fn command(stage: &Stage, topic: &str, work: Work, codec: &str) -> Outcome<Command> {
    let mut command = nursery::command(std::env::current_exe()?);
    let work = if work == Work::CatchUp { "catch-up" } else { "follow" };
    command.args([ROLE, &stage.pair.source.bootstrap(), &stage.pair.target.bootstrap(), topic, work, codec]);
    Ok(command)
}

/// Copies the topic to its end, or for ever.
pub(crate) fn child(arguments: &[String]) -> Outcome {
    let [source, target, topic, work, codec] = arguments else {
        return fail("source, target, topic, work and codec are needed");
    };
    let work = if work == "catch-up" { Work::CatchUp } else { Work::Follow };
    let consumer = consumer(source, work)?;
    let producer = producer(target, work, codec)?;
    let mut open = assign(&consumer, topic)?;
    let mut copied = 0_u64;
    while work == Work::Follow || !open.is_empty() {
        match consumer.poll(Duration::from_millis(100)) {
            None => producer.poll(Duration::ZERO),
            Some(Err(KafkaError::PartitionEOF(partition))) => _ = open.remove(&partition),
            Some(Err(error)) => return Err(error.into()),
            Some(Ok(message)) => {
                forward(&producer, &message)?;
                copied += 1;
                if copied.is_multiple_of(256) {
                    producer.poll(Duration::ZERO);
                }
            }
        }
        producer.context().check()?;
    }
    producer.flush(LIMIT)?;
    producer.context().check()
}

fn consumer(bootstrap: &str, work: Work) -> Outcome<BaseConsumer> {
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", bootstrap)
        .set("group.id", "bench-loop")
        .set("enable.auto.commit", "false")
        .set("enable.partition.eof", "true");
    if work == Work::CatchUp {
        config
            .set("fetch.message.max.bytes", "4194304")
            .set("fetch.wait.max.ms", "100")
            // Enough in the queue that the loop never waits; what it costs is memory.
            .set("queued.min.messages", "200000")
            .set("queued.max.messages.kbytes", "131072")
            .set("fetch.queue.backoff.ms", "10");
    } else {
        config.set("socket.nagle.disable", "true");
    }
    Ok(config.create()?)
}

fn producer(bootstrap: &str, work: Work, codec: &str) -> Outcome<BaseProducer<Reports>> {
    let linger = if work == Work::CatchUp { "20" } else { "0" };
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", bootstrap)
        .set("acks", "all")
        // Without it a retry could change the order.
        .set("enable.idempotence", "true")
        .set("compression.type", codec)
        .set("batch.size", BATCH_BYTES.to_string())
        .set("linger.ms", linger)
        .set("queue.buffering.max.messages", "200000")
        .set("delivery.report.only.error", "true")
        .set("socket.nagle.disable", "true");
    Ok(config.create_with_context(Reports::default())?)
}

fn assign(consumer: &BaseConsumer, topic: &str) -> Outcome<BTreeSet<i32>> {
    let metadata = consumer.fetch_metadata(Some(topic), LIMIT)?;
    let partitions: BTreeSet<i32> =
        metadata.topics().iter().flat_map(|topic| topic.partitions()).map(|partition| partition.id()).collect();
    let mut assignment = TopicPartitionList::new();
    for partition in &partitions {
        assignment.add_partition_offset(topic, *partition, Offset::Beginning)?;
    }
    consumer.assign(&assignment)?;
    Ok(partitions)
}

fn forward(producer: &BaseProducer<Reports>, message: &BorrowedMessage<'_>) -> Outcome {
    let mut record = BaseRecord::<[u8], [u8]>::to(message.topic()).partition(message.partition());
    record.key = message.key();
    record.payload = message.payload();
    record.timestamp = message.timestamp().to_millis();
    record.headers = message.headers().map(|headers| headers.detach());
    send(producer, record)
}

/// Remembers the first record that was refused.
#[derive(Default)]
struct Reports(Mutex<Option<Failure>>);

impl Reports {
    fn check(&self) -> Outcome {
        match &*self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner()) {
            Some(failure) => Err(failure.clone()),
            None => Ok(()),
        }
    }
}

impl ClientContext for Reports {}

impl ProducerContext for Reports {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        if let (Err((error, _)), Ok(mut first)) = (result, self.0.lock()) {
            first.get_or_insert_with(|| Failure(format!("a record was refused: {error}")));
        }
    }
}
