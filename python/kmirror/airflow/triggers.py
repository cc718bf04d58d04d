"""Waits in the triggerer until the target is in step with the source.

What is stored of it in Airflow's database are the names of connections, never what they hold. It writes nothing to
any cluster, so it may run twice.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from airflow.triggers.base import BaseTrigger, TriggerEvent

from ..errors import KmirrorError
from . import connections, results

PATIENCE_SECONDS = 60.0
"""How long one look may take."""


class KMirrorLagTrigger(BaseTrigger):
    """Fires when the target lacks at most max_lag records, with the lag, or with an error that will not pass by
    itself."""

    def __init__(
        self,
        *,
        source_conn_id: str,
        target_conn_id: str,
        properties: dict[str, Any],
        max_lag: int = 0,
        poll_interval: float = 60.0,
    ) -> None:
        super().__init__()
        self.source_conn_id = source_conn_id
        self.target_conn_id = target_conn_id
        self.properties = properties
        self.max_lag = max_lag
        self.poll_interval = poll_interval

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """As Airflow stores it."""
        return (
            "kmirror.airflow.triggers.KMirrorLagTrigger",
            {
                "source_conn_id": self.source_conn_id,
                "target_conn_id": self.target_conn_id,
                "properties": self.properties,
                "max_lag": self.max_lag,
                "poll_interval": self.poll_interval,
            },
        )

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Looks at both clusters again and again. Nothing here holds up the other triggers of the loop."""
        while True:
            try:
                lag = await self._look()
            except KmirrorError as error:
                self.log.warning("%s: %s", error.name, error)
                if not error.retriable:
                    yield TriggerEvent({"error": f"{error} ({error.name})"})
                    return
            else:
                self.log.info("%s records behind in %s partitions", lag["records"], lag["partitions_behind"])
                if in_step(lag, self.max_lag):
                    yield TriggerEvent({"lag": lag})
                    return
            await asyncio.sleep(self.poll_interval)

    async def _look(self) -> dict[str, Any]:
        source = await connections.client_async(self.source_conn_id)
        target = await connections.client_async(self.target_conn_id)
        mirror = connections.mirror_async((source, target), self.properties)
        return results.of_lag(await mirror.verify(sample=0, max_differences=1, wait=0.0, timeout=PATIENCE_SECONDS))


def in_step(lag: dict[str, Any], max_lag: int) -> bool:
    """Whether that is little enough, and known of every partition."""
    return bool(lag["records"] <= max_lag and lag["unread"] == 0)
