//! What clusters and their topics are called and say of themselves.
//! It is read in `wire` and decided on in `machine::topics`.

use std::collections::BTreeMap;
use std::rc::Rc;

/// A partition by name and number.
pub type TopicPartition = (Rc<str>, i32);

/// What a cluster says of itself.
#[derive(Debug, Clone, Default)]
pub struct Metadata {
    /// Its id; clusters older than 0.10.1 have none.
    pub cluster_id: Option<String>,
    /// The broker that creates topics.
    pub controller_id: i32,
    /// Number of brokers that are up.
    pub broker_count: usize,
    /// The topics asked for, by name.
    pub topics: BTreeMap<String, TopicMetadata>,
}

impl Metadata {
    /// How many partitions a topic has; none of one that is not there.
    pub fn partitions_of(&self, topic: &str) -> i32 {
        self.topics.get(topic).map_or(0, |topic| topic.leaders.len() as i32)
    }
}

/// What a cluster says of one topic.
#[derive(Debug, Clone, Default)]
pub struct TopicMetadata {
    /// 0, or why there is no more.
    pub error_code: i16,
    /// The id that a topic created anew does not share; nil before Kafka 2.8.
    pub id: u128,
    /// Kafka's own.
    pub is_internal: bool,
    /// Leader of each partition, by number; -1 without one.
    pub leaders: Vec<i32>,
    /// Replicas of the first partition.
    pub replication_factor: i16,
}

/// A topic to be created.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewTopic {
    /// Its name.
    pub name: String,
    /// Number of partitions.
    pub partitions: i32,
    /// Replicas of each; -1 for the target's default.
    pub replication_factor: i16,
    /// What differs from the defaults.
    pub configs: BTreeMap<String, String>,
}
