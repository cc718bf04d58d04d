"""Runs of DAGs between real clusters. The records of both sides are compared by the Rust test that starts this one."""

import json
import os
import pathlib
import re
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition

import kmirror
from conftest import SECRETS, Clusters, Run

RunDag = Callable[..., Run]
HANG_LIMIT = 120.0
RECORDS = 4_000


def ends(bootstrap: str, topic: str) -> int:
    """How many offsets the partitions of a topic have."""
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": "none"})
    try:
        return sum(consumer.get_watermark_offsets(TopicPartition(topic, one), timeout=10)[1] for one in (0, 1))
    finally:
        consumer.close()


@contextmanager
def meanwhile(body: Callable[[], None]) -> Iterator[None]:
    """Runs something beside a DAG, which has the main thread as in a worker."""
    raised: list[BaseException] = []

    def run() -> None:
        try:
            body()
        except BaseException as error:
            raised.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    yield
    thread.join(HANG_LIMIT)
    assert not thread.is_alive() and not raised, raised


def engine_threads() -> list[str]:
    names = []
    for task in pathlib.Path("/proc/self/task").iterdir():
        # A thread may end between the look at the folder and the look into it.
        with suppress(FileNotFoundError, ProcessLookupError):
            names.append((task / "comm").read_text())
    return [name for name in names if name.startswith(("kmirror-control", "kmirror-stream"))]


