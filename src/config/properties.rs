//! The table of properties.
//!
//! What reads, checks, documents and lists properties goes by its rows, so that a key is written down once. The tables
//! beside it are the keys that have no meaning here (`ignored.rs`), and the keys of TLS and SASL (`security.rs`).
//!
#![doc = include_str!("../manual/properties.md")]

use std::time::Duration;

use super::Side;
pub use super::document::markdown;
use super::property::Field;
pub use super::property::{Availability, Kind, Property, Scope, Unit};
pub use super::security::is_secret;
use super::value::{NONE, Value};

/// Every property, the ones of the whole mirror first.
pub fn table() -> impl Iterator<Item = &'static Property> {
    MIRROR.iter().chain(CLIENT)
}

/// The property of a key that stands alone, in any of its spellings.
pub(super) fn of_mirror(key: &str) -> Option<&'static Property> {
    MIRROR.iter().find(|property| property.spelling(key).is_some())
}

/// The property of a key of one of the clients, in any of its spellings.
pub(super) fn of_client(key: &str) -> Option<&'static Property> {
    CLIENT.iter().find(|property| property.spelling(key).is_some())
}

/// The [`Field`] with this path in `Config`.
macro_rules! field {
    ($($path:ident).+) => {
        Field::Mirror {
            set: |config, text| Value::from_text(text).map(|value| config.$($path).+ = value),
            get: |config| config.$($path).+.to_text(),
        }
    };
}

/// The same for a time in seconds.
macro_rules! seconds {
    ($($path:ident).+) => {
        Field::Mirror {
            set: |config, text| u64::from_text(text).map(|seconds| config.$($path).+ = Duration::from_secs(seconds)),
            get: |config| Some(config.$($path).+.as_secs().to_string()),
        }
    };
}

/// The [`Field`] with this name in `ClientConfig`.
macro_rules! client_field {
    ($name:ident) => {
        Field::Client {
            set: |config, text| Value::from_text(text).map(|value| config.$name = value),
            get: |config| config.$name.to_text(),
        }
    };
}

const fn mirror(key: &'static str, kind: Kind, field: Field, meaning: &'static str) -> Property {
    Property::new(Scope::Mirror, key, kind, field, meaning)
}

const fn both(key: &'static str, kind: Kind, field: Field, meaning: &'static str) -> Property {
    Property::new(Scope::Both, key, kind, field, meaning)
}

const fn source(key: &'static str, kind: Kind, field: Field, meaning: &'static str) -> Property {
    Property::new(Scope::Source, key, kind, field, meaning)
}

const fn target(key: &'static str, kind: Kind, field: Field, meaning: &'static str) -> Property {
    Property::new(Scope::Target, key, kind, field, meaning)
}

const fn integer(min: i64, max: i64) -> Kind {
    Kind::Integer { min, max }
}

const INT_MAX: i64 = i32::MAX as i64;
const HOUR: i64 = 3_600_000;
const REPLICAS: Kind = integer(-1, i16::MAX as i64);

