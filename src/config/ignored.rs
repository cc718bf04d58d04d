//! The keys of Java's and librdkafka's clients that have no meaning for a mirror, and why they have none.
//!
//! A file that works with those clients works here: its keys are accepted, and a warning gives the reason, so that
//! nobody believes a setting works that does not. The keys of TLS and SASL are in `security.rs`.

/// Keys that have no meaning for the same reason.
pub(super) struct Ignored {
    /// Ends the sentence "has no effect: …".
    pub(super) reason: &'static str,
    pub(super) keys: &'static [&'static str],
    /// Values that ask for what is done anyway, so that there is nothing to warn of.
    unremarkable: &'static [&'static str],
}

/// The entry of a key that has no meaning here.
pub(super) fn find(key: &str) -> Option<&'static Ignored> {
    IGNORED.iter().find(|ignored| ignored.keys.contains(&key))
}

impl Ignored {
    /// Whether the value asks for something that is not done.
    pub(super) fn is_worth_a_warning(&self, value: &str) -> bool {
        !self.unremarkable.iter().any(|unremarkable| unremarkable.eq_ignore_ascii_case(value.trim()))
    }
}

const fn ignored(reason: &'static str, keys: &'static [&'static str]) -> Ignored {
    Ignored { reason, keys, unremarkable: &[] }
}

pub(super) static IGNORED: &[Ignored] = &[
    Ignored {
        reason: "kmirror always waits until all replicas in sync have a batch",
        keys: &["acks", "request.required.acks"],
        unremarkable: &["all", "-1"],
    },
    Ignored {
        reason: "kmirror always writes idempotently",
        keys: &["enable.idempotence", "enable.gapless.guarantee"],
        unremarkable: &["true"],
    },
    Ignored {
        reason: "the target itself is the record of what was copied, so no offset needs to be committed",
        keys: &[
            "enable.auto.commit",
            "auto.commit.interval.ms",
            "auto.commit.enable",
            "enable.auto.offset.store",
            "offset.store.method",
            "offset.store.path",
            "offset.store.sync.interval.ms",
            "offset_commit_cb",
            "offsets.storage",
            "dual.commit.enabled",
        ],
        unremarkable: &["false"],
    },
    ignored(
        "start decides where a partition begins, and on.data.loss what happens when records are gone",
        &["auto.offset.reset"],
    ),
    ignored(
        "record batches travel as they are: nothing is serialized or deserialized",
        &["key.serializer", "value.serializer", "key.deserializer", "value.deserializer", "serializer.class"],
    ),
    ignored(
        "record batches stay compressed as they are",
        &[
            "compression.type",
            "compression.codec",
            "compression.level",
            "compression.gzip.level",
            "compression.lz4.level",
            "compression.zstd.level",
        ],
    ),
    ignored(
        "the target's broker checks the checksum of every batch, which travels unchanged in what it covers",
        &["check.crcs"],
    ),
    ignored(
        "batches are the source's, and are sent when they arrive: they are not gathered again",
        &[
            "linger.ms",
            "queue.buffering.max.ms",
            "batch.size",
            "batch.num.messages",
            "sticky.partitioning.linger.ms",
            "queue.buffering.backpressure.threshold",
        ],
    ),
    ignored(
        "a record goes to the partition it comes from",
        &[
            "partitioner",
            "partitioner.class",
            "partitioner_cb",
            "partitioner.adaptive.partitioning.enable",
            "partitioner.availability.timeout.ms",
            "partitioner.ignore.keys",
            "msg_order_cmp",
            "queuing.strategy",
        ],
    ),
    ignored(
        "memory is bounded by buffer.memory",
        &[
            "queue.buffering.max.messages",
            "queue.buffering.max.kbytes",
            "queued.min.messages",
            "queued.max.messages.kbytes",
            "queued.max.message.chunks",
            "fetch.queue.backoff.ms",
            "message.copy.max.bytes",
            "receive.message.max.bytes",
            "max.block.ms",
            "block.on.buffer.full",
        ],
    ),
    ignored(
        "an attempt is repeated, with retry.backoff.ms between, until it succeeds or the mirror is stopped",
        &[
            "retries",
            "message.send.max.retries",
            "delivery.timeout.ms",
            "message.timeout.ms",
            "fetch.error.backoff.ms",
            "default.api.timeout.ms",
            "socket.max.fails",
        ],
    ),
    ignored(
        "kmirror needs no transactions to write exactly once",
        &["transactional.id", "transaction.timeout.ms", "transaction.two.phase.commit.enable"],
    ),
    ignored(
        "the mirror reads every partition it selects, and joins no consumer group in this version",
        &[
            "group.instance.id",
            "group.protocol",
            "group.protocol.type",
            "group.remote.assignor",
            "partition.assignment.strategy",
            "session.timeout.ms",
            "heartbeat.interval.ms",
            "coordinator.query.interval.ms",
            "max.poll.interval.ms",
            "max.poll.records",
            "internal.leave.group.on.close",
            "internal.throw.on.fetch.stable.offset.unsupported",
            "share.acknowledgement.mode",
            "share.acquire.mode",
            "rebalance_cb",
        ],
    ),
    ignored(
        "topics and topics.exclude decide which topics are mirrored, and kmirror creates them itself",
        &[
            "allow.auto.create.topics",
            "exclude.internal.topics",
            "topic.blacklist",
            "topic.metadata.propagation.max.ms",
        ],
    ),
    ignored(
        "kmirror asks for topics and leaders every refresh.interval.ms, and at once when a leader has moved",
        &[
            "metadata.max.age.ms",
            "metadata.max.idle.ms",
            "topic.metadata.refresh.interval.ms",
            "topic.metadata.refresh.fast.interval.ms",
            "topic.metadata.refresh.fast.cnt",
            "topic.metadata.refresh.sparse",
            "metadata.fetch.timeout.ms",
        ],
    ),
    ignored(
        "kmirror goes back to bootstrap.servers whenever no broker it knows can be reached",
        &["metadata.recovery.strategy", "metadata.recovery.rebootstrap.trigger.ms"],
    ),
    ignored("kmirror reads from and writes to the leader of each partition", &["client.rack", "bootstrap.controllers"]),
    ignored(
        "kmirror tries every address of a name, and keeps its connections open",
        &["client.dns.lookup", "broker.address.ttl", "broker.address.family", "connections.max.idle.ms"],
    ),
    ignored(
        "each attempt to connect has socket.connection.setup.timeout.ms",
        &["socket.connection.setup.timeout.max.ms"],
    ),
    ignored("the first pause after a failure is retry.backoff.ms", &["reconnect.backoff.jitter.ms"]),
    ignored(
        "kmirror leaves the buffers of sockets to the operating system, which fits them to the connection",
        &[
            "receive.buffer.bytes",
            "send.buffer.bytes",
            "socket.receive.buffer.bytes",
            "socket.send.buffer.bytes",
            "socket.receive.buffer",
            "socket.buffersize",
            "socket.keepalive.enable",
            "socket.nagle.disable",
            "socket.blocking.max.ms",
        ],
    ),
    ignored(
        "kmirror asks every broker which requests it offers",
        &[
            "api.version.request",
            "api.version.request.timeout.ms",
            "api.version.fallback.ms",
            "broker.version.fallback",
        ],
    ),
    ignored(
        "kmirror has metrics of its own",
        &[
            "metric.reporters",
            "metrics.num.samples",
            "metrics.recording.level",
            "metrics.sample.window.ms",
            "auto.include.jmx.reporter",
            "enable.metrics.push",
            "statistics.interval.ms",
            "stats_cb",
        ],
    ),
    ignored(
        "no code of a client runs in a mirror",
        &[
            "interceptor.classes",
            "interceptors",
            "plugin.library.paths",
            "background_event_cb",
            "closesocket_cb",
            "connect_cb",
            "consume_cb",
            "consume.callback.max.messages",
            "dr_cb",
            "dr_msg_cb",
            "delivery.report.only.error",
            "error_cb",
            "log_cb",
            "open_cb",
            "resolve_cb",
            "socket_cb",
            "throttle_cb",
            "opaque",
            "enabled_events",
            "enable.partition.eof",
            "produce.offset.report",
            "default_topic_conf",
            "internal.termination.signal",
        ],
    ),
    ignored(
        "the log is set up by the program that runs the mirror",
        &["debug", "log_level", "log.queue", "log.thread.name", "log.connection.close"],
    ),
    ignored("it says something about librdkafka itself", &["builtin.features", "enable.random.seed"]),
    ignored(
        "values are taken as they are: references such as ${env:NAME} are not resolved in this version",
        &["config.providers"],
    ),
    ignored(
        "kmirror talks to brokers only: bootstrap.servers names them",
        &[
            "zookeeper.connect",
            "zookeeper.connection.timeout.ms",
            "zookeeper.session.timeout.ms",
            "zookeeper.sync.time.ms",
        ],
    ),
    ignored(
        "it is of a client that Kafka no longer has",
        &["consumer.timeout.ms", "consumer.id", "producer.type", "rebalance.max.retries", "rebalance.backoff.ms"],
    ),
];
