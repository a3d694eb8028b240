"""How results and errors look on a terminal, and as JSON."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Sequence
from datetime import datetime
from typing import Any, TypeVar

import click
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from trivet.errors import ContractMismatch, GatesRefused, TrivetError

out = Console()
err = Console(stderr=True)

F = TypeVar("F", bound=Callable[..., Any])


def json_option(function: F) -> F:
    """Give a command `--json`: the result as JSON on standard output."""
    return click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")(
        function
    )


def print_json(result: object) -> None:
    """Print a result as JSON; times as ISO 8601."""
    click.echo(json.dumps(result, indent=2, default=_plain))


def table(
    title: str,
    columns: Sequence[str],
    rows: Iterable[Sequence[str]],
    wraps: Collection[str] = (),
) -> Table:
    """Lay out rows under a title.

    `wraps`: the columns that give way on a narrow terminal, by going on in the next line; where that is
    not enough, all are cut.
    """
    made = Table(
        title=title,
        title_justify="left",
        title_style="bold",
        box=SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
        min_width=len(title),  # else it is broken over lines of the table's width
    )
    for column in columns:
        made.add_column(column, no_wrap=column not in wraps)
    for row in rows:
        made.add_row(*row)
    return made


def show_error(error: TrivetError) -> None:
    """Say what is wrong and what to do; a contract's differences column by column.

    What gates have said stands on standard output already; here they are only named.
    """
    said = error.summary if isinstance(error, GatesRefused) else error.sentence
    sentence = escape(said)  # which may name [tool.trivet], or hold a list
    err.print(f"[bold red]{error.title}:[/] {sentence}", highlight=False, soft_wrap=True)
    if isinstance(error, ContractMismatch):
        rows = [(d.column, d.aspect, d.contract, d.feast) for d in error.differences]
        err.print(table("", ("column", "what", error.held, "Feast now"), rows))
    if error.hint:
        err.print(error.hint, style="dim", highlight=False, soft_wrap=True, markup=False)


def local_time(moment: datetime) -> str:
    """Return a moment in this machine's time zone, to the second."""
    return moment.astimezone().strftime("%Y-%m-%d %H:%M:%S")


def _plain(value: object) -> object:
    if isinstance(value, datetime):
        return value.isoformat()
    return str(value)
