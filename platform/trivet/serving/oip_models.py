"""What the Open Inference Protocol says of a model: the tensors of a contract's inputs and outputs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import orjson

from trivet.contract import REQUEST, Classification, Contract, DType
from trivet.serving.tensors import typed

_DATATYPES: Mapping[DType, str] = {
    "int64": "INT64",
    "float64": "FP64",
    "string": "BYTES",
    "bool": "BOOL",
    "timestamp": "BYTES",
}

_PLATFORMS = {"onnx": "onnx_onnxv1", "pyfunc": "mlflow_pyfunc"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Output:
    """A field of the predictions as a tensor: [n], or [n, k] of one that has k values by label."""

    name: str
    like: tuple[Any, ...]
    """Values that it has had, which say its datatype where a request's are all absent."""
    labels: tuple[str, ...] | None = None

    def tensor(self, predictions: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """Return the field of n predictions: name, datatype, shape, flat data, and labels."""
        values = [prediction.get(self.name) for prediction in predictions]
        shape = [len(values)]
        if self.labels is not None:
            values = _flat(values, self.labels)
            shape.append(len(self.labels))
        datatype, data = typed(values, self.like)
        return self._described(datatype, shape) | {"data": data}

    def metadata(self) -> dict[str, Any]:
        """Return the field as a model's metadata have it."""
        shape = [-1] if self.labels is None else [-1, len(self.labels)]
        return self._described(typed((), self.like)[0], shape)

    def _described(self, datatype: str, shape: list[int]) -> dict[str, Any]:
        tensor: dict[str, Any] = {"name": self.name, "datatype": datatype, "shape": shape}
        if self.labels is not None:
            # A parameter is a text, a number or a truth value.
            tensor["parameters"] = {"labels": orjson.dumps(self.labels).decode()}
        return tensor


def outputs_of(contract: Contract) -> dict[str, Output]:
    """Return the fields of a version's predictions by name, as its golden rows have them."""
    rows = [row.prediction for row in contract.golden] or [_plain_prediction(contract)]
    return {name: _output(name, [row.get(name) for row in rows]) for name in rows[0]}


def model_metadata(contract: Contract, versions: Iterable[int]) -> dict[str, Any]:
    """Describe a version: what it takes and gives.

    Join keys and request columns come first; an input is optional if a request may do without it.
    """
    return {
        "name": contract.model,
        "versions": [str(number) for number in versions],
        "platform": _PLATFORMS[contract.runtime.kind],
        "inputs": list(_inputs(contract).values()),
        "outputs": [output.metadata() for output in outputs_of(contract).values()],
    }


def as_tensors(contract: Contract, instances: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return instances as the inputs of a request, in JSON; all have the fields of the first."""
    inputs = _inputs(contract)
    return [
        {
            "name": name,
            "datatype": inputs[name]["datatype"],
            "shape": [len(instances)],
            "data": [instance[name] for instance in instances],
        }
        for name in instances[0]
    ]


def _inputs(contract: Contract) -> dict[str, dict[str, Any]]:
    columns = sorted((*contract.columns, *contract.inputs), key=lambda c: c.source != REQUEST)
    keys = {key.name: _input(key.name, key.dtype, optional=False) for key in contract.join_keys}
    others = {
        c.name: _input(c.name, c.dtype, optional=c.source != REQUEST or c.absent != "reject")
        for c in columns
    }
    return keys | {name: tensor for name, tensor in others.items() if name not in keys}


def _input(name: str, dtype: DType, *, optional: bool) -> dict[str, Any]:
    return {
        "name": name,
        "datatype": _DATATYPES[dtype],
        "shape": [-1],
        "parameters": {"optional": optional},
    }


def _output(name: str, values: Sequence[Any]) -> Output:
    first = values[0]
    if not isinstance(first, dict) or any(isinstance(v, dict | list) for v in first.values()):
        return Output(name=name, like=_kinds(values))
    labels = tuple(first)
    return Output(name=name, like=_kinds(_flat(values, labels)), labels=labels)


def _kinds(values: Iterable[Any]) -> tuple[Any, ...]:
    """Return a value of each kind."""
    return tuple({type(value): value for value in values}.values())


def _flat(values: Iterable[Any], labels: Sequence[str]) -> list[Any]:
    by_label = (value if isinstance(value, dict) else {} for value in values)
    return list(chain.from_iterable([row.get(label) for label in labels] for row in by_label))


def _plain_prediction(contract: Contract) -> dict[str, Any]:
    """Return a prediction of a version that brings no postprocess of its own."""
    if not isinstance(contract.output, Classification):
        return {"value": 0.0}
    classes = contract.output.classes
    probabilities = dict.fromkeys(classes, 0.0)
    return {"class_id": 0, "class_name": "", "confidence": 0.0, "probabilities": probabilities}
