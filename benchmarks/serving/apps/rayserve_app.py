"""The forest in ONNX Runtime as a deployment of Ray Serve, as its documentation writes one.

FOREST=artifacts python rayserve_app.py PORT WORKERS
"""

import os
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import ray
from ray import serve
from starlette.requests import Request


@serve.deployment
class Forest:
    """Predicts the class of one row."""

    def __init__(self, model: str) -> None:
        """Load the model, with one thread as every server here."""
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(model, options)

    async def __call__(self, request: Request) -> dict[str, Any]:
        """Predict."""
        body = await request.json()
        row = np.array([body["x"]], dtype=np.float64)
        return {"label": int(self.session.run(["label"], {"x": row})[0][0])}


if __name__ == "__main__":
    port, workers = int(sys.argv[1]), int(sys.argv[2])
    ray.init(num_cpus=workers + 1, include_dashboard=False, log_to_driver=False)
    serve.start(http_options={"host": "127.0.0.1", "port": port})
    model = str(Path(os.environ["FOREST"]) / "forest.onnx")
    serve.run(Forest.options(num_replicas=workers).bind(model))
    while True:
        time.sleep(60)
