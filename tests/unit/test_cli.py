"""The `trivet` command: help for everything, results on standard output, one exit code a cause."""

from __future__ import annotations

import http.server
import json
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner

from trivet import cli
from trivet.errors import (
    ContractMismatch,
    Difference,
    NoChampion,
    ProjectNotFound,
    ReleaseRefused,
    TrivetError,
)
from trivet.live import CONTRACT, Shelf
from unit.fakes import ask, golden, live, shop
from unit.traffic import exposition

COMMANDS = sorted(cli.trivet.commands)


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a project in which version 1 of the shop is live, and go there."""
    (tmp_path / "pyproject.toml").write_text("[tool.trivet]\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def released(project: Path) -> Path:
    """Return the project, with version 1 of the shop live on this host."""
    shelf = Shelf(project / ".trivet", "shop")
    (shelf.path("1") / "trivet").mkdir(parents=True)
    (shelf.path("1") / CONTRACT).write_text(shop(golden=(golden(),)).to_json())
    shelf.write_live(live(1))
    return project


@dataclass
class FakeService:
    """Answers what it is told to over HTTP, its model at /status, and remembers what it was sent."""

    content: bytes = b"{}"
    status: int = 200
    media_type: str = "application/json"
    headers: dict[str, str] = field(default_factory=dict)
    received: list[tuple[str, bytes]] = field(default_factory=list)
    url: str = ""
    model: str = "shop"


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeService]:
    """Run a service on a free port, which the settings name."""
    fake = FakeService()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path == "/status":
                self.send_response(200)
                self.end_headers()
                self.wfile.write(json.dumps({"model": fake.model}).encode())
                return
            length = int(self.headers.get("Content-Length") or 0)
            fake.received.append((self.path, self.rfile.read(length)))
            self.send_response(fake.status)
            self.send_header("Content-Type", fake.media_type)
            for name, value in fake.headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(fake.content)

        do_POST = do_GET  # noqa: N815 - its name there

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - its name there
            """Keep quiet."""

    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        fake.url = f"http://127.0.0.1:{server.server_port}"
        monkeypatch.setenv("TRIVET_SERVICE_URL", fake.url)
        yield fake
        server.shutdown()
        thread.join()


def run(
    *arguments: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> tuple[int, str, str]:
    """Run the command line as a shell does; return exit code, output and log."""
    monkeypatch.setattr(sys, "argv", ["trivet", *arguments])
    code = 0
    try:
        cli.main()
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 0
    captured = capsys.readouterr()
    return code, captured.out, captured.err


@pytest.fixture
def trivet(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    """Return `run`, wired to this test's output."""
    return lambda *arguments: run(*arguments, monkeypatch=monkeypatch, capsys=capsys)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(command: str) -> None:
    """Without a project, and without any of the three tools."""
    result = CliRunner().invoke(cli.trivet, [command, "--help"])
    assert result.exit_code == 0
    summary = cli.trivet.commands[command].get_short_help_str()
    assert summary
    assert summary.split()[0] in result.output


def test_the_group_lists_its_commands_and_exit_codes() -> None:
    """In one place."""
    result = CliRunner().invoke(cli.trivet, ["-h"])
    assert result.exit_code == 0
    assert all(command in result.output for command in COMMANDS)
    assert "3 something needed is down" in " ".join(result.output.split())


def test_whatever_reports_can_do_so_as_json() -> None:
    """Every command but those that pass on somebody else's output, or print nothing else."""
    without = {
        name
        for name, command in cli.trivet.commands.items()
        if not any("--json" in parameter.opts for parameter in command.params)
    }
    assert without <= {"train", "predict", "stream"}


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ReleaseRefused("no"), 1),
        (ProjectNotFound("/"), 2),
        (NoChampion("shop"), 3),
        (click.UsageError("what?"), 2),
        (click.BadParameter("what?"), 2),
        (click.Abort(), 130),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "",
)
def test_an_error_becomes_its_exit_code(
    trivet: Any, monkeypatch: pytest.MonkeyPatch, error: Exception, code: int
) -> None:
    """Its sentence stands on standard error, and no traceback anywhere."""

    @click.command("boom")
    def boom() -> None:
        raise error

    monkeypatch.setitem(cli.trivet.commands, "boom", boom)
    ended, out, err = trivet("boom")
    assert (ended, out) == (code, "")
    assert "Traceback" not in err
    if isinstance(error, TrivetError):
        assert err.startswith(f"{error.title}: {error.sentence}\n")


@pytest.mark.parametrize("arguments", [("nonsense",), ("predict",), ("report", "--no-such")])
def test_wrong_usage_is_exit_code_2(trivet: Any, arguments: tuple[str, ...]) -> None:
    """With the usage that is right."""
    code, out, err = trivet(*arguments)
    assert (code, out) == (2, "")
    assert "Usage: trivet" in err


