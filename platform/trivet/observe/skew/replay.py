"""Ask the offline store what each logged row would have got, and judge every difference."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from trivet.contract import Column, DType, View
from trivet.features.past import CREATED, EVENT, Past, Store, ViewNow, open_past
from trivet.features.question import Question
from trivet.logged import Status
from trivet.observe.skew.causes import (
    NEVER,
    SECOND,
    Codes,
    Evidence,
    Mask,
    Micros,
    end_of,
    judge,
    newer_event,
    same_event,
)
from trivet.observe.skew.lateness import Missing, late
from trivet.observe.skew.served import LoggedRows, Served
from trivet.observe.skew.values import alike, equal, equal_converted, micros, moments

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

_AT = "trivet_at"

CHUNK = 2**16
"""Rows joined at a time."""

Progress = Callable[[int], None]
"""Is told how many more rows of a view have been looked at."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Replayed:
    """One column of n logged rows beside what the offline store has."""

    served: Served
    offline: pa.Array
    """In the dtype of the source; null where there is none, or where it has outlived its TTL."""
    event: Micros | None
    """When the offline value was known; None for what is computed."""
    codes: Codes


@dataclass(frozen=True, slots=True, kw_only=True)
class _Times:
    """What is known of n rows of a view apart from its values."""

    served: Micros
    found: Micros
    same: Mask
    newer: Mask
    expired: Mask
    cached: Mask
    late: Mask


def replay_view(
    store: Store, rows: LoggedRows, view: View, workspace: Path, progress: Progress
) -> dict[str, Replayed]:
    """Replay the columns of one feature view.

    Args:
        store: of the contract's project.
        rows: n logged rows of one contract.
        view: of that contract.
        workspace: an existing folder for what does not fit into memory.
        progress: is told of each chunk.

    Returns:
        n values of each of the view's columns, by the column's name.

    Raises:
        BadSetting: the view's source does not say when values were known.
        FeaturesUnavailable: the view or its source is not there.
    """
    columns = rows.contract.columns_of(view.name)
    last = max(int(rows.asked.max()), int(end_of(rows.events(view.name)).max()))
    until = _EPOCH + timedelta(microseconds=last)
    question = Question(
        columns=columns, views=(view,), join_keys=rows.contract.join_keys, timestamp=_AT
    )
    with open_past(store, question, until, workspace) as past:
        asking = _Asking(past, rows.keys.select(view.join_keys))
        found = asking.as_of(rows.asked, progress)
        times = _times(rows, view, asking, found)
        held = _held(asking, times, rows.asked, found)
        return {
            column.name: _judge(past.now, rows.served(column), found, held, times)
            for column in columns
        }


class _Asking:
    """Asks one view's past for rows of the log, chunk by chunk."""

    def __init__(self, past: Past, keys: pa.Table) -> None:
        self._past = past
        self.keys = keys

    @property
    def now(self) -> ViewNow:
        """The view as Feast has it now."""
        return self._past.now

    def as_of(self, at: Micros, progress: Progress = lambda _: None) -> pa.Table:
        """Ask for all n rows."""
        parts = []
        for start in range(0, len(at), CHUNK):
            part = slice(start, start + CHUNK)
            keys = self.keys.slice(start, CHUNK)
            parts.append(self._past.as_of(keys, moments(at[part])))
            progress(len(keys))
        return pa.concat_tables(parts)

    def where(self, rows: Mask, at: Micros, like: pa.Schema) -> pa.Table:
        """Ask for some of the rows; the others get nulls, in columns like these."""
        chosen = np.flatnonzero(rows)
        if not len(chosen):
            return pa.table([pa.nulls(len(rows), kind) for kind in like.types], like.names)
        found = _Asking(self._past, self.keys.take(chosen)).as_of(at[chosen])
        positions = np.full(len(rows), -1, dtype=np.int64)
        positions[chosen] = np.arange(len(chosen))
        return found.take(pa.array(positions, mask=positions < 0))


