"""The quickstart of the README runs as it is written, but for names of clusters and topics, and the installation."""

import os
import pathlib
import re
import shlex
import subprocess
import sys

from conftest import Clusters

README = pathlib.Path(__file__).parents[2] / "README.md"


def test_the_quickstart(clusters: Clusters) -> None:
    (section,) = re.findall(r"^## Airflow\n(.*?)^## ", README.read_text(), re.DOTALL | re.MULTILINE)
    places = {"a:9092": clusters.source, "b:9092": clusters.target, "orders": clusters.readme_topic}
    for placeholder, value in places.items():
        assert placeholder in section
        section = section.replace(placeholder, value)
    (commands,) = re.findall(r"```sh\n(.*?)```", section, re.DOTALL)
    (dag,) = re.findall(r"```python\n(.*?)```", section, re.DOTALL)
    (clusters.home / "dags/quickstart.py").write_text(dag)
    # Only the connections that are added count.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("AIRFLOW_CONN_")}
    install, *others = commands.splitlines()
    # The wheel of these tests is installed already.
    assert install == "pip install '.[airflow]'"
    for command in others:
        program, *arguments = shlex.split(command)
        path = pathlib.Path(sys.executable).with_name(program)
        ended = subprocess.run([path, *arguments], env=environment, capture_output=True, text=True)
        assert ended.returncode == 0, f"{command}: {ended.stdout}{ended.stderr}"
    assert "caught up: " in ended.stdout and "identical: 1,000 records" in ended.stdout, ended.stdout
