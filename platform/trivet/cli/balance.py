"""`trivet report MODEL --balance`: each way of balancing, tried on the replicas that run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from trivet.cli.output import err, out, print_json, table
from trivet.clock import system_clock
from trivet.errors import BadSetting
from trivet.gateway.configuration import Server
from trivet.gateway.state import read_state
from trivet.gateway.trial import Traffic, as_document, write_balance_report
from trivet.settings import Settings

_LEAST = 2


def report_balance(
    model: str,
    settings: Settings,
    addresses: Sequence[str],
    traffic: Traffic,
    folder: Path,
    *,
    as_json: bool,
) -> None:
    """Try the strategies, and print who got how much, how fast.

    Args:
        model: whose replicas they are.
        settings: of the project.
        addresses: of the replicas, HOST:PORT; none: those that `trivet up` has started.
        traffic: what each strategy gets.
        folder: for the picture and its numbers.
        as_json: print the document instead of a table.

    Raises:
        BadSetting: there are not two replicas.
    """
    replicas = [_server(*each) for each in enumerate(addresses, 1)] or _running(settings, model)
    if len(replicas) < _LEAST:
        raise BadSetting(
            f"Balancing needs two replicas of {model}, and {len(replicas)} is known. "
            f"Start them (trivet up {model} --replicas 3), or name them: --replica HOST:PORT."
        )
    made = write_balance_report(
        model,
        replicas,
        traffic,
        folder=folder,
        at=system_clock(),
        say=lambda what: err.print(what, style="dim"),
    )
    if as_json:
        print_json(as_document(made))
        return
    heads = ("replicas", "strategy", "requests", "failed", "p50 / p95 / p99 ms")
    rows = [
        (
            "equal" if one.equal else "unequal",
            one.balance.replace("_", " "),
            " / ".join(f"{count:,}" for count in one.requests.values()),
            f"{one.failed:,}",
            " / ".join(f"{ms:.1f}" for ms in (one.p50_ms, one.p95_ms, one.p99_ms)),
        )
        for one in made.tried
    ]
    out.print(table(f"{model}: {traffic.requests:,} requests for each strategy", heads, rows))
    click.echo(made.picture)


def _server(number: int, address: str) -> Server:
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit():
        raise BadSetting(f"--replica {address} is not HOST:PORT, such as 127.0.0.1:3001.")
    return Server(name=f"replica-{number}", host=host, port=int(port))


def _running(settings: Settings, model: str) -> list[Server]:
    """Return the replicas that are ready by what `trivet up` writes down of them."""
    state = read_state(settings)
    if state is None:
        return []
    return [
        Server(name=replica.name, port=replica.port)
        for known in state.models
        if known.name == model
        for replica in known.replicas
        if replica.state == "ready" and replica.port is not None
    ]
