"""Every way of balancing, tried on running replicas and drawn."""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime
from pathlib import Path

import psutil
import pytest
from click.testing import CliRunner
from matplotlib.image import imread

from trivet import cli
from trivet.gateway.configuration import Server
from trivet.gateway.processes import birth
from trivet.gateway.state import Condition, Home, ModelState, ReplicaState, State
from trivet.gateway.trial import BALANCES, BalanceReport, Traffic, write_balance_report
from trivet.live import CONTRACT, Shelf
from trivet.settings import settings_at
from unit.fakes import golden, live, shop

from .conftest import Replicas

NOON = datetime(2026, 11, 24, 12, tzinfo=UTC)


@pytest.fixture
def report(replicas: Replicas, tmp_path: Path) -> BalanceReport:
    """Try them on three equal replicas, 150 requests each."""
    servers = [Server(name=one.name, port=one.port) for one in replicas(0.002, 0.002, 0.002)]
    traffic = Traffic(body=b"{}", requests=150, rate=150, slow_ms=100)
    return write_balance_report(
        "m", servers, traffic, folder=tmp_path / "report", at=datetime(2026, 1, 1, tzinfo=UTC)
    )


@pytest.mark.alone
def test_each_strategy_is_tried_on_equal_and_on_unequal_replicas(report: BalanceReport) -> None:
    """Every request is answered; who is slow is so under every strategy, and gets less under one."""
    assert [(one.balance, one.equal) for one in report.tried] == [
        (balance, equal) for equal in (True, False) for balance in BALANCES
    ]
    found = {(one.balance, one.equal): one for one in report.tried}
    assert all(one.failed == 0 and sum(one.requests.values()) == 150 for one in report.tried)
    for equal in (True, False):
        assert found["round_robin", equal].requests == {"r0": 50, "r1": 50, "r2": 50}
    assert found["least_connections", False].requests["r2"] < 35
    for balance in BALANCES:
        assert found[balance, False].p99_ms > 100
        assert found[balance, True].p50_ms < 60
    picture, document = report.picture, report.picture.parent / "balance.json"
    assert imread(picture).shape[1] > 1500
    assert len(json.loads(document.read_text())["tried"]) == 6
    left = [p for p in psutil.process_iter(["cmdline"]) if _ours(p, "trivet-balance-")]
    assert not left


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


def _ours(process: psutil.Process, word: str) -> bool:
    try:
        return process.name() == "haproxy" and word in process.cwd()
    except psutil.Error:
        return False
