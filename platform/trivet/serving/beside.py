"""Have another version compute what the champion has answered, on the rows that were read for it."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from trivet.errors import InvalidInstances
from trivet.features.values import Found, Keys
from trivet.serving.answering import Answers, Batch, answer
from trivet.serving.asking import Asked
from trivet.serving.likeness import Likeness, compare, is_finite
from trivet.serving.loaded import Version

Fetch = Callable[[Version, Keys, datetime], Found]
"""Reads features in the thread for that; blocks, and gives up within the setting."""


@dataclass(slots=True, kw_only=True)
class Work:
    """One request that the champion has answered."""

    champion: Version
    instances: list[Any]
    found: Found
    """The rows that were read for it."""
    at: datetime
    """The moment as of which they count."""
    predictions: list[dict[str, Any]]
    """The champion's."""


@dataclass(slots=True, kw_only=True)
class Beside:
    """What came of several requests; each is in a part, or has failed."""

    batch: Batch
    parts: list[Answers]
    places: list[int]
    """Which of the works each request of the batch is."""
    failed: dict[int, str] = field(default_factory=dict)
    """By the place of the work: `raised`, `refused` or `not finite`."""
    alike: dict[int, Likeness] = field(default_factory=dict)
    causes: list[Exception] = field(default_factory=list)
    seconds: float = 0.0


def compute(
    version: Version, works: Sequence[Work], fetch: Fetch, tolerance: float | None
) -> Beside:
    """Compute all works with a version, and compare; whatever it raises is one work's failure."""
    started = time.perf_counter()
    failed: dict[int, str] = {}
    causes: list[Exception] = []
    places, asked, found = [], [], []
    for place, work in enumerate(works):
        try:
            own = version.check(work.instances)
            rows = _rows(version, work, own, fetch)
        except Exception as err:  # noqa: BLE001 - whatever it is, it is this version's failure
            failed[place] = _kind(err)
            causes.append(err)
            continue
        places.append(place)
        asked.append(own)
        found.append(rows)
    batch = Batch(version=version, asked=asked, found=_joined(found), at=works[-1].at)
    outcome = answer(batch)
    failed |= {places[number]: _kind(error) for number, error in outcome.errors.items()}
    causes += outcome.errors.values()
    done = Beside(batch=batch, parts=outcome.answers, places=places, failed=failed, causes=causes)
    _compare(done, works, tolerance)
    done.seconds = time.perf_counter() - started
    return done


def _rows(version: Version, work: Work, own: Asked, fetch: Fetch) -> Found:
    """Return the champion's rows where they fit, else what this version's own reader finds."""
    if version.reads_like(work.champion):
        return work.found
    recalled = version.recall(own, work.at)
    return fetch(version, own.keys, work.at) if recalled is None else recalled


def _joined(found: Sequence[Found]) -> Found:
    return [[row for rows in of_view for row in rows] for of_view in zip(*found, strict=True)]


def _compare(done: Beside, works: Sequence[Work], tolerance: float | None) -> None:
    rows = [one.rows for one in done.batch.asked]
    for part in done.parts:
        for number, of_request in part.each(rows):
            place = done.places[number]
            predictions, champion = part.predictions[of_request], works[place].predictions
            try:
                if is_finite(predictions, champion):
                    done.alike[place] = compare(champion, predictions, tolerance)
                else:
                    done.failed[place] = "not finite"
            except Exception as err:  # noqa: BLE001 - a postprocess may give anything
                done.failed[place] = "raised"
                done.causes.append(err)


def _kind(err: Exception) -> str:
    return "refused" if isinstance(err, InvalidInstances) else "raised"
