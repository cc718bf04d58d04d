//! The table of MirrorMaker 2's own keys: what each is here, or why it is nothing.
//!
//! What reads its files, and the page of the manual, go by these rows. A test compares them with the keys that Kafka's
//! classes define. The keys of clients are in `properties.rs`, `ignored.rs` and `security.rs`.

/// One or more keys that are treated alike.
pub(in super::super) struct Key {
    pub(in super::super) keys: &'static [&'static str],
    /// What MirrorMaker 2 takes when it is not set, where that has to be said because it has a meaning here.
    pub(in super::super) default: Option<&'static str>,
    pub(in super::super) verdict: Verdict,
}

/// What becomes of a key.
#[derive(Clone, Copy)]
pub(in super::super) enum Verdict {
    /// It says which mirrors there are.
    Flows(&'static str),
    /// It is this property of kmirror.
    Property(&'static str, Reading, &'static str),
    /// It has no effect, and this is why; the values beside it ask for what is done anyway.
    Idle(&'static str, &'static [&'static str]),
    /// Only these values can be done, and this is why.
    Only(&'static [&'static str], &'static str),
    /// It is the property of the same name, which MirrorMaker 2 takes as true and kmirror as false if it is not written.
    OnRequest(&'static str),
}

/// How a value becomes that of the property.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum Reading {
    /// As it is.
    Same,
    /// A number of seconds as one of milliseconds.
    Seconds,
    /// The name of a class as a word.
    Class(&'static [(&'static str, &'static str)]),
}

const fn property(keys: &'static [&'static str], default: &'static str, to: &'static str, note: &'static str) -> Key {
    Key { keys, default: Some(default), verdict: Verdict::Property(to, Reading::Same, note) }
}

const fn seconds(keys: &'static [&'static str], default: &'static str, to: &'static str, note: &'static str) -> Key {
    Key { keys, default: Some(default), verdict: Verdict::Property(to, Reading::Seconds, note) }
}

const fn idle(reason: &'static str, unremarkable: &'static [&'static str], keys: &'static [&'static str]) -> Key {
    Key { keys, default: None, verdict: Verdict::Idle(reason, unremarkable) }
}

const fn only(keys: &'static [&'static str], values: &'static [&'static str], reason: &'static str) -> Key {
    Key { keys, default: None, verdict: Verdict::Only(values, reason) }
}

const fn on_request(keys: &'static [&'static str], note: &'static str) -> Key {
    Key { keys, default: None, verdict: Verdict::OnRequest(note) }
}

const fn flows(keys: &'static [&'static str], what: &'static str) -> Key {
    Key { keys, default: None, verdict: Verdict::Flows(what) }
}

/// Read with the topics: if it is true, heartbeats are mirrored whatever `topics` says.
pub(super) const HEARTBEATS_REPLICATION: &str = "heartbeats.replication.enabled";
/// Whether heartbeats are written; of one flow that is also about the other direction.
pub(super) const HEARTBEATS: &str = "emit.heartbeats.enabled";
/// What it is for the mirror of the other direction, if there is none of its own.
pub(super) const HEARTBEATS_AT_SOURCE: &str = "emit.heartbeats.at.source.enabled";
const REPLICAS: &str = "At most the number of brokers; -1 is the brokers' own.";
const POLICIES: Reading = Reading::Class(&[
    ("org.apache.kafka.connect.mirror.DefaultReplicationPolicy", "default"),
    ("org.apache.kafka.connect.mirror.IdentityReplicationPolicy", "identity"),
]);
const BYTE_ARRAYS: &[&str] = &["org.apache.kafka.connect.converters.ByteArrayConverter"];
const REFRESH: &str = "topics, groups, settings and ACLs are looked at together, every refresh.topics.interval.seconds";
const WORKER: &str =
    "it is about the workers of Kafka Connect, and there are none: every mirror is threads of one process";

