"""Compile a scikit-learn pipeline to ONNX, and prove that it answers the same.

Parity by the recipe that loses no label: inputs of double precision, and inside the pipeline, before
the estimator, a `skl2onnx.sklapi.CastTransformer` to float32 as its own step. Single-precision inputs
flip labels at tree thresholds, since scikit-learn compares float32-rounded values with thresholds of
double precision.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx.helper

from trivet.columns import Columns
from trivet.contract import Classification, Parity, Regression
from trivet.runtime.onnx import OnnxPredictor
from trivet.runtime.predictor import Output, Predictor

TOLERANCE = 1e-5
"""Largest accepted absolute difference of a probability, or relative one of a regression's value."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Compiled:
    """The outcome of a compilation: the graph where it may serve, else the reason why not."""

    model: bytes | None
    parity: Parity | None
    reason: str | None


def compile_with_parity(
    estimator: Any,
    rows: Columns,
    expected: Output,
    output: Classification | Regression,
) -> Compiled:
    """Compile and compare; never raises for a model that cannot be compiled, but says why.

    Args:
        estimator: a fitted scikit-learn pipeline on a DataFrame with the names in `rows`.
        rows: held-out rows as preprocess returns them; what they cover is what is proven.
        expected: the estimator's own answers for these rows.
        output: what kind of answers they are.
    """
    try:
        model = to_onnx(estimator, rows)
        parity = compare_outputs(OnnxPredictor(model, output), rows, expected)
    except Exception as err:  # noqa: BLE001 - any converter's failure means: serve by pyfunc
        return Compiled(model=None, parity=None, reason=f"{type(err).__name__}: {err}"[:500])
    if parity.label_mismatches or parity.max_difference > parity.tolerance:
        reason = (
            f"{parity.label_mismatches} labels differ, numbers by up to {parity.max_difference:.1e}"
        )
        return Compiled(model=None, parity=parity, reason=reason)
    return Compiled(model=model, parity=parity, reason=None)


def to_onnx(estimator: Any, rows: Columns) -> bytes:
    """Compile a fitted pipeline to a graph with one double, int64, bool or string input a column."""
    from skl2onnx import convert_sklearn
    from skl2onnx.common.data_types import (
        BooleanTensorType,
        DoubleTensorType,
        Int64TensorType,
        StringTensorType,
    )

    kinds = {"f": DoubleTensorType, "i": Int64TensorType, "b": BooleanTensorType}
    inputs = [
        (name, kinds.get(values.dtype.kind, StringTensorType)([None, 1]))
        for name, values in rows.items()
    ]
    with _booleans_as_integers():
        model = convert_sklearn(
            estimator,
            initial_types=inputs,
            options={"zipmap": False} if hasattr(estimator, "classes_") else None,
        )
    return bytes(model.SerializeToString())


def compare_outputs(candidate: Predictor, rows: Columns, expected: Output) -> Parity:
    """Count differing labels and measure the largest difference of any number."""
    found = candidate.predict(rows)
    mismatches = 0
    if "label" in expected:
        mismatches = int((found["label"] != expected["label"]).sum())
        difference = _largest(found["probabilities"], expected["probabilities"])
    else:
        difference = _largest(found["value"], expected["value"], relative=True)
    return Parity(
        rows=len(next(iter(expected.values()))),
        label_mismatches=mismatches,
        max_difference=difference,
        tolerance=TOLERANCE,
    )


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


@contextmanager
def _booleans_as_integers() -> Iterator[None]:
    """Let skl2onnx 1.20 convert histogram gradient boosting on onnx 1.23.

    Its converter passes booleans where the node attribute is a list of integers, and onnx has come
    to refuse them; they are cast where the attribute is made.
    """
    original = onnx.helper.make_attribute

    def make_attribute(key: str, value: Any, *args: Any, **kwargs: Any) -> Any:
        if isinstance(value, list | tuple) and any(isinstance(v, bool | np.bool_) for v in value):
            value = [int(v) for v in value]
        return original(key, value, *args, **kwargs)

    onnx.helper.make_attribute = make_attribute
    try:
        yield
    finally:
        onnx.helper.make_attribute = original
