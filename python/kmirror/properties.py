"""The properties of a mirror as keywords, for type checkers and editors.

Made of the engine's table by tests/python/test_properties.py; whether values are right is told by the engine.
"""

from __future__ import annotations

import os
from typing import Any, TypedDict

from ._kmirror import Secret

Value = str | int | float | bool | os.PathLike[str] | Secret | list[Any] | tuple[Any, ...] | dict[str, Any] | None
"""What a property takes; several values, or pairs, as a list or a dict. None leaves it as it is by default."""


class Properties(TypedDict, total=False):
    """Every property of a mirror, with underscores for dots and dashes."""

    name: Value
    """``name``: The mirror's identity on the target. Without it the group.id, else the ids of both clusters."""
    group_id: Value
    """``group.id``: The consumer group of a consumer's file: it gives the mirror its name when name is not set."""
    topics: Value
    """``topics``: The topics to mirror. An exact name here beats a pattern in topics.exclude."""
    topics_exclude: Value
    """``topics.exclude``: The topics to leave out. Topics of kmirror and of the brokers themselves are never
    mirrored."""
    groups: Value
    """``groups``: The consumer groups whose offsets are copied."""
    groups_exclude: Value
    """``groups.exclude``: The consumer groups whose offsets are not copied."""
    offsets: Value
    """``offsets``: preserve: a record has the same offset on the target, where nobody else may write to its
    topic. translate: records are appended, still exactly once, behind whatever others have written, and an
    exact map is kept: for several sources into one topic, or two clusters that mirror each other under the
    same names."""
    start: Value
    """``start``: Where partitions begin that the mirror has not begun: at the first record, at the end as it is
    then, or at the first record of that time or later. What appears at the source while the mirror runs is
    copied from its first record with latest, too."""
    isolation_level: Value
    """``isolation.level``: What is copied of transactional data: read_committed leaves out what is open or
    aborted."""
    num_streams: Value
    """``num.streams``: Worker threads. Each has its own connections and its share of the partitions."""
    buffer_memory: Value
    """``buffer.memory``: Bytes in flight in the whole mirror, between what is fetched and what is acknowledged."""
    replication_factor: Value
    """``replication.factor``: Of topics created on the target: source is what the source has, at most the
    number of brokers of the target; -1 is the target's own default."""
    replication_policy: Value
    """``replication.policy``: identity: a topic has the same name on the target. default: it is <source
    alias>.<topic>, as in MirrorMaker 2, and topics that came from the target are not mirrored back."""
    replication_policy_separator: Value
    """``replication.policy.separator``: What stands between the alias and the topic with
    replication.policy=default: letters, digits, '.', '_' and '-'."""
    source_cluster_alias: Value
    """``source.cluster.alias``: What the source is called in the names of topics. Needed with
    replication.policy=default; with identity it stands before MirrorMaker 2's heartbeats only."""
    target_cluster_alias: Value
    """``target.cluster.alias``: What the target is called in the names of topics: those that came from it are
    not mirrored back."""
    replication_policy_internal_topic_separator_enabled: Value
    """``replication.policy.internal.topic.separator.enabled``: Whether replication.policy.separator also stands
    in the names of the topics of checkpoints and offset syncs."""
    emit_heartbeats_enabled: Value
    """``emit.heartbeats.enabled``: Whether heartbeats are written to the topic heartbeats of the target, in
    MirrorMaker 2's format. This and the next three need source.cluster.alias and target.cluster.alias."""
    emit_heartbeats_at_source_enabled: Value
    """``emit.heartbeats.at.source.enabled``: Whether heartbeats of the way back are written to the topic
    heartbeats of the source. Mirrored from there, if topics selects it, they tell MirrorMaker 2's tools on
    the target which clusters are upstream."""
    emit_checkpoints_enabled: Value
    """``emit.checkpoints.enabled``: Whether checkpoints are written to the target, in MirrorMaker 2's format:
    what the offsets are there of the groups that groups selects, whether sync.group.offsets copies them or
    not."""
    emit_offset_syncs_enabled: Value
    """``emit.offset-syncs.enabled``: Whether offset syncs are written, in MirrorMaker 2's format: which offsets
    of source and target belong together."""
    emit_heartbeats_interval_seconds: Value
    """``emit.heartbeats.interval.seconds``: How often heartbeats are written."""
    emit_checkpoints_interval_seconds: Value
    """``emit.checkpoints.interval.seconds``: How often checkpoints are written, of those that changed."""
    offset_lag_max: Value
    """``offset.lag.max``: How many records a partition may be ahead of its last offset sync before the next
    look, every refresh.interval.ms, writes another. Fewer are written once a minute."""
    heartbeats_topic_replication_factor: Value
    """``heartbeats.topic.replication.factor``: Replicas of the topic of heartbeats if it is created, at most
    the number of brokers; -1 is the brokers' own. So with the next two."""
    checkpoints_topic_replication_factor: Value
    """``checkpoints.topic.replication.factor``: Replicas of the topic of checkpoints."""
    offset_syncs_topic_replication_factor: Value
    """``offset-syncs.topic.replication.factor``: Replicas of the topic of offset syncs."""
    offset_syncs_topic_location: Value
    """``offset-syncs.topic.location``: Which cluster has the topic of offset syncs."""
    sync_topic_configs: Value
    """``sync.topic.configs``: Whether settings of topics are copied, and kept equal."""
    sync_group_offsets: Value
    """``sync.group.offsets``: Whether offsets of consumer groups are copied, for topics that are mirrored. A
    group with members on the target is never touched."""
    sync_topic_acls: Value
    """``sync.topic.acls``: Whether ACLs are copied, and kept equal: those of mirrored topics, of the groups
    that groups selects, and of transactional ids. On the target only what the mirror has created itself is
    ever taken away."""
    topic_acls_downgrade: Value
    """``topic.acls.downgrade``: What a permission to write becomes. none: the same on the target. read-only:
    ALLOW WRITE on topics is left out and ALLOW ALL becomes ALLOW READ, as in MirrorMaker 2."""
    refresh_interval_ms: Value
    """``refresh.interval.ms``: How often topics, partitions, settings and offsets of groups are looked at for
    changes."""
    topic_configs_override: Value
    """``topic.configs.override``: Settings of topics on the target that differ from the source, for example
    retention.ms=86400000."""
    topic_configs_exclude: Value
    """``topic.configs.exclude``: Settings of topics that are not copied: the target's topics keep what they
    have. Those that are bound to brokers, clocks or tiered storage never are."""
    topic_configs_target_defaults: Value
    """``topic.configs.target.defaults``: Whether what nobody has set on a topic of the source is left to the
    defaults of the target's brokers, also where they let records go sooner or refuse more of them. false: a
    copy that the mirror creates keeps and takes records as the source does."""
    throttle_bytes_per_second: Value
    """``throttle.bytes.per.second``: The most the whole mirror copies in a second."""
    on_data_loss: Value
    """``on.data.loss``: When records of the source are gone before they were copied. fail: that partition
    stops, the others go on. continue: it is told, and the partition goes on behind them, at the same
    offsets."""
    on_topic_reset: Value
    """``on.topic.reset``: When a topic of the source was deleted and created again. fail: its partitions stop,
    the others go on. recreate-target: its copy on the target is deleted with all its records, and copied
    anew, if the mirror has created it and nobody else has written to it; else its partitions stop."""
    on_target_conflict: Value
    """``on.target.conflict``: When the target has something the mirror did not write. fail: that partition
    stops, the others go on."""
    on_record_refused: Value
    """``on.record.refused``: When the target does not take a record. fail: that partition stops, the others go
    on. skip: it is told, and its offset stays without a record."""
    lag_interval_ms: Value
    """``lag.interval.ms``: How often the lag is worked out and told."""
    lag_threshold_records: Value
    """``lag.threshold.records``: The lag in records above which an event says so."""
    lag_threshold_ms: Value
    """``lag.threshold.ms``: The lag in time above which an event says so."""
    http_listen: Value
    """``http.listen``: host:port where metrics, health and status are served."""
