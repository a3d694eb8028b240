"""The forest in ONNX Runtime as an API method, as BentoML's documentation writes a service."""

import os
from pathlib import Path

import bentoml
import numpy as np
import onnxruntime


@bentoml.service(name="bento_onnx")
class BentoOnnx:
    """Predicts the class of each row."""

    def __init__(self) -> None:
        """Load the model, with one thread as every server here."""
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        model = Path(os.environ["FOREST"]) / "forest.onnx"
        self.session = onnxruntime.InferenceSession(str(model), options)

    @bentoml.api
    def predict(self, x: np.ndarray) -> np.ndarray:
        """Predict."""
        labels: np.ndarray = self.session.run(["label"], {"x": x.astype(np.float64)})[0]
        return labels
