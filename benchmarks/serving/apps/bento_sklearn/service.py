"""The forest in scikit-learn as an API method, as BentoML's documentation writes a service."""

import os
from pathlib import Path

import bentoml
import joblib
import numpy as np


@bentoml.service(name="bento_sklearn")
class BentoSklearn:
    """Predicts the class of each row."""

    def __init__(self) -> None:
        """Load the model."""
        self.model = joblib.load(Path(os.environ["FOREST"]) / "forest.joblib")

    @bentoml.api
    def predict(self, x: np.ndarray) -> np.ndarray:
        """Predict."""
        labels: np.ndarray = self.model.predict(x)
        return labels
