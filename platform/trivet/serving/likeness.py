"""How far the predictions of two versions for the same rows are from each other."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

_TENTH = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class Likeness:
    """What a comparison of some rows found."""

    rows: int = 0
    unlike: int = 0
    """Rows with another class, or with a value beyond the tolerance."""
    difference: float = 0.0
    """Sum over rows: of the mean absolute difference of probabilities, or of values."""


def compare(
    champion: Sequence[Mapping[str, Any]],
    other: Sequence[Mapping[str, Any]],
    tolerance: float | None = None,
) -> Likeness:
    """Compare predictions row by row.

    Args:
        champion: n predictions, as an answer has them.
        other: those of another version for the same rows.
        tolerance: how far a regression's value may be off, in its unit; None: a tenth of
            the champion's.
    """
    unlike, difference = 0, 0.0
    for one, two in zip(champion, other, strict=True):
        if isinstance(one.get("value"), int | float) and isinstance(two.get("value"), int | float):
            off = abs(one["value"] - two["value"])
            allowed = _TENTH * abs(one["value"]) if tolerance is None else tolerance
            unlike += off > allowed
            difference += off
        else:
            unlike += _class(one) != _class(two)
            difference += _apart(one.get("probabilities"), two.get("probabilities"))
    return Likeness(rows=len(champion), unlike=unlike, difference=difference)


def is_finite(predictions: Sequence[Any], champion: Sequence[Any]) -> bool:
    """Say whether every number is one; null counts as none unless the champion has it there too."""
    pairs = zip(predictions, champion, strict=True)
    return all(
        _is_number(found, beside) for one, two in pairs for found, beside in _leaves(one, two)
    )


def _leaves(one: Any, two: Any) -> Iterator[tuple[Any, Any]]:
    if isinstance(one, Mapping):
        for name, part in one.items():
            yield from _leaves(part, two.get(name) if isinstance(two, Mapping) else None)
    else:
        yield one, two


def _is_number(found: Any, beside: Any) -> bool:
    if found is None:
        return beside is None
    return not isinstance(found, float) or math.isfinite(found)


def _class(row: Mapping[str, Any]) -> Any:
    """Return what a row was put into; of a shape that nobody knows, all of it."""
    return row.get("class_name", row.get("class_id", row))


def _apart(one: Any, two: Any) -> float:
    if not isinstance(one, Mapping) or not isinstance(two, Mapping) or not one:
        return 0.0
    apart = (abs(float(one[name] or 0) - float(two.get(name) or 0)) for name in one)
    return sum(apart) / len(one)
