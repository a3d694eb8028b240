"""What a supervisor's own process makes of settings and of its plan."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from trivet.gateway.configuration import Backend, Server, render
from trivet.gateway.requests import Wish
from trivet.gateway.running import Plan, _Run, gateway_of
from trivet.gateway.state import Home
from trivet.settings import settings_at

PLAN = Plan(port=8080, stats_port=8081, wishes=(Wish(model="shop"),))
SHOP = Backend(model="shop", servers=(Server(name="r1", port=3001),))


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """Return an empty project."""
    (tmp_path / "pyproject.toml").write_text("[tool.trivet]\n")
    return tmp_path


def test_a_request_waits_a_tenth_of_a_second_for_one_of_64_places(project: Path) -> None:
    """What `trivet up` does where nothing is set."""
    written = render(gateway_of(settings_at(project), PLAN, (SHOP,)), project)
    assert "timeout queue 100ms" in written
    assert "on-error mark-down maxconn 64" in written


def test_places_and_the_wait_for_them_are_settings(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are HAProxy's for every model."""
    monkeypatch.setenv("TRIVET_REPLICA_IN_FLIGHT", "8")
    monkeypatch.setenv("TRIVET_QUEUE_SECONDS", "2.5")
    backends = (SHOP, Backend(model="kiosk", servers=SHOP.servers))
    written = render(gateway_of(settings_at(project), PLAN, backends), project)
    assert written.count("timeout queue 2500ms") == 2
    assert written.count("on-error mark-down maxconn 8\n") == 2


def test_no_signal_disturbs_an_end_at_once(project: Path) -> None:
    """A third Ctrl-C, or a terminal that is closed, would leave replicas behind."""
    said: list[str] = []
    settings = settings_at(project)
    run = _Run(settings, PLAN, Home(settings), said.append, lambda _: None)
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.getsignal(number) for number in numbers}
    try:
        run._end_at_once()
        assert {signal.getsignal(number) for number in numbers} == {signal.SIG_IGN}
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    assert said == ["ending at once"]
