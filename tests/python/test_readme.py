"""The examples of the README run as they are written, but for the names of clusters and topics."""

import pathlib
import re

import pytest

from conftest import Clusters

README = pathlib.Path(__file__).parents[2] / "README.md"


def examples() -> list[str]:
    found = re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)
    # That one runs in tests/airflow.
    return [example for example in found if "airflow" not in example]


def test_there_are_examples() -> None:
    assert len(examples()) == 2


@pytest.mark.parametrize("number", [0, 1])
def test_the_example_of_the_readme_runs(clusters: Clusters, number: int, capsys: pytest.CaptureFixture[str]) -> None:
    example = examples()[number]
    places = {"a:9092": clusters.source, "b:9092": clusters.target, "orders": clusters.readme_topic}
    for placeholder, value in places.items():
        assert placeholder in example
        example = example.replace(placeholder, value)
    exec(compile(example, "README.md", "exec"), {})
    assert "in_sync" in capsys.readouterr().out
