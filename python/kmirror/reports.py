"""What a mirror, a plan, a verification and a switch-over have to say. Offsets are those of Kafka: *next* is the one
that comes next."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar

from ._kmirror import Lag
from .errors import KmirrorError
from .records import Record, Table, plural


class PartitionStatus(Record):
    """One partition of a status."""

    partition: int
    """Its number."""
    state: str
    """Its state, as of a mirror."""
    source_offset_next: int | None
    """The next offset of the source that consumers can see; None until it is known."""
    target_offset_next: int | None
    """The next offset to be replicated; None until it is known."""
    lag: Lag
    """How far it is behind."""
    left_out_as_echo: int
    """Records not copied since the start because they had come from the target: another mirror copies the other way."""
    error: str | None
    """Why it does not progress."""


class TopicStatus(Record):
    """One topic of a status."""

    topic: str
    """Its name at the source."""
    target_topic: str | None
    """Its name on the target, where that differs."""
    lag: Lag
    """The lag of its partitions together."""
    partitions: list[PartitionStatus]
    """Its partitions, by number."""


class GroupsStatus(Record):
    """How far the offsets of consumer groups are copied."""

    matching: int
    """Groups of the source that match and have offsets in mirrored topics."""
    synced: int
    """Those that are on the target what they are at the source."""
    behind: int
    """Those that are not yet."""
    skipped: int
    """Those that are left alone."""


class BrokerThrottle(Record):
    """For how long brokers have asked the mirror to wait, because a quota of its user or client id is used up. The
    mirror waits as they ask."""

    source_ms: int | None
    """Milliseconds of the last answer of the source that asked for it; None if none has for half a minute."""
    target_ms: int | None
    """Milliseconds of the last answer of the target that asked for it."""


class Status(Table):
    """Everything a mirror knows of itself at one moment. As a table: its partitions."""

    name: str
    """The mirror's name."""
    state: str
    """For example "in_sync"."""
    lag: Lag
    """The lag of all topics together; milliseconds are those of the worst partition. It says as of when both clusters
    were heard."""
    replicated_records: int
    """Records replicated since the start."""
    replicated_bytes: int
    """Bytes replicated since the start, as compressed."""
    events_dropped: int
    """Events that were dropped because nobody took them in time."""
    error: str | None
    """Why it failed."""
    topics: list[TopicStatus]
    """Its topics, by name."""
    groups: GroupsStatus
    """The offsets of consumer groups."""
    broker_throttle: BrokerThrottle
    """Whether brokers slow the mirror down."""
    refused: dict[str, str]
    """Topics that match but are not mirrored, and why."""
    troubles: list[Record]
    """What beside the records cannot be kept in step at the moment: subject, name, message."""

    _columns: ClassVar[dict[str, str]] = {
        "topic": "str",
        "partition": "int",
        "state": "str",
        "source_offset_next": "int",
        "target_offset_next": "int",
        "lag_records": "int",
        "lag_bytes": "int",
        "lag_ms": "int",
        "source_as_of_ms": "int",
        "target_as_of_ms": "int",
        "left_out_as_echo": "int",
        "error": "str",
    }

    def _rows(self) -> Iterator[dict[str, Any]]:
        for topic in self.topics:
            for one in topic.partitions:
                lag = one.lag.to_dict()
                amounts = {f"lag_{name}": lag[name] for name in ("records", "bytes", "ms")}
                yield {"topic": topic.topic, **one.to_dict(), **lag, **amounts}

    def _headline(self) -> str:
        records, ms = self.lag.records, self.lag.ms
        behind = "how far it is behind is not known"
        if records is not None:
            behind = f"{plural(records, 'record')} and {'unknown' if ms is None else f'{ms:,}'} ms behind"
        copied = f"{plural(self.replicated_records, 'record')} ({self.replicated_bytes / 1e6:,.1f} MB) replicated"
        return f"{self.name}: {self.state}, {behind}, {copied}" + (f"; {self.error}" if self.error else "")


