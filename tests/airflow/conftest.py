"""What the tests of Airflow get from the Rust test that starts them: two clusters, topics with records, and a home of
Airflow.

Connections are ordinary ones of the Kafka provider, with everything in them that consumers of it usually have.
"""

import json
import os
import pathlib
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

HERE = pathlib.Path(__file__).parent
EXAMPLE = HERE.parent / "examples/airflow/migration.py"


@dataclass(frozen=True)
class Clusters:
    source: str
    target: str
    home: pathlib.Path
    """AIRFLOW_HOME."""
    migration_topic: str
    """Has records, for the example; the Rust test compares both sides at the end, as of the next three."""
    lag_topic: str
    killed_topic: str
    """Is empty."""
    readme_topic: str
    different_topic: str
    """Has records, for a target that is written to by others."""


def _clusters() -> Clusters:
    names = ["SOURCE", "TARGET", "MIGRATION_TOPIC", "LAG_TOPIC", "KILLED_TOPIC", "README_TOPIC", "DIFFERENT_TOPIC"]
    values = [os.environ.get(f"KMIRROR_TEST_{name}", "") for name in names]
    home = os.environ.get("AIRFLOW_HOME", "")
    if not all([*values, home]):
        pytest.fail("these tests need two Kafka clusters and a home of Airflow: cargo test --test it bindings::airflow")
    return Clusters(values[0], values[1], pathlib.Path(home), *values[2:])


CLUSTERS = _clusters()

USUAL = {
    "group.id": "somebodys-group",
    "auto.offset.reset": "latest",
    "enable.auto.commit": False,
    "session.timeout.ms": 6000,
    "isolation.level": "read_uncommitted",
    "error_cb": "somebodys.module.error_cb",
    "socket.keepalive.enable": True,
}
SECRETS = {
    "security.protocol": "SASL_SSL",
    "sasl.mechanism": "PLAIN",
    "sasl.username": "somebody",
    "sasl.password": "a-password-of-somebody",
    "sasl.jaas.config": "PlainLoginModule required username='somebody' password='a-password-in-jaas';",
    "ssl.keystore.key": "a-private-key-of-somebody",
}


def _connection(name: str, extra: dict[str, Any]) -> None:
    os.environ[f"AIRFLOW_CONN_{name.upper()}"] = json.dumps({"conn_type": "kafka", "extra": extra})


# Before anything of Airflow is imported.
_connection("kafka_old", {"bootstrap.servers": CLUSTERS.source, **USUAL})
_connection("kafka_new", {"bootstrap.servers": CLUSTERS.target, **USUAL})
_connection("kafka_secret", {"bootstrap.servers": CLUSTERS.source, **SECRETS})
_connection("kafka_empty", {})
_DAGS = CLUSTERS.home / "dags"
_DAGS.mkdir(exist_ok=True)
shutil.copy(EXAMPLE, _DAGS / "migration.py")
shutil.copy(HERE / "dags.py", _DAGS / "dags.py")


@pytest.fixture(scope="session")
def clusters() -> Clusters:
    return CLUSTERS


@dataclass(frozen=True)
class Run:
    """A run of a DAG that has ended."""

    state: str
    tries: dict[str, int]
    """Of each task."""
    states: dict[str, str]
    """Of each task."""
    run_id: str
    dag_id: str

    def xcom(self, task_id: str, key: str = "return_value") -> Any:
        from airflow.models.xcom import XComModel
        from airflow.utils.session import create_session

        with create_session() as session:
            query = XComModel.get_many(run_id=self.run_id, key=key, task_ids=task_id, dag_ids=self.dag_id)
            from_database = session.scalars(query.with_only_columns(XComModel.value)).first()
            assert from_database is not None, f"{task_id} has left nothing under {key}"
            assert len(json.dumps(from_database)) < 4096
            return XComModel.deserialize_value(type("Found", (), {"value": from_database}))


@pytest.fixture
def run_dag() -> Callable[..., Run]:
    """Runs a DAG by dag.test(): a whole Airflow but for its scheduler, in this process."""

    def run(dag_id: str, **conf: Any) -> Run:
        from airflow.dag_processing.dagbag import DagBag

        bag = DagBag(dag_folder=str(_DAGS))
        assert not bag.import_errors
        dag_run = bag.dags[dag_id].test(run_conf=conf)
        instances = dag_run.get_task_instances()
        return Run(
            state=str(dag_run.state.value),
            tries={one.task_id: one.try_number for one in instances},
            states={one.task_id: str(one.state) for one in instances},
            run_id=dag_run.run_id,
            dag_id=dag_id,
        )

    return run
