"""The notebook of a whole migration runs from its first cell to its last, without anybody looking."""

import os
import pathlib
import warnings
from typing import Any

from conftest import HANG_LIMIT, Clusters

NOTEBOOK = pathlib.Path(__file__).parents[1] / "examples/migration.ipynb"


def outputs_of(notebook: Any, words: str) -> list[dict[str, Any]]:
    """What the cell showed that has these words, beside warnings of the mirror: a busy machine has some."""
    (cell,) = [cell for cell in notebook.cells if cell.cell_type == "code" and words in cell.source]
    return [output["data"] for output in cell.outputs if "data" in output]


def test_the_migration_of_the_notebook(clusters: Clusters, monkeypatch: Any) -> None:
    import nbclient
    import nbformat

    notebook = nbformat.read(NOTEBOOK, as_version=4)
    assert not any(cell.get("outputs") for cell in notebook.cells), "committed without what it showed somewhere"
    for name, value in (("SOURCE", clusters.source), ("TARGET", clusters.target), ("TOPIC", clusters.notebook_topic)):
        monkeypatch.setitem(os.environ, f"KMIRROR_{name}", value)
    with warnings.catch_warnings():
        # Those of the notebook's machinery.
        warnings.simplefilter("ignore")
        nbclient.NotebookClient(notebook, timeout=int(HANG_LIMIT), kernel_name="python3").execute()

    for words, shown in (
        ("checked = mirror.check()", "can be mirrored"),
        ("plan = mirror.plan()", "create"),
        ("mirror.progress(", "in_sync"),
        ("mirror.verify(", "identical: 1,000 records"),
        ("mirror.promote(", "promoted, everything is copied"),
    ):
        (table,) = outputs_of(notebook, words)
        assert "<table>" in table["text/html"] and shown in table["text/html"], words
    (text,) = outputs_of(notebook, "after = read(target, 100)")
    assert text["text/plain"].startswith("'goes on at {")
