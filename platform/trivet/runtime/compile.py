"""Compile a scikit-learn pipeline to ONNX, and prove that it answers the same."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from trivet.contract import Classification, Parity, Regression
from trivet.runtime.convert import Precision, natural_precision, to_onnx
from trivet.runtime.onnx import OnnxPredictor
from trivet.runtime.parity import Proof, compare_outputs

__all__ = ["Compiled", "compile_with_parity", "to_onnx"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Compiled:
    """The outcome of a compilation: the graph where it may serve, else the reason why not."""

    model: bytes | None
    parity: Parity | None
    reason: str | None


def compile_with_parity(
    estimator: Any, proof: Proof, output: Classification | Regression
) -> Compiled:
    """Compile and compare; never raises for a model that cannot be compiled, but says why.

    Where the first graph is not equal, the others are tried: in the other precision, and with one
    input a column. The reason is the first one's, as it is the one that should have held.

    Args:
        estimator: a fitted scikit-learn pipeline on a DataFrame with the names in the proof's rows.
        proof: the rows and its own answers; what they cover is what is proven.
        output: what kind of answers they are.
    """
    natural = natural_precision(estimator)
    other: Precision = "double" if natural == "single" else "single"
    first: Compiled | None = None
    for precision, matrices in ((natural, True), (other, True), (natural, False)):
        compiled = _attempt(estimator, proof, output, precision, matrices=matrices)
        if compiled.model is not None:
            return compiled
        first = first or compiled
    assert first is not None  # noqa: S101 - there is always a first attempt
    return first


def _attempt(
    estimator: Any,
    proof: Proof,
    output: Classification | Regression,
    precision: Precision,
    *,
    matrices: bool,
) -> Compiled:
    try:
        model = to_onnx(estimator, proof.rows, precision=precision, matrices=matrices)
        parity = compare_outputs(OnnxPredictor(model, output), proof)
    except Exception as err:  # noqa: BLE001 - any converter's failure means: serve by pyfunc
        return Compiled(model=None, parity=None, reason=f"{type(err).__name__}: {err}"[:500])
    parity = parity.model_copy(update={"precision": precision})
    if parity.label_mismatches or parity.max_difference > parity.tolerance:
        reason = (
            f"{parity.label_mismatches} labels differ, numbers by up to {parity.max_difference:.1e}"
        )
        return Compiled(model=None, parity=parity, reason=reason)
    return Compiled(model=model, parity=parity, reason=None)
