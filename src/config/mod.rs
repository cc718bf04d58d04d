//! The configuration of a mirror: the typed [`Config`], and [`Properties`], the way to it.
//!
//! Values come from files and from calls, as text under dotted keys. [`Properties`] gathers them and remembers where
//! each one stood; [`Properties::build`] checks all of them at once. Which keys there are is decided in one
//! place, the table of [`properties`].
//!
//! ```
//! use kmirror::config::Properties;
//! let mut properties = Properties::new();
//! properties.set("source.bootstrap.servers", "a.example.com:9092");
//! properties.set("target.bootstrap.servers", "b.example.com:9092");
//! properties.set("topics", r"orders, billing\..*");
//! let (config, warnings) = properties.build()?;
//! assert_eq!(config.get("buffer.memory").as_deref(), Some("33554432"));
//! assert!(config.topics.matches("orders") && warnings.is_empty());
//! # Ok::<_, kmirror::Error>(())
//! ```

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

mod build;
mod collect;
mod connector;
mod document;
mod emission;
mod files;
mod ignored;
pub mod mirror_maker_2;
mod names;
mod problems;
pub mod properties;
mod property;
mod resolve;
mod security;
mod select;
#[cfg(test)]
mod tests;
mod time;
mod value;

pub use collect::Properties;
pub use emission::Emission;
pub(crate) use emission::{Emitted, EmittedTopic};
pub use mirror_maker_2::Flow;
use names::HEARTBEATS;
pub use names::{ReplicationPolicy, TopicNames};
pub use problems::Warning;
pub use select::{ConfigExclusion, GroupSelection, TopicSelection};
pub use time::utc;

/// One of the two clusters of a mirror.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Side {
    /// Where records are read.
    Source,
    /// Where records are written.
    Target,
}

impl Side {
    /// `source` or `target`.
    pub fn name(self) -> &'static str {
        match self {
            Side::Source => "source",
            Side::Target => "target",
        }
    }

    /// The prefix of its client properties in a flat set.
    pub(crate) fn prefix(self) -> &'static str {
        match self {
            Side::Source => "source.",
            Side::Target => "target.",
        }
    }

    /// The other one.
    pub(crate) fn other(self) -> Side {
        match self {
            Side::Source => Side::Target,
            Side::Target => Side::Source,
        }
    }
}

/// Everything a mirror needs to know, checked. Its `Debug` is the list of properties, without secrets.
#[derive(Clone)]
#[non_exhaustive]
pub struct Config {
    /// `name`: the mirror's identity on the target; `None` until both cluster ids are known.
    pub name: Option<String>,
    /// `group.id`.
    pub group_id: Option<String>,
    /// `source.*`: how to reach the source.
    pub source: ClientConfig,
    /// `target.*`: how to reach the target.
    pub target: ClientConfig,
    /// `topics`, `topics.exclude`: what is mirrored.
    pub topics: TopicSelection,
    /// `replication.policy` and what belongs to it: what topics are called on the target.
    pub names: TopicNames,
    /// `emit.heartbeats.enabled` and the like: what is written in MirrorMaker 2's formats.
    pub emission: Emission,
    /// `groups`, `groups.exclude`: whose offsets are copied.
    pub groups: GroupSelection,
    /// `start`: where partitions begin that the mirror has not begun.
    pub start: Start,
    /// `isolation.level`.
    pub isolation_level: IsolationLevel,
    /// `offsets`.
    pub offsets: Offsets,
    /// `num.streams`: worker threads.
    pub num_streams: usize,
    /// `buffer.memory`: bytes in flight in the whole mirror.
    pub buffer_memory: usize,
    /// `replication.factor` of topics created on the target.
    pub replication_factor: ReplicationFactor,
    /// `sync.topic.configs`.
    pub sync_topic_configs: bool,
    /// `sync.group.offsets`.
    pub sync_group_offsets: bool,
    /// `sync.topic.acls`.
    pub sync_topic_acls: bool,
    /// `topic.acls.downgrade`: what a permission to write becomes.
    pub topic_acls_downgrade: AclDowngrade,
    /// `topic.configs.override`.
    pub topic_configs_override: BTreeMap<String, String>,
    /// `topic.configs.exclude`.
    pub topic_configs_exclude: ConfigExclusion,
    /// `topic.configs.target.defaults`: whether stricter defaults of the target are left as they are.
    pub topic_configs_target_defaults: bool,
    /// `throttle.bytes.per.second`: the most the whole mirror copies in a second.
    pub throttle_bytes_per_second: Option<u64>,
    /// `on.data.loss`: when records are gone before they were copied.
    pub on_data_loss: OnDataLoss,
    /// `on.topic.reset`: when a source topic was deleted and created again.
    pub on_topic_reset: OnTopicReset,
    /// `on.target.conflict`: when the target has something the mirror did not write.
    pub on_target_conflict: OnTargetConflict,
    /// `on.record.refused`: when the target does not take a record.
    pub on_record_refused: OnRecordRefused,
    /// `refresh.interval.ms`.
    pub refresh_interval: Duration,
    /// `lag.interval.ms`.
    pub lag_interval: Duration,
    /// `lag.threshold.records`.
    pub lag_threshold_records: Option<u64>,
    /// `lag.threshold.ms`.
    pub lag_threshold: Option<Duration>,
}

