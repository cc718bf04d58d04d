"""A mirror between real clusters: it copies, tells, waits without holding up others, and can be interrupted.

The records of both sides are compared by the Rust test that starts this one.
"""

import os
import pathlib
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

import kmirror
from conftest import Clusters

MirrorOf = Callable[..., kmirror.Mirror]
HANG_LIMIT = 120.0


def test_a_with_statement_starts_and_stops(clusters: Clusters, mirror_of: MirrorOf) -> None:
    with mirror_of(clusters.topic, lag_interval_ms=50) as mirror:
        mirror.wait_until_caught_up(timeout=HANG_LIMIT)
        status = mirror.status()
        assert status["name"] == clusters.topic
        assert status["lag"]["records"] == 0
        assert [topic["topic"] for topic in status["topics"]] == [clusters.topic]
        assert status["error"] is None

        events: dict[str, kmirror.Event] = {}
        deadline = time.monotonic() + HANG_LIMIT
        while not {"state_changed", "topic_added", "lag"} <= events.keys() and time.monotonic() < deadline:
            if event := mirror.poll(timeout=1.0):
                events[event.kind] = event
        assert events["state_changed"].state and events["state_changed"].lag is None
        assert events["topic_added"].topic == clusters.topic
        lag = events["lag"].lag
        assert lag and lag.records >= 0 and lag.bytes >= 0 and lag.ms >= 0
        assert repr(lag).startswith("Lag(records=")
        assert all(event.message and event.timestamp_ms > 0 and event.error is None for event in events.values())

        with pytest.raises(kmirror.StateError, match="already"):
            mirror.start()
    assert mirror.status()["state"] == "stopped"
    assert repr(mirror) == f"<kmirror.Mirror {clusters.topic} stopped>"
    with pytest.raises(kmirror.StateError, match="stopped"):
        mirror.pause()
    mirror.stop()


def test_a_stopped_mirror_starts_again(clusters: Clusters, mirror_of: MirrorOf) -> None:
    mirror = mirror_of(clusters.topic)
    for _ in range(2):
        mirror.start()
        mirror.wait_until_caught_up(timeout=HANG_LIMIT)
        mirror.stop(timeout=10)


@contextmanager
def paused(mirror: kmirror.Mirror) -> Iterator[None]:
    """Something never catches up in here: its topic is written to all the time."""
    mirror.pause()
    time.sleep(0.2)
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


def test_waiting_ends_in_time(clusters: Clusters, mirror_of: MirrorOf) -> None:
    with mirror_of(clusters.busy_topic) as mirror, paused(mirror):
        with pytest.raises(kmirror.TimedOut, match="records behind") as caught:
            mirror.wait_until_caught_up(timeout=0.5)
        assert isinstance(caught.value, TimeoutError) and caught.value.retriable


def test_ctrl_c_ends_every_wait(clusters: Clusters, mirror_of: MirrorOf) -> None:
    with mirror_of(clusters.busy_topic, lag_interval_ms=60_000) as mirror, paused(mirror):
        with interrupted_soon():
            mirror.wait_until_caught_up(timeout=HANG_LIMIT)
        with interrupted_soon():
            while True:
                mirror.poll(timeout=HANG_LIMIT)
    assert mirror.status()["state"] == "stopped"


def test_ctrl_c_ends_a_start() -> None:
    with socket.create_server(("127.0.0.1", 0)) as source, socket.create_server(("127.0.0.1", 0)) as target:
        addresses = [f"127.0.0.1:{silent.getsockname()[1]}" for silent in (source, target)]
        clients: list[dict[str, object]] = [{"bootstrap.servers": address} for address in addresses]
        mirror = kmirror.Mirror(source=clients[0], target=clients[1])
        with interrupted_soon():
            mirror.start()
        assert repr(mirror).endswith("not started>")


def test_other_threads_run_while_one_waits(clusters: Clusters, mirror_of: MirrorOf) -> None:
    turns = 0
    done = threading.Event()

    def count() -> None:
        nonlocal turns
        while not done.wait(0.005):
            turns += 1

    with mirror_of(clusters.busy_topic) as mirror, paused(mirror):
        thread = threading.Thread(target=count)
        thread.start()
        with pytest.raises(kmirror.TimedOut):
            mirror.wait_until_caught_up(timeout=1.0)
        done.set()
        thread.join()
    # With the interpreter held it would have had no turn at all.
    assert turns > 5


def test_a_cluster_that_is_not_there(clusters: Clusters) -> None:
    nobody = {"bootstrap.servers": "127.0.0.1:1"}
    mirror = kmirror.Mirror(source={"bootstrap.servers": clusters.source}, target=nobody, topics=clusters.topic)
    with pytest.raises(kmirror.ConnectError, match=r"127\.0\.0\.1:1") as caught:
        mirror.start()
    assert isinstance(caught.value, ConnectionError) and caught.value.retriable


def engine_threads() -> set[pathlib.Path]:
    tasks = pathlib.Path("/proc/self/task").iterdir()
    return {task for task in tasks if (task / "comm").read_text().startswith(("kmirror-control", "kmirror-stream"))}


def test_a_mirror_that_is_dropped_is_stopped(clusters: Clusters, mirror_of: MirrorOf) -> None:
    # Those of a start that was interrupted may still be there.
    before = engine_threads()
    mirror = mirror_of(clusters.topic)
    mirror.start()
    assert engine_threads() - before
    del mirror
    assert not engine_threads() - before


def test_signals_are_left_to_the_interpreter(clusters: Clusters, mirror_of: MirrorOf) -> None:
    with mirror_of(clusters.topic):
        statuses = [(task / "status").read_text() for task in engine_threads()]
    assert len(statuses) >= 2
    for status in statuses:
        blocked = int(status.split("SigBlk:")[1].split()[0], 16)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGPIPE, signal.SIGCHLD):
            assert blocked >> (number - 1) & 1, f"{number.name} is not blocked in {status.splitlines()[0]}"


def test_the_example_of_the_readme_runs(clusters: Clusters) -> None:
    readme = (pathlib.Path(__file__).parents[2] / "README.md").read_text()
    example = readme.split("```python\n")[1].split("```")[0]
    places = {"a:9092": clusters.source, "b:9092": clusters.target, "orders": clusters.readme_topic}
    for placeholder, value in places.items():
        assert placeholder in example
        example = example.replace(placeholder, value)
    exec(compile(example, "README.md", "exec"), {})