@pytest.mark.usefixtures("project")
@pytest.mark.parametrize("command", [("promote", "shop", "2"), ("rollback", "shop")])
@pytest.mark.parametrize("reason", [(), ("--reason", " ")])
def test_force_without_a_reason_is_wrong_usage(
    trivet: Any, command: tuple[str, ...], reason: tuple[str, ...]
) -> None:
    """Said before anything is asked of MLflow."""
    code, out, err = trivet(*command, "--force", *reason)
    assert (code, out) == (2, "")
    assert "--force needs --reason" in err


def test_a_mismatch_is_shown_column_by_column(trivet: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """So that the reader sees what to restore."""
    difference = Difference(column="users:age", aspect="dtype", contract="int64", feast="string")

    @click.command("boom")
    def boom() -> None:
        raise ContractMismatch("shop", 3, [difference])

    monkeypatch.setitem(cli.trivet.commands, "boom", boom)
    code, _, err = trivet("boom")
    assert code == 1
    for part in ("users:age", "dtype", "int64", "string", "Restore the features"):
        assert part in err


def test_outside_a_project_the_reader_is_told_so(
    trivet: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Wrong usage, since the folder is."""
    monkeypatch.chdir(tmp_path)
    code, _, err = trivet("predict", "shop", "--example")
    assert code == 2
    assert "TRIVET_ROOT" in err


@pytest.mark.usefixtures("released")
def test_the_example_is_printed_as_json_and_nothing_else(trivet: Any) -> None:
    """So that it can be piped into curl; the service need not run."""
    code, out, err = trivet("predict", "shop", "--example")
    assert (code, err) == (0, "")
    (instance,) = json.loads(out)["instances"]
    assert instance.keys() == ask().keys()


@pytest.mark.usefixtures("project")
def test_another_hosts_example_is_made_from_its_contract(trivet: Any, service: FakeService) -> None:
    """The address is asked for it."""
    service.content = shop(golden=(golden(),)).to_json().encode()
    code, out, _ = trivet("predict", "shop", "--example", "--url", service.url)
    assert code == 0
    assert service.received == [("/contract", b"")]
    assert json.loads(out)["instances"][0]["user_id"] == "u001"


@pytest.mark.usefixtures("released")
def test_a_prediction_is_printed_with_its_timing_beside(trivet: Any, service: FakeService) -> None:
    """The answer on standard output, the timing on standard error."""
    service.content = b'{"predictions": [{"value": 20.0}]}'
    service.headers["Server-Timing"] = "predict;dur=0.3"
    code, out, err = trivet("predict", "shop")
    assert code == 0
    assert json.loads(out) == {"predictions": [{"value": 20.0}]}
    assert err == "predict;dur=0.3\n"
    ((path, sent),) = service.received
    assert path == "/predict"
    assert json.loads(sent)["instances"][0]["user_id"] == "u001"


@pytest.mark.usefixtures("project")
def test_instances_are_sent_as_they_are(trivet: Any, service: FakeService, tmp_path: Path) -> None:
    """The service judges them."""
    (tmp_path / "body.json").write_text('{"instances": [3]}')
    assert trivet("predict", "shop", "body.json")[0] == 0
    assert service.received == [("/predict", b'{"instances": [3]}')]


@pytest.mark.usefixtures("released")
def test_another_models_service_is_not_asked(trivet: Any, service: FakeService) -> None:
    """Its refusal would say nothing of the model that was meant."""
    service.model = "bakery"
    code, out, err = trivet("predict", "shop")
    assert (code, out, service.received) == (2, "", [])
    assert "serves bakery, not shop" in err
    assert "--url" in err


@pytest.mark.usefixtures("project")
def test_a_service_on_this_machine_is_asked_whatever_proxy_the_environment_names(
    trivet: Any, service: FakeService, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """That proxy answers nothing, and the service does."""
    for name in ("HTTP_PROXY", "http_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "body.json").write_text('{"instances": [3]}')
    assert trivet("predict", "shop", "body.json")[0] == 0
    assert service.received == [("/predict", b'{"instances": [3]}')]


@pytest.mark.usefixtures("project")
@pytest.mark.parametrize("url", ["http://[::1", "shop.example", "http://127.0.0.1:9"])
def test_an_address_at_which_nothing_can_answer_is_said(trivet: Any, url: str) -> None:
    """Mistyped or down, it is no traceback."""
    code, out, err = trivet("predict", "shop", "--example", "--url", url)
    assert (code, out) == (3, "")
    assert "Nothing answers at" in err


@pytest.mark.usefixtures("project")
def test_a_service_without_a_champion_says_so_itself(trivet: Any, service: FakeService) -> None:
    """It runs, so it is not said to be unreachable."""
    service.status, service.content = 503, b'{"detail": "shop has no champion yet"}'
    code, _, err = trivet("predict", "shop", "--example", "--url", service.url)
    assert code == 3
    assert "answers 503" in err
    assert "no champion yet" in err


@pytest.mark.usefixtures("released")
@pytest.mark.parametrize(("status", "code"), [(422, 1), (503, 3)])
def test_a_problem_is_printed_and_becomes_an_exit_code(
    trivet: Any, service: FakeService, status: int, code: int
) -> None:
    """Refused is 1, down is 3."""
    service.status, service.content = status, b'{"title": "No"}'
    service.media_type = "application/problem+json"
    ended, out, err = trivet("predict", "shop")
    assert (ended, json.loads(out)) == (code, {"title": "No"})
    assert f"HTTP {status}" in err


@pytest.mark.usefixtures("released")
@pytest.mark.parametrize("arguments", [("predict", "shop"), ("report", "shop")])
def test_a_service_that_does_not_run_is_exit_code_3(
    trivet: Any, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...]
) -> None:
    """With how to start it."""
    monkeypatch.setenv("TRIVET_SERVICE_URL", "http://127.0.0.1:9")
    code, out, err = trivet(*arguments)
    assert (code, out) == (3, "")
    assert "Nothing answers at http://127.0.0.1:9" in err
    assert "make run" in err


def test_a_report_is_a_table_and_the_pictures_address(
    trivet: Any, service: FakeService, project: Path
) -> None:
    """A row for every step, and one for the whole."""
    service.content = exposition([{"validate": 0.00003, "predict": 0.0004}] * 5).encode()
    service.media_type = "text/plain"
    code, out, _ = trivet("report", "shop")
    assert code == 0
    assert service.received == [("/metrics", b"")]
    assert "shop: 5 answered requests" in out
    for part in ("validate", "predict", "total", "0.430", "(0.3 to 0.5)"):
        assert part in out
    assert "latency.png" in out
    assert (project / "reports" / "shop" / "latency.png").exists()


def test_a_report_can_be_json_in_another_folder(
    trivet: Any, service: FakeService, project: Path
) -> None:
    """The same numbers as in the document that is written."""
    service.content = exposition([{"predict": 60.0}]).encode()
    code, out, err = trivet("report", "shop", "--json", "--out", "here")
    assert (code, err) == (0, "")
    assert (
        json.loads(out)["total"] == json.loads((project / "here/latency.json").read_text())["total"]
    )


@pytest.mark.usefixtures("project")
def test_a_report_without_traffic_says_how_to_send_some(trivet: Any, service: FakeService) -> None:
    """And writes nothing."""
    service.content = b""
    code, out, err = trivet("report", "shop")
    assert (code, out) == (1, "")
    assert "trivet predict shop" in err


@pytest.mark.usefixtures("project")
def test_a_quantile_that_is_off_the_scale_is_said_to_be(trivet: Any, service: FakeService) -> None:
    """More than the last bound is all that is known."""
    service.content = exposition([{"predict": 60.0}]).encode()
    assert "over 5000" in trivet("report", "shop")[1]


def test_training_runs_the_bentos_own_script(project: Path, trivet: Any) -> None:
    """In its folder, with the arguments passed on; its exit code is the command's."""
    folder = project / "bentos" / "shop"
    folder.mkdir(parents=True)
    script = "import pathlib, sys\npathlib.Path('ran').write_text(sys.argv[1])\nsys.exit(5)\n"
    (folder / "train.py").write_text(script)
    assert trivet("train", "shop", "--fast")[0] == 5
    assert (folder / "ran").read_text() == "--fast"


def test_a_fit_leaves_the_processor_to_others_while_its_threads_wait(
    project: Path, trivet: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Unless somebody has said otherwise."""
    folder = project / "bentos" / "shop"
    folder.mkdir(parents=True)
    (folder / "train.py").write_text(
        "import os, pathlib\npathlib.Path('policy').write_text(os.environ['OMP_WAIT_POLICY'])\n"
    )
    for said, policy in ((None, "PASSIVE"), ("ACTIVE", "ACTIVE")):
        if said is None:
            monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
        else:
            monkeypatch.setenv("OMP_WAIT_POLICY", said)
        assert trivet("train", "shop")[0] == 0
        assert (folder / "policy").read_text() == policy


@pytest.mark.usefixtures("project")
def test_training_a_bento_that_is_not_there_is_wrong_usage(trivet: Any) -> None:
    """The sentence names the file that was looked for."""
    code, _, err = trivet("train", "cafe")
    assert code == 2
    assert "There is no bentos/cafe/train.py" in err


@pytest.mark.usefixtures("released")
@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ((), "0 is known"),
        (("--replica", "127.0.0.1:3001"), "1 is known"),
        (("--replica", "3001"), "3001 is not HOST:PORT"),
    ],
)
def test_balancing_needs_two_replicas(trivet: Any, arguments: tuple[str, ...], says: str) -> None:
    """It says how to start them, or how to name them."""
    code, _, err = trivet("report", "shop", "--balance", *arguments)
    assert code == 2
    assert says in err