impl Config {
    /// The value of a property in the spelling of a flat set, as text that reads back as the same value; `None` if it is
    /// not set or there is no such property. A secret is `[hidden]`.
    pub fn get(&self, key: &str) -> Option<String> {
        let (property, side) = resolve::property_of(key)?;
        property.get(self, side).map(|value| property.shown(value))
    }

    /// Every property that is set, with its key in the spelling of a flat set; secrets are `[hidden]`.
    pub fn entries(&self) -> impl Iterator<Item = (String, String)> {
        resolve::all_keys().filter_map(|key| self.get(&key).map(|value| (key, value)))
    }

    /// Whether a topic of the source is mirrored, if it is none of Kafka's own.
    pub fn mirrors(&self, topic: &str) -> bool {
        self.topics.matches(topic) && !self.names.comes_from_target(topic) && !self.emits_to(topic)
    }

    /// How to reach one side.
    pub fn client(&self, side: Side) -> &ClientConfig {
        match side {
            Side::Source => &self.source,
            Side::Target => &self.target,
        }
    }

    pub(crate) fn client_mut(&mut self, side: Side) -> &mut ClientConfig {
        match side {
            Side::Source => &mut self.source,
            Side::Target => &mut self.target,
        }
    }
}

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.entries()).finish()
    }
}

/// How to reach one cluster. Its `Debug` is the list of its properties, without secrets.
#[derive(Clone)]
#[non_exhaustive]
pub struct ClientConfig {
    /// `bootstrap.servers`: `host:port` of brokers to ask first.
    pub bootstrap_servers: Vec<String>,
    /// `client.id`.
    pub client_id: String,
    /// `request.timeout.ms`.
    pub request_timeout: Duration,
    /// `socket.connection.setup.timeout.ms`: for connecting, TLS and authentication of one connection.
    pub connection_setup_timeout: Duration,
    /// `retry.backoff.ms` and `reconnect.backoff.ms`: the first pause after a failure.
    pub retry_backoff: Duration,
    /// `retry.backoff.max.ms` and `reconnect.backoff.max.ms`: the longest pause.
    pub retry_backoff_max: Duration,
    /// `fetch.min.bytes`.
    pub fetch_min_bytes: i32,
    /// `fetch.max.wait.ms`.
    pub fetch_max_wait: Duration,
    /// `fetch.max.bytes`: of one answer, clamped to what `buffer.memory` leaves.
    pub fetch_max_bytes: i32,
    /// `max.partition.fetch.bytes`.
    pub max_partition_fetch_bytes: i32,
    /// `max.request.size`: of one produce request.
    pub max_request_size: usize,
    /// `max.in.flight.requests.per.connection`, 1 to 5.
    pub max_in_flight: usize,
}

impl fmt::Debug for ClientConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(properties::table().filter_map(|property| property.shown_of_client(self))).finish()
    }
}

/// `start`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// From the first record the source holds.
    Earliest,
    /// From the source's end.
    Latest,
    /// From the first record of this time or later, in milliseconds since 1970.
    Timestamp(i64),
}

/// `on.data.loss`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnDataLoss {
    /// That partition stops.
    Fail,
    /// It is told, and the partition goes on behind what is gone.
    Continue,
}

/// `on.topic.reset`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnTopicReset {
    /// Its partitions stop.
    Fail,
    /// The target's topic is deleted, and copied anew.
    RecreateTarget,
}

/// `on.target.conflict`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnTargetConflict {
    /// That partition stops.
    Fail,
}

/// `on.record.refused`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnRecordRefused {
    /// That partition stops.
    Fail,
    /// It is told, and the offset stays without a record.
    Skip,
}

/// `topic.acls.downgrade`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AclDowngrade {
    /// ACLs are copied as they are.
    None,
    /// A permission to write to a topic is left out, a permission for everything becomes one to read.
    ReadOnly,
}

/// `offsets`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Offsets {
    /// A record has the same offset on the target.
    Preserve,
    /// Records are appended, and an exact map is kept.
    Translate,
}

/// `isolation.level`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IsolationLevel {
    /// Also records of open and aborted transactions.
    ReadUncommitted,
    /// Only what is committed.
    ReadCommitted,
}

/// `replication.factor`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReplicationFactor {
    /// As at the source, at most the number of brokers of the target.
    Source,
    /// This many.
    Count(i16),
    /// As many as the target gives a topic of which nobody says it.
    TargetDefault,
}

impl Config {
    /// Whether records are appended, at offsets of their own.
    pub(crate) fn translates(&self) -> bool {
        self.offsets == Offsets::Translate
    }
}

impl ReplicationFactor {
    /// The replicas that are asked for, of a topic that has so many at the source.
    pub(crate) fn wanted(self, at_source: i16) -> i16 {
        match self {
            ReplicationFactor::Source => at_source,
            ReplicationFactor::Count(count) => count,
            ReplicationFactor::TargetDefault => -1,
        }
    }
}
