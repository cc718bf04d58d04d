"""Shows how far a mirror is, from the thread that waits for it.

In a notebook the display is updated in its place, which only the thread that runs the cell can do well; elsewhere it
is tqdm's bar if tqdm is there, or a line that is written anew.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from .reports import Status


@contextmanager
def shown(status: Callable[[], Status], interval: float) -> Iterator[Callable[[], None]]:
    """Something to call often; it shows the status every so many seconds, and once more at the end."""
    display = _display(status())
    last = time.monotonic()

    def show() -> None:
        nonlocal last
        if time.monotonic() - last >= interval:
            last = time.monotonic()
            display.update(status())

    try:
        yield show
    finally:
        try:
            display.update(status())
        finally:
            display.close()


def _display(first: Status) -> _Notebook | _Bar | _Line:
    if _in_notebook():
        return _Notebook(first)
    try:
        import tqdm.auto  # noqa: F401
    except ImportError:
        return _Line(first)
    return _Bar(first)


def _in_notebook() -> bool:
    if "IPython" not in sys.modules:
        return False
    from IPython import get_ipython  # type: ignore[import-not-found, unused-ignore]

    shell = get_ipython()
    return shell is not None and hasattr(shell, "kernel")


class _Notebook:
    def __init__(self, first: Status) -> None:
        from IPython.display import display

        self._handle: Any = display(first, display_id=True)

    def update(self, status: Status) -> None:
        self._handle.update(status)

    def close(self) -> None: ...


class _Bar:
    def __init__(self, first: Status) -> None:
        from tqdm.auto import tqdm  # type: ignore[import-untyped, unused-ignore]

        self._start = first.replicated_records
        total = first.lag.records
        self._bar: Any = tqdm(total=total, unit=" records", unit_scale=True, desc=f"{first.name}: {first.state}")

    def update(self, status: Status) -> None:
        self._bar.set_description_str(f"{status.name}: {status.state}", refresh=False)
        self._bar.n = status.replicated_records - self._start
        # What is not known is shown as a bar without an end.
        self._bar.total = None if status.lag.records is None else self._bar.n + status.lag.records
        self._bar.refresh()

    def close(self) -> None:
        self._bar.close()


class _Line:
    def __init__(self, first: Status) -> None:
        self._anew = "\r\x1b[K" if sys.stderr.isatty() else ""
        self._end = "" if self._anew else "\n"
        self.update(first)

    def update(self, status: Status) -> None:
        print(self._anew + status._headline(), end=self._end, file=sys.stderr, flush=True)

    def close(self) -> None:
        if self._anew:
            print(file=sys.stderr)
