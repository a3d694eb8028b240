"""The servers are started side by side, once a run; every test begins with an empty ledger."""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from contract.servers import PostgresServer
from integration.registry.toy import MODEL, register
from trivet.live import Shelf
from trivet.registry import ledger
from trivet.registry.client import connect
from trivet.registry.gate import Gates
from trivet.registry.plan import plan_promotion
from trivet.registry.release import apply
from trivet.settings import Settings

from .servers import (
    ADMIN,
    ADMIN_PASSWORD,
    Server,
    make_bucket,
    s3_environment,
    start_mlflow,
    start_s3,
)

if TYPE_CHECKING:
    from mlflow import MlflowClient

    from trivet.registry.ledger import Release

Environment = Mapping[str, str]
_SETTINGS = ("MLFLOW_", "AWS_", "TRIVET_")


@dataclass(frozen=True, slots=True, kw_only=True)
class Servers:
    """Everything that the backends are made of, running."""

    s3: Server
    accounts: Server
    """With accounts, on SQLite; it brings artifacts to S3 itself."""
    shared: Server
    """On PostgreSQL; clients bring artifacts to S3."""
    postgres: PostgresServer
    folder: Path


def on_sqlite(servers: Servers) -> Environment:
    """Return nothing: `mlflow.db` at the project's root is what Trivet takes by itself."""
    del servers
    return {}


def on_a_server_with_accounts(servers: Servers) -> Environment:
    """Return the address and an account; S3's credentials are the server's alone."""
    return {
        "MLFLOW_TRACKING_URI": servers.accounts.url,
        "MLFLOW_TRACKING_USERNAME": ADMIN,
        "MLFLOW_TRACKING_PASSWORD": ADMIN_PASSWORD,
    }


def on_a_server_on_postgresql(servers: Servers) -> Environment:
    """Return the address, and what reaches S3."""
    return {"MLFLOW_TRACKING_URI": servers.shared.url} | s3_environment(servers.s3)


def on_postgresql(servers: Servers) -> Environment:
    """Return the database's address, where artifacts go, and what reaches S3."""
    return {
        "MLFLOW_TRACKING_URI": address(servers.postgres, "direct"),
        "MLFLOW_DEFAULT_ARTIFACT_ROOT": "s3://direct/artifacts",
    } | s3_environment(servers.s3)


BACKENDS: Mapping[str, Callable[[Servers], Environment]] = {
    "sqlite": on_sqlite,
    "server with accounts, artifacts through it": on_a_server_with_accounts,
    "server on postgresql, artifacts in s3": on_a_server_on_postgresql,
    "postgresql, artifacts in s3": on_postgresql,
}


class Registry:
    """A registry with the calls that a test's story is told in."""

    def __init__(self, settings: Settings) -> None:
        """Connect to it."""
        self.settings = settings
        self.client: MlflowClient = connect(settings)
        self.shelf = Shelf(settings.home, MODEL)

    def promote(self, version: int, gates: Gates | None = None, who: str = "ann") -> Release:
        """Plan and apply a promotion."""
        plan = plan_promotion(self.client, MODEL, version)
        return apply(self.client, self.settings, plan, gates or {}, who, "a test")

    def move_alias(self, version: int) -> None:
        """Move the alias as somebody in `mlflow ui` would."""
        self.client.set_registered_model_alias(MODEL, "champion", str(version))

    def forget(self) -> None:
        """Put the ledger aside, and take the alias away."""
        if (found := self.client.get_experiment_by_name(ledger.experiment_name(MODEL))) is not None:
            self.client.rename_experiment(found.experiment_id, f"aside/{uuid.uuid4()}")
        self.client.delete_registered_model_alias(MODEL, "champion")

    @property
    def chain(self) -> tuple[Release, ...]:
        """The ledger as it is now."""
        return ledger.read_chain(self.client, MODEL)

    @property
    def story(self) -> list[tuple[str, int | None, int | None]]:
        """The ledger without its opening, as (action, from, to)."""
        return [(one.action, one.from_version, one.to_version) for one in self.chain[1:]]

    @property
    def alias(self) -> int | None:
        """The version that the alias points to."""
        aliases = self.client.get_registered_model(MODEL).aliases
        return int(aliases["champion"]) if "champion" in aliases else None


def address(postgres: PostgresServer, database: str) -> str:
    """Return a database's address, as SQLAlchemy takes it."""
    return f"postgresql+psycopg://{postgres.user}@/{database}?host={postgres.host}"


def set_environment(patch: pytest.MonkeyPatch, environment: Environment) -> None:
    """Have these settings, and none of the machine's."""
    for name in [name for name in os.environ if name.startswith(_SETTINGS)]:
        patch.delenv(name)
    patch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    patch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
    for name, value in environment.items():
        patch.setenv(name, value)


@pytest.fixture(scope="session")
def servers(
    postgres_server: PostgresServer, tmp_path_factory: pytest.TempPathFactory, empty_registry: Path
) -> Iterator[Servers]:
    """Start them all, and wait for each."""
    folder = tmp_path_factory.mktemp("mlflow")
    shutil.copyfile(empty_registry, folder / "accounts-mlflow.db")
    for database in ("shared", "direct"):
        postgres_server.database(database)
    with ExitStack() as ends:
        s3 = ends.enter_context(start_s3(folder))
        env = s3_environment(s3)
        options = ["--backend-store-uri", f"sqlite:///{folder / 'accounts-mlflow.db'}"]
        options += ["--artifacts-destination", "s3://proxied/artifacts"]
        accounts = ends.enter_context(start_mlflow(folder, "accounts", options, env, accounts=True))
        options = ["--backend-store-uri", address(postgres_server, "shared")]
        options += ["--no-serve-artifacts", "--default-artifact-root", "s3://shared/artifacts"]
        shared = ends.enter_context(start_mlflow(folder, "shared", options, env))
        s3.wait()
        for bucket in ("proxied", "shared", "direct"):
            make_bucket(s3, bucket)
        yield Servers(
            s3=s3,
            accounts=accounts.wait(),
            shared=shared.wait(),
            postgres=postgres_server,
            folder=folder,
        )


@pytest.fixture(scope="session")
def environment_of(
    servers: Servers, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], tuple[Environment, Path]]:
    """Give a backend's environment and project, with three versions in its registry."""

    @cache
    def made(backend: str) -> tuple[Environment, Path]:
        environment = BACKENDS[backend](servers)
        root = tmp_path_factory.mktemp("project")
        with pytest.MonkeyPatch.context() as patch:
            set_environment(patch, environment)
            settings = Settings(root=root, home=root / ".trivet")
            client = connect(settings)
            for trees in (1, 2, 3):
                register(client, settings, trees)
        return environment, root

    return made


@pytest.fixture(params=BACKENDS)
def backend(request: pytest.FixtureRequest) -> str:
    """Each backend."""
    return request.param


@pytest.fixture
def registry(
    backend: str,
    environment_of: Callable[[str], tuple[Environment, Path]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Registry]:
    """Return the backend's registry: three versions or more, an empty ledger, no alias."""
    environment, root = environment_of(backend)
    set_environment(monkeypatch, environment)
    registry = Registry(Settings(root=root, home=tmp_path / "home", poll_seconds=0.05))
    registry.forget()
    return registry
