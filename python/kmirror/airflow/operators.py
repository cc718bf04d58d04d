"""Tasks that mirror, verify and switch over. A mirror runs in the task: it starts, catches up and stops there.

A task that is killed, or runs out of time, stops its mirror cleanly. The target's log is all that a mirror remembers,
so a retry goes on where the last attempt has ended, also after kill -9, and no record is there twice. What no retry
would help fails at once.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from airflow.sdk import BaseOperator
from airflow.sdk.exceptions import AirflowException, AirflowFailException

from .. import reports
from .._kmirror import Cancel
from ..errors import ConfigError, KmirrorError
from ..mirror import Mirror
from . import connections, results

_STOP_SECONDS = 10.0
_WAIT_FOR_TARGET_SECONDS = 5.0
_DIFFERENCES_KNOWN = 100


class _Operator(BaseOperator):
    """Two connections, what is mirrored, and how a task with them ends."""

    template_fields: ClassVar[Sequence[str]] = (
        "source_conn_id",
        "target_conn_id",
        "topics",
        "groups",
        "name",
        "config",
    )
    ui_color = "#d9e8f5"

    def __init__(
        self,
        *,
        source_conn_id: str,
        target_conn_id: str,
        topics: str | list[str] | None = None,
        groups: str | list[str] | None = None,
        name: str | None = None,
        config: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.source_conn_id = source_conn_id
        self.target_conn_id = target_conn_id
        self.topics = topics
        self.groups = groups
        self.name = name
        self.config = config
        # Made when it is needed: operators are copied.
        self._cancel: Cancel | None = None
        self._killed = False

    def execute(self, context: Any) -> Any:
        """Runs it; an error that no retry would help fails the task at once."""
        self._cancel = Cancel()
        try:
            if self._killed:
                raise AirflowException("the task was killed before it began")
            return self._run(context, self._mirror(), self._cancel)
        except KmirrorError as error:
            if self._killed:
                raise AirflowException(f"the task was killed, and has ended cleanly: {error}") from error
            self.log.error("%s: %s", error.name, error)
            if not error.retriable:
                raise AirflowFailException(f"{error} ({error.name})") from error
            raise

    def _run(self, context: Any, mirror: Mirror, cancel: Cancel) -> Any:
        raise NotImplementedError

    def _mirror(self) -> Mirror:
        clients = connections.client(self.source_conn_id), connections.client(self.target_conn_id)
        made = connections.properties(self.config, topics=self.topics, groups=self.groups, name=self.name)
        return connections.mirror(clients, made, self.log)

    def on_kill(self) -> None:
        """Ends what the task waits for; the task stops its mirror then. Airflow calls it from a signal handler, in
        the middle of that wait, so nothing is waited for here."""
        self._killed = True
        if self._cancel is not None:
            self._cancel.set()

    def _judge(self, context: Any, report: reports.VerifyReport, is_error: bool) -> dict[str, Any]:
        found = results.of_verify(report)
        self.log.info("%s", report._headline())
        if report.identical:
            return found
        findings = [one for one in report.findings if not one.allowed]
        most = results.MOST_LISTED
        for one in [*report.differences[:most], *findings[:most], *report.unread[:most]]:
            self.log.error("%s", one)
        if is_error:
            # A task that fails returns nothing.
            context["ti"].xcom_push(key="verify", value=found)
            if report.outcome == "incomplete":
                # A retry may find more: a target that is behind catches up, a broker comes back.
                raise AirflowException(str(report._error))
            report.raise_if_different()
        return found


class KMirrorOperator(_Operator):
    """Mirrors until the target has everything the source has now, and stops.

    source_conn_id, target_conn_id: Kafka connections, as those of the Kafka provider. topics, groups: names and
    regular expressions, those that are mirrored. name: the mirror's identity on the target; without it one of the ids
    of both clusters, so give one if several tasks mirror between the same two. config: every other property of a
    mirror.

    timeout: seconds until it has to have caught up. verify: compares both sides afterwards, every record, or with
    sample so many offsets of each partition, or "5%" of them, and fails when they differ, or when not everything
    could be compared. allow_behind: accepts that records of the source which came since are not on the target yet.
    allow_expired: accepts that one side has removed records at the beginning of its log which the other still has.
    progress_interval: seconds between lines in the task's log.

    Returns mirror, records, bytes, seconds, topics, partitions, lag, groups, refused, and verify.
    """

    def __init__(
        self,
        *,
        timeout: float | None = None,
        verify: bool = False,
        sample: int | str | None = None,
        allow_behind: bool = False,
        allow_expired: bool = False,
        progress_interval: float = 10.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.timeout = timeout
        self.verify = verify
        self.sample = sample
        self.allow = (allow_behind, allow_expired)
        self.progress_interval = progress_interval

    def _run(self, context: Any, mirror: Mirror, cancel: Cancel) -> dict[str, Any]:
        began = time.monotonic()
        mirror._start(cancel)
        try:
            mirror._handle.wait_until_caught_up(self.timeout, cancel, self._progress(mirror))
            status = mirror.status()
            seconds = time.monotonic() - began
            self.log.info("caught up: %s", status._headline())
            for topic, reason in list(status.refused.items())[: results.MOST_LISTED]:
                self.log.warning("not mirrored: %s: %s", topic, reason)
            report = None
            if self.verify:
                how = (None, self.sample, None, _DIFFERENCES_KNOWN, _WAIT_FOR_TARGET_SECONDS, self.allow)
                report = mirror._verify(*how, self.timeout, cancel, None)
        finally:
            mirror.stop(_STOP_SECONDS)
            self.log.info("stopped: %s", mirror.status()._headline())
        if report is not None:
            self._judge(context, report, is_error=True)
        return results.of_run(status, report, seconds)

    def _progress(self, mirror: Mirror) -> Any:
        told = time.monotonic()

        def tell() -> None:
            nonlocal told
            if time.monotonic() - told >= self.progress_interval:
                told = time.monotonic()
                self.log.info("%s", mirror.status()._headline())

        return tell


class KMirrorVerifyOperator(_Operator):
    """Compares what consumers would read from both clusters, while both are live, and fails when they differ, or when
    not everything could be compared.

    Arguments as those of KMirrorOperator. sample: so many offsets of each partition, or "5%" of them; every record
    without it. wait: seconds that a target which is behind is waited for. allow_behind: accepts that it is behind
    then. allow_expired: accepts that one side has removed records at the beginning of its log which the other still
    has. timeout: for everything. fail_on_difference: else it is in the result only.

    What differs fails the task at once; what is incomplete is tried again as often as the task's retries say.

    Returns outcome, identical, topics, partitions, records_compared, bytes_compared, counts, differences, findings,
    unread: the first ones. When it fails they are in the XCom with the key verify.
    """

    def __init__(
        self,
        *,
        sample: int | str | None = None,
        wait: float = _WAIT_FOR_TARGET_SECONDS,
        allow_behind: bool = False,
        allow_expired: bool = False,
        timeout: float | None = None,
        fail_on_difference: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.sample = sample
        self.wait = wait
        self.allow = (allow_behind, allow_expired)
        self.timeout = timeout
        self.fail_on_difference = fail_on_difference

    def _run(self, context: Any, mirror: Mirror, cancel: Cancel) -> dict[str, Any]:
        how = (None, self.sample, None, _DIFFERENCES_KNOWN, self.wait, self.allow)
        report = mirror._verify(*how, self.timeout, cancel, None)
        return self._judge(context, report, self.fail_on_difference)


class KMirrorPromoteOperator(_Operator):
    """Ends a mirror for a switch-over: copies what the source has, copies offsets of groups a last time, and marks
    the mirror on the target so that no process of it writes again. Stop the writers of the source first.

    Arguments as those of KMirrorOperator, with the name of the mirror. timeout: seconds until everything has to be
    copied; if the source is there and it is not, the task fails, nothing is marked, and it can be retried. force
    marks it all the same. A mirror that is marked already is a success, so a retry of a task whose answer was lost
    does no harm.

    Returns mirror, promoted, promoted_at_ms, already_promoted, and unless that was so source_reachable, drained,
    records_not_copied, partitions_behind, written_afterwards.
    """

    def __init__(self, *, timeout: float = 60.0, force: bool = False, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.timeout = timeout
        self.force = force

    def _run(self, context: Any, mirror: Mirror, cancel: Cancel) -> dict[str, Any]:
        try:
            report = reports.PromoteReport(json.loads(mirror._handle.promote(self.timeout, self.force, cancel)))
        except ConfigError as error:
            return self._was_promoted(mirror, cancel, error)
        self.log.info("%s", report._headline())
        if report.written_afterwards:
            self.log.warning("written to the target after the end of the mirror: %s", report.written_afterwards)
        return results.of_promotion(report)

    def _was_promoted(self, mirror: Mirror, cancel: Cancel, error: ConfigError) -> dict[str, Any]:
        try:
            plan = reports.Plan(json.loads(mirror._handle.plan(cancel)))
        except KmirrorError:
            raise error from None
        if plan.promoted_at_ms is None:
            raise error
        self.log.info("%s: was promoted already", plan.name)
        return {
            "mirror": plan.name,
            "promoted": True,
            "promoted_at_ms": plan.promoted_at_ms,
            "already_promoted": True,
        }
