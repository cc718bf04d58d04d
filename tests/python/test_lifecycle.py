"""What a process may do with a mirror: begin and end it a thousand times, end itself at any moment, fork."""

import gc
import json
import os
import pathlib
import threading
import traceback

import pytest

import kmirror
from conftest import HANG_LIMIT, Clusters, MirrorOf, is_long, run_python, wait_for

EXIT = """
import json, random, sys, threading, time
import kmirror

how, arguments = sys.argv[1], json.loads(sys.argv[2])

def on_event(event):
    # In the interpreter, in a call that has let go of it, and in a call of the mirror.
    sum(range(20_000))
    time.sleep(random.random() * 0.02)
    if how != "dropped":
        mirror.status()

mirror = kmirror.Mirror(**arguments, on_event=on_event, on_lag=on_event)
mirror.start()
if how != "dropped":
    threading.Thread(target=mirror.poll, args=(None,), daemon=True).start()
    threading.Thread(target=lambda: [None for _ in mirror.events()], daemon=True).start()
time.sleep(random.random() * 0.3)
if how == "raise":
    raise SystemExit(3)
if how == "thread":
    # The main thread ends while others still use the mirror.
    threading.Thread(target=lambda: (time.sleep(0.1), mirror.wait_until_caught_up(5))).start()
if how == "blocked":
    threading.Event().wait(0.1)
    mirror._callbacks.on_lag = lambda lag: threading.Event().wait()
    time.sleep(0.1)
if how == "stopping":
    threading.Thread(target=mirror.stop, daemon=True).start()
if how == "dropped":
    del mirror
"""


def test_an_interpreter_ends_cleanly_with_a_running_mirror(clusters: Clusters) -> None:
    ways = ["plainly", "raise", "thread", "stopping", "dropped"]
    for number in range(600 if is_long() else 20):
        how = ways[number % len(ways)]
        arguments = clusters.of(clusters.busy_topic, lag_interval_ms=50)
        ended = run_python(EXIT, how, json.dumps(arguments))
        noise = [line for line in ended.stderr.splitlines() if "mirror" not in line and "Traceback" in line]
        assert ended.returncode == (3 if how == "raise" else 0), f"{how}: {ended.returncode}\n{ended.stderr}"
        assert not noise and "panicked" not in ended.stderr, f"{how}:\n{ended.stderr}"


def test_an_interpreter_ends_although_a_callback_never_returns(clusters: Clusters) -> None:
    ended = run_python(EXIT, "blocked", json.dumps(clusters.of(clusters.busy_topic, lag_interval_ms=50)))
    assert ended.returncode == 0, ended.stderr


def test_a_mirror_that_runs_at_the_end_is_stopped_and_says_so(clusters: Clusters) -> None:
    program = (
        "import json, sys, kmirror\n"
        "def on_event(event):\n"
        "    print(event.state, flush=True)\n"
        "kmirror_of_the_program = kmirror.Mirror(**json.loads(sys.argv[1]), on_event=on_event)\n"
        "kmirror_of_the_program.start()\n"
    )
    ended = run_python(program, json.dumps(clusters.of(clusters.busy_topic)))
    assert ended.returncode == 0 and ended.stderr == "", ended.stderr
    assert ended.stdout.split()[-2:] == ["stopping", "stopped"]


LEAVES = """
import json, sys, time
import kmirror

with kmirror.Mirror(**json.loads(sys.argv[1])) as mirror:
    deadline = time.monotonic() + 60
    while mirror.state != "failed" and time.monotonic() < deadline:
        time.sleep(0.05)
print("left")
"""


def test_a_script_that_does_not_listen_hears_that_nothing_was_copied(clusters: Clusters, mirror_of: MirrorOf) -> None:
    with mirror_of(clusters.topic) as mirror:
        mirror.wait_until_caught_up(timeout=HANG_LIMIT)
    ended = run_python(LEAVES, json.dumps(clusters.of(clusters.topic, name=f"{clusters.topic}-another")))
    assert (ended.returncode, ended.stdout) == (1, ""), ended.stderr
    assert "TargetConflictError" in ended.stderr and "partition parked" in ended.stderr, ended.stderr


class Stub:
    """A mirror's handle that is in some state."""

    name = "stub"

    def __init__(self, state: str, trouble: Exception | None) -> None:
        self._trouble = (state, trouble)

    def trouble(self) -> tuple[str, Exception | None]:
        return self._trouble

    def start(self, feed: object, cancel: object) -> None: ...

    def stop(self, timeout: object, cancel: object) -> None: ...

    def wait_until_caught_up(self, timeout: object, cancel: object, watch: object) -> None:
        error = self._trouble[1]
        assert error is not None
        raise error