class CheckReport(Table):
    """Whether a mirror would run. As a table: what was looked at, what came of it, and what to do."""

    ok: bool
    """Whether nothing has failed; there may be warnings."""
    lines: list[Record]
    """What was looked at: side, subject, outcome ("ok", "warning", "failed"), message, fix."""

    _error: KmirrorError | None = None
    _columns: ClassVar[dict[str, str]] = {
        "outcome": "str",
        "side": "str",
        "subject": "str",
        "message": "str",
        "fix": "str",
    }

    def raise_if_failed(self) -> None:
        """Raises the error that a start would come to, if something has failed."""
        if self._error is not None:
            raise self._error

    def _rows(self) -> Iterator[dict[str, Any]]:
        for line in self.lines:
            yield line.to_dict()

    def _headline(self) -> str:
        failed = sum(line.to_dict()["outcome"] == "failed" for line in self.lines)
        looked = plural(len(self.lines), "check")
        return f"ok: {looked}" if self.ok else f"{failed} of {looked} failed; {self._error}"


class Plan(Table):
    """What a start would do. As a table: every action on the target, and what cannot be done."""

    name: str
    """The mirror's name."""
    has_run: bool
    """Whether a mirror of this name has run already."""
    promoted_at_ms: int | None
    """When it was promoted, in milliseconds since 1970: then it would not start."""
    warnings: list[str]
    """What a start would warn of: a name that nobody has chosen, topics that a mirror of this name has copied and that
    are not selected."""
    markers: str
    """Whether offsets without a record can be filled by markers: "allowed", "denied", "unknown"."""
    topics: list[Record]
    """What would be done for each topic: topic, target_topic, action, partitions, replication_factor, reason, warning,
    and more."""
    configs: list[Record]
    """What would be changed of the configurations of topics: topic, changes, trouble."""
    acls: list[Record]
    """What would be done about ACLs: action, acl, reason."""
    groups: list[Record]
    """What would be done for each consumer group: group, offsets, skipped."""
    internal_topic: Record
    """The topic in which the mirror remembers who it is: topic, is_new, warning, reason."""
    missing_permissions: list[Record]
    """Permissions that the mirror lacks: side, resource_type, resource, operation, needed_for."""

    _columns: ClassVar[dict[str, str]] = {"subject": "str", "name": "str", "action": "str", "details": "str"}

    def _rows(self) -> Iterator[dict[str, Any]]:
        for topic in (one.to_dict() for one in self.topics):
            known = {"partitions": topic["partitions"], "replicas": topic["replication_factor"]}
            known["on the target"] = topic["target_topic"]
            if topic["warning"]:
                yield _action("topic", topic["topic"], "warning", topic["warning"], {})
            if topic["prefixes"]:
                known["partitions that start late"] = len(topic["prefixes"])
            yield _action("topic", topic["topic"], topic["action"], topic["reason"], known)
            for partition, reason in topic["refused_partitions"].items():
                yield _action("partition", f"{topic['topic']}-{partition}", "refuse", reason, {})
        for config in (one.to_dict() for one in self.configs):
            for change in config["changes"]:
                moved = {"from": change["from"], "to": change["to"]}
                yield _action("config", f"{config['topic']} {change['key']}", "set", change["reason"], moved)
            if config["trouble"]:
                yield _action("config", config["topic"], "skip", config["trouble"], {})
        for acl in (one.to_dict() for one in self.acls):
            text = ", ".join(f"{name}={value}" for name, value in (acl["acl"] or {}).items())
            yield _action("acl", text, acl["action"], acl["reason"], {})
        for group in (one.to_dict() for one in self.groups):
            action = "skip" if group["skipped"] else "copy"
            yield _action("group", group["group"], action, group["skipped"], {"offsets": len(group["offsets"])})
        for lacking in (one.to_dict() for one in self.missing_permissions):
            name = f"{lacking['operation']} on {lacking['resource_type']} {lacking['resource']} ({lacking['side']})"
            yield _action("permission", name, "missing", lacking["needed_for"], {})

    def _headline(self) -> str:
        if self.promoted_at_ms is not None:
            return f"{self.name}: was promoted, so it would not start"
        todo = plural(len(self.topics), "topic")
        return f"{self.name}: {todo}, {plural(len(self.missing_permissions), 'missing permission')}"


