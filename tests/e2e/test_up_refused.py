"""`trivet up` where there is nothing to bring up: a sentence says why, and nothing is left behind."""

from __future__ import annotations

import socket

import pytest

from gateways import Gateway

from .toy import MODEL, Toy

NEVER_READY = """\
import bentoml


@bentoml.service
class Never:
    def __is_ready__(self) -> bool:
        return False

    @bentoml.api
    def predict(self) -> str:
        return ""
"""


def test_a_port_in_use_is_said(toy: Toy) -> None:
    """Before anything is started; exit code 3."""
    project = aside(toy)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = toy.project.run("trivet", "up", MODEL, "--port", str(port), code=3, env=project)
    assert f"Another program listens on 127.0.0.1:{port}." in done.stderr


def test_a_bento_that_does_not_start_is_given_up(toy: Toy) -> None:
    """After three tries; the end of its log says why, and nothing is left."""
    bento = toy.project.root / "bentos" / "broken"
    bento.mkdir()
    (bento / "service.py").write_text("raise RuntimeError('no such thing')\n")
    done = toy.project.run(
        "trivet", "up", "broken", "--replicas", "1", "--detach", code=1, env=aside(toy)
    )
    assert "3 times in a row; it is not started again" in done.stderr
    assert "RuntimeError: no such thing" in done.stderr
    assert "broken-r1.log" in done.stderr


def test_a_bento_that_answers_and_is_never_ready_is_not_waited_for(toy: Toy) -> None:
    """As where nothing is released: the command says so and ends, the gateway runs on."""
    bento = toy.project.root / "bentos" / "never"
    bento.mkdir()
    (bento / "service.py").write_text(NEVER_READY)
    env = aside(toy) | {"TRIVET_REPLICA_START_SECONDS": "12"}
    where = Gateway(project=toy.project, model="never").where
    started = toy.project.run(
        "trivet", "up", "never", "--replicas", "1", "--detach", *where, code=1, env=env
    )
    try:
        assert "never r1 answers, and is not ready" in started.stderr
        assert "trivet down ends it" in started.stderr
        renewed = toy.project.run("trivet", "restart", code=1, env=env)
        assert "never r2 answers, and is not ready" in renewed.stderr
    finally:
        assert "never" in toy.project.run("trivet", "down", env=env).stdout


@pytest.mark.parametrize(
    ("arguments", "env", "said"),
    [
        (["nothing"], {}, "There is no bentos/nothing/service.py."),
        ([MODEL], {"TRIVET_HAPROXY": "/nowhere"}, "/nowhere is no HAProxy"),
        ([MODEL, "--min", "3", "--max", "2"], {}, "--min 3 is more than --max 2."),
    ],
)
def test_what_is_missing_is_named(
    toy: Toy, arguments: list[str], env: dict[str, str], said: str
) -> None:
    """Exit code 2."""
    done = toy.project.run("trivet", "up", *arguments, code=2, env=aside(toy) | env)
    assert said in done.stderr


def aside(toy: Toy) -> dict[str, str]:
    """Return another home for a gateway, so that the one that runs is not asked."""
    return {"TRIVET_HOME": str(toy.project.root / "aside")}
