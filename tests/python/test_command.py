"""The command line that the wheel brings: the same as the Rust binary, as ``python -m kmirror`` and as ``kmirror``."""

import json
import os
import pathlib
import signal
import subprocess
import sys
import sysconfig
import time

import pytest

from conftest import HANG_LIMIT, Clusters

SCRIPT = str(pathlib.Path(sysconfig.get_path("scripts")) / "kmirror")
MODULE = [sys.executable, "-m", "kmirror"]


def run(command: list[str], *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*command, *arguments], capture_output=True, text=True, timeout=HANG_LIMIT)


@pytest.mark.parametrize("command", [MODULE, [SCRIPT]], ids=["module", "script"])
def test_it_is_the_command_line_of_the_binary(command: list[str]) -> None:
    binary = os.environ["KMIRROR_TEST_BINARY"]
    for arguments in (["--help"], ["run", "--help"], ["--version"], ["config", "--json"], [], ["run", "--nonsense"]):
        ours, theirs = run(command, *arguments), run([binary], *arguments)
        assert (ours.returncode, ours.stdout, ours.stderr) == (theirs.returncode, theirs.stdout, theirs.stderr)


def set_of(clusters: Clusters, topic: str) -> list[str]:
    properties = {"source.bootstrap.servers": clusters.source, "target.bootstrap.servers": clusters.target}
    pairs = [f"{key}={value}" for key, value in {**properties, "name": topic, "topics": topic}.items()]
    return [word for pair in pairs for word in ("--set", pair)]


def test_it_mirrors_and_verifies(clusters: Clusters) -> None:
    mirrored = run(MODULE, "run", "--until-caught-up", "--json", *set_of(clusters, clusters.topic))
    assert mirrored.returncode == 0, mirrored.stderr
    assert json.loads(mirrored.stdout)
    verified = run(MODULE, "verify", "--json", *set_of(clusters, clusters.topic))
    assert verified.returncode == 0 and json.loads(verified.stdout)["report"]["identical"], verified.stderr


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_stops_it_cleanly(clusters: Clusters, number: signal.Signals, code: int) -> None:
    command = [*MODULE, "run", *set_of(clusters, clusters.busy_topic)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    said = ""
    while "catching up" not in said and "in sync" not in said:
        line = process.stderr.readline()
        assert line, said
        said += line
    time.sleep(0.2)
    process.send_signal(number)
    _, rest = process.communicate(timeout=HANG_LIMIT)
    assert process.returncode == code, said + rest


def test_the_demo_plays() -> None:
    played = run(MODULE, "demo", "--kills", "0", "--json")
    assert played.returncode == 0, played.stderr
    assert json.loads(played.stdout)
