"""The exceptions: one class for each kind of error, because a kind is a different thing a caller would do.

What a class knows of its kind comes from the engine's table of errors, so numbers and names are those of every other
language. Some classes are also the builtin that a caller would expect.
"""

from __future__ import annotations

from ._kmirror import error_kinds

_TABLE = {name: (code, retriable, fatal, text) for code, name, retriable, fatal, text in error_kinds()}

BY_NAME: dict[str, type[KmirrorError]] = {}
"""The class of every kind, by the name in the table."""


class KmirrorWarning(UserWarning):
    """A configuration that works, but perhaps not as meant."""


class KmirrorError(Exception):
    """What went wrong, where, and what to do: the base of all errors of kmirror."""

    code: int = 0
    """The stable number of the kind, the same in every language."""
    name: str = ""
    """The stable name of the kind."""
    retriable: bool = False
    """Whether the same call may succeed later without anybody changing anything."""
    fatal: bool = False
    """Whether the mirror, or the partition it is about, cannot go on."""
    help: str = ""
    """What the kind means, in a line."""

    kafka_code: int | None
    """The broker's error code, if a broker's answer is the cause."""
    topic: str | None
    """The topic it is about."""
    partition: int | None
    """The partition it is about."""
    offset: int | None
    """The source offset it is about."""

    def __init__(
        self,
        message: str = "",
        *,
        kafka_code: int | None = None,
        topic: str | None = None,
        partition: int | None = None,
        offset: int | None = None,
    ) -> None:
        super().__init__(message)
        self.kafka_code = kafka_code
        self.topic = topic
        self.partition = partition
        self.offset = offset

    def __init_subclass__(cls, *, kind: str | None = None, **others: object) -> None:
        super().__init_subclass__(**others)
        if kind is not None:
            cls.name = kind
            cls.code, cls.retriable, cls.fatal, cls.help = _TABLE[kind]
            BY_NAME[kind] = cls


class InternalError(KmirrorError, kind="internal"):
    """A bug in kmirror."""


class ConfigError(KmirrorError, ValueError, kind="config"):
    """The configuration, or a combination of source, target and topics, cannot work."""


class ConnectError(KmirrorError, ConnectionError, kind="connect"):
    """A cluster or a broker cannot be reached, or what answers is not Kafka."""


class AuthenticationError(KmirrorError, kind="authentication"):
    """The cluster does not accept who we are."""


class AuthorizationError(KmirrorError, PermissionError, kind="authorization"):
    """The cluster does not allow what we need."""


class TopicError(KmirrorError, kind="topic"):
    """A topic cannot be mirrored as it is."""


class DataLossError(KmirrorError, kind="data_loss"):
    """Records of the source were removed before they were replicated, or the source was cut back."""


class TopicResetError(KmirrorError, kind="topic_reset"):
    """The source topic was deleted and created again."""


class TargetConflictError(KmirrorError, kind="target_conflict"):
    """The target partition holds something the mirror did not write there."""


class OffsetGapError(KmirrorError, kind="offset_gap"):
    """The source log has offsets without a record, and they cannot be reproduced on the target."""


class RecordRefusedError(KmirrorError, kind="record_refused"):
    """The target refuses a record, or the mirror cannot pass it on unchanged."""


class FencedError(KmirrorError, kind="fenced"):
    """Another owner of this mirror has taken over."""


class UnsupportedError(KmirrorError, kind="unsupported"):
    """A broker is too old, or not Kafka enough, for what is asked."""


class VerificationFailed(KmirrorError, kind="verification_failed"):
    """A source and a target differ."""


class TimedOut(KmirrorError, TimeoutError, kind="timed_out"):
    """Something did not happen in the time given."""


class StateError(KmirrorError, RuntimeError, kind="state"):
    """The call does not fit the state the mirror is in."""


class BrokerError(KmirrorError, kind="broker"):
    """A broker answers with an error that is expected to pass."""


class DivergedError(KmirrorError, kind="diverged"):
    """Source and target do not hold the same record at the same offset."""


class ForkedError(KmirrorError, RuntimeError, kind="forked"):
    """The mirror was started by another process, of which this one is a fork."""
