"""Where the flights of 2013 lie in time once they have been moved to today.

The whole year is moved by one number of weeks, so that weekdays stay and every difference between
two instants stays: TTLs of hours then mean what they say. The training months are past, today is
at the start of November, and the sources already hold the weeks to come.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

FORMAT: Final = 1
"""Raised when the sources change, so that data written by older code is written anew."""

_TRAIN_FROM: Final = datetime(2013, 1, 1, tzinfo=UTC)
_TEST_FROM: Final = datetime(2013, 9, 1, tzinfo=UTC)
_LIVE_FROM: Final = datetime(2013, 11, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class Redating:
    """How far the year was moved, and the months' new places; all instants are UTC.

    ``train`` and ``test`` are ``[from, until)``: January to August, September and October.
    """

    project: str
    weeks: int
    train: tuple[datetime, datetime]
    test: tuple[datetime, datetime]
    live_from: datetime
    data_until: datetime
    made_at: datetime

    def exhausted(self, now: datetime, margin: timedelta = timedelta(hours=6)) -> bool:
        """Say whether less than ``margin`` is left until the sources have nothing new to say."""
        return now + margin > self.data_until


def weeks_until(now: datetime) -> int:
    """Count the weeks that put 2013-11-01 00:00 UTC at or before ``now``, by less than one."""
    return (now - _LIVE_FROM) // timedelta(weeks=1)


def redate(project: str, *, now: datetime, data_until: datetime) -> Redating:
    """Move the year to ``now``.

    Args:
        project: The Feast project that the data is made for.
        now: Today, in the weeks after ``live_from``.
        data_until: The instant of 2013 until which every source has rows.
    """
    weeks = weeks_until(now)
    shift = timedelta(weeks=weeks)
    return Redating(
        project=project,
        weeks=weeks,
        train=(_TRAIN_FROM + shift, _TEST_FROM + shift),
        test=(_TEST_FROM + shift, _LIVE_FROM + shift),
        live_from=_LIVE_FROM + shift,
        data_until=data_until + shift,
        made_at=now,
    )


def load(path: Path) -> Redating | None:
    """Read a re-dating; None where there is none, or one of another format."""
    if not path.exists():
        return None
    stored = json.loads(path.read_text(encoding="utf-8"))
    if stored["format"] != FORMAT:
        return None
    return Redating(
        project=stored["project"],
        weeks=stored["weeks"],
        train=_span(stored["train"]),
        test=_span(stored["test"]),
        live_from=datetime.fromisoformat(stored["live_from"]),
        data_until=datetime.fromisoformat(stored["data_until"]),
        made_at=datetime.fromisoformat(stored["made_at"]),
    )


def save(redating: Redating, path: Path) -> None:
    """Write a re-dating so that a reader sees all of it or none."""
    unfinished = path.with_name(path.name + ".part")
    content = {"format": FORMAT, **asdict(redating)}
    text = json.dumps(content, indent=2, default=datetime.isoformat)
    unfinished.write_text(text + "\n", encoding="utf-8")
    unfinished.replace(path)


def _span(stored: list[str]) -> tuple[datetime, datetime]:
    """Read ``[from, until)``."""
    since, until = stored
    return datetime.fromisoformat(since), datetime.fromisoformat(until)
