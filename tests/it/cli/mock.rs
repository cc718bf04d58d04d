//! A source and a target of librdkafka's mock clusters.
//!
//! They cannot create topics by request, so all that a mirror needs is created here: topics on both sides, and the
//! mirror's internal topic.

use rdkafka::mocking::MockCluster;
use rdkafka::producer::DefaultProducerContext;

use crate::support::Outcome;
use crate::support::records::{Generator, Writing, produce};

pub(super) type Cluster = MockCluster<'static, DefaultProducerContext>;

/// The mirror's name in these tests.
const NAME: &str = "cli";

pub(super) struct Mocks {
    pub(super) source: Cluster,
    pub(super) target: Cluster,
}

impl Mocks {
    /// Two clusters with these topics.
    pub(super) fn start(topics: &[(&str, i32)]) -> Outcome<Self> {
        let mocks = Self { source: MockCluster::new(2)?, target: MockCluster::new(2)? };
        mocks.target.create_topic(&format!("kmirror.{NAME}.internal"), 1, 2)?;
        for (topic, partitions) in topics {
            mocks.source.create_topic(topic, *partitions, 2)?;
            mocks.target.create_topic(topic, *partitions, 2)?;
        }
        Ok(mocks)
    }

    /// `kmirror run` from one to the other, with more arguments.
    pub(super) fn arguments(&self, topics: &str, more: &[&str]) -> Vec<String> {
        let set = [
            format!("source.bootstrap.servers={}", self.source.bootstrap_servers()),
            format!("target.bootstrap.servers={}", self.target.bootstrap_servers()),
            format!("name={NAME}"),
            format!("topics={topics}"),
            // Mocks tell no configurations.
            "sync.topic.configs=false".to_owned(),
        ];
        let set = set.into_iter().flat_map(|property| ["--set".to_owned(), property]);
        ["run".to_owned()].into_iter().chain(set).chain(more.iter().map(|more| (*more).to_owned())).collect()
    }
}

/// Writes so many records to a partition.
pub(super) fn fill(cluster: &Cluster, topic: &str, partition: i32, records: usize) -> Outcome {
    let some = Generator::new(partition.unsigned_abs().into()).take(records);
    produce(&cluster.bootstrap_servers(), topic, partition, some, &Writing::codec("lz4"))?;
    Ok(())
}
