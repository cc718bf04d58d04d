"""A mirror between real clusters: it copies, tells, waits without holding up others, and can be interrupted.

The records of both sides are compared by the Rust test that starts this one.
"""

import contextlib
import pathlib
import signal
import socket
import threading
import time

import pytest

import kmirror
from conftest import HANG_LIMIT, Clusters, MirrorOf, interrupted_soon, paused, wait_for


def test_a_with_statement_starts_and_stops(clusters: Clusters, mirror_of: MirrorOf) -> None:
    with mirror_of(clusters.topic, lag_interval_ms=50) as mirror:
        mirror.wait_until_caught_up(timeout=HANG_LIMIT)
        status = mirror.status()
        assert status.name == mirror.name == clusters.topic
        assert status.lag.records == 0
        for heard_at in (status.lag.source_as_of_ms, status.lag.target_as_of_ms):
            assert heard_at and abs(heard_at / 1000 - time.time()) < 60
        assert [topic.topic for topic in status.topics] == [clusters.topic]
        assert status.error is None

        events: dict[str, kmirror.Event] = {}
        deadline = time.monotonic() + HANG_LIMIT
        while not {"state_changed", "topic_added", "lag"} <= events.keys() and time.monotonic() < deadline:
            if event := mirror.poll(timeout=1.0):
                events[event.kind] = event
        assert events["state_changed"].state and events["state_changed"].lag is None
        assert events["topic_added"].topic == clusters.topic
        lag = events["lag"].lag
        assert lag and all(value is None or value >= 0 for value in (lag.records, lag.bytes, lag.ms))
        assert repr(lag).startswith("Lag(records=")
        assert all(event.message and event.timestamp_ms > 0 and event.error is None for event in events.values())

        with pytest.raises(kmirror.StateError, match="already"):
            mirror.start()
    assert mirror.status().state == "stopped"
    assert repr(mirror) == f"<kmirror.Mirror {clusters.topic} stopped>"
    for call in (mirror.pause, mirror.resume, mirror.wait_until_caught_up):
        with pytest.raises(kmirror.StateError, match="stopped"):
            call()
    mirror.stop()
    # What waits can still be taken; then there is nothing more to wait for.
    states = [event.state for event in mirror.events() if event.kind == "state_changed"]
    assert states[-2:] == ["stopping", "stopped"]
    assert mirror.poll(timeout=HANG_LIMIT) is None


def test_a_stopped_mirror_starts_again(clusters: Clusters, mirror_of: MirrorOf) -> None:
    mirror = mirror_of(clusters.topic)
    for _ in range(2):
        mirror.start()
        mirror.wait_until_caught_up(timeout=HANG_LIMIT)
        mirror.stop(timeout=10)


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
        with interrupted_soon():
            for _ in mirror.events():
                pass
        with interrupted_soon():
            mirror.progress(timeout=HANG_LIMIT)
        with interrupted_soon():
            mirror.promote(timeout=HANG_LIMIT)
    assert mirror.status().state == "stopped"


def test_ctrl_c_ends_every_call_to_clusters_that_do_not_answer() -> None:
    with socket.create_server(("127.0.0.1", 0)) as source, socket.create_server(("127.0.0.1", 0)) as target:
        addresses = [f"127.0.0.1:{silent.getsockname()[1]}" for silent in (source, target)]
        clients: list[dict[str, object]] = [{"bootstrap.servers": address} for address in addresses]
        mirror = kmirror.Mirror(source=clients[0], target=clients[1])
        for call in (mirror.start, mirror.check, mirror.plan, mirror.verify, mirror.promote, mirror.undo_promotion):
            with interrupted_soon():
                call()
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
    threads = set()
    for task in pathlib.Path("/proc/self/task").iterdir():
        # A thread may end between the look at the folder and the look into it.
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            if (task / "comm").read_text().startswith(("kmirror-control", "kmirror-stream")):
                threads.add(task)
    return threads


def test_a_mirror_that_is_dropped_is_stopped(clusters: Clusters, mirror_of: MirrorOf) -> None:
    # Those of a start that was interrupted may still be there.
    before = engine_threads()
    mirror = mirror_of(clusters.topic)
    mirror.start()
    assert engine_threads() - before
    del mirror
    assert not engine_threads() - before
    wait_for(lambda: "kmirror-events" not in {thread.name for thread in threading.enumerate()})


def test_signals_are_left_to_the_interpreter(clusters: Clusters, mirror_of: MirrorOf) -> None:
    with mirror_of(clusters.topic):
        statuses = [(task / "status").read_text() for task in engine_threads()]
    assert len(statuses) >= 2
    for status in statuses:
        blocked = int(status.split("SigBlk:")[1].split()[0], 16)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGPIPE, signal.SIGCHLD):
            assert blocked >> (number - 1) & 1, f"{number.name} is not blocked in {status.splitlines()[0]}"


def test_under_load_it_tells_the_lag_catches_up_and_both_sides_are_identical(
    clusters: Clusters, mirror_of: MirrorOf
) -> None:
    lags: list[kmirror.Lag] = []
    with mirror_of(clusters.busy_topic, lag_interval_ms=50, on_lag=lags.append) as mirror:
        wait_for(lambda: len(lags) > 3)
        before = mirror.status().replicated_records
        mirror.wait_until_caught_up(timeout=HANG_LIMIT)
        wait_for(lambda: mirror.status().replicated_records > before)
        progress: list[dict[str, int]] = []
        report = mirror.verify(timeout=HANG_LIMIT, on_progress=progress.append)
        assert report.identical and report.records_compared > 0
        report.raise_if_different()
    assert all(isinstance(lag, kmirror.Lag) for lag in lags)


def test_the_throttle_changes_while_it_runs(clusters: Clusters, mirror_of: MirrorOf) -> None:
    with mirror_of(clusters.topic) as mirror:
        mirror.set_throttle(1_000)
        mirror.set_throttle(None)
        with pytest.raises(kmirror.ConfigError, match="pause the mirror"):
            mirror.set_throttle(0)
        with pytest.raises((TypeError, OverflowError)):
            mirror.set_throttle(-1)


def test_files_of_a_consumer_and_a_producer(clusters: Clusters, tmp_path: pathlib.Path) -> None:
    consumer, producer = tmp_path / "consumer.properties", tmp_path / "producer.properties"
    consumer.write_text(f"bootstrap.servers={clusters.source}\ngroup.id={clusters.topic}\n")
    producer.write_text(f"bootstrap.servers={clusters.target}\nlinger.ms=5\n")
    with pytest.warns(kmirror.KmirrorWarning, match=r"linger\.ms"):
        mirror = kmirror.Mirror.from_files(consumer, str(producer), topics=clusters.topic)
    assert mirror.name == clusters.topic
    with mirror:
        mirror.wait_until_caught_up(timeout=HANG_LIMIT)
    with pytest.raises(kmirror.ConfigError, match="no-such-file"):
        kmirror.Mirror.from_files(tmp_path / "no-such-file")


def test_a_descriptor_is_readable_while_events_wait(clusters: Clusters, mirror_of: MirrorOf) -> None:
    import select

    with mirror_of(clusters.topic, lag_interval_ms=60_000) as mirror:
        wait_for(lambda: mirror.state == "in_sync")
        assert select.select([mirror], [], [], HANG_LIMIT)[0] == [mirror]
        while mirror.poll() is not None:
            pass
        assert select.select([mirror], [], [], 0)[0] == []