// A row stays a row.
#[rustfmt::skip]
pub(in super::super) static KEYS: &[Key] = &[
    flows(&["clusters"], "The aliases of the clusters."),
    flows(&["enabled"], "`a->b.enabled=true` makes a mirror from a to b. Without it there is none, as in MirrorMaker 2."),
    Key { keys: &["name"], default: None, verdict: Verdict::Property("name", Reading::Same,
        "In `a->b.name` only. The default is <source alias>-to-<target alias>.") },
    Key { keys: &["source.cluster.alias"], default: None, verdict: Verdict::Property("source.cluster.alias", Reading::Same,
        "The default is the alias in `clusters`.") },
    Key { keys: &["target.cluster.alias"], default: None, verdict: Verdict::Property("target.cluster.alias", Reading::Same,
        "The default is the alias in `clusters`.") },
    property(&["topics"], ".*", "topics", "An exact name here beats a pattern in topics.exclude."),
    property(&["topics.exclude", "topics.blacklist"], r"mm2.*\.internal, .*\.replica, __.*", "topics.exclude",
        "What MirrorMaker 2 never mirrors is left out besides: internal topics, and names that begin with a dot."),
    property(&[HEARTBEATS_REPLICATION], "true", HEARTBEATS_REPLICATION,
        "true: topics named heartbeats are mirrored whatever topics says."),
    property(&["groups"], ".*", "groups", ""),
    property(&["groups.exclude", "groups.blacklist"], "console-consumer-.*, connect-.*, __.*", "groups.exclude", ""),
    Key { keys: &["replication.policy.class"], default: Some("org.apache.kafka.connect.mirror.DefaultReplicationPolicy"),
        verdict: Verdict::Property("replication.policy", POLICIES,
            "DefaultReplicationPolicy is default, IdentityReplicationPolicy is identity. Other classes are refused: Java classes cannot \
             be run here.") },
    property(&["replication.policy.separator"], ".", "replication.policy.separator", ""),
    property(&["replication.factor"], "2", "replication.factor",
        "At most the number of brokers of the target, with a warning; MirrorMaker 2 creates no topic then. -1 is the brokers' own."),
    seconds(&["refresh.topics.interval.seconds"], "600", "refresh.interval.ms", ""),
    only(&["refresh.topics.enabled", "refresh.groups.enabled"], &["true"],
        "what is new is always looked for: to mirror nothing new, name what is mirrored in topics and groups"),
    property(&["sync.topic.configs.enabled"], "true", "sync.topic.configs", ""),
    property(&["sync.topic.acls.enabled"], "true", "sync.topic.acls",
        "With topic.acls.downgrade=read-only, as in MirrorMaker 2. Besides, ACLs of groups and transactional ids, and prefixed ones, \
         are copied, and ACLs that are gone at the source are taken away. A cluster without an authorizer is named in the status."),
    property(&["sync.group.offsets.enabled"], "false", "sync.group.offsets", ""),
    idle(REFRESH, &[], &["refresh.groups.interval.seconds", "sync.topic.configs.interval.seconds",
        "sync.topic.acls.interval.seconds", "sync.group.offsets.interval.seconds"]),
    property(&["config.properties.exclude", "config.properties.blacklist"],
        "follower.replication.throttled.replicas, leader.replication.throttled.replicas, message.timestamp.difference.max.ms, \
         log.message.timestamp.before.max.ms, log.message.timestamp.after.max.ms, message.timestamp.type, \
         unclean.leader.election.enable, min.insync.replicas", "topic.configs.exclude",
        "What is bound to brokers, clocks or tiered storage is never copied, also if it is not in the list."),
    only(&["use.defaults.from"], &["target"], "what is not set at the source has the target's default"),
    only(&["topic.filter.class"], &["org.apache.kafka.connect.mirror.DefaultTopicFilter"], "Java classes cannot be run here: use topics and topics.exclude"),
    only(&["group.filter.class"], &["org.apache.kafka.connect.mirror.DefaultGroupFilter"], "Java classes cannot be run here: use groups and groups.exclude"),
    only(&["config.property.filter.class"], &["org.apache.kafka.connect.mirror.DefaultConfigPropertyFilter"], "Java classes cannot be run here"),
    only(&["forwarding.admin.class"], &["org.apache.kafka.clients.admin.ForwardingAdmin"], "Java classes cannot be run here, and topics are created through the target itself"),
    only(&["key.converter", "value.converter", "header.converter"], BYTE_ARRAYS, "batches of records travel as they are, and are not converted"),
    only(&["transforms", "predicates"], &[""], "batches of records travel as they are, and are not transformed"),
    on_request(&[HEARTBEATS],
        "Of a->b, on b; of b->a, on a, also if nothing is mirrored from b to a: for a->b it is emit.heartbeats.at.source.enabled then."),
    on_request(&["emit.checkpoints.enabled"], "On b, of the groups that groups selects, also if their offsets are not copied."),
    on_request(&["emit.offset-syncs.enabled"], "Checkpoints do not need them: offsets are translated without."),
    property(&["emit.heartbeats.interval.seconds"], "1", "emit.heartbeats.interval.seconds", ""),
    property(&["emit.checkpoints.interval.seconds"], "60", "emit.checkpoints.interval.seconds", ""),
    property(&["offset.lag.max"], "100", "offset.lag.max", "Looked at with every refresh."),
    property(&["heartbeats.topic.replication.factor"], "3", "heartbeats.topic.replication.factor", REPLICAS),
    property(&["checkpoints.topic.replication.factor"], "3", "checkpoints.topic.replication.factor", REPLICAS),
    property(&["offset-syncs.topic.replication.factor"], "3", "offset-syncs.topic.replication.factor", REPLICAS),
    property(&["offset-syncs.topic.location"], "source", "offset-syncs.topic.location", ""),
    property(&["replication.policy.internal.topic.separator.enabled"], "true", "replication.policy.internal.topic.separator.enabled", ""),
    idle("a mirror divides its partitions among num.streams threads", &[], &["tasks.max", "tasks.max.enforce"]),
    idle("one process does the work of MirrorMaker 2's connectors", &[],
        &["connector.class", "connector.plugin.version", "key.converter.plugin.version", "value.converter.plugin.version",
          "header.converter.plugin.version", "config.action.reload"]),
    idle("what cannot be copied is never left out silently: on.record.refused and on.data.loss decide", &[],
        &["errors.tolerance", "errors.retry.timeout", "errors.retry.delay.max.ms", "errors.log.enable", "errors.log.include.messages"]),
    idle("fetch.max.wait.ms says how long brokers wait for records", &[], &["consumer.poll.timeout.ms"]),
    idle("request.timeout.ms of each cluster holds for all requests", &[], &["admin.timeout.ms"]),
    idle("Java classes cannot be run here: kmirror tells its metrics itself", &[], &["metric.reporters", "metric.names.formats"]),
    idle("MirrorMaker 2 has no such key and passes over it: clusters and a->b.enabled=true say what is mirrored to where", &[],
        &["cluster.alias", "mirrors"]),
    idle("values are written out: ${…} is an error where it stands", &[""], &["config.providers"]),
    idle("records are always copied exactly once", &[], &["exactly.once.source.support"]),
    idle(WORKER, &[],
        &["dedicated.mode.enable.internal.rest", "listeners", "rest.advertised.host.name", "rest.advertised.port",
          "rest.advertised.listener", "access.control.allow.origin", "access.control.allow.methods", "response.http.headers.config",
          "admin.listeners", "group.id", "connect.protocol", "plugin.path", "plugin.discovery", "scheduled.rebalance.max.delay.ms",
          "transaction.boundary", "transaction.boundary.interval.ms", "offset.flush.interval.ms", "offset.flush.timeout.ms",
          "heartbeat.interval.ms", "session.timeout.ms", "rebalance.timeout.ms", "topic.tracking.enable",
          "topic.tracking.allow.reset", "topic.creation.enable", "connector.client.config.override.policy", "rest.extension.classes"]),
];

/// Beginnings of keys of Connect's workers, each with any end.
pub(in super::super) const OF_WORKERS: &[&str] = &[
    "offset.storage.",
    "config.storage.",
    "status.storage.",
    "config.providers.",
    "inter.worker.",
    "task.",
    "worker.",
    "key.converter.",
    "value.converter.",
    "header.converter.",
    "topic.creation.",
    "metrics.",
];

/// The row of a key.
pub(super) fn find(key: &str) -> Option<&'static Key> {
    KEYS.iter().find(|row| row.keys.contains(&key))
}

/// Why a key of Connect's workers has no effect.
pub(super) fn of_worker(key: &str) -> Option<&'static str> {
    OF_WORKERS.iter().any(|beginning| key.starts_with(beginning)).then_some(WORKER)
}
