"""Consumers killed by `kill -9` ten times under load: every request answered, none lost, none twice."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from contract.servers import RedisServer
from e2e.toy import MODEL, Toy
from streaming import Requests, kill_under_load

pytestmark = [pytest.mark.prove, pytest.mark.timeout(900)]

RATE = 1500.0
"""Requests a second."""
KILLS = 10
PAUSE = 2.0
"""Seconds from a consumer's being ready until the next kill."""


@pytest.fixture
def toy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Toy:
    """Make the project."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return Toy(tmp_path / "toy")


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[RedisServer]:
    """Return a Redis of its own."""
    with RedisServer(tmp_path) as running:
        yield running


def test_ten_kills_under_load_lose_nothing(toy: Toy, broker: RedisServer) -> None:
    """Each at a moment at which its consumer was at work, and a new one takes its place."""

    def instance(number: int) -> dict[str, Any]:
        return {"user": number, "x": (number % 100 - 50) / 10}

    load = Requests(broker=broker, model=MODEL, rate=RATE, make=instance)
    kill_under_load(toy.project, load, KILLS, PAUSE)
    assert load.sent > KILLS * PAUSE * RATE / 2
