"""The mirror for asyncio: the same verbs as coroutines.

A call that waits does so on a thread of its own, and comes back by ``loop.call_soon_threadsafe``; when its task is
cancelled it is given up. Callbacks come on the loop, if they are given.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import threading
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from . import mirror as blocking
from ._kmirror import Cancel, Event, Lag
from .callbacks import OnEvent, OnLag
from .reports import CheckReport, Plan, PromoteReport, PromotionUndone, Status, VerifyReport

if TYPE_CHECKING:
    from typing_extensions import Self, Unpack

    from .properties import Properties

__all__ = ["Mirror"]

_T = TypeVar("_T")


async def _run(body: Callable[[Cancel], _T], unheard: Callable[[_T], object] | None = None) -> _T:
    """Runs a call that waits. A task that is cancelled has it given up, which takes a moment; what the call returns all
    the same goes to unheard."""
    loop, cancel = asyncio.get_running_loop(), Cancel()
    done: asyncio.Future[_T] = loop.create_future()

    def finish(result: _T | None, error: BaseException | None) -> None:
        if error is not None:
            done.set_exception(error)
        else:
            done.set_result(result)  # type: ignore[arg-type]

    def call() -> None:
        try:
            result, error = body(cancel), None
        except BaseException as raised:
            result, error = None, raised
        # A loop that was closed meanwhile says RuntimeError: nobody waits any more.
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(finish, result, error)

    threading.Thread(target=call, name="kmirror-wait", daemon=True).start()
    try:
        return await asyncio.shield(done)
    except asyncio.CancelledError:
        cancel.set()
        done.add_done_callback(lambda done: _unheard(done, unheard))
        await asyncio.wait([done])
        raise


def _unheard(done: asyncio.Future[_T], unheard: Callable[[_T], object] | None) -> None:
    if done.exception() is None and unheard is not None:
        unheard(done.result())


class Mirror:
    """Copies topics of one Kafka cluster to another, as kmirror.Mirror does, for asyncio.

    on_lag and on_event are called on the loop that runs start(). In an ``async with`` statement it starts at the
    beginning and stops at the end.
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
        consumer: str | os.PathLike[str] | None = None,
        producer: str | os.PathLike[str] | None = None,
        *,
        config: str | os.PathLike[str] | None = None,
        source: Mapping[str, Any] | None = None,
        target: Mapping[str, Any] | None = None,
        on_lag: OnLag | None = None,
        on_event: OnEvent | None = None,
        logger: logging.Logger | None = None,
        **properties: Unpack[Properties],
    ) -> Self:
        """As kmirror.Mirror.from_files."""
        files = blocking.files_of(consumer, producer, config)
        mirror = cls.__new__(cls)
        mirror._make(files, source, target, on_lag, on_event, logger, dict(properties))
        return mirror

    def _make(
        self,
        files: list[tuple[str, str | os.PathLike[str]]],
        source: Mapping[str, Any] | None,
        target: Mapping[str, Any] | None,
        on_lag: OnLag | None,
        on_event: OnEvent | None,
        logger: logging.Logger | None,
        properties: dict[str, Any],
    ) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._kept: deque[Event] = deque()
        heard_lag = None if on_lag is None else self._on_loop(on_lag)
        heard_event = None if on_event is None else self._on_loop(on_event)
        self._mirror = blocking.Mirror.__new__(blocking.Mirror)
        self._mirror._make(files, source, target, heard_lag, heard_event, logger, properties)

    def _on_loop(self, callback: Callable[[Any], object]) -> Callable[[Any], None]:
        if not callable(callback):
            raise TypeError(f"a callback is a function, not {type(callback).__name__}")

        def call(told: Lag | Event) -> None:
            if self._loop is not None and not self._loop.is_closed():
                self._loop.call_soon_threadsafe(callback, told)

        return call

    @property
    def name(self) -> str | None:
        """Its name as it is configured."""
        return self._mirror.name

    @property
    def state(self) -> str:
        """Its state, for example "in_sync"."""
        return self._mirror.state

    @property
    def callback_errors(self) -> int:
        """How often a callback could not be called; what callbacks raise goes to the loop's exception handler."""
        return self._mirror.callback_errors

    async def start(self) -> None:
        """Connects to both clusters, prepares the topics and begins to copy."""
        self._loop = asyncio.get_running_loop()
        await _run(self._mirror._start, lambda _: self._stop_soon())

    def _stop_soon(self) -> None:
        threading.Thread(target=self._mirror.stop, name="kmirror-wait", daemon=True).start()

    async def stop(self, timeout: float | None = 10.0) -> None:
        """Stops fetching and sending, and waits so many seconds at most for answers under way and for callbacks."""
        await _run(lambda cancel: self._mirror._stop(timeout, cancel))

    async def pause(self) -> None:
        """Stops fetching. What is under way is finished; connections stay open."""
        self._mirror.pause()

    async def resume(self) -> None:
        """Goes on after pause()."""
        self._mirror.resume()

    async def set_throttle(self, bytes_per_second: int | None) -> None:
        """Changes throttle_bytes_per_second for the mirror as it runs; None is without limit."""
        self._mirror.set_throttle(bytes_per_second)

    async def wait_until_caught_up(self, timeout: float | None = None) -> None:
        """Waits until every selected partition has reached the source's end as it is at the time of this call."""
        await _run(lambda cancel: self._mirror._wait_until_caught_up(timeout, cancel, None))

    async def poll(self, timeout: float | None = 0.0) -> Event | None:
        """The next event, or None if there is none within so many seconds, or the mirror has ended. One that a
        cancelled task would have got goes to the next one."""
        if self._kept:
            return self._kept.popleft()
        handle = self._mirror._handle
        event = handle.poll(0.0, None)
        if event is not None or timeout == 0.0:
            return event
        return await _run(lambda cancel: handle.poll(timeout, cancel), self._keep)

    def _keep(self, event: Event | None) -> None:
        if event is not None:
            self._kept.append(event)

    async def events(self) -> AsyncIterator[Event]:
        """Every event until the mirror has ended: ``async for event in mirror.events()``."""
        while (event := await self.poll(None)) is not None:
            yield event

    async def status(self) -> Status:
        """Everything the mirror knows of itself, now."""
        return self._mirror.status()

    async def check(self) -> CheckReport:
        """Whether a start would succeed, as kmirror.Mirror.check."""
        return await _run(self._mirror._check)

    async def plan(self) -> Plan:
        """What a start would do now. Writes nothing, and needs no start."""
        return Plan(json.loads(await _run(self._mirror._handle.plan)))

    async def verify(
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
    ) -> VerifyReport:
        """Compares what consumers would read from source and target, as kmirror.Mirror.verify."""
        options = (topics, sample, sample_seed, max_differences, wait, (allow_behind, allow_expired), timeout)
        return await _run(lambda cancel: self._mirror._verify(*options, cancel, None))

    async def promote(self, timeout: float = 60.0, *, force: bool = False) -> PromoteReport:
        """Ends the mirror for a switch-over, as kmirror.Mirror.promote."""
        handle = self._mirror._handle
        return PromoteReport(json.loads(await _run(lambda cancel: handle.promote(timeout, force, cancel))))

    async def undo_promotion(self) -> PromotionUndone:
        """Takes the mark of promote() back; only if nothing was written to the target since."""
        return PromotionUndone(json.loads(await _run(self._mirror._handle.undo_promotion)))

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, kind: type[BaseException] | None, *_exception: object) -> None:
        state, trouble = self._mirror._handle.trouble()
        await self.stop()
        if kind is None:
            self._mirror._tell_trouble(state, trouble, 3)

    def __repr__(self) -> str:
        return repr(self._mirror).replace("kmirror.Mirror", "kmirror.aio.Mirror", 1)
