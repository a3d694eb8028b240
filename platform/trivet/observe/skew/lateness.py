"""Late data or lag: whether an event that was not online should have been.

A materialization is taken to run at the end of its interval, as one does that brings everything up to
now. It then takes its time to write, and until then what it brings is on its way and not late. Feast
records no end of that, so the log itself is asked: an event that a later request of the same entity
was served, without another materialization between, was on its way.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from trivet.observe.skew.causes import NEVER, SECOND, Mask, Micros

Interval = tuple[int, int]
"""From when to when a view has been materialized, both included, in microseconds since 1970."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Missing:
    """The newest events that the offline store has for n logged rows of a view, and what was served."""

    entity: npt.NDArray[np.int64]
    """A number that is the same for the same join keys."""
    event: Micros
    written: Micros
    """When the source's row was written; `NEVER` where the source does not say."""
    read: Micros
    """When the online store was read."""
    served: Micros
    """The events that were."""


def late(missing: Missing, asked: Mask, intervals: Sequence[Interval], *, pushed: bool) -> Mask:
    """Say which of the rows that are asked for lacked their event though they should have had it.

    Args:
        missing: n rows.
        asked: those that were served an older event.
        intervals: of the view.
        pushed: whether values come online by pushes too, which leave no interval.

    Returns:
        True where the newest interval that contains the event ended before the read, unless the event
        was on its way; where it is known when its row was written, only if that was after this end.
    """
    ended = _ended(missing.event, missing.read, intervals)
    candidates = asked & (ended != NEVER)
    known = missing.written != NEVER
    found: Mask = candidates & known & (missing.written > ended)
    unknown = candidates & ~known
    if unknown.any():
        found |= unknown & ~_on_its_way(missing, unknown, ended, intervals, pushed=pushed)
    return found


def _on_its_way(
    missing: Missing,
    rows: Mask,
    ended: Micros,
    intervals: Sequence[Interval],
    *,
    pushed: bool,
) -> Mask:
    """Say which rows were read while the materialization that brought their event was writing."""
    first = _first_served(missing, rows)
    came = rows & (first > missing.read)
    came &= _ended(missing.event, first, intervals) == ended
    if pushed or not came.any():
        return came
    # Whoever read before one that was still waiting may have been waiting too.
    until = {end: missing.read[came & (ended == end)].max() for end in np.unique(ended[came])}
    for end, last in until.items():
        came |= rows & (ended == end) & (missing.read <= last)
    return came


def _first_served(missing: Missing, rows: Mask) -> Micros:
    """Return when the missing event of each row was first served to its entity; else `NEVER`."""
    first: dict[tuple[int, int], int] = {}
    # To the second, as SQLite keeps them.
    served = (missing.served // SECOND).tolist()
    for entity, second, read in zip(
        missing.entity.tolist(), served, missing.read.tolist(), strict=True
    ):
        if read < first.get((entity, second), read + 1):
            first[entity, second] = read
    found = np.full_like(missing.event, NEVER)
    events = (missing.event // SECOND).tolist()
    for row in np.flatnonzero(rows).tolist():
        found[row] = first.get((int(missing.entity[row]), events[row]), int(NEVER))
    return found


def _ended(event: Micros, until: Micros, intervals: Sequence[Interval]) -> Micros:
    """Return the end of the newest interval by a moment that contains each event; else `NEVER`."""
    ended = np.full_like(event, NEVER)
    for start, end in intervals:
        contains = (start <= event) & (event <= end) & (end <= until)
        ended = np.where(contains, np.maximum(ended, end), ended)
    return ended
