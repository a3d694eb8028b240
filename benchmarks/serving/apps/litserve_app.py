"""The forest in ONNX Runtime behind LitServe, as its documentation writes an API.

FOREST=artifacts python litserve_app.py PORT WORKERS
"""

import os
import sys
from pathlib import Path
from typing import Any

import litserve as ls
import numpy as np
import onnxruntime


class Forest(ls.LitAPI):
    """Predicts the class of one row."""

    def setup(self, device: str) -> None:
        """Load the model, with one thread as every server here."""
        del device
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        model = Path(os.environ["FOREST"]) / "forest.onnx"
        self.session = onnxruntime.InferenceSession(str(model), options)

    def decode_request(self, request: dict[str, Any]) -> np.ndarray:
        """Take the row out of the body."""
        return np.array([request["x"]], dtype=np.float64)

    def predict(self, x: np.ndarray) -> np.ndarray:
        """Predict."""
        labels: np.ndarray = self.session.run(["label"], {"x": x})[0]
        return labels

    def encode_response(self, output: np.ndarray) -> dict[str, Any]:
        """Put the class into the answer."""
        return {"label": int(output[0])}


if __name__ == "__main__":
    server = ls.LitServer(Forest(), accelerator="cpu", workers_per_device=int(sys.argv[2]))
    server.run(
        host="127.0.0.1", port=int(sys.argv[1]), generate_client_file=False, log_level="warning"
    )
