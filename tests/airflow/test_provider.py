"""What Airflow sees of the package, and that nobody else has to have Airflow."""

import importlib.metadata
import json
import pathlib
import subprocess
import sys

import airflow
import jsonschema

WITHOUT_AIRFLOW = """
import sys
import kmirror, kmirror.airflow, kmirror.airflow.provider_info
kmirror.airflow.provider_info.get_provider_info()
loaded = [name for name in sys.modules if name.split('.')[0] == 'airflow']
sys.exit(f'of Airflow was imported: {loaded}' if loaded else 0)
"""


def test_nothing_of_airflow_is_imported_before_it_is_asked_for() -> None:
    subprocess.run([sys.executable, "-c", WITHOUT_AIRFLOW], check=True)


def test_what_the_entry_point_says_is_what_airflow_takes() -> None:
    (entry,) = [
        entry
        for entry in importlib.metadata.entry_points(group="apache_airflow_provider")
        if entry.dist and entry.dist.name == "kmirror"
    ]
    info = entry.load()()
    schema = json.loads((pathlib.Path(airflow.__file__).parent / "provider_info.schema.json").read_text())
    jsonschema.validate(info, schema)
    for subject in ("operators", "sensors", "triggers"):
        for entry in info[subject]:
            for module in entry["python-modules"]:
                importlib.import_module(module)


def test_airflow_lists_the_provider() -> None:
    command = [str(pathlib.Path(sys.executable).with_name("airflow")), "providers", "list", "--output", "json"]
    listed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    providers = {one["package_name"]: one for one in json.loads(listed[listed.index("[{") :])}
    assert providers["kmirror"]["version"] == importlib.metadata.version("kmirror")
    assert "apache-airflow-providers-apache-kafka" in providers


def test_the_names_are_there() -> None:
    import kmirror.airflow

    for name in kmirror.airflow.__all__:
        assert getattr(kmirror.airflow, name).__doc__
