"""Metrics of what a model gave, beside the truth."""

from __future__ import annotations

import numpy as np
import pytest

from trivet.contract import Classification
from trivet.runtime.scores import score

CLASSES = Classification(classes=("on time", "late", "very late"))


def test_probabilities_of_single_precision_are_scored_as_they_are_meant() -> None:
    """They do not add up to 1 as doubles do; a warning would fail this test."""
    single = np.array([[0.7, 0.2, 0.1], [0.3, 0.3, 0.4], [0.1, 0.6, 0.3]], np.float32)
    raw = {"label": np.array([0, 2, 1]), "probabilities": single.astype(np.float64)}
    assert (raw["probabilities"].sum(axis=1) != 1).any()
    found = score(CLASSES, np.array([0, 1, 1]), raw)
    assert found["accuracy"] == pytest.approx(2 / 3)
    assert found["log_loss"] == pytest.approx(-np.log([0.7, 0.3, 0.6]).mean(), rel=1e-6)
    assert "auc_macro" not in found, "one of the classes did not happen"
