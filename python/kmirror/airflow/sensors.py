"""Waits until the target is in step with the source, however the mirror runs: both clusters are asked, not the
mirror."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any, ClassVar

from airflow.sdk import BaseSensorOperator, PokeReturnValue
from airflow.sdk.configuration import conf
from airflow.sdk.exceptions import AirflowFailException

from ..errors import KmirrorError
from . import connections, results
from .triggers import PATIENCE_SECONDS, KMirrorLagTrigger, in_step


class KMirrorLagSensor(BaseSensorOperator):
    """Waits until the target lacks at most max_lag records of the topics.

    Arguments as those of KMirrorOperator; poke_interval and timeout as those of every sensor. deferrable: waits in
    the triggerer, without a worker; by default as [operators] default_deferrable says. A cluster that cannot be
    reached is tried again.

    Returns records, topics, partitions, partitions_behind, and the worst of them. It says how far the target is, not
    whether it has the same: that says KMirrorVerifyOperator.
    """

    template_fields: ClassVar[Sequence[str]] = (
        "source_conn_id",
        "target_conn_id",
        "topics",
        "name",
        "config",
        "max_lag",
    )
    ui_color = "#d9e8f5"

    def __init__(
        self,
        *,
        source_conn_id: str,
        target_conn_id: str,
        topics: str | list[str] | None = None,
        name: str | None = None,
        config: Mapping[str, Any] | None = None,
        max_lag: int | str = 0,
        deferrable: bool = conf.getboolean("operators", "default_deferrable", fallback=False),
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.source_conn_id = source_conn_id
        self.target_conn_id = target_conn_id
        self.topics = topics
        self.name = name
        self.config = config
        self.max_lag = max_lag
        self.deferrable = deferrable

    def execute(self, context: Any) -> Any:
        """Looks once, and waits then."""
        if not self.deferrable:
            return super().execute(context)
        first = self.poke(context)
        if first.is_done:
            return first.xcom_value
        self.defer(
            trigger=KMirrorLagTrigger(
                source_conn_id=self.source_conn_id,
                target_conn_id=self.target_conn_id,
                properties=self._properties(),
                max_lag=int(self.max_lag),
                poll_interval=self.poke_interval,
            ),
            method_name="execute_complete",
            timeout=timedelta(seconds=self.timeout),
        )

    def execute_complete(self, context: Any, event: dict[str, Any]) -> dict[str, Any]:
        """What came of waiting in the triggerer."""
        if "error" in event:
            raise AirflowFailException(event["error"])
        lag: dict[str, Any] = event["lag"]
        self.log.info("%s records behind", lag["records"])
        return lag

    def poke(self, context: Any) -> PokeReturnValue:
        """Looks at both clusters."""
        try:
            clients = connections.client(self.source_conn_id), connections.client(self.target_conn_id)
            mirror = connections.mirror(clients, self._properties(), self.log)
            lag = results.of_lag(mirror.verify(sample=0, max_differences=1, wait=0.0, timeout=PATIENCE_SECONDS))
        except KmirrorError as error:
            if not error.retriable:
                raise AirflowFailException(f"{error} ({error.name})") from error
            self.log.warning("%s: %s", error.name, error)
            return PokeReturnValue(is_done=False)
        self.log.info("%s records behind in %s partitions", lag["records"], lag["partitions_behind"])
        return PokeReturnValue(is_done=in_step(lag, int(self.max_lag)), xcom_value=lag)

    def _properties(self) -> dict[str, Any]:
        return connections.properties(self.config, topics=self.topics, name=self.name)
