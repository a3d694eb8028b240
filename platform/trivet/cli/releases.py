"""`trivet models`, `promote`, `rollback`, `history`: which version answers, and which did before."""

from __future__ import annotations

import getpass
from dataclasses import asdict
from typing import TYPE_CHECKING

import click
from rich.markup import escape

from trivet.cli.output import err, json_option, local_time, out, print_json, table
from trivet.gates import release_gates
from trivet.settings import Settings, load_settings

if TYPE_CHECKING:
    from trivet.registry.client import Client
    from trivet.registry.ledger import Release
    from trivet.registry.plan import Plan
    from trivet.registry.versions import VersionSummary

_STYLES = {"champion": "bold green", "previous": "yellow", "archived": "dim", "candidate": ""}
_SHOWN_METRICS = 3


@click.command()
@click.argument("model")
@json_option
def models(model: str, as_json: bool) -> None:
    """List the versions of MODEL with their state, metrics and contract digest."""
    from trivet.registry.versions import list_versions

    _, client = _connect()
    versions = list_versions(client, model)
    if as_json:
        print_json([asdict(version) for version in versions])
        return
    names = _metric_names(versions)
    rows = [_row(version, names) for version in versions]
    columns = ("#", "state", "runtime", *names, "contract", "aliases", "registered")
    out.print(table(model, columns, rows))


@click.command()
@click.argument("model")
@click.argument("version", type=int)
@click.option("--reason", default="", help="Why; kept in the ledger.")
@json_option
def promote(model: str, version: int, reason: str, as_json: bool) -> None:
    """Make VERSION of MODEL the champion, if its contract fits what Feast has now."""
    from trivet.registry.plan import plan_promotion

    settings, client = _connect()
    _release(settings, client, plan_promotion(client, model, version), reason, as_json)


@click.command()
@click.argument("model")
@click.option(
    "--steps", default=1, type=click.IntRange(min=1), help="How many releases to go back."
)
@click.option("--reason", default="", help="Why; kept in the ledger.")
@json_option
def rollback(model: str, steps: int, reason: str, as_json: bool) -> None:
    """Return to the version of MODEL that was champion before; twice goes back two."""
    from trivet.registry.plan import plan_rollback

    settings, client = _connect()
    _release(settings, client, plan_rollback(client, model, steps=steps), reason, as_json)


@click.command()
@click.argument("model")
@json_option
def history(model: str, as_json: bool) -> None:
    """List the releases of MODEL, newest first, and when a canary or shadow began and ended."""
    from trivet.registry.ledger import read_chain

    _, client = _connect()
    chain = reversed(read_chain(client, model))
    releases = [entry for entry in chain if entry.action != "open"]
    if as_json:
        print_json([asdict(entry) for entry in releases])
        return
    rows = [_line(entry) for entry in releases]
    out.print(table(f"{model}: releases", ("#", "when", "what", "from", "to", "who", "why"), rows))


def _connect() -> tuple[Settings, Client]:
    from trivet.registry.client import connect

    settings = load_settings()
    return settings, connect(settings)


def _release(settings: Settings, client: Client, plan: Plan, reason: str, as_json: bool) -> None:
    from trivet.registry.release import apply

    if not as_json:
        for change in plan.changes:
            err.print(change, highlight=False)
    done = apply(client, settings, plan, release_gates(settings), getpass.getuser(), reason)
    if as_json:
        print_json(asdict(done))
    else:
        out.print(f"{plan.model}: version [bold]{done.to_version}[/] is the champion.")


def _metric_names(versions: tuple[VersionSummary, ...]) -> list[str]:
    names = dict.fromkeys(name for version in versions for name in version.metrics)
    own = [name for name in names if not name.startswith("baseline")]
    return sorted(own)[:_SHOWN_METRICS]


def _row(version: VersionSummary, names: list[str]) -> tuple[str, ...]:
    metrics = [f"{version.metrics[n]:.3f}" if n in version.metrics else "-" for n in names]
    style = _STYLES[version.state]
    return (
        str(version.version),
        f"[{style}]{version.state}[/]" if style else version.state,
        version.runtime or "-",
        *metrics,
        version.digest[:8] if version.digest else "none",
        ", ".join(alias for alias in version.aliases if alias != version.state),
        local_time(version.created)[:16],
    )


def _line(entry: Release) -> tuple[str, ...]:
    return (
        str(entry.sequence),
        local_time(entry.at),
        entry.action if entry.finished else f"{entry.action} (interrupted)",
        "-" if entry.from_version is None else str(entry.from_version),
        str(entry.to_version or f"({entry.tried})"),
        escape(entry.who),
        escape(entry.reason),
    )


COMMANDS = (models, promote, rollback, history)
