"""What Airflow reads of every provider. Constants only: it is read before Airflow itself can be imported."""

from __future__ import annotations

from typing import Any


def get_provider_info() -> dict[str, Any]:
    """What `airflow providers` shows, and where operators, sensors and triggers are."""
    of = "kmirror"
    return {
        "package-name": "kmirror",
        "name": "kmirror",
        "description": "Kafka-to-Kafka replication: same offsets, exactly once, never a silent loss.",
        "integrations": [
            {
                "integration-name": of,
                "external-doc-url": "https://kafka.apache.org/",
                "tags": ["software"],
            }
        ],
        "operators": [{"integration-name": of, "python-modules": ["kmirror.airflow.operators"]}],
        "sensors": [{"integration-name": of, "python-modules": ["kmirror.airflow.sensors"]}],
        "triggers": [{"integration-name": of, "python-modules": ["kmirror.airflow.triggers"]}],
    }