def _action(subject: str, name: str, action: str, reason: str | None, known: dict[str, object]) -> dict[str, object]:
    details = [f"{what} {value}" for what, value in known.items() if value not in (None, 0)]
    text = ", ".join([reason, *details] if reason else details)
    return {"subject": subject, "name": name, "action": action, "details": text}


class Difference(Record):
    """A real difference: of one record, or of several in a row that differ in the same way."""

    topic: str
    """The topic."""
    partition: int
    """The partition."""
    kind: str
    """"missing", "extra", "repeated", "different", "missing_partition" or "beyond_source_end"."""
    offset: int
    """The first offset that differs."""
    last_offset: int
    """The last one of the row."""
    records: int
    """Records from the first to the last."""
    fields: list[Record]
    """What differs in the record: field, source, target; never the content."""


class Finding(Record):
    """Offsets or records of a partition that are not proved to be equal, and why."""

    kind: str
    """Why: "not_yet_replicated", "parked", "open_transaction", "expired_on_source", "expired_on_target", "foreign",
    "perhaps_compacted", "perhaps_repeated", "not_looked_at", and what a newer engine says more."""
    topic: str
    """The topic."""
    partition: int
    """The partition."""
    offset: int
    """The first offset."""
    last_offset: int
    """The last one; others may lie between."""
    count: int
    """How many offsets or records."""
    allowed: bool
    """Whether it was allowed."""
    reason: str | None
    """What more is known of it."""


class Unread(Record):
    """A topic or partition that could not be compared."""

    topic: str
    """The topic."""
    partition: int | None
    """The partition; None for the whole topic."""
    offset: int | None
    """From here on it was not compared; None if nothing of it was."""
    error: str
    """Why."""


class VerifyCounts(Record):
    """How many of each class a verification found."""

    missing: int
    """Records that the source has and the target has not. A difference."""
    extra: int
    """Records that the target has and the source has not. A difference."""
    repeated: int
    """Records of the source that are on the target once more, written by others than the mirror, where offsets are
    translated. A difference."""
    different: int
    """Records with the same offset and different content. A difference."""
    missing_partitions: int
    """Partitions that the target does not have. A difference."""
    beyond_source_end: int
    """Offsets of the target beyond the end of the source's log. A difference."""
    compacted: int
    """Records that compaction has removed on one side. They make no difference."""
    left_out_as_echo: int
    """Records of the source that are not compared because they had come from the target. They make no difference."""
    perhaps_compacted: int
    """Records of compacted topics on one side, of which nobody knows whether compaction has removed them."""
    expired_on_source: int
    """Offsets before the source's log start that the target still has."""
    foreign: int
    """Records before the source's log start that the target has, and that this mirror did not write."""
    expired_on_target: int
    """Offsets of the source before the target's log start."""
    not_yet_replicated: int
    """Offsets that the target does not have yet."""
    parked: int
    """Offsets that the target does not have because the mirror has parked the partition."""
    open_transaction: int
    """Offsets of the source behind an open transaction."""
    perhaps_repeated: int
    """Records of others on the target, where offsets are translated, that were too many to be compared."""
    not_looked_at: int
    """Offsets that were not looked at, because the sample is empty."""


class VerifiedPartition(Record):
    """A partition as it was compared."""

    topic: str
    """The topic."""
    partition: int
    """Its number."""
    source_offset_start: int
    """First offset of the source."""
    source_offset_end: int
    """Where the source ended for consumers when the verification began."""
    target_offset_start: int
    """First offset of the target."""
    target_offset_end: int
    """Up to where the target was compared."""
    records_compared: int
    """Records that were compared."""
    counts: VerifyCounts
    """How many of each class."""


