"""`trivet up`, `restart`, `down`: replicas behind one address."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import click
from rich.markup import escape
from rich.panel import Panel

from trivet.cli.output import err, json_option, out, print_json
from trivet.cli.replicas import gateway_view
from trivet.errors import (
    AlreadyUp,
    BadSetting,
    NotAllReady,
    NothingUp,
    SupervisorGone,
)
from trivet.settings import Settings, load_settings

if TYPE_CHECKING:
    from trivet.gateway.requests import Wish
    from trivet.gateway.running import Plan
    from trivet.gateway.state import State

_BALANCES = ("round_robin", "least_connections", "random")
_MANY = click.IntRange(1, 64)
_PORT = click.IntRange(1, 65535)
_FILE = click.Path(exists=True, dir_okay=False, resolve_path=True, path_type=Path)
_LOOK_SECONDS = 0.1
_KILL_SECONDS = 5.0
"""Longer than its time a start is waited for: one that has never answered is killed by then."""


@click.command()
@click.argument("models", nargs=-1, required=True, metavar="MODEL...")
@click.option("--replicas", type=_MANY, help="How many of each; default: 2.")
@click.option("--workers", type=_MANY, help="Processes that answer in each; default: 1.")
@click.option(
    "--balance", type=click.Choice(_BALANCES), help="Who gets a request; default: round_robin."
)
@click.option("--min", "least", type=_MANY, help="Fewest, where work in flight is to decide.")
@click.option("--max", "most", type=_MANY, help="Most, where work in flight is to decide.")
@click.option(
    "--target",
    type=click.FloatRange(min=0, min_open=True),
    help="Requests in flight a replica, with --min and --max; default: 4 a worker.",
)
@click.option("--host", help="Where the gateway listens; default: 127.0.0.1.")
@click.option("--port", type=_PORT, help="Default: 3000.")
@click.option(
    "--stats-port", type=_PORT, help="Of HAProxy's page and metrics; default: one above --port."
)
@click.option("--tls", type=_FILE, help="A PEM file with certificate and key.")
@click.option("--rate", type=click.IntRange(1), help="Most requests a second from one address.")
@click.option("--detach", is_flag=True, help="Return when all are ready; end with trivet down.")
@json_option
def up(
    *,
    models: tuple[str, ...],
    replicas: int | None,
    workers: int | None,
    balance: str | None,
    least: int | None,
    most: int | None,
    target: float | None,
    host: str | None,
    port: int | None,
    stats_port: int | None,
    tls: Path | None,
    rate: int | None,
    detach: bool,
    as_json: bool,
) -> None:
    """Serve MODELs by several replicas behind one address, and keep them running until Ctrl-C.

    Typed again while that runs, it changes what is named, and renews the replicas of MODEL one at a
    time with their code as it is now; no request fails.
    """
    from trivet.gateway.requests import Wish
    from trivet.gateway.running import Plan
    from trivet.gateway.starting import require_bento
    from trivet.gateway.state import read_state

    if least and most and least > most:
        raise BadSetting(f"--min {least} is more than --max {most}.")
    settings = load_settings()
    wishes = tuple(
        Wish.model_validate(
            {
                "model": model,
                "replicas": replicas,
                "workers": workers,
                "balance": balance,
                "least": least,
                "most": most,
                "target": target,
            }
        )
        for model in dict.fromkeys(models)
    )
    for wish in wishes:
        require_bento(settings, wish.model)
    if (running := read_state(settings)) is not None:
        asked = {
            "--host": host,
            "--port": port,
            "--stats-port": stats_port,
            "--tls": tls,
            "--rate": rate,
        }
        _require_same(running, asked)
        _renew(settings, wishes, as_json=as_json)
        return
    port = port or 3000
    plan = Plan(
        host=host or "127.0.0.1",
        port=port,
        stats_port=stats_port or port + 1,
        tls=tls,
        rate=rate,
        wishes=wishes,
    )
    if detach:
        _serve_behind(settings, plan, as_json=as_json)
    else:
        _serve_here(settings, plan, as_json=as_json)


@click.command()
@click.argument("model", required=False)
@json_option
def restart(model: str | None, as_json: bool) -> None:
    """Renew the replicas of MODEL (default: of all) one at a time; no request fails."""
    from trivet.gateway.requests import Wish
    from trivet.gateway.state import read_state

    settings = load_settings()
    running = read_state(settings)
    if running is None:
        raise NothingUp(model)
    served = [one.name for one in running.models]
    if model is not None and model not in served:
        raise NothingUp(model)
    wishes = tuple(Wish(model=name) for name in served if model in {None, name})
    _renew(settings, wishes, as_json=as_json)


@click.command()
@json_option
def down(as_json: bool) -> None:
    """End the gateway and its replicas, after the requests that are in flight."""
    from trivet.gateway.asking import end

    state = end(load_settings())
    if as_json:
        print_json({"ended": state.url, "models": [model.name for model in state.models]})
    else:
        out.print(
            f"Ended: {', '.join(m.name for m in state.models)} at {state.url}", highlight=False
        )


def _require_same(running: State, asked: Mapping[str, object]) -> None:
    """Refuse options of the gateway itself, where they are not what it has.

    Raises:
        AlreadyUp: one differs.
    """
    has = {
        "--host": running.host,
        "--port": running.port,
        "--stats-port": running.stats_port,
        "--tls": running.tls_file,
        "--rate": running.rate,
    }
    for option, value in asked.items():
        if value is not None and has.get(option) != value:
            raise AlreadyUp(option, running.url)


def _serve_here(settings: Settings, plan: Plan, *, as_json: bool) -> None:
    from trivet.gateway.running import serve

    def tell(what: str) -> None:
        now = time.strftime("%H:%M:%S")
        err.print(f"[dim]{now}[/] {escape(what)}", highlight=False, soft_wrap=True)

    with err.status("Starting the replicas") as status:

        def ready(state: State) -> None:
            status.stop()
            _show_up(state, "Ctrl-C", as_json=as_json)

        serve(settings, plan, tell, ready)


def _serve_behind(settings: Settings, plan: Plan, *, as_json: bool) -> None:
    """Start the supervisor in a session of its own, and wait until all replicas are ready.

    Exits with its code if it ends before.

    Raises:
        NotAllReady: one was given up, or answers and does not become ready; the gateway runs on.
    """
    from trivet.gateway.running import tail
    from trivet.gateway.state import Home, read_state

    home = Home(settings)
    log = home.supervisor_log
    log.parent.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-P", "-m", "trivet.gateway", plan.model_dump_json()]
    with log.open("wb") as written:
        process = subprocess.Popen(  # noqa: S603 - our own module, with this interpreter
            command,
            cwd=settings.root,
            env={**os.environ, "TRIVET_ROOT": str(settings.root)},
            stdin=subprocess.DEVNULL,
            stdout=written,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    news, patience = _News(), settings.replica_start_seconds + _KILL_SECONDS
    with err.status("Starting the replicas"):
        while process.poll() is None:
            state = read_state(settings)
            if state is not None and state.supervisor_pid == process.pid:
                news(state)
                if state.settled:
                    _show_up(state, "trivet down", as_json=as_json)
                    return
                _require_hope(state, patience)
            time.sleep(_LOOK_SECONDS)
    err.print(tail(log, lines=25), highlight=False, markup=False, soft_wrap=True)
    sys.exit(process.returncode if process.returncode > 0 else SupervisorGone.exit_code)


def _require_hope(state: State, patience: float) -> None:
    """Wait no more where a replica will not be ready by itself.

    Raises:
        NotAllReady: there is one.
    """
    from trivet.gateway.running import tail

    if (found := state.stuck(patience)) is None:
        return
    model, replica = found
    why = replica.why or "is not ready"
    often = ", again and again, and was given up" if replica.state == "failed" else ""
    what = f"{model.name} {replica.name} {why}{often}"
    raise NotAllReady(what, state.url, str(replica.log), tail(replica.log))


class _News:
    """Says what is wrong with replicas, each thing once."""

    def __init__(self) -> None:
        self._said: dict[tuple[str, str], str] = {}

    def __call__(self, state: State) -> None:
        for model in state.models:
            for replica in model.replicas:
                why, key = replica.why, (model.name, replica.name)
                if why is None or replica.state == "off" or self._said.get(key) == why:
                    continue
                self._said[key] = why
                said = f"{model.name} {replica.name} {why}, see {replica.log}"
                err.print(said, highlight=False, markup=False, soft_wrap=True)


def _show_up(state: State, stop: str, *, as_json: bool) -> None:
    if as_json:
        print_json(state.model_dump(mode="json"))
        return
    model = escape(state.models[0].name)
    places = (
        f"[bold]Gateway[/]     {state.url}\n"
        f"[bold]Statistics[/]  {state.stats_url}   (/metrics for Prometheus)\n"
        f"[bold]Next[/]        trivet status --watch · trivet restart {model}\n"
        f"[bold]Stop[/]        {stop}"
    )
    err.print(gateway_view(state, {}))
    err.print(Panel(places, title=f"{model} is up", expand=False))


def _renew(settings: Settings, wishes: tuple[Wish, ...], *, as_json: bool) -> None:
    from trivet.gateway.asking import renew
    from trivet.gateway.state import read_state

    with err.status("Renewing the replicas, one at a time"):
        renew(settings, wishes, _News())
    state = read_state(settings)
    if as_json:
        print_json(None if state is None else state.model_dump(mode="json"))
    elif state is not None:
        out.print(gateway_view(state, {}), highlight=False)


COMMANDS = (up, restart, down)
