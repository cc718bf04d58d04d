"""kmirror copies a Kafka cluster to another one, live, from inside a program: same offsets, exactly once.

>>> import kmirror
>>> mirror = kmirror.Mirror(
...     source={"bootstrap.servers": "a:9092"},
...     target={"bootstrap.servers": "b:9092"},
...     topics=["orders", r"billing\\..*"],
... )
>>> mirror
<kmirror.Mirror without a name not started>
"""

from ._kmirror import Event, Lag, Mirror, __version__
from .errors import (
    AuthenticationError,
    AuthorizationError,
    BrokerError,
    ConfigError,
    ConnectError,
    DataLossError,
    DivergedError,
    FencedError,
    ForkedError,
    InternalError,
    KmirrorError,
    KmirrorWarning,
    OffsetGapError,
    RecordRefusedError,
    StateError,
    TargetConflictError,
    TimedOut,
    TopicError,
    TopicResetError,
    UnsupportedError,
    VerificationFailed,
)

__all__ = [
    "AuthenticationError",
    "AuthorizationError",
    "BrokerError",
    "ConfigError",
    "ConnectError",
    "DataLossError",
    "DivergedError",
    "Event",
    "FencedError",
    "ForkedError",
    "InternalError",
    "KmirrorError",
    "KmirrorWarning",
    "Lag",
    "Mirror",
    "OffsetGapError",
    "RecordRefusedError",
    "StateError",
    "TargetConflictError",
    "TimedOut",
    "TopicError",
    "TopicResetError",
    "UnsupportedError",
    "VerificationFailed",
    "__version__",
]
