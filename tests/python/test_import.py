"""Importing the module starts nothing, and what it says of itself is true."""

import doctest
import importlib.metadata
import subprocess
import sys

import kmirror


def test_importing_starts_no_thread() -> None:
    program = (
        "import os, threading\n"
        "before = len(os.listdir('/proc/self/task'))\n"
        "import kmirror\n"
        "kmirror.Mirror(source={'bootstrap.servers': 'a:1'}, target={'bootstrap.servers': 'b:1'})\n"
        "print(len(os.listdir('/proc/self/task')) - before, threading.active_count())\n"
    )
    printed = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True).stdout
    assert printed.split() == ["0", "1"]


def test_the_version_is_the_distributions() -> None:
    assert kmirror.__version__ == importlib.metadata.version("kmirror")


def test_the_example_of_the_module_runs() -> None:
    assert doctest.testmod(kmirror).failed == 0


def test_help_tells_what_every_method_does() -> None:
    for name in ("start", "stop", "pause", "resume", "wait_until_caught_up", "poll", "status"):
        assert getattr(kmirror.Mirror, name).__doc__, name
    assert kmirror.Mirror.__module__ == kmirror.Event.__module__ == kmirror.Lag.__module__ == "kmirror"
