"""What a caller gets: a document for each request of a batch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from trivet.contract import Default
from trivet.features.values import AbsentValue
from trivet.serving.answering import Answers, Batch
from trivet.serving.crowd import Ticket


@dataclass(slots=True, kw_only=True)
class Answer:
    """The predictions for one request, and the seconds that every step took."""

    document: dict[str, Any]
    seconds: dict[str, float]
    version: int
    in_place_of: str | None = None
    """The canary that should have answered, and how it failed."""


def documents(
    tickets: Sequence[Ticket], batch: Batch, part: Answers
) -> Iterator[tuple[Ticket, dict[str, Any]]]:
    """Yield the requests of a part that was answered together, each with what its caller gets."""
    version = batch.version
    model = {"name": version.contract.model, "version": version.number}
    missing = _missing_by_row(part.absent)
    for place, rows in part.each([one.rows for one in batch.asked]):
        ticket = tickets[place]
        yield (
            ticket,
            {
                "predictions": part.predictions[rows],
                "model": model,
                "request_id": ticket.request_id,
                "missing": _of_rows(missing, rows) if missing else [],
            },
        )


def to_bytes(answer: Answer) -> bytes:
    """Return an answer as JSON."""
    return orjson.dumps(answer.document)


def _missing_by_row(absent: Sequence[AbsentValue]) -> dict[int, list[dict[str, Any]]]:
    missing: dict[int, list[dict[str, Any]]] = {}
    for value in absent:
        missing.setdefault(value.row, []).append(_missing(value))
    return missing


def _of_rows(missing: dict[int, list[dict[str, Any]]], rows: slice) -> list[dict[str, Any]]:
    """Return what one request misses, with its own numbers of rows."""
    return [
        {"row": row - rows.start, **entry}
        for row in range(rows.start, rows.stop)
        for entry in missing.get(row, ())
    ]


def _missing(value: AbsentValue) -> dict[str, Any]:
    entry: dict[str, Any] = {"column": value.column.name, "why": value.why}
    if value.age_seconds is not None:
        entry["age_seconds"] = round(value.age_seconds, 3)
    if isinstance(value.column.absent, Default):
        entry["default"] = value.column.absent.default
    return entry
