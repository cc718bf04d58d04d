"""What can be asked for without a mirror that runs. Arguments are those of Mirror."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from .mirror import Mirror
from .reports import CheckReport, Plan, PromoteReport, PromotionUndone, VerifyReport

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from .properties import Properties

    Clients = Mapping[str, Any] | None


def check(*, source: Clients = None, target: Clients = None, **properties: Unpack[Properties]) -> CheckReport:
    """Whether a mirror would run: connections to every broker, permissions, topics, clocks, and what to do where
    something is wrong. Writes nothing."""
    return Mirror(source=source, target=target, **properties).check()


def plan(*, source: Clients = None, target: Clients = None, **properties: Unpack[Properties]) -> Plan:
    """What a mirror would do: topics, configurations, ACLs, groups, and the permissions it lacks. Writes nothing."""
    return Mirror(source=source, target=target, **properties).plan()


def verify(
    *,
    source: Clients = None,
    target: Clients = None,
    sample: int | str | None = None,
    sample_seed: int | None = None,
    max_differences: int = 100,
    wait: float = 5.0,
    allow_behind: bool = False,
    allow_expired: bool = False,
    timeout: float | None = None,
    on_progress: Callable[[dict[str, int]], object] | None = None,
    **properties: Unpack[Properties],
) -> VerifyReport:
    """Compares what consumers would read from source and target, while both are live, as Mirror.verify."""
    return Mirror(source=source, target=target, **properties).verify(
        sample=sample,
        sample_seed=sample_seed,
        max_differences=max_differences,
        wait=wait,
        allow_behind=allow_behind,
        allow_expired=allow_expired,
        timeout=timeout,
        on_progress=on_progress,
    )


def promote(
    *,
    source: Clients = None,
    target: Clients = None,
    timeout: float = 60.0,
    force: bool = False,
    **properties: Unpack[Properties],
) -> PromoteReport:
    """Ends the mirror of this name for a switch-over, wherever it runs, as Mirror.promote."""
    return Mirror(source=source, target=target, **properties).promote(timeout, force=force)


def undo_promotion(
    *, source: Clients = None, target: Clients = None, **properties: Unpack[Properties]
) -> PromotionUndone:
    """Takes the mark of promote() back; only if nothing was written to the target since."""
    return Mirror(source=source, target=target, **properties).undo_promotion()
