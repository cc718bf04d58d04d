"""The exceptions say what the engine's table of errors says, and a configuration is judged before anything starts."""

import pickle
from typing import Any

import pytest

import kmirror
from kmirror import errors
from kmirror._kmirror import error_kinds

CLIENTS: dict[str, Any] = {"source": {"bootstrap.servers": "a:9092"}, "target": {"bootstrap.servers": "b:9092"}}


def test_every_kind_of_the_table_has_its_class() -> None:
    assert list(errors.BY_NAME) == [name for _, name, *_ in error_kinds()]
    for code, name, retriable, fatal, text in error_kinds():
        cls = errors.BY_NAME[name]
        assert (cls.code, cls.name, cls.retriable, cls.fatal, cls.help) == (code, name, retriable, fatal, text)
        assert getattr(kmirror, cls.__name__) is cls
        assert cls.__name__ in kmirror.__all__
        assert cls.__doc__


@pytest.mark.parametrize("cls", errors.BY_NAME.values(), ids=lambda cls: cls.__name__)
def test_an_exception_keeps_what_it_knows(cls: type[kmirror.KmirrorError]) -> None:
    error = cls("no such luck", kafka_code=3, topic="orders", partition=1, offset=7)
    for copy in (error, pickle.loads(pickle.dumps(error))):
        assert str(copy) == "no such luck"
        assert (copy.kafka_code, copy.topic, copy.partition, copy.offset) == (3, "orders", 1, 7)
        assert (copy.code, copy.name) == (cls.code, cls.name)


def test_the_builtins_that_callers_expect() -> None:
    assert issubclass(kmirror.ConfigError, ValueError)
    assert issubclass(kmirror.ConnectError, ConnectionError)
    assert issubclass(kmirror.TimedOut, TimeoutError)
    assert issubclass(kmirror.AuthorizationError, PermissionError)
    assert all(issubclass(cls, kmirror.KmirrorError) for cls in errors.BY_NAME.values())


def test_all_problems_are_told_at_once() -> None:
    with pytest.raises(kmirror.ConfigError) as caught:
        kmirror.Mirror(**CLIENTS, bufer_memory=1, num_streams="many")  # type: ignore[call-arg]
    assert "did you mean buffer.memory" in str(caught.value)
    assert "num.streams" in str(caught.value)
    assert caught.value.fatal and not caught.value.retriable


@pytest.mark.parametrize(
    ("properties", "error", "words"),
    [
        ({"source": {"bootstrap.server": "a:1"}}, kmirror.ConfigError, "source.bootstrap.servers"),
        ({"source": [("bootstrap.servers", "a:1")]}, TypeError, "source"),
        ({"source": {1: "a:1"}}, TypeError, "a key of source takes str, not int"),
        ({"topics": object()}, TypeError, "topics takes str"),
        ({"topics": ["a,b"]}, ValueError, "topics: commas separate entries"),
        ({"num_streams": 0}, kmirror.ConfigError, "num.streams"),
        ({"emit_offset_syncs_enabled": "maybe"}, kmirror.ConfigError, "emit.offset-syncs.enabled: is 'maybe'"),
        ({"refresh_interval_ms": 0.5}, kmirror.ConfigError, "refresh.interval.ms"),
    ],
)
def test_a_wrong_argument_is_told_in_words(properties: dict[str, Any], error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        kmirror.Mirror(**{**CLIENTS, **properties})


def test_values_are_written_as_properties_have_them() -> None:
    kmirror.Mirror(
        source={"bootstrap.servers": ["a:9092", "a2:9092"], "request.timeout.ms": 5000},
        target={"bootstrap.servers": "b:9092", "client.id": None},
        topics=("orders", r"billing\..*"),
        topics_exclude="",
        sync_topic_configs=False,
        buffer_memory=32 << 20,
        topic_configs_override={"retention.ms": 1000, "min.insync.replicas": 1},
    )


def test_what_has_no_effect_is_a_warning() -> None:
    with pytest.warns(kmirror.KmirrorWarning, match=r"linger\.ms"):
        kmirror.Mirror(source=CLIENTS["source"], target={"bootstrap.servers": "b:9092", "linger.ms": 5})


def test_a_mirror_that_was_not_started_says_so() -> None:
    mirror = kmirror.Mirror(**CLIENTS, name="a-to-b")
    assert repr(mirror) == "<kmirror.Mirror a-to-b not started>"
    for call in (mirror.status, mirror.poll, mirror.stop, mirror.pause, mirror.resume, mirror.wait_until_caught_up):
        with pytest.raises(kmirror.StateError, match="has not been started"):
            call()


@pytest.mark.parametrize("seconds", [-1, float("nan")])
def test_a_timeout_is_a_number_from_0(seconds: float) -> None:
    with pytest.raises(ValueError, match="timeout"):
        kmirror.Mirror(**CLIENTS).poll(timeout=seconds)


def test_a_secret_is_taken_and_not_shown(capsys: pytest.CaptureFixture[str]) -> None:
    secret = kmirror.Secret("hunter2")
    print(secret, repr(secret), [secret], f"{secret}")
    assert "hunter2" not in capsys.readouterr().out and secret.reveal() == "hunter2"
    clients = {**CLIENTS, "source": {**CLIENTS["source"], "client.id": secret, "sasl.password": secret}}
    # It arrives: what has no effect beside PLAINTEXT is told, without its value.
    clients["source"]["security.protocol"] = "PLAINTEXT"
    with pytest.warns(kmirror.KmirrorWarning, match=r"sasl\.password") as warned:
        kmirror.Mirror(**clients)
    assert "hunter2" not in "".join(str(warning.message) for warning in warned)
    with pytest.raises(kmirror.ConfigError) as caught:
        kmirror.Mirror(**{**CLIENTS, "source": {**CLIENTS["source"], "sasl.pasword": secret}})
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("given", ["a:9092", ["a:9092"], 1])
def test_clients_are_a_dict(given: Any) -> None:
    with pytest.raises(TypeError, match="target takes a dict"):
        kmirror.Mirror(source=CLIENTS["source"], target=given)
