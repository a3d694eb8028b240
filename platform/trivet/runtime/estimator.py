"""A fitted estimator as a predictor: the answers that a faster runtime is measured against."""

from __future__ import annotations

from typing import Any

import numpy as np

from trivet.columns import Columns
from trivet.contract import Classification, Regression
from trivet.runtime.predictor import Output


class EstimatorPredictor:
    """Calls a model of scikit-learn's kind in this process."""

    def __init__(self, estimator: Any, output: Classification | Regression) -> None:
        """Take a model fitted on a DataFrame; the classes of a classifier are 0..k-1."""
        self._estimator = estimator
        self._classifies = isinstance(output, Classification)

    def predict(self, columns: Columns) -> Output:
        """Predict n rows; see `Predictor`."""
        import pandas as pd

        frame = pd.DataFrame(dict(columns))
        if not self._classifies:
            return {"value": np.asarray(self._estimator.predict(frame), dtype=np.float64)}
        return {
            "label": np.asarray(self._estimator.predict(frame), dtype=np.int64),
            "probabilities": np.asarray(self._estimator.predict_proba(frame), dtype=np.float64),
        }
