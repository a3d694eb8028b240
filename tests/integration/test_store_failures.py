"""While the online store is down, slow or silent, requests are answered in time; then it recovers."""

from __future__ import annotations

import asyncio
import socket
import sqlite3
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from contract.definitions import PUSH
from contract.project import NOON, Project
from contract.servers import PostgresServer, RedisServer
from contract.stores import ONLINE_STORES, REGISTRIES, environment
from trivet.contract import GoldenRow
from trivet.errors import FeaturesUnavailable
from trivet.features.on_demand import open_transforms
from trivet.features.online_connection import limited_redis
from trivet.features.online_file import online_file
from trivet.features.push import push
from trivet.features.reader import OnlineReader
from trivet.runtime.pipeline import Pipeline
from trivet.serving.dataplane import DataPlane
from trivet.serving.loaded import Version
from unit.fakes import FakeRecorder, filled_slot, settings

LIMIT = 0.4
SLACK = 0.6
"""For a busy machine: nothing takes the limit and this much more."""

KNOWN = {"sensor": "known", "shop_id": 1, "grade": 1, "asked_level": 30.0}


class Above:
    """Predicts the column that is computed on demand from what was read."""

    def predict(self, columns: Any) -> dict[str, Any]:
        """Return it."""
        return {"value": columns["above"]}


@dataclass(kw_only=True)
class Asked:
    """What became of one request."""

    status: int
    seconds: float
    document: dict[str, Any] = field(default_factory=dict)


class Plane:
    """A data plane over a project's real store, as a worker wires it."""

    def __init__(self, project: Project, folder: Path) -> None:
        """`folder`: for the live state."""
        self.project = project
        self.recorder = FakeRecorder()
        golden = GoldenRow(asked_at=NOON, request=KNOWN, features={}, prediction={})
        store = project.open()
        contract = project.contract.model_copy(update={"golden": (golden,)})
        reader = OnlineReader(store, contract, LIMIT)
        version = Version(
            1,
            contract,
            Pipeline(Above(), contract.output),
            reader,
            open_transforms(store, contract),
        )
        self.dataplane = DataPlane(
            filled_slot(folder, version),
            settings(folder, feature_timeout_seconds=LIMIT),
            lambda: NOON,
            self.recorder,
        )

    def ask(self, requests: int = 1) -> list[Asked]:
        """Ask for the known sensor, so many requests at once."""

        async def ask_all() -> list[Asked]:
            return await asyncio.gather(*(self._ask() for _ in range(requests)))

        return asyncio.run(ask_all())

    def know(self) -> None:
        """Push what the known sensor is known by."""
        row = self.known
        store, options = self.project.open(), {"clock": lambda: NOON}
        push(store, self.project.settings, PUSH, self.project.frame([row]), **options)

    @property
    def known(self) -> dict[str, Any]:
        """What the known sensor is known by."""
        return self.project.row("readings", NOON, sensor="known", level=20.0)

    def assert_well(self) -> None:
        """See that it answers from what it reads."""
        (asked,) = self.ask()
        assert asked.status == 200, asked
        assert asked.document["predictions"] == [{"value": 10.0}]

    def assert_unavailable(self, requests: int = 1) -> None:
        """See that every request is answered with 503, and in time."""
        before = len(self.recorder.refusals)
        asked = self.ask(requests)
        assert [one.status for one in asked] == [503] * requests
        assert max(one.seconds for one in asked) < LIMIT + SLACK
        assert self.recorder.refusals[before:] == [(1, 503)] * requests

    async def _ask(self) -> Asked:
        started = time.monotonic()
        try:
            answer = await self.dataplane.predict([KNOWN], lambda s: s.champion(), "id-1")
        except FeaturesUnavailable as err:
            return Asked(status=err.status, seconds=time.monotonic() - started)
        return Asked(status=200, seconds=time.monotonic() - started, document=answer.document)


