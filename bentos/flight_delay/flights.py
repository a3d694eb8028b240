"""The data step: the flights of 2013 as Parquet sources for Feast, moved to today.

Run it with ``python bentos/flight_delay/flights.py``. It writes below ``data/flights/`` at the
repository's root: one file a feature view, the departures to learn from, and ``redating.json``.
"""

from __future__ import annotations

import argparse
import shutil
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
)
from rich.table import Table

from departures import labelled, read_departures, tables, usable
from redating import Redating, load, redate, save, weeks_until
from sources import SOURCES

__all__ = ["Redating", "prepare", "read_redating"]

DATA: Final = Path(__file__).resolve().parents[2] / "data"


def prepare(
    data: Path,
    *,
    now: datetime,
    project: str = "flights",
    progress: bool = True,
    force: bool = False,
) -> Redating:
    """Write the sources of the worked example, unless they are there and reach far enough.

    Args:
        data: The folder for generated data; the files go to ``flights/`` in it.
        now: The moment to move the start of November to, by whole weeks.
        project: The Feast project that the data is made for.
        progress: Whether to show what is done on stderr.
        force: Whether to write anew what is there.

    Returns:
        Where the months now lie.

    Raises:
        ValueError: ``now`` carries no time zone.
        ModuleNotFoundError: The package with the tables is not installed.
    """
    if now.tzinfo is None:
        message = "now must carry a time zone"
        raise ValueError(message)
    console = Console(stderr=True, quiet=not progress)
    there = read_redating(data)
    if there and there.project == project and not there.exhausted(now) and not force:
        until = f"{there.data_until:%F %R} UTC"
        console.print(f"Flights are there for project {project}, until {until}.")
        return there
    return _write_all(data / "flights", now.astimezone(UTC), project, console)


def read_redating(data: Path) -> Redating | None:
    """Read where the months lie; None where the data has not been prepared, or not finished."""
    folder = data / "flights"
    files = [folder / f"{name}.parquet" for name in (*SOURCES, "departures")]
    if not all(file.exists() for file in files):
        return None
    return load(folder / "redating.json")


def _write_all(folder: Path, now: datetime, project: str, console: Console) -> Redating:
    """Write every file; ``redating.json`` goes first and comes last, as the sign of a whole."""
    folder.mkdir(parents=True, exist_ok=True)
    sign = folder / "redating.json"
    sign.unlink(missing_ok=True)
    for pushed in folder.glob("*.segments"):  # of where the year was before
        shutil.rmtree(pushed)
    shift = pd.Timedelta(weeks=weeks_until(now))
    with _bar(console) as bar:
        task = bar.add_task("Reading the flights of 2013", total=len(SOURCES) + 2)
        flights = read_departures(tables())
        bar.update(task, advance=1, description="departures")
        kept, dropped = usable(flights)
        _write(labelled(kept), folder / "departures.parquet", shift, by="scheduled_departure")
        data_until = _write_sources(flights, folder, shift, bar, task)
    redating = redate(project, now=now, data_until=data_until)
    save(redating, sign)
    console.print(_report(len(flights), len(kept), dropped))
    console.print(f"Moved by {redating.weeks} weeks: November starts at {redating.live_from:%F}.")
    return redating


def _write_sources(
    flights: pd.DataFrame, folder: Path, shift: pd.Timedelta, bar: Progress, task: TaskID
) -> datetime:
    """Write each view's rows; return the instant of 2013 until which every source has some.

    The aircraft register does not count: it is written once a year and does not run out.
    """
    last: dict[str, pd.Timestamp] = {}
    for name, source in SOURCES.items():
        bar.update(task, advance=1, description=name)
        rows = source(flights, tables())
        _write(rows, folder / f"{name}.parquet", shift, by="event_timestamp")
        last[name] = rows["event_timestamp"].max()
    bar.update(task, advance=1, description="Flights are ready")
    return min(at for name, at in last.items() if name != "plane").to_pydatetime()


def _write(rows: pd.DataFrame, path: Path, shift: pd.Timedelta, *, by: str) -> None:
    """Write a frame in the order of ``by``, its instants moved and in microseconds.

    Feast cannot materialize nanoseconds. A reader sees the old file or the new one, never a part.
    """
    moved = rows.apply(lambda column: column + shift if column.dtype.kind == "M" else column)
    moved = moved.sort_values(by, kind="stable", ignore_index=True)
    unfinished = path.with_name(path.name + ".part")
    table = pa.Table.from_pandas(moved, preserve_index=False)
    pq.write_table(table, unfinished, coerce_timestamps="us")
    unfinished.replace(path)


def _bar(console: Console) -> Progress:
    """Return a progress bar that counts the files."""
    columns = (TextColumn("{task.description:<28}"), BarColumn(), MofNCompleteColumn())
    return Progress(*columns, TimeElapsedColumn(), console=console, disable=console.quiet)


def _report(read: int, kept: int, dropped: dict[str, int]) -> Table:
    """Say how many departures were dropped, and why."""
    table = Table(title="Departures from New York")
    table.add_column("")
    table.add_column("flights", justify="right")
    table.add_row("read", f"{read:,}")
    for reason, count in dropped.items():
        table.add_row(f"dropped: {reason}", f"{count:,}")
    table.add_row("to learn from", f"{kept:,}", style="bold")
    return table


def main() -> None:
    """Run the data step from the command line."""
    parser = argparse.ArgumentParser(description="Prepare the flights for Feast.")
    parser.add_argument("--data", type=Path, default=DATA, help="folder for generated data")
    parser.add_argument("--now", type=datetime.fromisoformat, help="ISO, UTC if without a zone")
    parser.add_argument("--project", default="flights", help="Feast project the data is made for")
    parser.add_argument("--force", action="store_true", help="write anew what is there")
    arguments = parser.parse_args()
    now = arguments.now or datetime.now(UTC)
    if now.tzinfo is None:
        now = now.replace(tzinfo=UTC)
    prepare(arguments.data, now=now, project=arguments.project, force=arguments.force)


if __name__ == "__main__":
    main()
