"""What came of a canary or a shadow, in figures that add up over workers and over time.

    <home>/models/<model>/canary/worker-*.json   each worker's own, replaced three times a second
    <home>/models/<model>/canary/verdict.json    the canary that was set back, and why

Workers write the first and read the second, the follower the other way round: a broken canary ends on
this host also while MLflow is down.
"""

from __future__ import annotations

import math
import os
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from datetime import datetime
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

_GROWTH = math.log(1.05)
_SMALLEST = 1e-5
_VERDICT = "verdict.json"
_STALE_SECONDS = 3600.0

K = TypeVar("K", int, str)


def bucket(seconds: float) -> int:
    """Return the bucket of a duration: each is a twentieth longer than the one before."""
    return max(0, math.ceil(math.log(max(seconds, _SMALLEST) / _SMALLEST) / _GROWTH))


def upper(number: int) -> float:
    """Return the longest duration of a bucket, in seconds."""
    return _SMALLEST * math.exp(_GROWTH * number)


class Figures(BaseModel):
    """Counts since a canary or a shadow began, or over a part of that."""

    entry: str
    """Of the ledger, which began it: figures of another one are not added."""
    requests: int = 0
    """That it was to compute, whatever came of it."""
    errors: dict[str, int] = Field(default_factory=dict)
    """Requests that it failed, by kind: `raised`, `refused`, `not finite`, `late`."""
    dropped: int = 0
    """Requests that a shadow had no time for."""
    rows: int = 0
    """Rows that were compared with the champion's."""
    unlike: int = 0
    """Rows with another class, or with a value beyond the tolerance."""
    difference: float = 0.0
    """Sum over rows of the absolute difference: of probabilities (their mean), or of values."""
    took: dict[int, int] = Field(default_factory=dict)
    """Its requests by the bucket of their duration."""
    champion_took: dict[int, int] = Field(default_factory=dict)
    """The champion's requests, measured alike."""

    @property
    def failed(self) -> int:
        """How many requests it failed."""
        return sum(self.errors.values())

    @property
    def error_rate(self) -> float:
        """The share of its requests that it failed."""
        return self.failed / self.requests if self.requests else 0.0

    @property
    def divergence(self) -> float:
        """The share of its rows that are unlike the champion's."""
        return self.unlike / self.rows if self.rows else 0.0

    @property
    def mean_difference(self) -> float:
        """The mean absolute difference of a row."""
        return self.difference / self.rows if self.rows else 0.0

    def plus(self, other: Figures, sign: int = 1) -> Figures:
        """Return the sum of both, or by a sign of -1 what came after the other."""
        return Figures(
            entry=self.entry,
            requests=self.requests + sign * other.requests,
            errors=_added(self.errors, other.errors, sign),
            dropped=self.dropped + sign * other.dropped,
            rows=self.rows + sign * other.rows,
            unlike=self.unlike + sign * other.unlike,
            difference=self.difference + sign * other.difference,
            took=_added(self.took, other.took, sign),
            champion_took=_added(self.champion_took, other.champion_took, sign),
        )


def _added(one: dict[K, int], other: dict[K, int], sign: int) -> dict[K, int]:
    total = Counter(one)
    for key, count in other.items():
        total[key] += sign * count
    return {key: count for key, count in total.items() if count > 0}


def quantile(took: dict[int, int], share: float) -> float | None:
    """Return the duration that a share of the requests kept, in seconds; None without any."""
    left = share * sum(took.values())
    for number, count in sorted(took.items()):
        left -= count
        if left <= 0:
            return upper(number)
    return None


def slower(took: dict[int, int], seconds: float) -> int:
    """Return how many requests surely took longer: those whose bucket begins above it."""
    return sum(count for number, count in took.items() if upper(number - 1) >= seconds)


class Tallies(BaseModel):
    """What one worker counts."""

    model_config = ConfigDict(frozen=True)

    canary: Figures | None = None
    shadow: Figures | None = None
    broken: str | None = None
    """The limit that the worker's own figures break: it has stopped splitting."""


class Verdict(BaseModel):
    """A canary that broke a limit, found on this host; it stands until the ledger has it too."""

    model_config = ConfigDict(frozen=True)

    entry: str
    version: int
    at: datetime
    sentence: str
    figures: Figures


def write_tallies(folder: Path, name: str, tallies: Tallies) -> None:
    """Replace a worker's figures as a whole."""
    _replace(folder / f"worker-{name}.json", tallies)


def read_tallies(folder: Path) -> Iterator[Tallies]:
    """Yield the figures of every worker that there was; what is not readable is left out."""
    for file in sorted(folder.glob("worker-*.json")):
        try:
            yield Tallies.model_validate_json(file.read_bytes())
        except (OSError, ValidationError):
            continue


def added_up(figures: Iterable[Figures | None], entry: str) -> Figures:
    """Return the sum of those figures that belong to an entry."""
    total = Figures(entry=entry)
    for one in figures:
        if one is not None and one.entry == entry:
            total = total.plus(one)
    return total


def sweep_tallies(folder: Path) -> None:
    """Delete what workers left behind that have long ended."""
    for file in folder.glob("worker-*.json"):
        try:
            if time.time() - file.stat().st_mtime > _STALE_SECONDS:
                file.unlink()
        except OSError:
            continue


def write_verdict(folder: Path, verdict: Verdict) -> None:
    """Say to the workers of this host that a canary has ended."""
    _replace(folder / _VERDICT, verdict)


def read_verdict(folder: Path) -> Verdict | None:
    """Return the newest verdict of this host, or None."""
    try:
        return Verdict.model_validate_json((folder / _VERDICT).read_bytes())
    except (FileNotFoundError, ValidationError):
        return None


def verdict_mark(folder: Path) -> int:
    """Return what changes with the verdict: one `stat` call."""
    try:
        return (folder / _VERDICT).stat().st_mtime_ns
    except FileNotFoundError:
        return 0


def _replace(file: Path, document: BaseModel) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    partial = file.with_name(f".{file.stem}.{os.getpid()}.part")
    partial.write_text(document.model_dump_json())
    partial.replace(file)
