"""ONNX Runtime as a predictor."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime

from trivet.columns import Columns
from trivet.contract import Classification, Regression
from trivet.errors import VersionCorrupt
from trivet.runtime.predictor import Output

NUMBERS = "numbers"
"""A graph's input of doubles, [n, k]: floats, integers and truth values."""

TEXTS = "texts"
"""A graph's input of strings, [n, m]."""

NULL = "\uffff"
"""What stands for None, as ONNX has no null string: a character that Unicode keeps for such uses."""

_ARRAY_OF = {"tensor(double)": np.float64, "tensor(int64)": np.int64, "tensor(bool)": np.bool_}


class OnnxPredictor:
    """Runs a graph that takes two matrices, or one `[n, 1]` input a column.

    One thread a session: a service scales by workers, and two workers of many threads each would
    fight for the same cores.
    """

    def __init__(self, model: Path | bytes, output: Classification | Regression) -> None:
        """Load a graph from a file or its bytes.

        Raises:
            VersionCorrupt: ONNX Runtime refuses it.
        """
        source = model if isinstance(model, bytes) else str(model)
        try:
            self._session = onnxruntime.InferenceSession(
                source, _options(), providers=["CPUExecutionProvider"]
            )
        except Exception as err:
            raise VersionCorrupt(f"ONNX Runtime refuses the model: {err}") from err
        said = self._session.get_modelmeta().custom_metadata_map
        self._null = said.get("trivet.null", "")
        self._inputs = [(node.name, node.type) for node in self._session.get_inputs()]
        self._outputs = [node.name for node in self._session.get_outputs()]
        self._classifies = isinstance(output, Classification)
        self.numbers: tuple[str, ...] = tuple(json.loads(said.get(f"trivet.{NUMBERS}", "[]")))
        """Names of the columns of the matrix of numbers, in order."""
        self.texts: tuple[str, ...] = tuple(json.loads(said.get(f"trivet.{TEXTS}", "[]")))
        """Names of the columns of the matrix of strings, in order."""

    @property
    def takes_matrices(self) -> bool:
        """Whether `predict_matrix` can be called; a graph of an older version takes columns."""
        return bool(self.numbers or self.texts)

    def predict(self, columns: Columns) -> Output:
        """Predict n rows; see `Predictor`."""
        if not self.takes_matrices:
            return self._run({name: self._tensor(columns[name], k) for name, k in self._inputs})
        return self.predict_matrix(
            _stacked(columns, self.numbers, np.float64) if self.numbers else None,
            _stacked(columns, self.texts, object) if self.texts else None,
        )

    def predict_matrix(
        self, numbers: npt.NDArray[np.float64] | None, texts: npt.NDArray[Any] | None
    ) -> Output:
        """Predict n rows that are laid out as the graph takes them.

        Args:
            numbers: float64 [n, k], C-contiguous, columns as in `self.numbers`; None where k is 0.
            texts: objects (str, or None) [n, m], columns as in `self.texts`; None where m is 0.
        """
        feed: dict[str, npt.NDArray[Any]] = {}
        if numbers is not None:
            feed[NUMBERS] = numbers
        if texts is not None:
            feed[TEXTS] = self._strings(texts)
        return self._run(feed)

    def _run(self, feed: dict[str, npt.NDArray[Any]]) -> Output:
        first, *rest = self._session.run(self._outputs, feed)
        if not self._classifies:
            return {"value": np.asarray(first, dtype=np.float64).reshape(-1)}
        return {
            "label": np.asarray(first, dtype=np.int64),
            "probabilities": np.asarray(rest[0], dtype=np.float64),
        }

    def _tensor(self, values: npt.NDArray[Any], kind: str) -> npt.NDArray[Any]:
        if kind == "tensor(string)":
            return self._strings(values.reshape(-1, 1))
        return values.astype(_ARRAY_OF[kind], copy=False).reshape(-1, 1)

    def _strings(self, texts: npt.NDArray[Any]) -> npt.NDArray[Any]:
        flat = texts.ravel().tolist()
        if None not in flat:
            return texts.astype(object, copy=False)
        named = [self._null if value is None else value for value in flat]
        return np.array(named, dtype=object).reshape(texts.shape)


def _options() -> onnxruntime.SessionOptions:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    return options


def _stacked(columns: Columns, names: tuple[str, ...], dtype: type) -> npt.NDArray[Any]:
    rows: npt.NDArray[Any] = np.array([columns[name] for name in names], dtype=dtype)
    return np.ascontiguousarray(rows.T)
