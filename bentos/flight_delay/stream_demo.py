"""`make stream-demo`: a day of the year again, through the streams; predictions against outcomes."""

from __future__ import annotations

import argparse
import contextlib
import signal
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from datetime import time as clock_time

import pandas as pd
from rich.box import SIMPLE_HEAD
from rich.live import Live
from rich.table import Table

import journey
from departures import read_departures, tables
from flights import read_redating
from journey import DATA, console
from redating import Redating
from replay import Minute, Replay
from stream_project import GROUP, Compared, Demo, compare, open_demo
from stream_tally import NEW_YORK, Tally
from stream_wire import Wire

LINE_SECONDS = 5.0
"""Between two lines, where there is no terminal to draw in."""
DAY: int = 11
"""Of the held-out months: 12 September 2013, with thunderstorms in the afternoon."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What is replayed, and how."""

    since: datetime
    until: datetime
    speed: float
    """Seconds of the year in a second of the demo."""
    seconds: float
    """Of the demo, after which it ends wherever it is."""


def main() -> None:
    """Prepare, replay, and say what came of it."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    arguments = _arguments()
    try:
        _prepare(arguments.rows)
        wanted = _wanted(arguments)
        tally = Tally(speed=wanted.speed, at=wanted.since)
        with open_demo(wanted.since) as demo:
            dead = run(demo, wanted, tally)
            compared = compare(demo, wanted.since, tally.at)
    except KeyboardInterrupt:
        console.print("Stopped; nothing is left behind.")
        return
    console.print(tally.picture())
    console.print(_table(compared))
    sys.exit(1 if dead or not all(found.same for found in compared.values()) else 0)


def _prepare(rows: int | None) -> None:
    """Walk the journey, unless there is a champion: the demo brings its own features online."""
    redating = read_redating(DATA)
    if redating is not None and not redating.exhausted(datetime.now(UTC)):
        project = journey.project()
        for version in journey.read_versions():
            if (version["state"], version["project"]) == ("champion", project):
                return
    journey.prepare(rows)


def run(demo: Demo, wanted: Wanted, tally: Tally) -> int:
    """Replay until the span or the time is over, or Ctrl-C; return how many messages were given up."""
    with console.status("Reading the flights of the year"):
        redating = _redating()
        replay = Replay(read_departures(tables()), tables(), pd.Timedelta(weeks=redating.weeks))
        minutes = replay.minutes(wanted.since, wanted.until)
    with demo.client() as client:
        wire = Wire(client, demo.names, GROUP)
        with console.status("Waiting for the first answer"):
            _begin(wire, minutes, tally)
        with contextlib.suppress(KeyboardInterrupt), _shown(tally) as show:
            _replay(wire, minutes, wanted, tally, show)
        return wire.given_up()


def _replay(
    wire: Wire, minutes: Iterator[Minute], wanted: Wanted, tally: Tally, show: Callable[[], None]
) -> None:
    """Tell minute after minute, none before its time."""
    began, first = time.monotonic(), tally.at
    for minute in minutes:
        due = began + (minute.at - first).total_seconds() / wanted.speed
        while (left := due - time.monotonic()) > 0:
            time.sleep(min(left, 0.1))
            show()
        if time.monotonic() - began > wanted.seconds:
            return
        tell(wire, minute, tally)
        tally.behind = max(0.0, time.monotonic() - due)
        show()


def _begin(wire: Wire, minutes: Iterator[Minute], tally: Tally) -> None:
    """Tell the first minutes, up to an answer: until then, processes are starting."""
    for minute in minutes:
        tell(wire, minute, tally)
        if tally.questions.count:
            break
    tally.forget_waits()


def tell(wire: Wire, minute: Minute, tally: Tally) -> None:
    """Send what became known at a minute; when all of it is online, what is asked at its end."""
    if minute.events:
        tally.events.add(len(minute.events), wire.push(minute.events))
        tally.events.waiting = wire.events_waiting
    tally.came_out(minute.outcomes)
    if minute.questions:
        answers, seconds = wire.ask(minute.questions, minute.at)
        tally.questions.add(len(answers), seconds)
        tally.questions.waiting = wire.questions_waiting
        tally.answered(answers)
    tally.at = minute.at


@contextlib.contextmanager
def _shown(tally: Tally) -> Iterator[Callable[[], None]]:
    """Draw the tally as it grows; where there is no terminal, write a line every few seconds."""
    if not console.is_terminal:
        written = time.monotonic()

        def write() -> None:
            nonlocal written
            if time.monotonic() - written >= LINE_SECONDS:
                written = time.monotonic()
                console.print(tally.line(), soft_wrap=True)

        yield write
        return
    with Live(tally.picture(), console=console, auto_refresh=False, transient=True) as live:
        drawn = 0.0

        def draw() -> None:
            nonlocal drawn
            if time.monotonic() - drawn >= 0.5:  # noqa: PLR2004 - twice a second
                drawn = time.monotonic()
                live.update(tally.picture(), refresh=True)

        yield draw


def _table(compared: dict[str, Compared]) -> Table:
    table = Table(title="Streamed rows beside the batch's", title_justify="left", box=SIMPLE_HEAD)
    table.add_column("view")
    for name in ("batch", "streamed", "equal"):
        table.add_column(name, justify="right")
    table.add_column("")
    for view, found in compared.items():
        if not found.batch and not found.streamed:  # routes are due once a day
            continue
        counts = (f"{found.batch:,}", f"{found.streamed:,}", f"{found.equal:,}")
        table.add_row(view, *counts, "[green]✓[/]" if found.same else "[red]✗[/]")
    return table


def _redating() -> Redating:
    redating = read_redating(DATA)
    if redating is None:
        sys.exit("There is no data; `make run` makes it.")
    return redating


def _wanted(arguments: argparse.Namespace) -> Wanted:
    """Turn New York's day and hour into a span of the moved year.

    Exits where a part of it is yet to come: the stream takes no events of the future.
    """
    redating = _redating()
    day = arguments.date or (redating.test[0] + timedelta(days=DAY)).date()
    since = datetime.combine(day, arguments.time, UTC) - NEW_YORK
    until = since + timedelta(hours=arguments.hours)
    if since < redating.train[0] + timedelta(days=1) or until > datetime.now(UTC):
        days = f"{redating.train[0] + timedelta(days=1):%F} and {datetime.now(UTC):%F}"
        sys.exit(f"The replayed year is here between {days}; {since:%F %R} UTC is not in it.")
    return Wanted(since=since, until=until, speed=arguments.speed, seconds=arguments.seconds)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Replay flights through the streams.")
    parser.add_argument("--date", type=date.fromisoformat, help="a day of the moved year")
    parser.add_argument(
        "--time",
        type=clock_time.fromisoformat,
        default=clock_time(6),
        help="when to begin, New York's standard time (06:00)",
    )
    parser.add_argument("--hours", type=float, default=18.0, help="of the year, at most (18)")
    parser.add_argument("--speed", type=float, default=720.0, help="times the real one (720)")
    parser.add_argument("--seconds", type=float, default=90.0, help="of the demo, at most (90)")
    parser.add_argument("--rows", type=int, help="train on a sample, if nothing is trained yet")
    return parser.parse_args()


if __name__ == "__main__":
    main()