class VerifyReport(Table):
    """What a verification found. As a table: the partitions, with how many of each class. It is true if identical."""

    outcome: str
    """"identical"; "identical_in_a_sample" if only a sample was asked for; "incomplete" if no difference was seen, but
    not everything is proved to be equal; "different"."""
    identical: bool
    """Whether the outcome is "identical", or "identical_in_a_sample" where a sample was asked for."""
    topics: int
    """Topics that were looked at."""
    partitions: int
    """Partitions that were looked at."""
    records_compared: int
    """Records that were read from both sides and compared."""
    bytes_compared: int
    """Bytes of the source's batches with those records, as compressed."""
    counts: VerifyCounts
    """How many of each class."""
    differences: list[Difference]
    """The first real differences."""
    more_differences: bool
    """Whether there are more differences than are listed."""
    sample_seed: int | None
    """The seed of the random stretches, if only a sample was compared."""
    findings: list[Finding]
    """What is not proved to be equal, and is no difference that was seen: one for each class and partition."""
    unread: list[Unread]
    """What could not be compared, and why."""
    details: list[VerifiedPartition]
    """Each partition, with the offsets between which it was compared."""

    _error: KmirrorError | None = None
    _columns: ClassVar[dict[str, str]] = {
        "topic": "str",
        "partition": "int",
        "records_compared": "int",
        "missing": "int",
        "extra": "int",
        "repeated": "int",
        "different": "int",
        "missing_partitions": "int",
        "beyond_source_end": "int",
        "not_yet_replicated": "int",
        "parked": "int",
        "open_transaction": "int",
        "expired_on_source": "int",
        "expired_on_target": "int",
        "foreign": "int",
        "compacted": "int",
        "perhaps_compacted": "int",
        "left_out_as_echo": "int",
        "source_offset_start": "int",
        "source_offset_end": "int",
        "target_offset_start": "int",
        "target_offset_end": "int",
    }

    def raise_if_different(self) -> None:
        """Raises VerificationFailed with the place of the first difference, or of what is not proved to be equal."""
        if self._error is not None:
            raise self._error

    def _rows(self) -> Iterator[dict[str, Any]]:
        for one in self.details:
            fields = one.to_dict()
            yield {**fields, **fields["counts"]}

    def _headline(self) -> str:
        compared = f"{plural(self.records_compared, 'record')} in {plural(self.partitions, 'partition')} compared"
        sample = " in a sample" if self.sample_seed is not None else ""
        if self.identical:
            allowed = sorted({one.kind.replace("_", " ") for one in self.findings})
            return f"identical{sample}: {compared}" + (f"; allowed: {', '.join(allowed)}" if allowed else "")
        what = "different" if self.outcome == "different" else "incomplete"
        return f"not identical, {what}{sample}: {compared}; {self._error or 'see differences, findings and unread'}"

    def __bool__(self) -> bool:
        return self.identical


class PromoteReport(Table):
    """What a switch-over has copied and what not. As a table: the partitions."""

    name: str
    """The mirror's name."""
    promoted: bool
    """Whether the mirror is marked, so that no process of it writes again."""
    promoted_at_ms: int
    """When it was marked, in milliseconds since 1970."""
    source_reachable: bool
    """Whether the source could be asked."""
    drained: bool
    """Whether everything the source had was copied."""
    records_not_copied: int
    """Offsets that the source has and the target has not, at least."""
    partitions_behind: int
    """Partitions that lack some."""
    topics: list[Record]
    """Every mirrored topic: topic, records_not_copied, partitions."""
    not_mirrored: dict[str, str]
    """Topics that match but were not mirrored, and why."""
    groups: Record | None
    """The offsets of consumer groups: copied, behind, not_copied, looked_at_ms."""
    written_afterwards: list[Record]
    """What was written to the target between the end of the mirror and this report: topic, partition, from, to."""

    _columns: ClassVar[dict[str, str]] = {
        "topic": "str",
        "partition": "int",
        "target_offset_next": "int",
        "source_offset_next": "int",
        "records_not_copied": "int",
        "ms_not_copied": "int",
    }

    def _rows(self) -> Iterator[dict[str, Any]]:
        for topic in (one.to_dict() for one in self.topics):
            for partition in topic["partitions"]:
                yield {"topic": topic["topic"], **partition}

    def _headline(self) -> str:
        what = "promoted" if self.promoted else "not promoted"
        copied = "everything is copied" if self.drained else f"{plural(self.records_not_copied, 'record')} not copied"
        return f"{self.name}: {what}, {copied}"


class PromotionUndone(Record):
    """A mark that was taken back."""

    name: str
    """The mirror's name."""
    promoted_at_ms: int
    """When it had been promoted, in milliseconds since 1970."""
    partitions: int
    """Partitions of the target that end where they did then."""