// A row stays a row.
#[rustfmt::skip]
static MIRROR: &[Property] = &[
    mirror("name", Kind::Name, field!(name),
        "The mirror's identity on the target. Without it the group.id, else the ids of both clusters."),
    mirror("group.id", Kind::Text, field!(group_id),
        "The consumer group of a consumer's file: it gives the mirror its name when name is not set.")
        .home(Side::Source),
    mirror("topics", Kind::Patterns, field!(topics.include),
        "The topics to mirror. An exact name here beats a pattern in topics.exclude.")
        .default(".*").aliases(&["topics.whitelist"]),
    mirror("topics.exclude", Kind::Patterns, field!(topics.exclude),
        "The topics to leave out. Topics of kmirror and of the brokers themselves are never mirrored.")
        .default(r".*[\-\.]internal, .*\.replica, __.*").aliases(&["topics.blacklist"]),
    mirror("groups", Kind::Patterns, field!(groups.include),
        "The consumer groups whose offsets are copied.")
        .default(".*"),
    mirror("groups.exclude", Kind::Patterns, field!(groups.exclude),
        "The consumer groups whose offsets are not copied.")
        .default("console-consumer-.*, connect-.*, __.*")
        .aliases(&["groups.blacklist"]),
    mirror("offsets", Kind::Choice(&["preserve", "translate"]), field!(offsets),
        "preserve: a record has the same offset on the target, where nobody else may write to its topic. translate: records are \
         appended, still exactly once, behind whatever others have written, and an exact map is kept: for several sources into one \
         topic, or two clusters that mirror each other under the same names.")
        .default("preserve"),
    mirror("start", Kind::Other("earliest, latest, or a time as 2026-01-31T08:30:00Z or in milliseconds since 1970"),
        field!(start),
        "Where partitions begin that the mirror has not begun: at the first record, at the end as it is then, or at the first \
         record of that time or later. What appears at the source while the mirror runs is copied from its first record with \
         latest, too.")
        .default("earliest"),
    mirror("isolation.level", Kind::Choice(&["read_committed", "read_uncommitted"]), field!(isolation_level),
        "What is copied of transactional data: read_committed leaves out what is open or aborted.")
        .default("read_committed").home(Side::Source),
    mirror("num.streams", integer(1, 64), field!(num_streams),
        "Worker threads. Each has its own connections and its share of the partitions.")
        .default("1").unit(Unit::Threads),
    mirror("buffer.memory", integer(1 << 20, i64::MAX), field!(buffer_memory),
        "Bytes in flight in the whole mirror, between what is fetched and what is acknowledged.")
        .default("33554432").unit(Unit::Bytes).home(Side::Target)
        .because("one fetch of one partition needs that much"),
    mirror("replication.factor", Kind::Other("source, -1, or a number from 1"), field!(replication_factor),
        "Of topics created on the target: source is what the source has, at most the number of brokers of the target; -1 is the target's \
         own default.")
        .default("source"),
    mirror("replication.policy", Kind::Choice(&["identity", "default"]), field!(names.policy),
        "identity: a topic has the same name on the target. default: it is <source alias>.<topic>, as in MirrorMaker 2, and topics \
         that came from the target are not mirrored back.")
        .default("identity"),
    mirror("replication.policy.separator", Kind::Text, field!(names.separator),
        "What stands between the alias and the topic with replication.policy=default: letters, digits, '.', '_' and '-'.")
        .default("."),
    mirror("source.cluster.alias", Kind::Text, field!(names.source_alias),
        "What the source is called in the names of topics. Needed with replication.policy=default; with identity it stands before \
         MirrorMaker 2's heartbeats only."),
    mirror("target.cluster.alias", Kind::Text, field!(names.target_alias),
        "What the target is called in the names of topics: those that came from it are not mirrored back."),
    mirror("replication.policy.internal.topic.separator.enabled", Kind::Boolean, field!(emission.separator_in_internal_topics),
        "Whether replication.policy.separator also stands in the names of the topics of checkpoints and offset syncs.")
        .default("true"),
    mirror("emit.heartbeats.enabled", Kind::Boolean, field!(emission.heartbeats),
        "Whether heartbeats are written to the topic heartbeats of the target, in MirrorMaker 2's format. This and the next \
         three need source.cluster.alias and target.cluster.alias.")
        .default("false"),
    mirror("emit.heartbeats.at.source.enabled", Kind::Boolean, field!(emission.heartbeats_at_source),
        "Whether heartbeats of the way back are written to the topic heartbeats of the source. Mirrored from there, if topics selects it, \
         they tell MirrorMaker 2's tools on the target which clusters are upstream.")
        .default("false"),
    mirror("emit.checkpoints.enabled", Kind::Boolean, field!(emission.checkpoints),
        "Whether checkpoints are written to the target, in MirrorMaker 2's format: what the offsets are there of the groups that \
         groups selects, whether sync.group.offsets copies them or not.")
        .default("false"),
    mirror("emit.offset-syncs.enabled", Kind::Boolean, field!(emission.offset_syncs),
        "Whether offset syncs are written, in MirrorMaker 2's format: which offsets of source and target belong together.")
        .default("false"),
    mirror("emit.heartbeats.interval.seconds", integer(1, INT_MAX), seconds!(emission.heartbeats_interval),
        "How often heartbeats are written.")
        .default("1").unit(Unit::Seconds),
    mirror("emit.checkpoints.interval.seconds", integer(1, INT_MAX), seconds!(emission.checkpoints_interval),
        "How often checkpoints are written, of those that changed.")
        .default("60").unit(Unit::Seconds),
    mirror("offset.lag.max", integer(0, INT_MAX), field!(emission.offset_lag_max),
        "How many records a partition may be ahead of its last offset sync before the next look, every refresh.interval.ms, writes \
         another. Fewer are written once a minute.")
        .default("100").unit(Unit::Records),
    mirror("heartbeats.topic.replication.factor", REPLICAS, field!(emission.heartbeats_replication_factor),
        "Replicas of the topic of heartbeats if it is created, at most the number of brokers; -1 is the brokers' own. So with the next two.")
        .default("3"),
    mirror("checkpoints.topic.replication.factor", REPLICAS, field!(emission.checkpoints_replication_factor),
        "Replicas of the topic of checkpoints.")
        .default("3"),
    mirror("offset-syncs.topic.replication.factor", REPLICAS, field!(emission.offset_syncs_replication_factor),
        "Replicas of the topic of offset syncs.")
        .default("3"),
    mirror("offset-syncs.topic.location", Kind::Choice(&["source", "target"]), field!(emission.offset_syncs_location),
        "Which cluster has the topic of offset syncs.")
        .default("source"),
    mirror("sync.topic.configs", Kind::Boolean, field!(sync_topic_configs),
        "Whether settings of topics are copied, and kept equal.")
        .default("true"),
    mirror("sync.group.offsets", Kind::Boolean, field!(sync_group_offsets),
        "Whether offsets of consumer groups are copied, for topics that are mirrored. A group with members on the target is \
         never touched.")
        .default("true"),
    mirror("sync.topic.acls", Kind::Boolean, field!(sync_topic_acls),
        "Whether ACLs are copied, and kept equal: those of mirrored topics, of the groups that groups selects, and of transactional \
         ids. On the target only what the mirror has created itself is ever taken away.")
        .default("false"),
    mirror("topic.acls.downgrade", Kind::Choice(&["none", "read-only"]), field!(topic_acls_downgrade),
        "What a permission to write becomes. none: the same on the target. read-only: ALLOW WRITE on topics is left out and \
         ALLOW ALL becomes ALLOW READ, as in MirrorMaker 2.")
        .default("none"),
    mirror("refresh.interval.ms", integer(100, INT_MAX), field!(refresh_interval),
        "How often topics, partitions, settings and offsets of groups are looked at for changes.")
        .default("5000").unit(Unit::Milliseconds)
        .because("each look costs both clusters a few requests"),
    mirror("topic.configs.override", Kind::Pairs, field!(topic_configs_override),
        "Settings of topics on the target that differ from the source, for example retention.ms=86400000.")
        .default(""),
    mirror("topic.configs.exclude", Kind::Patterns, field!(topic_configs_exclude.keys),
        "Settings of topics that are not copied: the target's topics keep what they have. Those that are bound to brokers, \
         clocks or tiered storage never are.")
        .default("").aliases(&["config.properties.exclude", "config.properties.blacklist"]),
    mirror("topic.configs.target.defaults", Kind::Boolean, field!(topic_configs_target_defaults),
        "Whether what nobody has set on a topic of the source is left to the defaults of the target's brokers, also where they let \
         records go sooner or refuse more of them. false: a copy that the mirror creates keeps and takes records as the source does.")
        .default("false"),
    mirror("throttle.bytes.per.second", Kind::OptionalInteger { min: 1, max: i64::MAX }, field!(throttle_bytes_per_second),
        "The most the whole mirror copies in a second.")
        .default(NONE).unit(Unit::Bytes),
    mirror("on.data.loss", Kind::Choice(&["fail", "continue"]), field!(on_data_loss),
        "When records of the source are gone before they were copied. fail: that partition stops, the others go on. \
         continue: it is told, and the partition goes on behind them, at the same offsets.")
        .default("fail"),
    mirror("on.topic.reset", Kind::Choice(&["fail", "recreate-target"]), field!(on_topic_reset),
        "When a topic of the source was deleted and created again. fail: its partitions stop, the others go on. recreate-target: \
         its copy on the target is deleted with all its records, and copied anew, if the mirror has created it and nobody else has \
         written to it; else its partitions stop.")
        .default("fail"),
    mirror("on.target.conflict", Kind::Choice(&["fail"]), field!(on_target_conflict),
        "When the target has something the mirror did not write. fail: that partition stops, the others go on.")
        .default("fail"),
    mirror("on.record.refused", Kind::Choice(&["fail", "skip"]), field!(on_record_refused),
        "When the target does not take a record. fail: that partition stops, the others go on. skip: it is told, and its \
         offset stays without a record.")
        .default("fail"),
    mirror("lag.interval.ms", integer(50, INT_MAX), field!(lag_interval),
        "How often the lag is worked out and told.")
        .default("1000").unit(Unit::Milliseconds)
        .because("each time the source is asked for the ends of its partitions"),
    mirror("lag.threshold.records", Kind::OptionalInteger { min: 1, max: i64::MAX }, field!(lag_threshold_records),
        "The lag in records above which an event says so.")
        .default(NONE).unit(Unit::Records),
    mirror("lag.threshold.ms", Kind::OptionalInteger { min: 1, max: i64::MAX }, field!(lag_threshold),
        "The lag in time above which an event says so.")
        .default(NONE).unit(Unit::Milliseconds),
    mirror("http.listen", Kind::Text, Field::Fixed,
        "host:port where metrics, health and status are served.")
        .default(NONE).availability(Availability::Only(NONE)),
];

