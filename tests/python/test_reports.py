"""Reports: objects with promised fields, tables in a notebook, Arrow for pandas and polars, plain text elsewhere."""

import html.parser
import json
import pickle
import sys
from typing import Any, get_type_hints

import pytest

import kmirror
from conftest import HANG_LIMIT, Clusters, MirrorOf
from kmirror.records import Record


class Cells(html.parser.HTMLParser):
    """The cells of a table, row by row; fails where tags do not match."""

    def __init__(self) -> None:
        super().__init__()
        self.rows: list[list[str]] = []
        self.open: list[str] = []

    def handle_starttag(self, tag: str, _attrs: Any) -> None:
        self.open.append(tag)
        if tag == "tr":
            self.rows.append([])
        elif tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] in ("td", "th"):
            self.rows[-1][-1] += data


def cells_of(report: Any) -> list[list[str]]:
    cells = Cells()
    cells.feed(report._repr_html_())
    assert not cells.open
    return cells.rows


def promised_fields_are_there(record: Any) -> None:
    """Everything a class promises is what the engine says."""
    for name in get_type_hints(type(record)):
        if not name.startswith("_"):
            assert hasattr(record, name), f"{type(record).__name__}.{name}"
    for name, value in record.to_dict().items():
        inside = getattr(record, name)
        assert inside is not None or value is None
        for one in inside if isinstance(inside, list) else [inside]:
            if isinstance(one, Record):
                promised_fields_are_there(one)


@pytest.fixture(scope="module")
def reports(clusters: Clusters) -> list[Any]:
    with kmirror.Mirror(**clusters.of(clusters.topic)) as mirror:
        mirror.wait_until_caught_up(timeout=HANG_LIMIT)
        return [mirror.status(), mirror.verify(), mirror.plan(), mirror.check()]


def test_reports_keep_their_promises(reports: list[Any]) -> None:
    for report in reports:
        promised_fields_are_there(report)
        assert json.loads(json.dumps(report.to_dict())) == report.to_dict()
        assert pickle.loads(pickle.dumps(report)) == report
        assert repr(report).startswith(type(report).__name__)
        with pytest.raises(AttributeError, match="does not change"):
            report.name = "another"


def test_reports_are_tables_in_a_notebook_and_elsewhere(reports: list[Any], clusters: Clusters) -> None:
    status, report, plan, check = reports
    for one in reports:
        cells = cells_of(one)
        assert cells[0] == list(one.to_dicts()[0])
        assert len(cells) == 1 + len(one.to_dicts())
        assert str(one).splitlines()[1].split() == cells[0]
    assert [row[:2] for row in cells_of(status)[1:]] == [[clusters.topic, "0"], [clusters.topic, "1"]]
    assert str(report).startswith("identical: 1,000 records in 2 partitions compared")
    assert ["topic", clusters.topic, "mirror"] in [row[:3] for row in cells_of(plan)]
    assert check.ok and str(check).startswith("ok: ")
    assert ["ok", "source", "connection"] in [row[:3] for row in cells_of(check)]


def test_a_check_tells_what_is_wrong_and_what_to_do(clusters: Clusters) -> None:
    report = kmirror.check(**{**clusters.of(clusters.topic), "target": {"bootstrap.servers": "127.0.0.1:1"}})
    assert not report.ok
    (line,) = [line.to_dict() for line in report.lines if line.to_dict()["outcome"] == "failed"]
    assert (line["side"], line["subject"]) == ("target", "connection")
    assert "127.0.0.1:1" in line["message"] and "check target.bootstrap.servers" in line["fix"]
    with pytest.raises(kmirror.ConnectError, match=r"127\.0\.0\.1:1"):
        report.raise_if_failed()


def test_what_is_shown_is_escaped() -> None:
    status = {
        "name": "<b>",
        "state": "failed",
        "error": "<script>",
        "lag": {"records": 0, "bytes": 0, "ms": 0},
        "replicated_records": 0,
        "replicated_bytes": 0,
        "topics": [],
    }
    shown = kmirror.Status(status)._repr_html_()
    assert "<script>" not in shown and "&lt;script&gt;" in shown


def test_arrow_pandas_and_polars_take_reports(reports: list[Any]) -> None:
    polars = pytest.importorskip("polars")
    pyarrow = pytest.importorskip("pyarrow")
    for report in reports:
        rows = report.to_dicts()
        assert report.to_arrow().to_pylist() == rows
        assert pyarrow.table(report).num_rows == len(rows)
        assert polars.DataFrame(report).to_dicts() == rows
        assert list(report.to_arrow().to_pandas().columns) == list(rows[0])
    # Without rows the types are the same.
    empty = kmirror.VerifyReport({"details": []}).to_arrow()
    assert empty.schema == reports[1].to_arrow().schema and empty.num_rows == 0


def test_without_pyarrow_it_says_what_to_install(reports: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    for call in (reports[0].to_arrow, reports[0].__arrow_c_stream__):
        with pytest.raises(ImportError, match=r"pip install 'kmirror\[arrow\]'"):
            call()


def test_differences_are_told_and_can_be_raised(clusters: Clusters) -> None:
    # The target has nothing of this topic.
    arguments = clusters.of(clusters.never_topic)
    report = kmirror.verify(**arguments, wait=0.0)
    assert not report.identical and report.differences[0].kind == "missing_partition"
    with pytest.raises(kmirror.VerificationFailed) as raised:
        report.raise_if_different()
    assert raised.value.topic == clusters.never_topic
    assert str(report).startswith("not identical, different")
    assert report.outcome == "different" and not report
    promised_fields_are_there(report)


def test_what_is_not_proved_to_be_equal_is_told_and_can_be_accepted(reports: list[Any], clusters: Clusters) -> None:
    assert reports[1].outcome == "identical" and reports[1]
    arguments = clusters.of(clusters.topic)
    # A sample of nothing: whatever is there was not looked at.
    report = kmirror.verify(**arguments, wait=0.0, sample=0)
    assert report.outcome == "incomplete" and not report.identical and not report
    assert {one.kind for one in report.findings} <= {"not_looked_at", "not_yet_replicated", "open_transaction"}
    finding = report.findings[0]
    assert finding.topic == clusters.topic and finding.count > 0 and not finding.allowed
    assert repr(finding).startswith("Finding(kind=") and "VerifyCounts(missing=0" in repr(report.counts)
    assert str(report).startswith("not identical, incomplete in a sample")
    with pytest.raises(kmirror.VerificationFailed, match="incomplete"):
        report.raise_if_different()
    promised_fields_are_there(report)
    sampled = kmirror.verify(**arguments, sample=50, allow_behind=True, allow_expired=True)
    assert sampled and sampled.outcome == "identical_in_a_sample" and str(sampled).startswith("identical in a sample: ")


def test_progress_shows_a_line(
    clusters: Clusters, mirror_of: MirrorOf, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with mirror_of(clusters.topic) as mirror:
        assert mirror.progress(timeout=HANG_LIMIT, interval=0.01).lag.records == 0
        monkeypatch.setitem(sys.modules, "tqdm.auto", None)
        mirror.progress(timeout=HANG_LIMIT)
    shown = capfd.readouterr().err
    assert f"{clusters.topic}: in_sync" in shown and "0 records" in shown
