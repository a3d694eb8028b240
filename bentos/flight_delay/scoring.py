"""Honest numbers: a candidate's quality on held-out rows, always beside the majority class."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure
from sklearn.metrics import (
    ConfusionMatrixDisplay,
    accuracy_score,
    f1_score,
    log_loss,
    roc_auc_score,
)


def score(
    labels: npt.NDArray[np.int64], probabilities: npt.NDArray[np.float64]
) -> dict[str, float]:
    """Measure a classifier.

    Args:
        labels: int64 [n].
        probabilities: float64 [n, classes].

    Returns:
        Accuracy, macro F1, macro AUC (one class against the rest), log loss; and accuracy and macro
        F1 of always answering with the most frequent class, whose AUC is 0.5.
    """
    predicted = probabilities.argmax(axis=1)
    majority = np.full_like(labels, np.bincount(labels).argmax())
    known = list(range(probabilities.shape[1]))
    return {
        "accuracy": float(accuracy_score(labels, predicted)),
        "f1_macro": float(f1_score(labels, predicted, average="macro", zero_division=0)),
        "auc_macro": float(
            roc_auc_score(labels, probabilities, multi_class="ovr", average="macro", labels=known)
        ),
        "log_loss": float(log_loss(labels, probabilities, labels=known)),
        "baseline_accuracy": float(accuracy_score(labels, majority)),
        "baseline_f1_macro": float(f1_score(labels, majority, average="macro", zero_division=0)),
    }


def confusion_picture(
    labels: npt.NDArray[Any],
    probabilities: npt.NDArray[np.float64],
    classes: Sequence[str],
    title: str,
) -> Figure:
    """Draw which class was taken for which, as shares of the true class."""
    figure = Figure(figsize=(5.5, 4.8), layout="constrained")
    axes = figure.subplots()
    ConfusionMatrixDisplay.from_predictions(
        labels,
        probabilities.argmax(axis=1),
        labels=list(range(len(classes))),
        display_labels=list(classes),
        normalize="true",
        values_format=".2f",
        cmap="Blues",
        ax=axes,
    )
    axes.set_title(f"{title}: held-out months, by true class")
    return figure
