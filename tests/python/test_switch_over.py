"""Plan, promote and undo, from functions and from a mirror."""

import pytest

import kmirror
from conftest import HANG_LIMIT, Clusters


def test_a_switch_over_and_back(clusters: Clusters) -> None:
    arguments = clusters.of(clusters.other_topic, refresh_interval_ms=500)
    with kmirror.Mirror(**arguments) as mirror:
        mirror.wait_until_caught_up(timeout=HANG_LIMIT)
        report = mirror.promote(timeout=HANG_LIMIT)
        assert report.promoted and report.drained and report.records_not_copied == 0
        assert mirror.state == "promoted"
        assert str(report).startswith(f"{clusters.other_topic}: promoted, everything is copied")
        assert [row["partition"] for row in report.to_dicts()] == [0, 1]
    assert kmirror.plan(**arguments).promoted_at_ms == report.promoted_at_ms
    for call in (lambda: kmirror.Mirror(**arguments).start(), lambda: kmirror.promote(**arguments)):
        with pytest.raises(kmirror.ConfigError, match="promoted"):
            call()
    assert kmirror.undo_promotion(**arguments).partitions == 2
    assert kmirror.promote(**arguments, timeout=HANG_LIMIT).promoted
    kmirror.undo_promotion(**arguments)
