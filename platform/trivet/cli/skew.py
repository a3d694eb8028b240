"""`trivet skew`: what was served beside what the offline store says, and why they differ."""

from __future__ import annotations

import sys
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.markup import escape

from trivet.cli.logs import Moment
from trivet.cli.output import err, json_option, local_time, out, print_json, table
from trivet.errors import (
    ContractMismatch,
    FeaturesUnavailable,
    RegistryDenied,
    RegistryUnavailable,
    UnknownModel,
    VersionCorrupt,
)
from trivet.settings import Settings, load_settings

if TYPE_CHECKING:
    from collections.abc import Iterator

    from trivet.observe.skew.find import Replay, Skew
    from trivet.observe.skew.tally import ColumnSkew, Example

THRESHOLD = 0.01
_SHOWN = 10
_SHOWN_ID = 8


@click.command()
@click.argument("model")
@click.option("--since", type=Moment(), help="Asked since: 10m ago (s, m, h, d), or ISO 8601.")
@click.option("--until", type=Moment(), help="Asked before: the same.")
@click.option("--version", type=int, help="Answered by this version.")
@click.option(
    "--limit", default=10_000, type=click.IntRange(min=1), help="The newest; default 10,000."
)
@click.option(
    "--threshold",
    default=THRESHOLD,
    type=click.FloatRange(0, 1),
    help=f"Most of a column's values that may be skewed, as a share; default {THRESHOLD}.",
)
@click.option("--out", "folder", type=click.Path(path_type=Path), help="Default: reports/MODEL.")
@click.option("--no-picture", is_flag=True, help="Do not draw training beside serving.")
@json_option
def skew(
    model: str,
    *,
    since: datetime | None,
    until: datetime | None,
    version: int | None,
    limit: int,
    threshold: float,
    folder: Path | None,
    no_picture: bool,
    as_json: bool,
) -> None:
    """Replay logged predictions of MODEL against the offline store, and say why values differ.

    Overrides, rows from a cache and lag are shown, and are no skew. Exit code 1 if a column has more
    skew than the threshold.
    """
    from trivet.cli.progress import ReplayBar
    from trivet.observe.skew.find import find_skew
    from trivet.observe.skew.report import document, write_document

    settings = load_settings()
    target = folder or settings.root / "reports" / model
    with ReplayBar() as bar:
        found, replays = find_skew(
            settings, model, since=since, until=until, version=version, limit=limit, watcher=bar
        )
    picture = None if no_picture else _draw(settings, found, replays, target)
    whole = document(found, threshold, picture)
    write_document(whole, target)
    if as_json:
        print_json(whole)
    else:
        _show(found, threshold, picture)
    sys.exit(1 if found.over(threshold) else 0)


def _draw(
    settings: Settings, found: Skew, replays: tuple[Replay, ...], target: Path
) -> Path | None:
    """Draw the version that answered most, beside its training set if that can be made."""
    from trivet.observe.skew.report import Training, main_version, write_picture
    from trivet.registry.client import require_database
    from trivet.training.record import check_same
    from trivet.training.sets import remake_training_set

    version, note = main_version(found), None
    name = f"{found.model} version {version}"
    try:
        require_database(settings)
        made, record = remake_training_set(settings, found.model, version, progress=err.is_terminal)
    except (
        ContractMismatch,
        FeaturesUnavailable,
        RegistryDenied,
        RegistryUnavailable,
        UnknownModel,
        VersionCorrupt,
    ) as fault:
        note = f"Without training: {fault.sentence}"
        return write_picture(
            found, replays, Training(version=version, path=None, note=note), target
        )
    try:
        check_same(made.record, record, name)
    except VersionCorrupt as fault:
        note = fault.sentence
    training = Training(version=version, path=made.path, note=note)
    return write_picture(found, replays, training, target)


def _show(found: Skew, threshold: float, picture: Path | None) -> None:
    versions = ", ".join(f"{rows:,} of version {v}" for v, rows in sorted(found.versions.items()))
    asked = f"asked {local_time(found.first)} to {local_time(found.last)}"
    out.print(
        f"[bold]{escape(found.model)}[/]: {versions}, {asked}", highlight=False, soft_wrap=True
    )
    out.print(table("", *_columns(found)))
    if found.examples:
        names = ("cause", "column", "request", "entity", "served", "offline", "known at")
        out.print(table("Examples", names, map(_example, _chosen(found.examples))))
    if found.drift:
        rows = [(d.column, d.aspect, d.contract, d.feast) for d in found.drift]
        columns = ("column", "what", "contract", "Feast now")
        out.print(table("Feast is no longer as the contract says", columns, rows))
    for why, count in found.left_out.items():
        err.print(
            f"{count:,} rows are left out: {why}", style="yellow", highlight=False, markup=False
        )
    over = found.over(threshold)
    for column in over:
        err.print(
            f"{column.column}: {column.share:.2%} is skewed, over the threshold of {threshold:.2%}.",
            style="red",
            highlight=False,
            markup=False,
        )
    if picture is not None:
        click.echo(picture)


def _columns(found: Skew) -> tuple[tuple[str, ...], Iterator[tuple[str, ...]]]:
    """Return the table's heads and rows: a column of it for each cause that occurs."""
    from trivet.observe.skew.causes import CAUSES

    causes = [cause for cause in CAUSES if any(cause in c.causes for c in found.columns)]

    def row(column: ColumnSkew) -> tuple[str, ...]:
        counts = (f"{column.causes[c]:,}" if c in column.causes else "" for c in causes)
        share = f"{column.share:.2%}"
        return (
            escape(column.column),
            f"{column.compared:,}",
            f"{column.same:,}",
            *counts,
            f"[red]{share}[/]" if column.skewed else share,
        )

    heads = ("column", "compared", "same", *causes, "skew")
    return heads, map(row, found.columns)


def _chosen(examples: tuple[Example, ...]) -> list[Example]:
    """Return some examples of every cause, of different columns first."""
    turns: dict[Any, int] = {}
    by_turn = []
    for one in examples:
        turn = turns[one.cause, one.column] = turns.get((one.cause, one.column), 0) + 1
        by_turn.append((turn, one))
    taken: dict[Any, int] = {}
    chosen = []
    for _, one in sorted(by_turn, key=lambda pair: pair[0]):
        taken[one.cause] = taken.get(one.cause, 0) + 1
        if taken[one.cause] <= max(1, _SHOWN // len({e.cause for e in examples})):
            chosen.append(one)
    order = list(dict.fromkeys(one.cause for one in examples))
    return sorted(chosen, key=lambda one: order.index(one.cause))


def _example(one: Example) -> tuple[str, ...]:
    keys = " ".join(f"{name}={value}" for name, value in one.keys.items())
    known = dict.fromkeys((one.served_event, one.offline_event))
    return (
        one.cause,
        escape(one.column),
        escape(f"{one.request_id[:_SHOWN_ID]} {one.row}"),
        escape(keys),
        escape(_value(one.served, one.status)),
        escape(_value(one.offline, "none")),
        " / ".join("-" if at is None else local_time(at)[5:] for at in known),
    )


def _value(value: Any, otherwise: str) -> str:
    """Return a value to all its digits: a difference may lie in the last one."""
    if value is None:
        return otherwise.replace("_", " ")
    return local_time(value) if isinstance(value, datetime) else str(value)


COMMANDS = (skew,)
