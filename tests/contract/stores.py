"""What differs from store to store: how to connect, and what each cannot do."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from contract.servers import PostgresServer, RedisServer


@dataclass(frozen=True, slots=True, kw_only=True)
class OnlineStore:
    """An online store: its part of `feature_store.yaml`, and its limits."""

    name: str
    yaml: str
    resolution: timedelta = timedelta(microseconds=1)
    """How finely it keeps event timestamps: what is finer is cut off."""
    knows_rows: bool = True
    """Whether it tells an entity that it has no row for from one that nothing is known of."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Registry:
    """A Feast registry: its part of `feature_store.yaml`."""

    name: str
    yaml: str


ONLINE_STORES = (
    OnlineStore(
        name="sqlite",
        yaml="type: sqlite\n  path: online.db",
        resolution=timedelta(seconds=1),
    ),
    OnlineStore(
        name="redis",
        yaml="type: redis\n  connection_string: $TRY_REDIS",
        knows_rows=False,
    ),
    OnlineStore(
        name="postgres",
        yaml="type: postgres\n  host: $TRY_PG_HOST\n  port: $TRY_PG_PORT\n"
        "  database: $TRY_PG_DATABASE\n  user: $TRY_PG_USER\n  password: $TRY_PG_PASSWORD\n"
        "  sslmode: disable",
    ),
)

REGISTRIES = (
    Registry(name="file", yaml="registry.db"),
    Registry(
        name="sql on sqlite",
        yaml="\n  registry_type: sql\n  path: $TRY_SQLITE_REGISTRY",
    ),
    Registry(
        name="sql on postgres",
        yaml="\n  registry_type: sql\n  path: $TRY_PG_REGISTRY",
    ),
)

YAML = """\
project: {project}
provider: local
registry: {registry}
online_store:
  {online}
offline_store:
  type: duckdb
entity_key_serialization_version: 3
"""


def environment(
    redis: RedisServer, postgres: PostgresServer, database: str, folder: Path
) -> Mapping[str, str]:
    """Return the variables that the parts of `feature_store.yaml` above are expanded with."""
    user, host = postgres.user, postgres.host
    return {
        "TRY_REDIS": redis.address,
        "TRY_PG_HOST": host,
        "TRY_PG_PORT": "5432",
        "TRY_PG_DATABASE": database,
        "TRY_PG_USER": user,
        "TRY_PG_PASSWORD": postgres.password,
        "TRY_PG_REGISTRY": f"postgresql+psycopg://{user}@/{database}?host={host}",
        "TRY_SQLITE_REGISTRY": f"sqlite:///{folder / 'registry_sql.db'}",
    }
