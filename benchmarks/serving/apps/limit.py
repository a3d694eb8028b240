"""The limit: a bare ASGI app that reads the same JSON, runs the same forest and returns the same bytes.

    FOREST=artifacts FOREST_MODEL=forest python -m uvicorn --app-dir . limit:app

No validation beyond a missing name, no features, no metrics, no log: what is left when nothing is
done but the prediction. On the server that BentoML uses: uvicorn with uvloop and httptools.
"""

import gc
import os
import uuid
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import orjson

CLASSES = ("Low", "Medium", "High")
FOLDER = Path(os.environ["FOREST"])
MODEL = {"name": os.environ["FOREST_MODEL"], "version": 1}
NAMES = (FOLDER / "features.txt").read_text().split()

options = onnxruntime.SessionOptions()
options.intra_op_num_threads = 1
options.inter_op_num_threads = 1
session = onnxruntime.InferenceSession(
    str(FOLDER / "forest.onnx"), options, providers=["CPUExecutionProvider"]
)


def predict(body: bytes) -> bytes:
    """From a request's bytes to the answer's."""
    rows = [[instance[name] for name in NAMES] for instance in orjson.loads(body)["instances"]]
    labels, shares = session.run(None, {"x": np.array(rows, dtype=np.float64)})
    answers = []
    for label, row in zip(labels.tolist(), shares.tolist(), strict=True):
        answers.append(
            {
                "class_id": label,
                "class_name": CLASSES[label],
                "confidence": row[label],
                "probabilities": dict(zip(CLASSES, row, strict=True)),
            }
        )
    return orjson.dumps(
        {"predictions": answers, "model": MODEL, "request_id": uuid.uuid4().hex, "missing": []}
    )


async def app(scope: Any, receive: Any, send: Any) -> None:
    """Answer every POST; any other request says that the app is there."""
    if scope["type"] != "http":
        return
    content = b"{}"
    if scope["method"] == "POST":
        body = b""
        more = True
        while more:
            message = await receive()
            body += message["body"]
            more = message.get("more_body", False)
        content = predict(body)
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(content))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": content})


gc.collect()
gc.freeze()
