"""Answer a batch of requests to one version together, so that each gets what it would get alone."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from itertools import accumulate
from typing import Any

from trivet.columns import Columns
from trivet.errors import InvalidInstances
from trivet.features.values import AbsentValue, Features, Found
from trivet.serving.asking import Asked, join
from trivet.serving.loaded import Version


@dataclass(slots=True, kw_only=True)
class Batch:
    """Requests to one version with the rows that were read for them, in the same order."""

    version: Version
    asked: Sequence[Asked]
    """One a request."""
    found: Found
    """Of all requests, one after the other."""
    at: datetime
    """The moment as of which features count."""


@dataclass(slots=True, kw_only=True)
class Answers:
    """What came of a part of a batch that was answered together."""

    places: Sequence[int]
    """Which of the batch's requests these are."""
    asked: Asked
    features: Features
    absent: tuple[AbsentValue, ...]
    columns: Columns
    predictions: list[dict[str, Any]]
    settled: float
    """When features were in place, by `time.perf_counter`."""
    seconds: dict[str, float] = field(default_factory=dict)

    def each(self, rows: Sequence[int]) -> Iterator[tuple[int, slice]]:
        """Yield each request's place in the batch, and where its rows are in this part.

        Args:
            rows: how many each of the batch's requests has.
        """
        start = 0
        for place in self.places:
            yield place, slice(start, start + rows[place])
            start += rows[place]


@dataclass(slots=True, kw_only=True)
class Outcome:
    """What came of a batch: answers, and errors by the place of their request."""

    answers: list[Answers]
    errors: dict[int, Exception]


def answer(batch: Batch) -> Outcome:
    """Answer all requests of a batch; one that fails, fails alone.

    A request whose rows are refused is left out, and the others are answered without it. Where the
    version's own code raises on the whole, each request is answered by itself: its rows may be the
    ones that it cannot take.
    """
    outcome = Outcome(answers=[], errors={})
    places: list[int] = list(range(len(batch.asked)))
    while places:
        try:
            outcome.answers.append(_together(batch, places))
            break
        except InvalidInstances as err:
            refused = _by_request(err, batch, places) or dict.fromkeys(places, err)
            outcome.errors |= refused
            places = [place for place in places if place not in refused]
        except Exception as err:  # noqa: BLE001 - whatever it is, it is one request's error
            if len(places) == 1:
                outcome.errors[places[0]] = err
                break
            for place in places:
                alone = answer(_part(batch, [place]))
                outcome.answers += [replace(part, places=[place]) for part in alone.answers]
                outcome.errors.update(zip([place], alone.errors.values(), strict=False))
            break
    return outcome


def _together(batch: Batch, places: list[int]) -> Answers:
    part = batch if len(places) == len(batch.asked) else _part(batch, places)
    version, asked = part.version, join(part.asked)
    features = version.judge(part.found, part.at)
    prepared = version.settle(asked, features)
    settled = time.perf_counter()
    predicted = version.predict(prepared)
    return Answers(
        places=places,
        asked=asked,
        features=features,
        absent=prepared.absent,
        columns=prepared.columns,
        predictions=predicted.predictions,
        settled=settled,
        seconds=predicted.seconds,
    )


def _part(batch: Batch, places: Iterable[int]) -> Batch:
    """Return some of a batch's requests with their rows."""
    ends = list(accumulate(asked.rows for asked in batch.asked))
    chosen = list(places)
    rows = [row for n in chosen for row in range(ends[n] - batch.asked[n].rows, ends[n])]
    return replace(
        batch,
        asked=[batch.asked[place] for place in chosen],
        found=[[of_view[row] for row in rows] for of_view in batch.found],
    )


def _by_request(
    err: InvalidInstances, batch: Batch, places: Sequence[int]
) -> dict[int, InvalidInstances]:
    """Return the faults of each request that has any, with its own numbers of rows."""
    starts = list(accumulate((batch.asked[place].rows for place in places), initial=0))
    refused: dict[int, InvalidInstances] = {}
    for number, place in enumerate(places):
        own = [
            replace(fault, row=fault.row - starts[number])
            for fault in err.faults
            if fault.row is not None and starts[number] <= fault.row < starts[number + 1]
        ]
        if own:
            refused[place] = InvalidInstances(own)
    return refused
