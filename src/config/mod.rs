//! The typed configuration of a mirror, and the ways to it.

use std::collections::BTreeMap;
use std::time::Duration;

/// Everything a mirror needs to know, checked.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Config {
    /// `name`: the mirror's identity on the target; `None` until both cluster ids are known.
    pub name: Option<String>,
    /// `source.*`: how to reach the source.
    pub source: ClientConfig,
    /// `target.*`: how to reach the target.
    pub target: ClientConfig,
    /// `topics`, `topics.exclude`: what is mirrored.
    pub topics: TopicSelection,
    /// `start`: where partitions begin that the mirror has not begun.
    pub start: Start,
    /// `isolation.level`.
    pub isolation_level: IsolationLevel,
    /// `num.streams`: worker threads.
    pub num_streams: usize,
    /// `buffer.memory`: bytes in flight in the whole mirror.
    pub buffer_memory: usize,
    /// `replication.factor` of topics created on the target.
    pub replication_factor: ReplicationFactor,
    /// `sync.topic.configs`.
    pub sync_topic_configs: bool,
    /// `topic.configs.override`.
    pub topic_configs_override: BTreeMap<String, String>,
    /// `refresh.interval.ms`.
    pub refresh_interval: Duration,
    /// `lag.interval.ms`.
    pub lag_interval: Duration,
    /// `lag.threshold.records`.
    pub lag_threshold_records: Option<u64>,
    /// `lag.threshold.ms`.
    pub lag_threshold: Option<Duration>,
}

/// How to reach one cluster.
#[derive(Debug, Clone)]
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

/// Which topics are mirrored.
#[derive(Debug, Clone)]
pub struct TopicSelection {/* names, regexes */}

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
}
