"""Callbacks: one thread, whatever they do; what they raise is told and counted, and the mirror goes on."""

import logging
import sys
import threading
import time
from functools import partial
from typing import Any

import pytest

import kmirror
from conftest import HANG_LIMIT, Clusters, MirrorOf, wait_for


def test_all_callbacks_and_logs_come_from_one_thread_in_order(clusters: Clusters, mirror_of: MirrorOf) -> None:
    threads: set[str] = set()
    kinds: list[str] = []
    records: list[logging.LogRecord] = []

    class Collecting(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            threads.add(threading.current_thread().name)
            records.append(record)

    def on_event(event: kmirror.Event) -> None:
        threads.add(threading.current_thread().name)
        kinds.append(event.kind)

    def on_lag(lag: kmirror.Lag) -> None:
        threads.add(threading.current_thread().name)
        kinds.append(f"on_lag {lag.records is None or lag.records >= 0}")

    logger = logging.getLogger("kmirror.test")
    logger.addHandler(Collecting())
    logger.setLevel(logging.INFO)
    logger.propagate = False
    properties = {"lag_interval_ms": 50, "on_event": on_event, "on_lag": on_lag, "logger": logger}
    with mirror_of(clusters.topic, **properties) as mirror:
        mirror.wait_until_caught_up(timeout=HANG_LIMIT)
        wait_for(lambda: "on_lag True" in kinds)
    assert threads == {"kmirror-events"}
    assert kinds[0] == "topic_added" and kinds[-1] == "state_changed"
    assert any("mirror starts" in record.getMessage() for record in records)
    for record in records:
        assert record.name == "kmirror.test" and record.levelno >= logging.INFO
        assert abs(record.created - time.time()) < 600
    # Everybody has been told everything when stop() returns, and nobody is called any more.
    count = len(kinds)
    time.sleep(0.3)
    assert len(kinds) == count and "kmirror-events" not in {thread.name for thread in threading.enumerate()}


def test_the_level_of_the_logger_is_followed(clusters: Clusters, mirror_of: MirrorOf) -> None:
    heard: list[int] = []

    class Collecting(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            heard.append(record.levelno)

    logger = logging.getLogger("kmirror.level")
    logger.addHandler(Collecting())
    logger.setLevel(logging.ERROR)
    with mirror_of(clusters.topic, logger=logger) as mirror:
        mirror.wait_until_caught_up(timeout=HANG_LIMIT)
        logger.setLevel(logging.DEBUG)
        time.sleep(1.5)
        assert all(level >= logging.ERROR for level in heard[:1])
    assert any(level < logging.ERROR for level in heard), "what is logged by the stop"


def test_what_a_callback_raises_is_told_and_counted(
    clusters: Clusters, mirror_of: MirrorOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    unraisable: list[Any] = []
    monkeypatch.setattr(sys, "unraisablehook", unraisable.append)

    def on_lag(_lag: kmirror.Lag) -> None:
        raise ValueError("on purpose")

    with mirror_of(clusters.busy_topic, lag_interval_ms=50, on_lag=on_lag) as mirror:
        wait_for(lambda: mirror.callback_errors >= 2)
        before = mirror.status().replicated_records
        wait_for(lambda: mirror.status().replicated_records > before)
    assert len(unraisable) == mirror.callback_errors
    assert str(unraisable[0].exc_value) == "on purpose" and unraisable[0].object is on_lag


def has_replicated_more_than(mirror: kmirror.Mirror, records: int) -> bool:
    return mirror.status().replicated_records > records


def test_a_callback_that_blocks_for_ever_delays_nothing(clusters: Clusters, mirror_of: MirrorOf) -> None:
    release, blocked = threading.Event(), threading.Event()

    def on_event(_event: kmirror.Event) -> None:
        blocked.set()
        release.wait()

    mirror = mirror_of(clusters.busy_topic, lag_interval_ms=50, on_event=on_event)
    mirror.start()
    assert blocked.wait(HANG_LIMIT)
    for _ in range(3):
        mirror.wait_until_caught_up(timeout=HANG_LIMIT)
        before = mirror.status().replicated_records
        wait_for(partial(has_replicated_more_than, mirror, before))
    mirror.stop(timeout=2)
    assert mirror.state == "stopped"
    release.set()


def test_a_callback_may_stop_its_mirror(clusters: Clusters, mirror_of: MirrorOf) -> None:
    stopped = threading.Event()

    def on_lag(_lag: kmirror.Lag) -> None:
        mirror.stop()
        stopped.set()

    mirror = mirror_of(clusters.topic, lag_interval_ms=50, on_lag=on_lag)
    mirror.start()
    assert stopped.wait(HANG_LIMIT)
    assert mirror.state == "stopped"
    mirror.stop()


def test_a_paused_target_is_told_once_above_and_once_below(clusters: Clusters, mirror_of: MirrorOf) -> None:
    kinds: list[str] = []
    properties = {
        "lag_interval_ms": 50,
        "lag_threshold_records": 1_000,
        "on_event": lambda event: kinds.append(event.kind),
    }
    with mirror_of(clusters.busy_topic, **properties) as mirror:
        wait_for(lambda: mirror.state == "in_sync")
        mirror.wait_until_caught_up(timeout=HANG_LIMIT)
        time.sleep(0.5)
        kinds.clear()
        mirror.pause()
        time.sleep(5)
        mirror.resume()
        wait_for(lambda: "lag_below" in kinds)
        mirror.wait_until_caught_up(timeout=HANG_LIMIT)
        time.sleep(1)
    assert [kind for kind in kinds if kind in ("lag_above", "lag_below")] == ["lag_above", "lag_below"]


@pytest.mark.parametrize("name", ["on_lag", "on_event", "logger"])
def test_a_callback_is_a_function(name: str) -> None:
    with pytest.raises(TypeError, match=name):
        kmirror.Mirror(**{name: "print"})  # type: ignore[arg-type]