def _times(rows: LoggedRows, view: View, asking: _Asking, found: pa.Table) -> _Times:
    now = asking.now
    served, asked, read = rows.events(view.name), rows.asked, rows.read(view.name)
    known = micros(found[EVENT])
    newer = newer_event(known, served)
    earlier = newer & (read < asked)
    when_read = asking.where(earlier, read, found.schema)
    known_then = micros(when_read[EVENT])
    cached = earlier & ~newer_event(known_then, served)
    missing = Missing(
        entity=_entities(asking.keys),
        event=np.where(earlier & ~cached, known_then, known),
        written=np.where(earlier, micros(when_read[CREATED]), micros(found[CREATED])),
        read=read,
        served=served,
    )
    spans = [(_since(start), _since(end)) for start, end in now.intervals]
    return _Times(
        served=served,
        found=known,
        same=same_event(known, served),
        newer=newer,
        expired=_expired(now, asked, known),
        cached=cached,
        late=late(missing, newer & ~cached, spans, pushed=now.pushed),
    )


def _held(asking: _Asking, times: _Times, asked: Micros, found: pa.Table) -> pa.Table:
    """Return what the source has of the very events that were served; no row where it has none."""
    other = (times.served != NEVER) & ~times.same
    # Not beyond the request: later events of the same second were not there to be served.
    at = np.where(times.served <= asked, np.minimum(end_of(times.served), asked), times.served)
    before = asking.where(other, at, found.schema)
    still = same_event(micros(before[EVENT]), times.served)
    columns = []
    for name in found.column_names:
        values = pc.if_else(pa.array(times.same), found[name], before[name])
        columns.append(
            pc.if_else(pa.array(times.same | still), values, pa.scalar(None, values.type))
        )
    return pa.table(columns, names=found.column_names)


def _judge(
    now: ViewNow, served: Served, found: pa.Table, held: pa.Table, times: _Times
) -> Replayed:
    column = served.column
    newest, of_event = _array(found[column.name]), _array(held[column.name])
    alive = pc.if_else(pa.array(times.expired), pa.scalar(None, newest.type), newest)
    dtypes = _dtypes(now, column)
    fits = all(alike(column.dtype, dtype) for dtype in dtypes)
    both = np.asarray(of_event.is_valid()) & np.asarray(served.stored.is_valid())
    offline_present = np.asarray(alive.is_valid())
    nothing_served = (times.served == NEVER) & ~np.asarray(served.stored.is_valid())
    event_is_there = micros(held[EVENT]) != NEVER
    got_same = equal(served.got, alive) | (served.defaulted & ~offline_present)
    codes = judge(
        Evidence(
            equal=got_same if fits else got_same & ~offline_present,
            overridden=served.overridden,
            defaulted=served.defaulted,
            logged_expired=served.status == Status.OUTSIDE_MAX_AGE,
            offline_present=offline_present,
            offline_expired=times.expired,
            same_event=times.same,
            newer_event=times.newer,
            held=nothing_served
            | (event_is_there & equal(served.stored, of_event) & (fits | ~both)),
            converted=equal_converted(served.stored, of_event, dtypes) | (both & (not fits)),
            cached=times.cached,
            late=times.late,
        )
    )
    return Replayed(served=served, offline=alive, event=times.found, codes=codes)


def _dtypes(now: ViewNow, column: Column) -> set[DType]:
    """Return the dtypes that a column has by its contract, by the registry and in the source."""
    declared = now.declared.get(column.feature, column.dtype)
    return {column.dtype, declared, now.stored.get(column.feature, declared)}


def _expired(now: ViewNow, asked: Micros, known: Micros) -> Mask:
    if now.ttl_seconds is None:
        return np.zeros(len(asked), dtype=np.bool_)
    age = np.where(known == NEVER, 0, asked - np.where(known == NEVER, 0, known))
    expired: Mask = (known != NEVER) & (age > round(now.ttl_seconds * SECOND))
    return expired


def _since(moment: datetime) -> int:
    """Return a moment in microseconds since 1970; exactly, which a float of seconds is not."""
    return (moment - _EPOCH) // timedelta(microseconds=1)


def _entities(keys: pa.Table) -> npt.NDArray[np.int64]:
    """Return a number for each of n rows: the same for the same join keys."""
    numbers = np.zeros(len(keys), dtype=np.int64)
    for column in keys.columns:
        codes = column.combine_chunks().dictionary_encode(null_encoding="encode").indices
        pairs = np.stack([numbers, codes.to_numpy(zero_copy_only=False)])
        numbers = np.unique(pairs, axis=1, return_inverse=True)[1].reshape(-1)
    return numbers


def _array(values: pa.ChunkedArray) -> pa.Array:
    """Return values with nulls for NaN, which is what pandas makes of a null."""
    if pa.types.is_floating(values.type):
        values = pc.if_else(pc.is_nan(values), pa.scalar(None, values.type), values)
    return values.combine_chunks()