#[rustfmt::skip]
static CLIENT: &[Property] = &[
    both("bootstrap.servers", Kind::Servers, client_field!(bootstrap_servers),
        "Brokers to ask first; the others are found through them. Needed for both clusters.")
        .aliases(&["metadata.broker.list"]),
    both("client.id", Kind::Text, client_field!(client_id),
        "What the mirror calls itself in the logs, metrics and quotas of the brokers.")
        .default("kmirror"),
    both("security.protocol", Kind::Choice(&["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"]), Field::Fixed,
        "Whether connections are encrypted and authenticated.")
        .default("PLAINTEXT").availability(Availability::Only("PLAINTEXT")),
    both("request.timeout.ms", integer(1, INT_MAX), client_field!(request_timeout),
        "How long a broker may take for an answer before the connection is given up.")
        .default("30000").unit(Unit::Milliseconds).aliases(&["socket.timeout.ms"]),
    both("socket.connection.setup.timeout.ms", integer(1, INT_MAX), client_field!(connection_setup_timeout),
        "How long a new connection may take, with TLS and authentication.")
        .default("8000").unit(Unit::Milliseconds)
        .because("a port that says nothing is told of within ten seconds"),
    both("retry.backoff.ms", integer(1, HOUR), client_field!(retry_backoff),
        "The first pause after a failure, of a request or of a connection; it doubles with each failure that follows.")
        .default("100").unit(Unit::Milliseconds).aliases(&["reconnect.backoff.ms"])
        .because("without a pause a broker in trouble would be flooded"),
    both("retry.backoff.max.ms", integer(1, HOUR), client_field!(retry_backoff_max),
        "The longest pause after a failure.")
        .default("1000").unit(Unit::Milliseconds).aliases(&["reconnect.backoff.max.ms"])
        .because("without a pause a broker in trouble would be flooded"),
    source("fetch.min.bytes", integer(0, INT_MAX), client_field!(fetch_min_bytes),
        "How much a broker gathers before it answers a fetch.")
        .default("1").unit(Unit::Bytes),
    source("fetch.max.wait.ms", integer(0, INT_MAX), client_field!(fetch_max_wait),
        "How long a broker waits for fetch.min.bytes.")
        .default("500").unit(Unit::Milliseconds).aliases(&["fetch.wait.max.ms"]),
    source("fetch.max.bytes", integer(1, INT_MAX), client_field!(fetch_max_bytes),
        "The most one answer to a fetch brings, less when buffer.memory has no room. A single larger batch still passes.")
        .default("57671680").unit(Unit::Bytes),
    source("max.partition.fetch.bytes", integer(1, INT_MAX), client_field!(max_partition_fetch_bytes),
        "The most one answer brings of one partition. A single larger batch still passes.")
        .default("1048576").unit(Unit::Bytes).aliases(&["fetch.message.max.bytes"]),
    target("max.request.size", integer(1024, INT_MAX), client_field!(max_request_size),
        "The most one produce request carries. More than Java's 1 MiB, as here it bounds the batches of many partitions \
         in one request, not one record; a single larger batch still passes.")
        .default("4194304").unit(Unit::Bytes).aliases(&["message.max.bytes"])
        .idle_elsewhere("it bounds produce requests, and nothing is produced to the source"),
    target("max.in.flight.requests.per.connection", integer(1, 5), client_field!(max_in_flight),
        "Produce requests a broker of the target is sent before it has answered the first.")
        .default("5").unit(Unit::Requests).aliases(&["max.in.flight"])
        .because("a broker recognises a repeated batch among the last five of a producer only")
        .idle_elsewhere("it bounds produce requests, and nothing is produced to the source"),
];
