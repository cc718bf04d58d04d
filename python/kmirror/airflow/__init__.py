"""Airflow: operators and a sensor that mirror, wait, verify and switch over between two ordinary Kafka connections.

Airflow asks provider_info of every provider before it can be imported itself, and this package comes before it: so
nothing of Airflow is imported here until one of the names below is asked for.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .operators import KMirrorOperator, KMirrorPromoteOperator, KMirrorVerifyOperator
    from .sensors import KMirrorLagSensor
    from .triggers import KMirrorLagTrigger

__all__ = [
    "KMirrorLagSensor",
    "KMirrorLagTrigger",
    "KMirrorOperator",
    "KMirrorPromoteOperator",
    "KMirrorVerifyOperator",
]

_MODULES = {
    "KMirrorLagSensor": "sensors",
    "KMirrorLagTrigger": "triggers",
    "KMirrorOperator": "operators",
    "KMirrorPromoteOperator": "operators",
    "KMirrorVerifyOperator": "operators",
}


def __getattr__(name: str) -> Any:
    module = _MODULES.get(name)
    if module is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f".{module}", __name__), name)
