"""The commands around replicas, and how replicas look."""

from __future__ import annotations

import json
import os
import threading
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from rich.console import Console

from trivet.cli import trivet
from trivet.cli.gateway import _News, _require_hope, _require_same, _show_up
from trivet.cli.replicas import gateway_document, gateway_view
from trivet.errors import AlreadyUp, BadSetting, BentoMissing, NotAllReady, NothingUp
from trivet.gateway.processes import birth
from trivet.gateway.state import Home, ModelState, ReplicaState, Scaled, State
from trivet.overview import is_here, read_service
from trivet.settings import load_settings, settings_at

NOW = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return an empty project, and go there."""
    (tmp_path / "pyproject.toml").write_text("[tool.trivet]\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def running() -> State:
    """Return the state of a gateway with a busy replica, one that waits, and a free place."""
    replicas = (
        ReplicaState(
            name="r1",
            state="ready",
            since=NOW,
            version=12,
            requests=1_234_567,
            in_flight=64,
            restarts=12,
            log=Path("toy-r1.log"),
        ),
        ReplicaState(
            name="r2",
            state="not ready",
            since=NOW,
            why="ended by SIGKILL",
            restarts=3,
            log=Path("toy-r2.log"),
        ),
        ReplicaState(name="r3", state="off", since=NOW, log=Path("toy-r3.log")),
    )
    model = ModelState(
        name="toy",
        balance="least_connections",
        workers=2,
        wanted=2,
        least=1,
        most=2,
        load="64 in flight",
        decisions=(Scaled(at=NOW, before=1, wanted=2, why="12.0 in flight"),),
        replicas=replicas,
    )
    return State(
        supervisor_pid=os.getpid(),
        supervisor_born=birth(os.getpid()) or 0,
        host="127.0.0.1",
        port=3000,
        stats_port=3001,
        since=NOW,
        written=NOW,
        models=(model,),
    )


def changed(of: State, name: str, **changes: object) -> State:
    """Return a state in which one replica is another."""
    (model,) = of.models
    replicas = tuple(
        one.model_copy(update=changes) if one.name == name else one for one in model.replicas
    )
    return of.model_copy(update={"models": (model.model_copy(update={"replicas": replicas}),)})


def drawn(state: State, width: int) -> str:
    """Return what a terminal of that width shows."""
    console = Console(width=width)
    with console.capture() as capture:
        console.print(gateway_view(state, {("toy", "r1"): (0.0004, 0.0123, 1.234)}))
    return capture.get()


@pytest.mark.parametrize("width", [80, 120])
def test_replicas_are_a_row_each(running: State, width: int) -> None:
    """Nothing is cut on a terminal of 80 columns; free places are not shown."""
    shown = drawn(running, width)
    rows = [line.split() for line in shown.splitlines()]
    assert ["r1", "ready", "12", "1.23", "M", "0.4", "12.3", "1234", "64", "12"] in rows
    assert ["r2", "not", "ready", "-", "0", "-", "-", "-", "0", "3"] in rows
    assert "r3" not in shown
    assert "starts" in shown
    assert "…" not in shown
    assert "toy: 2 replicas of 2 workers, least connections, scaled between 1 and 2" in shown
    assert "r2 ended by SIGKILL, see toy-r2.log" in shown
    assert "1 -> 2  12.0 in flight" in shown


def test_programs_get_the_quantiles_too(running: State) -> None:
    """In seconds; null where a replica has answered nothing."""
    document = gateway_document(running, {("toy", "r1"): (0.0004, 0.0123, 1.234)})
    first, second, _ = document["models"][0]["replicas"]
    assert first["quantiles_seconds"] == {"p50": 0.0004, "p95": 0.0123, "p99": 1.234}
    assert second["quantiles_seconds"] is None
    assert first["version"] == 12


def test_a_state_that_waits_for_a_replica_is_not_settled(running: State) -> None:
    """Whoever asks for two gets two that are ready."""
    assert not running.settled
    assert running.url == "http://127.0.0.1:3000"
    assert running.model_copy(update={"tls": True}).url == "https://127.0.0.1:3000"


def test_behind_a_certificate_a_replica_is_asked_itself(running: State) -> None:
    """The certificate names another host than loopback; one that is ready is asked first."""
    assert running.own_url == running.url
    secured = running.model_copy(update={"tls": True})
    assert secured.own_url == secured.url
    both = changed(changed(secured, "r2", port=41_002), "r1", port=41_001)
    assert both.own_url == "http://127.0.0.1:41001"
    assert changed(both, "r1", state="starting").own_url == "http://127.0.0.1:41001"
    other = changed(changed(both, "r1", state="starting"), "r2", state="ready")
    assert other.own_url == "http://127.0.0.1:41002"


@pytest.mark.parametrize(
    ("url", "here"),
    [
        ("http://127.0.0.1:3000", True),
        ("http://localhost:3000", True),
        ("https://[::1]:3000", True),
        ("http://0.0.0.0:3000", True),
        ("http://10.0.0.7:3000", False),
        ("https://shop.example", False),
    ],
)
def test_no_proxy_leads_to_this_machine(url: str, *, here: bool) -> None:
    """One of the environment's would look for loopback on its own machine."""
    assert is_here(url) is here