def test_the_example_of_a_migration(
    clusters: Clusters, run_dag: RunDag, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    name = f"migration-of-{clusters.migration_topic}"
    conf = {"topics": [clusters.migration_topic], "mirror": name}
    run = run_dag("kafka_migration", **conf)
    out = "".join(capfd.readouterr())
    assert run.state == "success", out
    copied = run.xcom("copy")
    # The group of the connection is somebody else's, and so is where its consumers begin.
    assert copied["mirror"] == name and copied["records"] >= 1000 and copied["lag"]["records"] == 0
    assert copied["topics"] == 1 and copied["partitions"] == 2 and copied["topics_refused"] == 0
    assert run.xcom("in_step")["records"] == 0 and run.xcom("in_step")["partitions"] == 2
    compared = run.xcom("compare")
    assert compared["identical"] and compared["records_compared"] >= 1000 and compared["counts"] == {}
    switched = run.xcom("switch_over")
    assert switched["promoted"] and switched["drained"] and not switched["already_promoted"]
    assert f"caught up: {name}: in_sync" in out
    assert "source.auto.offset.reset: has no effect" in out
    # Of the engine itself.
    of_engine = [record.getMessage() for record in caplog.records if record.name == "kmirror"]
    assert any(message.startswith(f"mirror starts name={name}") for message in of_engine)

    again = run_dag("one_promotion", topic=clusters.migration_topic, mirror=name)
    assert again.xcom("switch_over")["already_promoted"]
    assert again.xcom("switch_over")["promoted_at_ms"] == switched["promoted_at_ms"]
    # No retry helps, so there is none.
    refused = run_dag("kafka_migration", **conf)
    assert refused.states["copy"] == "failed" and refused.tries["copy"] == 1
    assert "promoted" in "".join(capfd.readouterr())


def test_a_task_that_is_killed_stops_cleanly_and_its_retry_goes_on(
    clusters: Clusters, run_dag: RunDag, capfd: pytest.CaptureFixture[str]
) -> None:
    topic = clusters.killed_topic
    producer = Producer({"bootstrap.servers": clusters.source, "batch.num.messages": 10, "linger.ms": 0})
    for number in range(RECORDS):
        producer.produce(topic, os.urandom(500), str(number), partition=number % 2)
        producer.poll(0)
    producer.flush()
    said: list[str] = []

    def kill_halfway() -> None:
        # Airflow's supervisor does that when somebody marks the task as failed.
        deadline = time.monotonic() + HANG_LIMIT
        copied = 0
        # Lines of progress, in the task's log.
        while copied == 0 or f"{topic}: catching_up, " not in "".join(said):
            assert time.monotonic() < deadline, "it has not begun in time"
            time.sleep(0.05)
            said.extend(capfd.readouterr())
            try:
                copied = ends(clusters.target, topic)
            except Exception:
                copied = 0
        os.kill(os.getpid(), signal.SIGTERM)

    with meanwhile(kill_halfway):
        run = run_dag("slow_at_first", topic=topic)
    out = "".join([*said, *capfd.readouterr()])
    assert run.state == "success" and run.tries["copy"] == 2, out
    assert "the task was killed, and has ended cleanly" in out
    stopped = re.search(rf"stopped: {topic}: stopped, .*, ([\d,]+) records? \(", out)
    assert stopped, out
    copied_by_first = int(stopped[1].replace(",", ""))
    # Its throttle does not let it get further, however long it takes to be killed.
    assert 0 < copied_by_first < RECORDS
    # The retry has copied the rest and no more.
    assert run.xcom("copy")["records"] == RECORDS - copied_by_first
    assert ends(clusters.target, topic) == RECORDS
    assert not engine_threads()


def test_the_sensor_waits_in_the_triggerer(
    clusters: Clusters, run_dag: RunDag, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    from kmirror.airflow.triggers import KMirrorLagTrigger

    looks: list[int] = []
    waits = threading.Event()
    look = KMirrorLagTrigger._look

    async def watched(self: Any) -> dict[str, Any]:
        lag = await look(self)
        looks.append(lag["records"])
        waits.set()
        return lag

    monkeypatch.setattr(KMirrorLagTrigger, "_look", watched)

    def mirror() -> None:
        assert waits.wait(HANG_LIMIT)
        clients = {"source": {"bootstrap.servers": clusters.source}, "target": {"bootstrap.servers": clusters.target}}
        with kmirror.Mirror(**clients, topics=clusters.lag_topic, name=clusters.lag_topic) as running:
            running.wait_until_caught_up(HANG_LIMIT)

    with meanwhile(mirror):
        run = run_dag("wait_for_lag", topic=clusters.lag_topic)
    assert run.state == "success", capfd.readouterr()
    # Nothing of the topic was on the target, and then everything.
    assert looks[0] >= 1000 and looks[-1] == 0 and looks == sorted(looks, reverse=True)
    assert run.xcom("in_step") == {
        "records": 0,
        "topics": 1,
        "partitions": 2,
        "partitions_behind": 0,
        "worst": [],
        "unread": 0,
    }
    assert run_dag("poke_for_lag", topic=clusters.lag_topic).state == "success"


def test_a_trigger_is_the_same_after_it_was_stored() -> None:
    import asyncio

    from airflow.sdk import BaseHook
    from airflow.sdk._shared.module_loading import import_string
    from airflow.sdk.serde import deserialize, serialize

    from kmirror.airflow import KMirrorLagTrigger

    properties = {"topics": ["no-such-topic"], "refresh_interval_ms": 500}
    trigger = KMirrorLagTrigger(
        source_conn_id="kafka_old", target_conn_id="kafka_new", properties=properties, max_lag=5, poll_interval=1.5
    )
    classpath, kwargs = trigger.serialize()
    stored = json.dumps(serialize(kwargs))
    assert BaseHook.get_connection("kafka_old").extra_dejson["bootstrap.servers"] not in stored
    read = import_string(classpath)(**deserialize(json.loads(stored)))
    assert type(read) is KMirrorLagTrigger and read.serialize() == (classpath, kwargs)

    async def first_event() -> Any:
        async for event in read.run():
            return event.payload

    # What will not pass by itself ends the wait.
    assert "no topic of the source is selected" in asyncio.run(first_event())["error"]


def test_a_difference_fails_the_task_at_once_and_is_in_its_xcom(
    clusters: Clusters, run_dag: RunDag, capfd: pytest.CaptureFixture[str]
) -> None:
    topic = clusters.different_topic
    run = run_dag("one_mirror", topic=topic)
    assert run.state == "success" and run.xcom("copy")["verify"]["identical"], capfd.readouterr()
    producer = Producer({"bootstrap.servers": clusters.source})
    producer.produce(topic, b"not copied yet", partition=0)
    producer.flush()
    # What is behind may come, so it is tried again.
    run = run_dag("one_look", topic=topic)
    assert run.states == {"compare": "failed"} and run.tries == {"compare": 3}
    found = run.xcom("compare", "verify")
    assert (found["outcome"], found["identical"]) == ("incomplete", False)
    assert found["counts"] == {"not_yet_replicated": 1} and found["findings"][0]["partition"] == 0
    run = run_dag("one_look_may_be_behind", topic=topic)
    assert run.state == "success" and run.xcom("compare")["outcome"] == "identical"
    producer = Producer({"bootstrap.servers": clusters.target})
    producer.produce(topic, b"of somebody else", partition=1)
    producer.flush()
    run = run_dag("one_verification", topic=topic)
    assert run.states == {"compare": "failed"} and run.tries == {"compare": 1}
    found = run.xcom("compare", "verify")
    assert (found["outcome"], found["identical"]) == ("different", False)
    assert found["counts"] == {"beyond_source_end": 1, "not_yet_replicated": 1}
    assert found["differences"][0]["partition"] == 1
    assert "not identical" in "".join(capfd.readouterr())


def test_secrets_of_a_connection_are_masked(run_dag: RunDag, capfd: pytest.CaptureFixture[str]) -> None:
    from airflow.sdk.log import mask_logs

    from kmirror.airflow import connections

    run = run_dag("sasl")
    said = "".join(capfd.readouterr())
    assert run.states == {"copy": "failed"} and run.tries == {"copy": 1}
    assert "SASL_SSL is not available in this version" in said
    for careless in (said, repr(connections.client("kafka_secret"))):
        # dag.test() does not mask what it prints; a worker has this before every line.
        line = repr(mask_logs(None, "info", {"event": careless}))
        assert "kafka_secret" not in line and "SASL_SSL" in line
        for key in ("sasl.password", "sasl.jaas.config", "ssl.keystore.key"):
            assert SECRETS[key] not in line, key
        assert "a-password-in-jaas" not in line
    # What kmirror itself says has none.
    assert SECRETS["sasl.password"] not in said and "a-password-in-jaas" not in said


def test_a_connection_says_how_a_cluster_is_reached_and_nothing_of_what_is_mirrored(clusters: Clusters) -> None:
    import logging

    from kmirror.airflow import connections

    client = connections.client("kafka_old")
    assert client["bootstrap.servers"] == clusters.source and client["enable.auto.commit"] is False
    # With the group it would be its name, and then of all mirrors that share the connection.
    assert connections.mirror((client, connections.client("kafka_new")), {}, logging.getLogger()).name is None
    made = connections.properties({"throttle.bytes.per.second": 5, "start": "latest"}, topics=["a"], name=None)
    assert made == {"throttle_bytes_per_second": 5, "start": "latest", "topics": ["a"]}
    with pytest.raises(kmirror.ConfigError, match="topics is an argument and in config"):
        connections.properties({"topics": "a"}, topics="b")


def test_a_connection_without_servers(run_dag: RunDag, capfd: pytest.CaptureFixture[str]) -> None:
    run = run_dag("without_servers")
    assert run.tries == {"copy": 1}
    assert "connection kafka_empty: its extra has no bootstrap.servers" in "".join(capfd.readouterr())
