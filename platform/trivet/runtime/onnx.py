"""ONNX Runtime as a predictor."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime

from trivet.columns import Columns
from trivet.contract import Classification, Regression
from trivet.errors import VersionCorrupt
from trivet.runtime.predictor import Output

_ARRAY_OF = {"tensor(double)": np.float64, "tensor(int64)": np.int64, "tensor(bool)": np.bool_}


class OnnxPredictor:
    """Runs a model whose graph has one `[n, 1]` input a column, by the column's name.

    One thread a session: a service scales by workers, and two workers of many threads each would
    fight for the same cores.
    """

    def __init__(self, model: Path | bytes, output: Classification | Regression) -> None:
        """Load a graph from a file or its bytes.

        Raises:
            VersionCorrupt: ONNX Runtime refuses it.
        """
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        source = model if isinstance(model, bytes) else str(model)
        try:
            self._session = onnxruntime.InferenceSession(
                source, options, providers=["CPUExecutionProvider"]
            )
        except Exception as err:
            raise VersionCorrupt(f"ONNX Runtime refuses the model: {err}") from err
        self._inputs = [(node.name, node.type) for node in self._session.get_inputs()]
        self._outputs = [node.name for node in self._session.get_outputs()]
        self._classifies = isinstance(output, Classification)

    def predict(self, columns: Columns) -> Output:
        """Predict n rows; see `Predictor`."""
        feed = {name: _tensor(columns[name], kind) for name, kind in self._inputs}
        first, *rest = self._session.run(self._outputs, feed)
        if not self._classifies:
            return {"value": np.asarray(first, dtype=np.float64).reshape(-1)}
        return {
            "label": np.asarray(first, dtype=np.int64),
            "probabilities": np.asarray(rest[0], dtype=np.float64),
        }


def _tensor(values: npt.NDArray[Any], kind: str) -> npt.NDArray[Any]:
    if kind == "tensor(string)":
        # ONNX has no null string; the empty one is no category of any encoder.
        values = np.array(["" if v is None else v for v in values], dtype=object)
    else:
        values = values.astype(_ARRAY_OF[kind], copy=False)
    return values.reshape(-1, 1)
