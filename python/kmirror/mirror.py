"""The mirror as a program has it."""

from __future__ import annotations

import atexit
import json
import logging
import os
import time
import warnings
import weakref
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from ._kmirror import Cancel, Event, Handle
from .callbacks import Callbacks, Calling, OnEvent, OnLag
from .errors import ForkedError, KmirrorError, KmirrorWarning, TimedOut
from .reports import CheckReport, Plan, PromoteReport, PromotionUndone, Status, VerifyReport

if TYPE_CHECKING:
    from typing_extensions import Self, Unpack

    from .properties import Properties

    Path = str | os.PathLike[str]

_STOP_TIMEOUT = 10.0
_AT_EXIT_TIMEOUT = 5.0
_AT_EXIT_CALLBACKS_TIMEOUT = 1.0

_running: weakref.WeakSet[Mirror] = weakref.WeakSet()
"""Those to be stopped when the interpreter ends; nobody looks at it before the first start."""


class Mirror:
    """Copies topics of one Kafka cluster to another: same offsets, exactly once.

    source and target are the properties of the clients, with the dotted keys that every Kafka client has; every
    property of the mirror is a keyword, with underscores for dots. All problems are told at once, by a ConfigError.
    Nothing is connected before start().

    on_lag is called with the Lag of the whole mirror every lag_interval_ms, on_event with every Event, both from one
    thread named ``kmirror-events``. They may call everything, stop() too; however long they take, copying goes on.
    What they raise goes to sys.unraisablehook and is counted in callback_errors. What the engine logs goes to logger,
    by default ``logging.getLogger("kmirror")``, from the same thread; where logging is not set up, warnings and errors
    go to standard error.

    In a with statement it starts at the beginning and stops at the end. A mirror that has failed by then raises its
    error, unless a call of the mirror has raised it before; one of which a part does not go on warns (KmirrorWarning).
    Times are seconds.
    """

    def __init__(
        self,
        *,
        source: Mapping[str, Any] | None = None,
        target: Mapping[str, Any] | None = None,
        on_lag: OnLag | None = None,
        on_event: OnEvent | None = None,
        logger: logging.Logger | None = None,
        **properties: Unpack[Properties],
    ) -> None:
        self._make([], source, target, on_lag, on_event, logger, dict(properties))

    @classmethod
    def from_files(
        cls,
        consumer: Path | None = None,
        producer: Path | None = None,
        *,
        config: Path | None = None,
        source: Mapping[str, Any] | None = None,
        target: Mapping[str, Any] | None = None,
        on_lag: OnLag | None = None,
        on_event: OnEvent | None = None,
        logger: logging.Logger | None = None,
        **properties: Unpack[Properties],
    ) -> Self:
        """A mirror of properties files: of a consumer for the source and a producer for the target, as MirrorMaker 1
        has them, or of a whole mirror. Arguments count before what files say."""
        mirror = cls.__new__(cls)
        mirror._make(files_of(consumer, producer, config), source, target, on_lag, on_event, logger, dict(properties))
        return mirror

    def _make(
        self,
        files: list[tuple[str, Path]],
        source: Mapping[str, Any] | None,
        target: Mapping[str, Any] | None,
        on_lag: OnLag | None,
        on_event: OnEvent | None,
        logger: logging.Logger | None,
        properties: dict[str, Any],
    ) -> None:
        self._has_raised = False
        self._callbacks = Callbacks(on_lag, on_event, logging.getLogger("kmirror") if logger is None else logger)
        self._calling: Calling | None = None
        self._handle = Handle(files, _client("source", source), _client("target", target), properties)
        for text in self._handle.warnings:
            warnings.warn(text, KmirrorWarning, stacklevel=3)

    @property
    def name(self) -> str | None:
        """Its name as it is configured; without one status() tells the name it has given itself."""
        return self._handle.name

    @property
    def state(self) -> str:
        """Its state, for example "in_sync"; "not started" before."""
        return self._handle.state

    @property
    def callback_errors(self) -> int:
        """How often a callback has raised."""
        return self._callbacks.errors

    def start(self) -> None:
        """Connects to both clusters, prepares the topics and begins to copy; returns when copying has begun."""
        self._start(None)

    def _start(self, cancel: Cancel | None) -> None:
        calling = self._callbacks.start()
        try:
            self._handle.start(calling.feed, cancel)
        except BaseException:
            calling.give_up()
            raise
        self._calling = calling
        calling.begin()
        # Anew each time: hosts that fork clear what was registered before.
        atexit.unregister(_stop_all)
        atexit.register(_stop_all)
        _running.add(self)

    def stop(self, timeout: float | None = _STOP_TIMEOUT) -> None:
        """Stops fetching and sending, and waits so many seconds at most for answers under way and for callbacks. What
        was not sent is copied by the next start. Stopping twice is no error."""
        self._stop(timeout, None)

    def _stop(self, timeout: float | None, cancel: Cancel | None) -> None:
        started = time.monotonic()
        self._handle.stop(timeout, cancel)
        left = None if timeout is None else max(0.0, timeout - (time.monotonic() - started))
        self._end(left)

    def _end(self, timeout: float | None) -> None:
        """After the stop: waits for the callbacks."""
        _running.discard(self)
        if self._calling is not None:
            self._calling.join(timeout)

    def pause(self) -> None:
        """Stops fetching. What is under way is finished; connections stay open."""
        self._handle.pause()

    def resume(self) -> None:
        """Goes on after pause()."""
        self._handle.resume()

    def set_throttle(self, bytes_per_second: int | None) -> None:
        """Changes throttle_bytes_per_second for the mirror as it runs: bytes as compressed; None is without limit."""
        self._handle.set_throttle(bytes_per_second)

    def wait_until_caught_up(self, timeout: float | None = None) -> None:
        """Waits until every selected partition has reached the source's end as it is at the time of this call. Raises
        the error of a partition that never will, and TimedOut after so many seconds."""
        self._wait_until_caught_up(timeout, None, None)

    def _wait_until_caught_up(
        self, timeout: float | None, cancel: Cancel | None, show: Callable[[], None] | None
    ) -> None:
        try:
            self._handle.wait_until_caught_up(timeout, cancel, show)
        except TimedOut:
            raise
        except KmirrorError:
            self._has_raised = True
            raise

    def progress(self, timeout: float | None = None, *, interval: float = 0.5) -> Status:
        """As wait_until_caught_up(), showing meanwhile how far it is, every so many seconds: as a table in a
        notebook, else as a line on standard error, by tqdm if that is there. Returns the last status."""
        from .progress import shown

        with shown(self.status, interval) as show:
            self._wait_until_caught_up(timeout, None, show)
        return self.status()

    def poll(self, timeout: float | None = 0.0) -> Event | None:
        """The next event, or None if there is none within so many seconds, and at once when the mirror has ended and
        none is left. Each event goes to one caller; what on_event has heard can be polled, too."""
        return self._handle.poll(timeout, None)

    def events(self) -> Iterator[Event]:
        """Every event until the mirror has ended, waiting for each. Ends only then: to leave earlier, break."""
        while (event := self._handle.poll(None, None)) is not None:
            yield event

    def fileno(self) -> int:
        """A file descriptor that is readable while events wait, for select and its like; for waiting only."""
        return self._handle.fileno()

    def status(self) -> Status:
        """Everything the mirror knows of itself, now."""
        return Status(json.loads(self._handle.status()))

    def check(self) -> CheckReport:
        """Whether a start would succeed: connections to every broker, permissions, topics, clocks. Writes nothing, and
        needs no start. That something is wrong is no error: it is in the report."""
        return self._check(None)

    def _check(self, cancel: Cancel | None) -> CheckReport:
        text, error = self._handle.check(cancel)
        return _with_error(CheckReport(json.loads(text)), error)

    def plan(self) -> Plan:
        """What a start would do now. Writes nothing, and needs no start."""
        return Plan(json.loads(self._handle.plan(None)))

    def verify(
        self,
        *,
        topics: str | list[str] | None = None,
        sample: int | str | None = None,
        sample_seed: int | None = None,
        max_differences: int = 100,
        wait: float = 5.0,
        allow_behind: bool = False,
        allow_expired: bool = False,
        timeout: float | None = None,
        on_progress: Callable[[dict[str, int]], object] | None = None,
    ) -> VerifyReport:
        """Compares what consumers would read from source and target, while both are live. The report is identical
        only if every record that the source had when this began was seen on both sides, and is equal. That they
        differ, or that not everything could be compared, is no error: it is in the report.

        topics: only these of the mirrored topics, names or regular expressions. sample: so many offsets of each
        partition, or "5%" of them. wait: seconds that a target which is behind is waited for. allow_behind: accepts
        that the target is behind then. allow_expired: accepts that one side has removed records at the beginning of
        its log which the other still has. on_progress is called in this thread with partitions, partitions_done,
        records, bytes and differences so far. TimedOut after so many seconds."""
        allow = (allow_behind, allow_expired)
        options = (topics, sample, sample_seed, max_differences, wait, allow, timeout)
        return self._verify(*options, None, on_progress)

    def _verify(
        self,
        topics: str | list[str] | None,
        sample: int | str | None,
        sample_seed: int | None,
        max_differences: int,
        wait: float,
        allow: tuple[bool, bool],
        timeout: float | None,
        cancel: Cancel | None,
        on_progress: Callable[[dict[str, int]], object] | None,
    ) -> VerifyReport:
        how_much = None if sample is None else str(sample)
        watch = None if on_progress is None else lambda text: _discard(on_progress(json.loads(text)))
        text, error = self._handle.verify(
            topics, how_much, sample_seed, max_differences, wait, allow, timeout, cancel, watch
        )
        return _with_error(VerifyReport(json.loads(text)), error)

    def promote(self, timeout: float = 60.0, *, force: bool = False) -> PromoteReport:
        """Ends the mirror for a switch-over: copies what the source has, copies offsets of groups a last time, and
        marks the mirror on the target so that no process of it writes again. Stop the writers of the source first.

        Raises TimedOut if the source is there and not everything was copied within so many seconds: then nothing is
        marked and the mirror goes on; force marks it all the same. After Ctrl-C state tells whether it was too late.
        Needs no start: a mirror that does not run here is started for it."""
        return PromoteReport(json.loads(self._handle.promote(timeout, force, None)))

    def undo_promotion(self) -> PromotionUndone:
        """Takes the mark of promote() back; only if nothing was written to the target since."""
        return PromotionUndone(json.loads(self._handle.undo_promotion(None)))

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_exception: object) -> None:
        state, trouble = self._handle.trouble()
        self.stop()
        if kind is None:
            self._tell_trouble(state, trouble, 3)

    def _tell_trouble(self, state: str, trouble: Exception | None, stacklevel: int) -> None:
        """Whoever leaves a mirror does not look at it any more: what it could not copy is not left unsaid."""
        if trouble is None or self._has_raised or state not in ("failed", "stalled", "degraded"):
            return
        if state == "failed":
            raise trouble
        name = f"the mirror '{self.name}'" if self.name else "the mirror"
        warnings.warn(f"{name} was {state} when it was left: {trouble}", KmirrorWarning, stacklevel)

    def __repr__(self) -> str:
        try:
            state = self.state
        except ForkedError:
            state = "of another process"
        return f"<kmirror.Mirror {self.name or 'without a name'} {state}>"

    def _repr_html_(self) -> str | None:
        try:
            return self.status()._repr_html_()
        except KmirrorError:
            return None


def files_of(consumer: Path | None, producer: Path | None, config: Path | None) -> list[tuple[str, Path]]:
    """Files with the side that each is about."""
    sides = (("source", consumer), ("target", producer), ("", config))
    return [(side, path) for side, path in sides if path is not None]


def _discard(_: object) -> None: ...


_Report = TypeVar("_Report", CheckReport, VerifyReport)


def _with_error(report: _Report, error: Exception | None) -> _Report:
    object.__setattr__(report, "_error", error)
    return report


def _client(side: str, given: Mapping[str, Any] | None) -> dict[str, Any]:
    if given is None:
        return {}
    if not isinstance(given, Mapping):
        raise TypeError(f"{side} takes a dict of the properties of its clients, not {type(given).__name__}")
    return dict(given)


def _stop_all() -> None:
    """Before the interpreter ends: afterwards nobody could be called any more."""
    for mirror in list(_running):
        try:
            mirror._handle.stop(_AT_EXIT_TIMEOUT, None)
            mirror._end(_AT_EXIT_CALLBACKS_TIMEOUT)
        except KmirrorError as error:
            if not isinstance(error, ForkedError):
                logging.getLogger("kmirror").warning("at exit: %s", error)


# Where users find it.
Mirror.__module__ = "kmirror"
