"""Every way of balancing, tried on running replicas and drawn."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path

import pytest
from click.testing import CliRunner

from trivet import cli
from trivet.gateway.processes import birth
from trivet.gateway.state import Condition, Home, ModelState, ReplicaState, State
from trivet.live import CONTRACT, Shelf
from trivet.settings import settings_at
from unit.fakes import golden, live, shop

from .conftest import Replicas

NOON = datetime(2026, 11, 24, 12, tzinfo=UTC)


def test_the_command_tries_the_replicas_that_are_written_down(
    replicas: Replicas, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those of `trivet up` that are ready, by the live version's example request."""
    one, two = replicas(0.0, 0.0)
    (tmp_path / "pyproject.toml").write_text("[tool.trivet]\n")
    shelf = Shelf(tmp_path / ".trivet", "shop")
    (shelf.path("1") / "trivet").mkdir(parents=True)
    (shelf.path("1") / CONTRACT).write_text(shop(golden=(golden(),)).to_json())
    shelf.write_live(live(1))
    Home(settings_at(tmp_path)).write_state(
        running(
            replica("shop-1", one.port, "ready"),
            replica("shop-2", two.port, "ready"),
            replica("shop-3", None, "starting"),
        )
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")
    asked = ["report", "shop", "--balance", "--requests", "30", "--slow-ms", "20"]
    result = CliRunner().invoke(cli.trivet, asked)
    assert result.exit_code == 0, result.output
    assert "15 / 15" in result.output
    assert "unequal" in result.output
    assert "p95 / p99 ms" in result.output
    assert "…" not in result.output
    assert "balance.png" in result.output
    assert "starting" not in result.output
    assert (tmp_path / "reports" / "shop" / "balance.png").exists()


def replica(name: str, port: int | None, state: Condition) -> ReplicaState:
    """Return what is written down of a replica."""
    return ReplicaState(name=name, state=state, since=NOON, port=port, log=Path("log"))


def running(*replicas: ReplicaState) -> State:
    """Return what a supervisor that runs, here this process, writes down of one model's replicas."""
    shop = ModelState(
        name="shop", balance="round_robin", workers=1, wanted=len(replicas), replicas=replicas
    )
    return State(
        supervisor_pid=os.getpid(),
        supervisor_born=birth(os.getpid()) or 0,
        host="127.0.0.1",
        port=1,
        stats_port=2,
        since=NOON,
        written=NOON,
        models=(shop,),
    )