@pytest.fixture(scope="module")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """A Redis that these tests may stop."""
    with RedisServer(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture(scope="module")
def postgres_server() -> Iterator[PostgresServer]:
    """A PostgreSQL that these tests may stop."""
    with PostgresServer() as server:
        yield server


@pytest.fixture(scope="module")
def projects(
    redis_server: RedisServer,
    postgres_server: PostgresServer,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[dict[str, Project]]:
    """One project on each store."""
    database = postgres_server.database("failing")
    made = {}
    for online in ONLINE_STORES:
        root = tmp_path_factory.mktemp(online.name)
        variables = environment(redis_server, postgres_server, database, root)
        name = f"failing_{online.name}"
        made[online.name] = Project.make(root, name, online, REGISTRIES[0], variables)
    yield made
    for project in made.values():
        project.close()


@pytest.fixture
def on_redis(projects: dict[str, Project], tmp_path: Path) -> Plane:
    """A data plane over Redis that has just answered."""
    return well(projects["redis"], tmp_path)


@pytest.fixture
def on_postgres(projects: dict[str, Project], tmp_path: Path) -> Plane:
    """A data plane over PostgreSQL that has just answered."""
    return well(projects["postgres"], tmp_path)


@pytest.fixture
def on_sqlite(projects: dict[str, Project], tmp_path: Path) -> Plane:
    """A data plane over SQLite that has just answered; the file is as Feast leaves it."""
    plane = Plane(projects["sqlite"], tmp_path)
    plane.project.learn("readings", [plane.known], NOON)
    plane.assert_well()
    return plane


@contextmanager
def black_hole(port: int, kept: ExitStack) -> Iterator[None]:
    """Accept connections to a port, and let `kept` close them some time after."""

    def accept() -> None:
        with suppress(OSError):
            while True:
                kept.enter_context(listener.accept()[0])

    with socket.create_server(("127.0.0.1", port)) as listener:
        thread = Thread(target=accept)
        thread.start()
        yield
        listener.shutdown(socket.SHUT_RDWR)
    thread.join()


def well(project: Project, folder: Path) -> Plane:
    """Return a data plane that has just answered."""
    plane = Plane(project, folder)
    plane.know()
    plane.assert_well()
    return plane


def test_a_silent_redis_holds_nobody_up(redis_server: RedisServer, on_redis: Plane) -> None:
    """Its process is stopped: connections stay open, and nothing ever answers on them."""
    with redis_server.silent():
        on_redis.assert_unavailable(20)
        on_redis.assert_unavailable()
    on_redis.assert_well()


def test_a_slow_redis_is_given_up_and_then_answers(
    redis_server: RedisServer, on_redis: Plane
) -> None:
    """A late answer is not taken for that of the next question."""
    redis_server.sleep(3 * LIMIT)
    on_redis.assert_unavailable(5)
    time.sleep(3 * LIMIT)
    on_redis.assert_well()


def test_a_connection_that_leads_nowhere_is_given_up(
    redis_server: RedisServer, on_redis: Plane
) -> None:
    """As when a host vanished: it stays open, and only a new one reaches the Redis of now."""
    with ExitStack() as kept:
        with redis_server.down(), black_hole(redis_server.port, kept):
            on_redis.assert_unavailable()
        on_redis.know()
        time.sleep(LIMIT)
        on_redis.assert_well()


def test_a_redis_that_is_down_is_said_at_once_and_found_again_empty(
    redis_server: RedisServer, on_redis: Plane
) -> None:
    """What it has lost is missing, and follows the columns' policies, until it is written again."""
    with redis_server.down():
        on_redis.assert_unavailable(5)
        with pytest.raises(FeaturesUnavailable):
            asyncio.run(on_redis.dataplane.ready())
    (asked,) = on_redis.ask()
    assert asked.status == 200
    assert {entry["why"] for entry in asked.document["missing"]} == {"missing", "null"}
    asyncio.run(on_redis.dataplane.ready())
    on_redis.know()
    on_redis.assert_well()


def test_a_redis_that_was_restarted_in_between_costs_no_request(
    redis_server: RedisServer, on_redis: Plane
) -> None:
    """The connection that it broke is noticed before it is used."""
    with redis_server.down():
        pass
    on_redis.know()
    on_redis.assert_well()


def test_a_silent_postgres_holds_nobody_up(
    postgres_server: PostgresServer, on_postgres: Plane
) -> None:
    """Nor does connecting to it, which can be given up after two seconds at the earliest."""
    with postgres_server.silent():
        on_postgres.assert_unavailable(20)
        on_postgres.assert_unavailable()
    recovers(on_postgres)


def test_a_slow_statement_is_given_up(postgres_server: PostgresServer, on_postgres: Plane) -> None:
    """A lock on the table stands in for anything that is slow; the server gives it up as well."""
    table = "failing_postgres_readings"
    with postgres_server.session("failing") as session:
        session.execute(f"LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE".encode())
        on_postgres.assert_unavailable(3)
    recovers(on_postgres)


def test_a_postgres_that_is_down_is_said_at_once_and_found_again(
    postgres_server: PostgresServer, on_postgres: Plane
) -> None:
    """Feast would keep the broken connection for ever."""
    with postgres_server.down():
        on_postgres.assert_unavailable(5)
    on_postgres.assert_well()


def test_postgres_in_another_time_zone_is_refused(
    postgres_server: PostgresServer, on_postgres: Plane
) -> None:
    """Feast's event timestamps would be hours off, and with them every time to live."""
    postgres_server.execute("ALTER DATABASE failing SET timezone TO 'America/New_York'")
    try:
        reader = OnlineReader(on_postgres.project.open(), on_postgres.project.contract)
        with pytest.raises(FeaturesUnavailable, match="in the time zone America/New_York"):
            reader.read({"sensor": ["known"], "shop_id": [1], "grade": [1]}, NOON)
    finally:
        postgres_server.execute("ALTER DATABASE failing RESET timezone")


def test_a_locked_sqlite_file_is_given_up_and_then_read(on_sqlite: Plane) -> None:
    """Feast itself waits five seconds for the lock."""
    path = online_file(on_sqlite.project.store)
    assert path is not None
    with closing(sqlite3.connect(path)) as other:
        other.execute("BEGIN EXCLUSIVE")
        on_sqlite.assert_unavailable(3)
        other.rollback()
    on_sqlite.assert_well()


def recovers(plane: Plane) -> None:
    """Ask until it answers: soon, and each time within the limit."""
    deadline = time.monotonic() + 3
    while (asked := plane.ask()[0]).status != 200:
        assert asked.seconds < LIMIT + SLACK
        assert time.monotonic() < deadline
    plane.assert_well()


def test_limits_of_ones_own_are_left_alone() -> None:
    """What stands in `feature_store.yaml` is meant."""
    own = "cache:6379,db=2,socket_timeout=5"
    assert limited_redis(own, 1.0) == f"{own},socket_connect_timeout=1.0,retry=null"
    assert limited_redis(limited_redis(own, 1.0), 2.0) == limited_redis(own, 1.0)
