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

from ._kmirror import Event, Lag, Secret, __version__
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
from .functions import check, plan, promote, undo_promotion, verify
from .mirror import Mirror
from .reports import CheckReport, Plan, PromoteReport, PromotionUndone, Status, VerifyReport

__all__ = [
    "AuthenticationError",
    "AuthorizationError",
    "BrokerError",
    "CheckReport",
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
    "Plan",
    "PromoteReport",
    "PromotionUndone",
    "RecordRefusedError",
    "Secret",
    "StateError",
    "Status",
    "TargetConflictError",
    "TimedOut",
    "TopicError",
    "TopicResetError",
    "UnsupportedError",
    "VerificationFailed",
    "VerifyReport",
    "__version__",
    "check",
    "plan",
    "promote",
    "undo_promotion",
    "verify",
]
