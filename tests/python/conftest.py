"""What the tests of the module get from the Rust test that starts them: two clusters and topics with records."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pytest

import kmirror

# Shells start background jobs with Ctrl-C ignored; then nothing here could be interrupted.
signal.signal(signal.SIGINT, signal.default_int_handler)

HANG_LIMIT = 120.0

MirrorOf = Callable[..., kmirror.Mirror]


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
    notebook_topic: str
    """Has records, for the notebook."""
    other_topic: str
    """Has records, for a mirror beside another one."""
    never_topic: str
    """Has records, and is never mirrored."""

    def of(self, topic: str, name: str | None = None, **properties: Any) -> dict[str, Any]:
        """The arguments of a mirror of one topic, named after it."""
        clients = {"source": {"bootstrap.servers": self.source}, "target": {"bootstrap.servers": self.target}}
        return {**clients, "topics": [topic], "name": name or topic, "refresh_interval_ms": 500, **properties}


@pytest.fixture(scope="session")
def clusters() -> Clusters:
    names = ["SOURCE", "TARGET", "TOPIC", "README_TOPIC", "BUSY_TOPIC", "NOTEBOOK_TOPIC", "OTHER_TOPIC", "NEVER_TOPIC"]
    values = [os.environ.get(f"KMIRROR_TEST_{name}", "") for name in names]
    if not all(values):
        pytest.fail("these tests need two Kafka clusters: run them with cargo test --test it python")
    return Clusters(*values)


@pytest.fixture
def mirror_of(clusters: Clusters) -> MirrorOf:
    """A mirror of one topic, named after it."""

    def make(topic: str, **properties: Any) -> kmirror.Mirror:
        return kmirror.Mirror(**clusters.of(topic, **properties))

    return make


def is_long() -> bool:
    """Whether the long forms of tests run, those of `make nightly`."""
    return bool(os.environ.get("KMIRROR_TEST_LONG"))


@contextmanager
def paused(mirror: kmirror.Mirror) -> Iterator[None]:
    """Something never catches up in here: its topic is written to all the time, and what it lacks stays lacking."""
    mirror.pause()
    wait_for(lambda: mirror.state == "paused" and mirror.status().lag.records)
    yield
    mirror.resume()


@contextmanager
def interrupted_soon() -> Iterator[None]:
    """Ctrl-C in a moment; whatever runs in here must end because of it, long before any timeout."""
    timer = threading.Timer(0.4, os.kill, (os.getpid(), signal.SIGINT))
    started = time.monotonic()
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        yield
    assert time.monotonic() - started < 10
    timer.join()


def wait_for(condition: Callable[[], object]) -> None:
    """Looks until it is true."""
    deadline = time.monotonic() + HANG_LIMIT
    while not condition():
        assert time.monotonic() < deadline, "it has not happened in time"
        time.sleep(0.02)


def run_python(program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Runs a program in an interpreter of its own."""
    command = [sys.executable, "-X", "faulthandler", "-c", program, *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=HANG_LIMIT)
