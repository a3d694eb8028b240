"""The rows on which a faster runtime must equal the model itself, and how equality is measured."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
from threadpoolctl import threadpool_limits

from trivet.columns import Columns
from trivet.contract import Column, Parity
from trivet.runtime.adversarial import Batch, draw, hostile
from trivet.runtime.predictor import Output, Predictor
from trivet.runtime.thresholds import at_thresholds

TOLERANCE = 1e-5
"""Largest accepted absolute difference of a probability, or relative one of a regression's value."""

ENOUGH_ROWS = 10_000
"""Where fewer are held out, rows drawn within their columns' ranges make them up."""

Answer = tuple[Columns, Output]
"""Rows as preprocess returned them, and the model's own output for them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Proof:
    """Rows with the model's own answers; how many there are of each kind stands beside."""

    rows: Columns
    """As preprocess returns them."""
    expected: Output
    held_out: int = 0
    drawn: int = 0
    adversarial: dict[str, int] = field(default_factory=dict)
    refused: dict[str, int] = field(default_factory=dict)
    """Rows that preprocess or the model itself refuses: there is nothing to compare with."""


def gather_proof(
    estimator: Any,
    model: Predictor,
    columns: Sequence[Column],
    held_out: Columns,
    prepare: Callable[[Columns], Columns],
) -> Proof:
    """Let the model answer held-out rows, drawn ones, and adversarial ones.

    Args:
        estimator: the fitted pipeline, for its thresholds.
        model: the same, as a predictor; what it answers is right.
        columns: of the contract.
        held_out: n rows of these columns.
        prepare: preprocess.

    Raises:
        PredictionFailed: preprocess refuses held-out rows; what the model raises for them as it is.
    """

    def ask(given: Columns) -> Answer:
        prepared = prepare(given)
        return prepared, model.predict(prepared)

    rows = len(next(iter(held_out.values())))
    first = ask(held_out)
    batches = [draw(columns, held_out, max(0, ENOUGH_ROWS - rows)), *hostile(columns, held_out)]
    with _oddities():
        answered = [_answers(ask, batch) for batch in batches if len(batch)]
        threshold = at_thresholds(estimator, first[0])
        if threshold is not None:
            answered.append(_answers(lambda given: (given, model.predict(given)), threshold))
    return _joined(rows, first, answered)


def compare_outputs(candidate: Predictor, proof: Proof) -> Parity:
    """Count differing labels and measure the largest difference of any number.

    Raises:
        ValueError: the shapes differ, or a number is NaN or infinite on one side only.
    """
    expected = proof.expected
    found = candidate.predict(proof.rows)
    mismatches = 0
    if "label" in expected:
        mismatches = int((found["label"] != expected["label"]).sum())
        difference = _largest(found["probabilities"], expected["probabilities"])
    else:
        difference = _largest(found["value"], expected["value"], relative=True)
    return Parity(
        rows=len(next(iter(expected.values()))),
        held_out_rows=proof.held_out,
        drawn_rows=proof.drawn,
        adversarial_rows=proof.adversarial,
        refused_rows=proof.refused,
        label_mismatches=mismatches,
        max_difference=difference,
        tolerance=TOLERANCE,
    )


@contextmanager
def _oddities() -> Iterator[None]:
    """Let odd rows pass without warnings, and small batches without threads that cost more."""
    with warnings.catch_warnings(), np.errstate(all="ignore"), threadpool_limits(limits=1):
        warnings.simplefilter("ignore")
        yield


def _answers(ask: Callable[[Columns], Answer], batch: Batch) -> tuple[str, list[Answer], int]:
    """Ask for a batch; where that is refused, for its halves, down to single groups.

    Returns:
        The batch's kind, the answers, and how many rows were refused.
    """
    try:
        return batch.kind, [ask(batch.columns)], 0
    except Exception:  # noqa: BLE001 - whatever an author's code or the model raises is a refusal
        groups = -(-len(batch) // batch.group)
    if groups == 1:
        return batch.kind, [], len(batch)
    middle = groups // 2 * batch.group
    halves = [_answers(ask, batch.part(*ends)) for ends in ((0, middle), (middle, len(batch)))]
    return batch.kind, [*halves[0][1], *halves[1][1]], halves[0][2] + halves[1][2]


def _joined(rows: int, first: Answer, answered: list[tuple[str, list[Answer], int]]) -> Proof:
    answers = [first, *(answer for _, some, _ in answered for answer in some)]
    counts = {kind: sum(len(_any(a[1])) for a in some) for kind, some, _ in answered}
    return Proof(
        rows=_concatenated([prepared for prepared, _ in answers]),
        expected=_concatenated([output for _, output in answers]),
        held_out=rows,
        drawn=counts.pop("drawn", 0),
        adversarial={kind: count for kind, count in counts.items() if count},
        refused={kind: refused for kind, _, refused in answered if refused},
    )


def _any(columns: Columns) -> npt.NDArray[Any]:
    return next(iter(columns.values()))


def _concatenated(parts: list[Columns]) -> Columns:
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _largest(
    found: npt.NDArray[Any], expected: npt.NDArray[Any], *, relative: bool = False
) -> float:
    """Return the largest difference, absolute or relative to what is expected above one.

    Raises:
        ValueError: the shapes differ, or a number is NaN or infinite on one side only.
    """
    if found.shape != expected.shape:
        raise ValueError(f"the output has shape {found.shape}, not {expected.shape}")
    differ = (found != expected) & ~(np.isnan(found) & np.isnan(expected))
    difference = np.abs(found[differ] - expected[differ])
    if not np.isfinite(difference).all():
        raise ValueError("an output is NaN or infinite on one side only")
    scale = np.maximum(np.abs(expected[differ]), 1.0) if relative else 1.0
    return float((difference / scale).max(initial=0.0))
