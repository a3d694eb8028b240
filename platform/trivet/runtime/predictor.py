"""What a predictor is, whatever executes the model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import numpy.typing as npt

from trivet.columns import Columns

Output = Mapping[str, npt.NDArray[Any]]
"""A model's raw output for n rows.

Classification: `label` int64 [n], `probabilities` float64 [n, classes]. Regression: `value`
float64 [n].
"""


class Predictor(Protocol):
    """Executes a model on the columns that preprocess returned."""

    def predict(self, columns: Columns) -> Output:
        """Predict n rows; the caller gives every input column, n values each."""
        ...
