"""What the tests of the module get from the Rust test that starts them: two clusters and topics with records."""

import os
import signal
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

import kmirror

# Shells start background jobs with Ctrl-C ignored; then nothing here could be interrupted.
signal.signal(signal.SIGINT, signal.default_int_handler)


@dataclass(frozen=True)
class Clusters:
    source: str
    target: str
    topic: str
    """Has records; the Rust test compares both sides at the end."""
    readme_topic: str
    """The same, for the example of the README."""
    busy_topic: str
    """Is written to as long as the tests run."""


@pytest.fixture(scope="session")
def clusters() -> Clusters:
    names = ["SOURCE", "TARGET", "TOPIC", "README_TOPIC", "BUSY_TOPIC"]
    values = [os.environ.get(f"KMIRROR_TEST_{name}", "") for name in names]
    if not all(values):
        pytest.fail("these tests need two Kafka clusters: run them with cargo test --test it python")
    return Clusters(*values)


@pytest.fixture
def mirror_of(clusters: Clusters) -> Callable[..., kmirror.Mirror]:
    """A mirror of one topic, named after it."""

    def make(topic: str, **properties: Any) -> kmirror.Mirror:
        return kmirror.Mirror(
            source={"bootstrap.servers": clusters.source},
            target={"bootstrap.servers": clusters.target},
            topics=[topic],
            name=topic,
            **properties,
        )

    return make
