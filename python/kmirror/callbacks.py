"""Calls callbacks and writes log lines, from one thread for each mirror that is named ``kmirror-events``.

It is a daemon thread of Python's own: an interpreter that ends does not wait for it, whatever a callback does. It
holds on to the callbacks and not to the mirror, so a mirror that nobody has any more stops.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from ._kmirror import Event, Feed, Lag, unraisable

OnLag = Callable[[Lag], object]
OnEvent = Callable[[Event], object]

_HOW_OFTEN_SECONDS = 1.0
"""How often the level of the logger is looked at when nothing happens."""

_WHILE_STARTING_SECONDS = 0.02


class Callbacks:
    """What a mirror calls for."""

    def __init__(self, on_lag: OnLag | None, on_event: OnEvent | None, logger: logging.Logger) -> None:
        for name, callback in (("on_lag", on_lag), ("on_event", on_event)):
            if callback is not None and not callable(callback):
                raise TypeError(f"{name} takes a function, not {type(callback).__name__}")
        if not isinstance(logger, logging.Logger):
            raise TypeError(f"logger takes a logging.Logger, not {type(logger).__name__}")
        self.on_lag = on_lag
        self.on_event = on_event
        self.logger = logger
        self.errors = 0
        """How many calls have raised."""

    def start(self) -> Calling:
        """Begins to call."""
        return Calling(self)


class Calling:
    """The thread of one run of a mirror."""

    def __init__(self, callbacks: Callbacks) -> None:
        self._callbacks = callbacks
        self._level = _level(callbacks.logger)
        self.feed = Feed(callbacks.on_event is not None, callbacks.on_lag is not None, self._level)
        self._started = False
        self._held: list[Event] = []
        self._thread = threading.Thread(target=self._run, name="kmirror-events", daemon=True)
        self._thread.start()

    def join(self, timeout: float | None) -> None:
        """Waits until everything was told, unless a callback is who asks."""
        if self._thread is not threading.current_thread():
            self._thread.join(timeout)

    def begin(self) -> None:
        """After the start: what was told until then is passed on, to callbacks that may use the mirror now."""
        self._started = True

    def give_up(self) -> None:
        """After a start that has failed: what was told until then is still passed on."""
        self.feed.close()

    def _run(self) -> None:
        while (told := self.feed.take(_HOW_OFTEN_SECONDS if self._started else _WHILE_STARTING_SECONDS)) is not None:
            self._pass_on()
            for one in told:
                if not isinstance(one, Event):
                    self._log(*one)
                elif self._started:
                    self._pass_on()
                    self._tell(one)
                else:
                    self._held.append(one)
            if (level := _level(self._callbacks.logger)) != self._level:
                self._level = level
                self.feed.set_log_level(level)

        self._started = True
        self._pass_on()

    def _pass_on(self) -> None:
        while self._started and self._held:
            self._tell(self._held.pop(0))

    def _tell(self, event: Event) -> None:
        callbacks = self._callbacks
        if callbacks.on_event is not None:
            self._call(callbacks.on_event, event)
        if callbacks.on_lag is not None and event.kind == "lag" and event.topic is None and event.lag is not None:
            self._call(callbacks.on_lag, event.lag)

    def _call(self, callback: Callable[..., object], argument: object) -> None:
        try:
            callback(argument)
        except BaseException as error:
            self._callbacks.errors += 1
            unraisable(error, callback)

    def _log(self, level: int, timestamp_ms: int, origin: str, text: str) -> None:
        logger = self._callbacks.logger
        if logger.isEnabledFor(level):
            record = logger.makeRecord(logger.name, level, "kmirror", 0, text, (), None, extra={"origin": origin})
            record.created, record.msecs = timestamp_ms / 1000, timestamp_ms % 1000
            record.threadName = "kmirror-events"
            try:
                logger.handle(record)
            except Exception as error:
                unraisable(error, logger.handle)


def _level(logger: logging.Logger) -> int:
    return max(logger.getEffectiveLevel(), logging.root.manager.disable + 1)
