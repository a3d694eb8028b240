"""What does not answer is named by a sentence that hides passwords, and nothing is half done."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, event

from contract.servers import free_port
from integration.registry.toy import MODEL, register
from trivet.errors import (
    ArtifactsUnavailable,
    PackageMissing,
    RegistryBusy,
    RegistryDenied,
    RegistryUnavailable,
)
from trivet.registry.client import connect, ensure_experiment
from trivet.registry.follower import Follower
from trivet.registry.plan import plan_promotion
from trivet.registry.release import apply
from trivet.registry.versions import existing_versions, read_aliases
from trivet.settings import Settings

from .conftest import Registry, Servers, address, set_environment

SECRET = "hidden-1"  # noqa: S105 - it must not be seen
NOWHERE = {
    "server": "http://ann:{secret}@127.0.0.1:{port}",
    "postgresql": "postgresql+psycopg://ann:{secret}@127.0.0.1:{port}/mlflow",
    "postgresql in the query": "postgresql+psycopg://127.0.0.1:{port}/mlflow?user=ann&password={secret}",
}
IN_S3 = [
    "server on postgresql, artifacts in s3",
    "postgresql, artifacts in s3",
]


@pytest.mark.parametrize("uri", NOWHERE.values(), ids=NOWHERE)
def test_what_does_not_answer_is_said_at_once_and_without_its_password(
    uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """MLflow by itself would try a database for minutes."""
    uri = uri.format(secret=SECRET, port=free_port())
    set_environment(monkeypatch, {"MLFLOW_TRACKING_URI": uri})
    began = time.monotonic()
    with pytest.raises(RegistryUnavailable) as caught:
        read_aliases(connect(Settings(root=tmp_path, home=tmp_path / "home")), MODEL)
    assert time.monotonic() - began < 10
    assert (caught.value.exit_code, type(caught.value)) == (3, RegistryUnavailable)
    assert "127.0.0.1" in str(caught.value)
    assert SECRET not in str(caught.value)


def test_a_database_that_is_not_there_is_named(
    servers: Servers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server's own words are kept."""
    set_environment(monkeypatch, {"MLFLOW_TRACKING_URI": address(servers.postgres, "nobodys")})
    with pytest.raises(RegistryUnavailable, match='database "nobodys" does not exist'):
        connect(Settings(root=tmp_path, home=tmp_path / "home"))


def test_a_driver_that_is_not_installed_is_named_with_what_brings_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An address without a driver's name means psycopg2 to SQLAlchemy."""
    uri = f"postgresql+psycopg2://ann:{SECRET}@127.0.0.1/mlflow"
    set_environment(monkeypatch, {"MLFLOW_TRACKING_URI": uri})
    with pytest.raises(
        PackageMissing, match=r"needs the package psycopg2.*trivet\[postgres\]"
    ) as e:
        connect(Settings(root=tmp_path, home=tmp_path / "home"))
    assert SECRET not in str(e.value)


@pytest.mark.parametrize("backend", ["postgresql, artifacts in s3"])
def test_an_outage_of_postgresql_leaves_what_is_live_and_is_caught_up_with(
    registry: Registry, servers: Servers
) -> None:
    """The same client goes on when it is back."""
    registry.promote(1)
    watching = Follower(registry.settings, MODEL)
    watching.step()
    with servers.postgres.down():
        with pytest.raises(RegistryUnavailable):
            registry.promote(2)
        with pytest.raises(RegistryUnavailable):
            watching.step()
        live = registry.shelf.read_live()
        assert live is not None
        assert (live.champion, live.refused) == (1, None)
    registry.promote(2)
    watching.step()
    live = registry.shelf.read_live()
    assert live is not None
    assert live.champion == 2


@pytest.mark.parametrize("backend", ["postgresql, artifacts in s3"])
def test_a_user_of_a_database_that_may_only_read_releases_nothing(
    registry: Registry, servers: Servers, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may look at everything, and is told what it may not."""
    registry.promote(1)
    before = (registry.alias, registry.chain)
    with servers.postgres.session("direct") as session:
        session.execute("DROP ROLE IF EXISTS onlooker")
        session.execute("CREATE ROLE onlooker LOGIN IN ROLE pg_read_all_data")
    uri = registry.settings.tracking_uri.replace(f"://{servers.postgres.user}@", "://onlooker@")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    onlooker = Registry(registry.settings)
    with pytest.raises(RegistryDenied, match=r"permission denied for table.*may write"):
        onlooker.promote(2)
    assert (registry.alias, registry.chain) == before


@pytest.fixture
def impatient() -> Iterator[None]:
    """Have MLflow wait a fifth of a second for SQLite's lock, not twenty seconds."""

    def hasten(*call: Any) -> tuple[str, Any]:
        statement, parameters = call[2:4]
        return statement.replace("busy_timeout = 20000", "busy_timeout = 200"), parameters

    event.listen(Engine, "before_cursor_execute", hasten, retval=True)
    yield
    event.remove(Engine, "before_cursor_execute", hasten)


@pytest.mark.parametrize("backend", ["sqlite"])
def test_a_database_that_others_hold_is_busy_and_nothing_has_changed(
    registry: Registry, impatient: None
) -> None:
    """A real lock of another connection; a release is as whole before and after as it was."""
    registry.promote(1)
    plan = plan_promotion(registry.client, MODEL, 2)
    before = (registry.alias, registry.chain)
    holder = sqlite3.connect(registry.settings.root / "mlflow.db", isolation_level=None)
    holder.execute("BEGIN EXCLUSIVE")
    try:
        with pytest.raises(RegistryBusy, match=r"is busy: others are writing.*Try again"):
            apply(registry.client, registry.settings, plan, {}, "ann")
    finally:
        holder.execute("ROLLBACK")
        holder.close()
    assert (registry.alias, registry.chain) == before
    apply(registry.client, registry.settings, plan, {}, "ann")
    assert registry.alias == 2


@pytest.mark.parametrize("backend", IN_S3)
def test_artifacts_that_cannot_be_reached_are_told_from_a_registry_that_is_down(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither a version nor a release comes of it, and a later try needs no cleaning up."""
    registry.promote(1)
    before = (registry.alias, registry.chain, existing_versions(registry.client, MODEL))
    monkeypatch.setenv("MLFLOW_S3_ENDPOINT_URL", f"http://127.0.0.1:{free_port()}")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    with pytest.raises(ArtifactsUnavailable, match="artifacts of MLflow"):
        plan_promotion(registry.client, MODEL, 2)
    with pytest.raises(ArtifactsUnavailable, match="artifacts of MLflow"):
        register(registry.client, registry.settings, 6)
    assert (registry.alias, registry.chain, existing_versions(registry.client, MODEL)) == before


def test_on_a_database_artifacts_lie_below_the_project_unless_told_otherwise(
    servers: Servers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By an absolute address: not below the folder that a command was typed in."""
    uri = address(servers.postgres, "direct")
    settings = Settings(root=tmp_path, home=tmp_path / "home")
    set_environment(monkeypatch, {"MLFLOW_TRACKING_URI": uri})
    client = connect(settings)
    here = client.get_experiment(ensure_experiment(client, settings, "here")).artifact_location
    monkeypatch.setenv("MLFLOW_DEFAULT_ARTIFACT_ROOT", "s3://bucket/artifacts/")
    there = client.get_experiment(ensure_experiment(client, settings, "there")).artifact_location
    assert (here, there) == ((tmp_path / "mlruns/here").as_uri(), "s3://bucket/artifacts/there")
