"""Metrics of a model's raw output beside the truth: the same for a gate and for a batch job."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.metrics import (
    accuracy_score,
    f1_score,
    log_loss,
    mean_absolute_error,
    r2_score,
    roc_auc_score,
    root_mean_squared_error,
)

from trivet.contract import Classification, Regression
from trivet.runtime.predictor import Output


def score(
    output: Classification | Regression, truth: npt.NDArray[Any], raw: Output
) -> dict[str, float]:
    """Score n rows; a metric that they do not allow is left out.

    Args:
        output: of the contract.
        truth: n class ids, or n values.
        raw: what the model gave for the same rows.
    """
    found = (
        _regression(truth, raw) if isinstance(output, Regression) else _classification(truth, raw)
    )
    return {name: float(value) for name, value in found.items() if np.isfinite(value)}


def _classification(truth: npt.NDArray[Any], raw: Output) -> Mapping[str, float]:
    predicted, probabilities = raw["label"], np.asarray(raw["probabilities"], np.float64)
    # A runtime's are of single precision: what they add up to differs from 1 by more than scikit-learn
    # lets doubles do.
    probabilities = probabilities / probabilities.sum(axis=1, keepdims=True)
    classes = list(range(probabilities.shape[1]))
    found = {
        "accuracy": accuracy_score(truth, predicted),
        "f1_macro": f1_score(truth, predicted, average="macro", zero_division=0),
        "log_loss": log_loss(truth, probabilities, labels=classes),
    }
    if len(np.unique(truth)) == len(classes):  # else there is no area under some curve
        found["auc_macro"] = (
            roc_auc_score(truth, probabilities[:, 1])
            if len(classes) == 2  # noqa: PLR2004 - two classes have one curve
            else roc_auc_score(truth, probabilities, multi_class="ovr", average="macro")
        )
    return found


def _regression(truth: npt.NDArray[Any], raw: Output) -> Mapping[str, float]:
    value = raw["value"]
    return {
        "mae": mean_absolute_error(truth, value),
        "rmse": root_mean_squared_error(truth, value),
        "r2": r2_score(truth, value),
    }
