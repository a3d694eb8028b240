"""`trivet models`, `history`: which versions there are, and which answered when."""

from __future__ import annotations

from dataclasses import asdict
from datetime import datetime
from typing import TYPE_CHECKING

import click
from rich.markup import escape

from trivet.cli.logs import Moment
from trivet.cli.output import json_option, local_time, out, print_json, table
from trivet.settings import load_settings

if TYPE_CHECKING:
    from trivet.registry.ledger import Release
    from trivet.registry.versions import VersionSummary

_STYLES = {"champion": "bold green", "previous": "yellow", "archived": "dim", "candidate": ""}
_SHOWN_METRICS = 3
_COLUMNS = ("#", "when", "what", "from", "to", "who", "why", "took")


@click.command()
@click.argument("model")
@json_option
def models(model: str, as_json: bool) -> None:
    """List the versions of MODEL with their state, metrics and contract digest."""
    from trivet.registry.client import connect
    from trivet.registry.versions import list_versions

    versions = list_versions(connect(load_settings()), model)
    if as_json:
        print_json([asdict(version) for version in versions])
        return
    names = _metric_names(versions)
    columns = ["#", "state", "runtime", *names, "contract", "registered"]
    rows = [_row(version, names) for version in versions]
    if any(aliases := [_other_aliases(version) for version in versions]):
        columns.append("aliases")
        rows = [(*row, others) for row, others in zip(rows, aliases, strict=True)]
    out.print(table(model, columns, rows, wraps=("aliases", "registered")))


@click.command()
@click.argument("model")
@click.option(
    "--at",
    type=Moment(),
    help="Which version answered then: 10m ago (s, m, h, d), or ISO 8601, in this machine's time "
    "zone unless it says one.",
)
@json_option
def history(model: str, at: datetime | None, as_json: bool) -> None:
    """List what was released of MODEL and tried beside it, newest first; or say who answered when."""
    from trivet.registry.client import connect
    from trivet.registry.ledger import read_chain

    chain = read_chain(connect(load_settings()), model)
    if at is not None:
        _answer(model, chain, at, as_json=as_json)
        return
    releases = [entry for entry in reversed(chain) if entry.action != "open"]
    if as_json:
        print_json([asdict(entry) for entry in releases])
        return
    rows = [_line(entry) for entry in releases]
    out.print(table(f"{model}: releases", _COLUMNS, rows, wraps=("why",)))


def _answer(model: str, chain: tuple[Release, ...], at: datetime, *, as_json: bool) -> None:
    from trivet.registry.ledger import answering_at

    found = answering_at(chain, at)
    if as_json:
        version = None if found is None else found.to_version
        release = None if found is None else asdict(found)
        print_json({"at": at, "version": version, "release": release})
        return
    said = _nobody(model, chain) if found is None else _somebody(model, found)
    out.print(f"{_zoned(at)}: {said}", highlight=False, soft_wrap=True)


def _somebody(model: str, found: Release) -> str:
    why = f" ({escape(found.reason)})" if found.reason else ""
    return (
        f"version [bold]{found.to_version}[/] of {escape(model)} was the champion, "
        f"by a {_what(found)} of {escape(found.who)} at {_zoned(found.at)}{why}."
    )


def _nobody(model: str, chain: tuple[Release, ...]) -> str:
    first = next((entry for entry in chain if entry.to_version is not None), None)
    if first is None:
        return f"no version of {escape(model)} answered; it was never released."
    return (
        f"no version of {escape(model)} answered yet; its first release, "
        f"of version {first.to_version}, was at {_zoned(first.at)}."
    )


def _zoned(moment: datetime) -> str:
    """Return a moment to the second with this machine's time zone, by name and offset."""
    local = moment.astimezone()
    return f"{local:%Y-%m-%d %H:%M:%S} {local.tzname()} ({local:%z})"


def _what(entry: Release) -> str:
    state = entry.action if entry.finished else f"{entry.action} (interrupted)"
    return f"{state}, forced past {', '.join(entry.forced)}" if entry.forced else state


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
        local_time(version.created)[:16],
    )


def _other_aliases(version: VersionSummary) -> str:
    """Return the aliases that its state does not tell already."""
    return ", ".join(alias for alias in version.aliases if alias != version.state)


def _line(entry: Release) -> tuple[str, ...]:
    return (
        str(entry.sequence),
        local_time(entry.at),
        f"[bold yellow]{_what(entry)}[/]" if entry.forced else _what(entry),
        "-" if entry.from_version is None else str(entry.from_version),
        str(entry.to_version or f"({entry.tried})"),
        escape(entry.who),
        escape(entry.reason),
        "-" if entry.seconds is None else f"{entry.seconds:.1f} s",
    )


COMMANDS = (models, history)