def test_what_did_not_go_on_is_told_when_a_mirror_is_left(clusters: Clusters, mirror_of: MirrorOf) -> None:
    def left(state: str, trouble: Exception | None, body: object = None) -> None:
        mirror = mirror_of(clusters.topic)
        mirror._handle = Stub(state, trouble)  # type: ignore[assignment]
        mirror._start = lambda cancel: None  # type: ignore[method-assign]
        with mirror:
            if callable(body):
                body(mirror)

    conflict = kmirror.TargetConflictError("somebody else writes")
    for state in ("degraded", "stalled"):
        with pytest.warns(kmirror.KmirrorWarning, match=f"was {state} when it was left: somebody else writes"):
            left(state, conflict)
    with pytest.raises(kmirror.TargetConflictError):
        left("failed", conflict)
    # What the program has heard, and what is no trouble.
    left("in_sync", None)
    left("catching_up", conflict)

    def hears(mirror: kmirror.Mirror) -> None:
        with pytest.raises(kmirror.TargetConflictError):
            mirror.wait_until_caught_up()

    left("failed", conflict, hears)

    def raises(mirror: kmirror.Mirror) -> None:
        raise KeyError("of the program")

    with pytest.raises(KeyError):
        left("failed", conflict, raises)


def footprint() -> tuple[int, int, int]:
    """Threads, file descriptors, and kilobytes of memory of this process."""
    status = pathlib.Path("/proc/self/status").read_text()
    memory = int(status.split("VmRSS:")[1].split()[0])
    return len(os.listdir("/proc/self/task")), len(os.listdir("/proc/self/fd")), memory


def test_starts_and_stops_leave_nothing_behind(clusters: Clusters, mirror_of: MirrorOf) -> None:
    def one(number: int) -> None:
        # A callback that knows its mirror, so that each knows the other.
        mirrors: list[kmirror.Mirror] = []
        properties = {"on_lag": mirrors.count, "on_event": lambda event: mirrors[0].state}
        mirror = mirror_of(clusters.topic, lag_interval_ms=50, **properties)
        mirrors.append(mirror)
        with mirror:
            if number % 4 == 0:
                mirror.wait_until_caught_up(timeout=HANG_LIMIT)
                mirror.status()
                mirror.fileno()

    def settled() -> bool:
        # Mirrors and callbacks that know each other are for the garbage collector.
        gc.collect()
        threads, descriptors, _ = footprint()
        return threads <= before[0] and descriptors <= before[1]

    count = 1_000 if is_long() else 60
    for number in range(count // 3):
        one(number)
    gc.collect()
    before = footprint()
    for number in range(count):
        one(number)
    wait_for(settled)
    after = footprint()
    # What is allocated once is less than that; in the long form it would be 8 kB for each start.
    assert after[2] - before[2] < 8_000, f"{before} -> {after}"


def in_a_fork(body: object) -> None:
    """Runs a function in a child, which has to end by itself."""
    import warnings

    assert callable(body)
    with warnings.catch_warnings():
        # Python 3.12 warns of threads; that is what is tried here.
        warnings.simplefilter("ignore")
        child = os.fork()
    if child == 0:
        code = 1
        try:
            body()
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    wait = threading.Thread(target=lambda: codes.append(os.waitpid(child, 0)[1]))
    codes: list[int] = []
    wait.start()
    wait.join(HANG_LIMIT)
    if not codes:
        os.kill(child, 9)
    wait.join()
    assert codes == [0]


def test_a_fork_gets_an_exception_and_may_have_a_mirror_of_its_own(clusters: Clusters, mirror_of: MirrorOf) -> None:
    with mirror_of(clusters.topic, lag_interval_ms=50, on_event=lambda event: None) as mirror:
        mirror.wait_until_caught_up(timeout=HANG_LIMIT)

        def child() -> None:
            calls = (mirror.status, mirror.poll, mirror.stop, mirror.start, mirror.pause, mirror.resume, mirror.plan)
            more = (mirror.verify, mirror.promote, mirror.fileno, mirror.wait_until_caught_up, mirror.progress)
            for call in (*calls, *more, lambda: mirror.set_throttle(None), lambda: mirror.state):
                try:
                    call()
                except kmirror.ForkedError as error:
                    assert isinstance(error, RuntimeError) and "forked" in str(error)
                else:
                    raise AssertionError(f"{call} says nothing")
            assert repr(mirror).endswith("of another process>")
            with mirror_of(clusters.other_topic) as own:
                own.wait_until_caught_up(timeout=HANG_LIMIT)

        for _ in range(5):
            in_a_fork(child)
        mirror.wait_until_caught_up(timeout=HANG_LIMIT)


def test_a_mirror_that_was_made_before_the_fork_can_be_started_after_it(
    clusters: Clusters, mirror_of: MirrorOf
) -> None:
    mirror = mirror_of(clusters.topic)

    def child() -> None:
        with mirror:
            mirror.wait_until_caught_up(timeout=HANG_LIMIT)

    in_a_fork(child)
