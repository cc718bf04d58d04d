//! The two clusters of the demo: librdkafka's mock clusters, which speak the real protocol over real sockets.
//!
//! They know no request to create topics, so the topics of both sides, and the mirror's own, are created beforehand.
//! They keep at most 5 MB of a partition and would drop the oldest beyond it, so the writer stays below.

use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer as _, ConsumerContext};
use rdkafka::error::KafkaError;
use rdkafka::mocking::MockCluster;
use rdkafka::producer::DefaultProducerContext;

use super::{Outcome, broken};

/// Topics with their partitions.
pub(super) const PARTITIONS: [(&str, i32); 3] = [("clicks", 4), ("orders", 3), ("payments", 2)];
/// The mirror's name.
pub(super) const NAME: &str = "demo";

pub(super) const BROKERS: i32 = 3;
const ANSWER_LIMIT: Duration = Duration::from_secs(10);

pub(super) struct Clusters {
    source: MockCluster<'static, DefaultProducerContext>,
    target: MockCluster<'static, DefaultProducerContext>,
    target_client: BaseConsumer<Quiet>,
}

impl Clusters {
    pub(super) fn start() -> Outcome<Self> {
        let (source, target) = (cluster()?, cluster()?);
        create(&target, &format!("kmirror.{NAME}.internal"), 1)?;
        let target_client = reader(&first(&target))?;
        Ok(Clusters { source, target, target_client })
    }

    /// One broker of the source, to find the others with.
    pub(super) fn source(&self) -> String {
        first(&self.source)
    }

    pub(super) fn target(&self) -> String {
        first(&self.target)
    }

    /// Records that the target holds.
    pub(super) fn copied(&self) -> Outcome<u64> {
        Ok(ends(&self.target_client)?.into_iter().map(|(.., end)| end.max(0).unsigned_abs()).sum())
    }
}

fn cluster() -> Outcome<MockCluster<'static, DefaultProducerContext>> {
    let cluster = MockCluster::new(BROKERS).map_err(|error| broken("no embedded cluster can be started", error))?;
    for (topic, partitions) in PARTITIONS {
        create(&cluster, topic, partitions)?;
    }
    Ok(cluster)
}

fn first(cluster: &MockCluster<'_, DefaultProducerContext>) -> String {
    let brokers = cluster.bootstrap_servers();
    brokers.split(',').next().unwrap_or_default().to_owned()
}

fn create(cluster: &MockCluster<'_, DefaultProducerContext>, topic: &str, partitions: i32) -> Outcome {
    let created = cluster.create_topic(topic, partitions, BROKERS);
    created.map_err(|error| broken(&format!("topic '{topic}' cannot be created"), error))
}

/// A client that reads. Its group is only a name: partitions are assigned by hand and no offsets are committed.
pub(super) fn reader(bootstrap: &str) -> Outcome<BaseConsumer<Quiet>> {
    ClientConfig::new()
        .set("bootstrap.servers", bootstrap)
        .set("group.id", "kmirror-demo")
        .set("enable.auto.commit", "false")
        .set("fetch.wait.max.ms", "50")
        .create_with_context(Quiet)
        .map_err(|error| broken("no reader can be started", error))
}

/// The end of every partition, as the cluster of this client tells it.
pub(super) fn ends(client: &BaseConsumer<Quiet>) -> Outcome<Vec<(&'static str, i32, i64)>> {
    let mut ends = Vec::new();
    for (topic, partitions) in PARTITIONS {
        for partition in 0..partitions {
            let (_, end) = client
                .fetch_watermarks(topic, partition, ANSWER_LIMIT)
                .map_err(|error| broken(&format!("the end of {topic}-{partition} cannot be read"), error))?;
            ends.push((topic, partition, end));
        }
    }
    Ok(ends)
}

/// Keeps librdkafka's own log lines out of the story; what goes wrong comes back from the calls.
pub(super) struct Quiet;

impl ClientContext for Quiet {
    fn log(&self, _: RDKafkaLogLevel, _: &str, _: &str) {}
    fn error(&self, _: KafkaError, _: &str) {}
}

impl ConsumerContext for Quiet {}