def test_a_service_on_loopback_is_asked_whatever_proxy_the_environment_names(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """That proxy answers nothing here, and the service does."""
    service = HTTPServer(("127.0.0.1", 0), _Service)
    threading.Thread(target=service.serve_forever, daemon=True).start()
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    try:
        found = read_service(f"http://127.0.0.1:{service.server_port}")
    finally:
        service.shutdown()
        service.server_close()
    assert (found.model, found.champion, found.ready) == ("toy", 3, True)


class _Service(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        state = {"model": "toy", "champion": 3, "versions": [3], "refused": None}
        body = json.dumps(state).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *said: object) -> None:
        """Say nothing."""


def test_statistics_are_named_where_they_listen(
    running: State, capsys: pytest.CaptureFixture[str]
) -> None:
    """On loopback, also behind a gateway that listens on every address."""
    everywhere = running.model_copy(update={"host": "0.0.0.0"})  # noqa: S104 - as a user may
    assert "http://127.0.0.1:3001" in drawn(everywhere, 80)
    _show_up(everywhere, "Ctrl-C", as_json=False)
    shown = capsys.readouterr().err
    assert "http://127.0.0.1:3001" in shown
    assert "0.0.0.0:3001" not in shown + drawn(everywhere, 80)


def test_what_the_gateway_has_cannot_be_changed(running: State) -> None:
    """The same may be named again."""
    _require_same(running, {"--port": 3000, "--host": None, "--tls": None})
    with pytest.raises(AlreadyUp, match="--port cannot be changed"):
        _require_same(running, {"--port": 3002})
    with pytest.raises(AlreadyUp, match="--tls cannot be changed"):
        _require_same(running, {"--tls": Path("x.pem")})
    pem = Path("/etc/x.pem")
    secured = running.model_copy(update={"tls": True, "tls_file": pem, "rate": 50})
    _require_same(secured, {"--tls": pem, "--rate": 50})
    for other in ({"--tls": Path("/etc/y.pem")}, {"--rate": 51}):
        with pytest.raises(AlreadyUp):
            _require_same(secured, other)


def test_what_is_wrong_is_said_once_while_a_command_waits(
    running: State, capsys: pytest.CaptureFixture[str]
) -> None:
    """And again when it is something else; a place that is free is of no interest."""
    news = _News()
    for _ in range(2):
        news(running)
    assert capsys.readouterr().err == "toy r2 ended by SIGKILL, see toy-r2.log\n"
    news(changed(running, "r2", why="answers, and is not ready"))
    assert capsys.readouterr().err == "toy r2 answers, and is not ready, see toy-r2.log\n"


def test_nobody_waits_for_what_does_not_come(running: State, tmp_path: Path) -> None:
    """Exit code 1: which replica, why, the end of its log, and that the gateway runs on."""
    _require_hope(running.model_copy(update={"written": NOW + timedelta(seconds=59)}), 60)
    log = tmp_path / "toy-r2.log"
    log.write_text("RuntimeError: no such thing\n")
    failed = changed(running, "r2", state="failed", log=log)
    with pytest.raises(NotAllReady, match="and was given up") as raised:
        _require_hope(failed, 60)
    assert "toy r2 ended by SIGKILL, again and again" in raised.value.sentence
    assert "RuntimeError: no such thing" in raised.value.sentence
    assert "runs at http://127.0.0.1:3000 all the same" in str(raised.value.hint)
    assert raised.value.exit_code == 1
    late = changed(running, "r2", state="starting", why="answers, and is not ready")
    with pytest.raises(NotAllReady, match=r"toy r2 answers, and is not ready\."):
        _require_hope(late.model_copy(update={"written": NOW + timedelta(seconds=60)}), 60)


@pytest.mark.parametrize("command", ["down", "restart", "status --watch"])
def test_without_a_gateway_there_is_nothing_to_tell(project: Path, command: str) -> None:
    """Exit code 3, and how to start one."""
    with pytest.raises(NothingUp, match="trivet up MODEL") as raised:
        trivet.main(command.split(), standalone_mode=False)
    assert raised.value.exit_code == 3


def test_another_models_replicas_are_not_restarted(project: Path, running: State) -> None:
    """The gateway serves others."""
    Home(load_settings()).write_state(running)
    with pytest.raises(NothingUp, match="does not serve shop"):
        trivet.main(["restart", "shop"], standalone_mode=False)


def test_a_bento_that_is_not_there_is_named(project: Path) -> None:
    """With those that are."""
    (project / "bentos" / "shop").mkdir(parents=True)
    (project / "bentos" / "shop" / "service.py").touch()
    with pytest.raises(BentoMissing, match="There are: shop"):
        trivet.main(["up", "shops"], standalone_mode=False)


def test_drain_makes_the_file_that_is_named(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Relative to the root, as every path of a setting; without the setting there is nothing to do."""
    with pytest.raises(BadSetting, match="TRIVET_DRAIN_FILE is not set"):
        trivet.main(["drain"], standalone_mode=False)
    monkeypatch.setenv("TRIVET_DRAIN_FILE", "run/drain")
    trivet.main(["drain"], standalone_mode=False)
    assert (project / "run" / "drain").exists()
    assert settings_at(project).drain_file == project / "run" / "drain"
    trivet.main(["drain", "--json"], standalone_mode=False)
    assert '"waited_seconds": 0.0' in capsys.readouterr().out


def test_drain_needs_no_project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A container of a pinned bento is none."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TRIVET_DRAIN_FILE", str(tmp_path / "drain"))
    trivet.main(["drain"], standalone_mode=False)
    assert (tmp_path / "drain").exists()
