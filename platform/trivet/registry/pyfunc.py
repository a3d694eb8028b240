"""Predict with a version through MLflow's pyfunc: the runtime that every version has."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from trivet.contract import Classification, Regression
from trivet.settings import silence_telemetry


class PyfuncPredictor:
    """A version's MLflow model, loaded."""

    def __init__(self, path: Path, output: Classification | Regression) -> None:
        """Load the model; takes seconds and some 300 MB, most of it imports.

        Args:
            path: the version's folder.
            output: of its contract.
        """
        silence_telemetry()
        import mlflow.pyfunc

        model = mlflow.pyfunc.load_model(str(path))
        self._output = output
        self._ask = model.predict
        said = model.metadata.flavors[mlflow.pyfunc.FLAVOR_NAME].get("predict_fn")
        if isinstance(output, Classification) and said == "predict":
            # As MLflow logs a classifier of scikit-learn unless told otherwise: it names the class, and
            # the model below it gives the probabilities.
            self._ask = model.get_raw_model().predict_proba

    def predict(self, columns: Mapping[str, npt.NDArray[Any]]) -> dict[str, npt.NDArray[Any]]:
        """Return the raw output for n rows.

        Args:
            columns: the model's inputs, in the order it was trained with; each of shape [n].

        Returns:
            Of a classifier `label` int64 [n] and `probabilities` float64 [n, k]; of a regressor
            `value` float64 [n].
        """
        import pandas as pd

        answer = np.asarray(self._ask(pd.DataFrame(dict(columns))), dtype=np.float64)
        if isinstance(self._output, Regression):
            return {"value": answer.reshape(-1)}
        return {"label": answer.argmax(axis=1).astype(np.int64), "probabilities": answer}
