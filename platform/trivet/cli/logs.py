"""`trivet log`: what was predicted, from which features, by which version."""

from __future__ import annotations

import json
import re
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import click
from rich.markup import escape

from trivet.cli.output import err, json_option, local_time, out, print_json, table
from trivet.clock import system_clock
from trivet.settings import load_settings

if TYPE_CHECKING:
    from collections.abc import Iterator

_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
_DOCUMENTS = ("trivet__absent", "trivet__defaults", "trivet__overrides", "trivet__output")
_SHOWN_ID = 8


class Moment(click.ParamType[datetime]):
    """A moment: `10m` (s, m, h, d) ago, or ISO 8601, in this machine's time zone unless it says one."""

    name = "when"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> datetime:
        """Return it, aware, in UTC."""
        try:
            if ago := re.fullmatch(r"(\d+)([smhd])", value):
                return system_clock() - timedelta(**{_UNITS[ago[2]]: int(ago[1])})
            return datetime.fromisoformat(value).astimezone(UTC)
        except (ValueError, OverflowError):
            self.fail(f"{value!r} is neither like 10m nor like 2026-11-22T13:00", param, ctx)


class KeyValue(click.ParamType[tuple[str, str]]):
    """A join key or request column and its value."""

    name = "name=value"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, str]:
        """Split it at its first `=`."""
        name, equals, wanted = value.partition("=")
        if not equals or not name:
            self.fail(f"{value!r} is not like origin=JFK", param, ctx)
        return name, wanted


@click.command()
@click.argument("model")
@click.option("--since", type=Moment(), help="Asked since: 10m ago (s, m, h, d), or ISO 8601.")
@click.option("--until", type=Moment(), help="Asked before: the same.")
@click.option("--version", type=int, help="Answered by this version.")
@click.option("--request-id", help="Of this request.")
@click.option("--key", "keys", type=KeyValue(), multiple=True, help="With this value: origin=JFK.")
@click.option("--absent", metavar="COLUMN", help="Without a value of this column.")
@click.option("--limit", default=20, type=click.IntRange(min=1), help="The newest; default 20.")
@json_option
def log(
    model: str,
    *,
    since: datetime | None,
    until: datetime | None,
    version: int | None,
    request_id: str | None,
    keys: tuple[tuple[str, str], ...],
    absent: str | None,
    limit: int,
    as_json: bool,
) -> None:
    """Show the newest logged predictions of MODEL on this host, oldest first."""
    from trivet.observe.log import read_log

    rows = read_log(
        load_settings(),
        model,
        since=since,
        until=until,
        version=version,
        request_id=request_id,
        keys=dict(keys),
        absent=absent,
        limit=limit,
    ).to_pylist()
    if as_json:
        print_json([_document(row) for row in rows])
        return
    if not rows:
        err.print("No logged prediction fits.", highlight=False)
        return
    columns = ("asked", "version", "request", "prediction", "absent", "ms")
    out.print(table(f"{model}: predictions", columns, _lines(rows)))


def _document(row: dict[str, Any]) -> dict[str, Any]:
    """Return a row as it is stored, with the documents in it opened."""
    return {
        name: json.loads(value) if name in _DOCUMENTS and value is not None else value
        for name, value in row.items()
    }


def _lines(rows: list[dict[str, Any]]) -> Iterator[tuple[str, ...]]:
    for row in rows:
        document = _document(row)
        yield (
            local_time(row["__log_timestamp"])[5:],
            _version(row),
            escape(f"{row['__request_id'][:_SHOWN_ID]} {row['trivet__row']}"),
            escape(_prediction(document["trivet__output"])),
            _absent(document["trivet__absent"] or {}),
            f"{1000 * row['trivet__seconds__total']:.2f}",
        )


def _absent(reasons: dict[str, str]) -> str:
    """Return how many values were absent and why; `--json` names them."""
    return ", ".join(f"{count} {why}" for why, count in sorted(Counter(reasons.values()).items()))


def _version(row: dict[str, Any]) -> str:
    number, route = str(row["trivet__version"]), row["trivet__route"]
    return f"{number} {escape(route)}" if route.startswith("alias/") else number


def _prediction(output: dict[str, Any]) -> str:
    """Return what fits a table: the class and how sure it is, or the value, or what there is."""
    if "class_name" in output:
        confidence = output.get("confidence")
        sure = f" {confidence:.3f}" if isinstance(confidence, float) else ""
        return f"{output['class_name']}{sure}"
    shown = {k: v for k, v in output.items() if not isinstance(v, dict | list)}
    return ", ".join(f"{v:.6g}" if isinstance(v, float) else str(v) for v in shown.values())


COMMANDS = (log,)
