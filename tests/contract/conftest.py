"""The servers are started once a run; every store and registry gets a project of its own."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import cache

import hypothesis
import pytest

from contract.project import Project
from contract.servers import PostgresServer, RedisServer
from contract.stores import ONLINE_STORES, REGISTRIES, OnlineStore, Registry, environment

hypothesis.settings.register_profile("stores", max_examples=6, deadline=None)

Maker = Callable[[OnlineStore, Registry], Project]


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """One Redis."""
    with RedisServer(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """One PostgreSQL."""
    with PostgresServer() as server:
        yield server


@pytest.fixture(scope="session")
def make_project(
    redis_server: RedisServer,
    postgres_server: PostgresServer,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Maker]:
    """Make a project by `feature_store.yaml` and its environment alone."""
    with ExitStack() as ends:

        @cache
        def make(online: OnlineStore, registry: Registry) -> Project:
            name = re.sub(r"\W", "_", f"on_{online.name}_{registry.name}")
            root = tmp_path_factory.mktemp(name)
            database = postgres_server.database(name)
            variables = environment(redis_server, postgres_server, database, root)
            project = Project.make(root, name, online, registry, variables)
            ends.callback(project.close)
            return project

        yield make


@pytest.fixture(scope="session", params=ONLINE_STORES, ids=lambda store: store.name)
def online(request: pytest.FixtureRequest) -> OnlineStore:
    """Each online store."""
    return request.param


@pytest.fixture(scope="session", params=REGISTRIES, ids=lambda registry: registry.name)
def registry(request: pytest.FixtureRequest) -> Registry:
    """Each registry."""
    return request.param


@pytest.fixture(scope="session")
def project(online: OnlineStore, make_project: Maker) -> Project:
    """A project on each online store."""
    return make_project(online, REGISTRIES[0])


@pytest.fixture(scope="session")
def combination(online: OnlineStore, registry: Registry, make_project: Maker) -> Project:
    """A project on each online store with each registry."""
    return make_project(online, registry)
