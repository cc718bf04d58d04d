"""From connections of Airflow to the clients of a mirror.

A connection is one of the Kafka provider: its extra is the dict of a Kafka client, with dotted keys. It says how a
cluster is reached; what is mirrored is said by arguments. So what a connection says about the consumer group of
others is left out: a mirror does not take its name, or what it reads, from a connection that it shares. Code that a
connection names is never imported.
"""

from __future__ import annotations

import logging
import re
import warnings
from collections.abc import Mapping
from typing import Any

from airflow.sdk import BaseHook
from airflow.sdk.log import amask_secret, mask_secret

from .. import aio
from ..errors import ConfigError, KmirrorWarning
from ..mirror import Mirror

_OF_OTHERS = ("group.id", "isolation.level")
"""What belongs to the consumers that share the connection."""

_TELLING = (
    "password",
    "passphrase",
    "secret",
    "jaas",
    "token",
    "pem",
    "credential",
    "keystore.key",
    "oauthbearer.config",
)
"""Airflow masks by names as well, but knows fewer."""

_PASSWORD_INSIDE = re.compile(r"(?:password|secret)\s*=\s*[\"']([^\"']+)[\"']", re.IGNORECASE)


def client(conn_id: str) -> dict[str, Any]:
    """The properties of a client, of the connection."""
    extra = BaseHook.get_connection(conn_id).extra_dejson
    for secret in _secrets(extra):
        mask_secret(secret)
    return _of_cluster(conn_id, extra)


async def client_async(conn_id: str) -> dict[str, Any]:
    """As client, where others share the event loop."""
    connection = await BaseHook.aget_connection(conn_id)
    extra = await connection.aextra_dejson()
    for secret in _secrets(extra):
        await amask_secret(secret)
    return _of_cluster(conn_id, extra)


def properties(config: Mapping[str, Any] | None, **arguments: Any) -> dict[str, Any]:
    """The keywords of a mirror: config may have keys with dots, too. None is left as it is by default."""
    made = {key.replace(".", "_").replace("-", "_"): value for key, value in (config or {}).items()}
    for name, value in arguments.items():
        if value is not None:
            if name in made:
                raise ConfigError(f"{name} is an argument and in config: keep one of them")
            made[name] = value
    return made


def mirror(clients: tuple[dict[str, Any], dict[str, Any]], made: dict[str, Any], log: logging.Logger) -> Mirror:
    """A mirror that is not started; what its configuration warns of goes to the task's log."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", KmirrorWarning)
        new = Mirror(source=clients[0], target=clients[1], **made)
    for text in new._handle.warnings:
        log.info("%s", text)
    return new


def mirror_async(clients: tuple[dict[str, Any], dict[str, Any]], made: dict[str, Any]) -> aio.Mirror:
    """The same for asyncio; the sensor has logged the warnings."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", KmirrorWarning)
        return aio.Mirror(source=clients[0], target=clients[1], **made)


def _secrets(extra: Any) -> list[str]:
    if not isinstance(extra, dict):
        return []
    found = []
    for key, value in extra.items():
        if isinstance(value, str) and any(part in str(key).lower() for part in _TELLING):
            found += [value, *_PASSWORD_INSIDE.findall(value)]
    return found


def _of_cluster(conn_id: str, extra: Any) -> dict[str, Any]:
    if not isinstance(extra, dict) or not (extra.get("bootstrap.servers") or extra.get("metadata.broker.list")):
        raise ConfigError(
            f"connection {conn_id}: its extra has no bootstrap.servers: write the dict of a Kafka client there, "
            'for example {"bootstrap.servers": "a:9092"}'
        )
    return {key: value for key, value in extra.items() if key not in _OF_OTHERS}
