"""What goes to XCom: small JSON, whatever the number of topics and differences."""

from __future__ import annotations

from typing import Any

from ..reports import PromoteReport, Status, VerifyReport

MOST_LISTED = 10
"""Of differences, partitions and topics; how many there are is said beside them."""


def of_run(status: Status, report: VerifyReport | None, seconds: float) -> dict[str, Any]:
    """What a bounded run of a mirror has done."""
    refused = dict(list(status.refused.items())[:MOST_LISTED])
    return {
        "mirror": status.name,
        "records": status.replicated_records,
        "bytes": status.replicated_bytes,
        "seconds": round(seconds, 3),
        "topics": len(status.topics),
        "partitions": sum(len(topic.partitions) for topic in status.topics),
        "lag": status.lag.to_dict(),
        "groups": status.groups.to_dict(),
        "topics_refused": len(status.refused),
        "refused": refused,
        "verify": None if report is None else of_verify(report),
    }


def of_verify(report: VerifyReport) -> dict[str, Any]:
    """What a verification has found."""
    counts = report.counts.to_dict()
    return {
        "outcome": report.outcome,
        "identical": report.identical,
        "topics": report.topics,
        "partitions": report.partitions,
        "records_compared": report.records_compared,
        "bytes_compared": report.bytes_compared,
        "counts": {kind: count for kind, count in counts.items() if count},
        "differences": [one.to_dict() for one in report.differences[:MOST_LISTED]],
        "findings": [one.to_dict() for one in report.findings[:MOST_LISTED]],
        "unread": [one.to_dict() for one in report.unread[:MOST_LISTED]],
    }


def of_lag(report: VerifyReport) -> dict[str, Any]:
    """How far the target is behind, of a comparison that did not wait. A partition that the target does not have is
    behind by all that the source has; one that could not be read is not known to be in step."""
    behind: list[dict[str, Any]] = []
    for one in report.details:
        counts = one.to_dict()["counts"]
        records = counts["not_yet_replicated"] + counts["parked"]
        if counts["missing_partitions"]:
            records = one.source_offset_end - one.source_offset_start
        if records > 0:
            behind.append({"topic": one.topic, "partition": one.partition, "records": records})
    behind.sort(key=lambda one: (-one["records"], one["topic"], one["partition"]))
    return {
        "records": sum(one["records"] for one in behind),
        "topics": report.topics,
        "partitions": report.partitions,
        "partitions_behind": len(behind),
        "worst": behind[:MOST_LISTED],
        "unread": len(report.unread),
    }


def of_promotion(report: PromoteReport) -> dict[str, Any]:
    """What a switch-over has copied and what not."""
    return {
        "mirror": report.name,
        "promoted": report.promoted,
        "promoted_at_ms": report.promoted_at_ms,
        "already_promoted": False,
        "source_reachable": report.source_reachable,
        "drained": report.drained,
        "records_not_copied": report.records_not_copied,
        "partitions_behind": report.partitions_behind,
        "written_afterwards": len(report.written_afterwards),
    }
