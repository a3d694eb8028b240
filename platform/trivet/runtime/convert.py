"""A fitted scikit-learn pipeline as an ONNX graph.

Where it can be, the graph takes two matrices: `numbers` (double, [n, k]) and `texts` (string,
[n, m]), whose columns its metadata name; else one `[n, 1]` input a column.

A tree compares numbers either as float32 (scikit-learn's own trees, XGBoost) or as doubles
(histogram gradient boosting, LightGBM), and a graph that compares otherwise gives other answers at
the thresholds. So a graph is made in one of two precisions:

- `single`: numbers are cast to float32 before the last step, as such trees do by themselves
- `double`: as the pipeline stands, and trees compare in double precision
"""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import onnx
import onnx.helper
import onnx.numpy_helper
import onnx.shape_inference

from trivet.columns import Columns
from trivet.runtime.converters import register_converters
from trivet.runtime.onnx import NULL, NUMBERS, TEXTS
from trivet.runtime.trees import compares_in_single, exact_node_values, missing_goes_left

Precision = Literal["single", "double"]

_TREE_FLOATS = ("nodes_values", "class_weights", "target_weights", "base_values")
_ML = "ai.onnx.ml"
_ML_OPSET = 3
"""Of ONNX's own operators for trees: the first with double precision, the last that LightGBM's and
XGBoost's converters know."""


def to_onnx(
    estimator: Any,
    rows: Columns,
    *,
    precision: Precision | None = None,
    matrices: bool = True,
) -> bytes:
    """Convert a fitted pipeline.

    Args:
        estimator: fitted on a DataFrame with the names in `rows`.
        rows: at least one row, for names and dtypes.
        precision: None: the one in which its trees compare; double where it has none.
        matrices: whether the graph takes matrices; else one input a column.

    Raises:
        Exception: whatever a converter raises for what it cannot convert.
    """
    from skl2onnx import __max_supported_opset__ as opset
    from skl2onnx import convert_sklearn

    precision = precision or natural_precision(estimator)
    register_converters()
    steps = _steps(_without_nulls(estimator), precision)
    order = _matrix_order(rows) if matrices else {}
    inputs = _matrix_inputs(order) if matrices else _column_inputs(rows)
    if matrices:
        steps = _by_position(steps, list(rows), order)
    with _recorded_doubles() as doubles:
        model = convert_sklearn(
            _pipeline(steps),
            initial_types=inputs,
            options={"zipmap": False} if hasattr(estimator, "classes_") else None,
            target_opset={"": opset, _ML: _ML_OPSET},
        )
    _mend_trees(model, steps[-1][1], precision, doubles)
    _settle_outputs(model)
    onnx.helper.set_model_props(model, {"trivet.null": NULL, **_order_said(order)})
    return bytes(model.SerializeToString())


def natural_precision(estimator: Any) -> Precision:
    """Return the precision in which a pipeline's trees compare; double where it has none."""
    return "single" if compares_in_single(_listed(estimator)[-1][1]) else "double"


def _listed(estimator: Any) -> list[tuple[str, Any]]:
    return list(estimator.steps) if hasattr(estimator, "steps") else [("model", estimator)]


def _pipeline(steps: Sequence[tuple[str, Any]]) -> Any:
    from sklearn.pipeline import Pipeline

    return Pipeline(list(steps))


def _steps(estimator: Any, precision: Precision) -> list[tuple[str, Any]]:
    from skl2onnx.sklapi import CastTransformer

    *before, last = _listed(estimator)
    if precision == "single" and not (before and isinstance(before[-1][1], CastTransformer)):
        before.append(("trivet_cast", CastTransformer(dtype=np.float32)))
    return [*before, last]


def _without_nulls(estimator: Any) -> Any:
    """Copy a pipeline, with a string for None: ONNX has no null string; see `NULL`."""
    steps = _listed(estimator)
    mended = [(name, copy.deepcopy(step)) for name, step in steps[:-1]]
    for _, step in mended:
        for part in _parts(step):
            _name_null(part)
    return _pipeline([*mended, steps[-1]])


def _parts(step: Any) -> Iterator[Any]:
    """Yield a transformer and those that it is made of."""
    yield step
    for name in ("steps", "transformers_", "transformer_list"):
        for entry in getattr(step, name, ()):
            yield from _parts(entry[1])


def _name_null(part: Any) -> None:
    if getattr(part, "missing_values", ()) is None:
        part.missing_values = NULL
    if hasattr(part, "categories_"):
        part.categories_ = [_named_nulls(categories) for categories in part.categories_]


def _named_nulls(categories: npt.NDArray[Any]) -> npt.NDArray[Any]:
    if categories.dtype != object:
        return categories
    return np.array([NULL if value is None else value for value in categories], dtype=object)


def _matrix_order(rows: Columns) -> dict[str, list[str]]:
    """Return the names of the matrices' columns; raises for what neither can hold."""
    order: dict[str, list[str]] = {NUMBERS: [], TEXTS: []}
    for name, values in rows.items():
        order[_matrix_of(name, values)].append(name)
    return {matrix: names for matrix, names in order.items() if names}


def _matrix_of(name: str, values: npt.NDArray[Any]) -> str:
    if values.dtype.kind in "fiub":
        return NUMBERS
    if values.dtype.kind in "OU":
        return TEXTS
    raise TypeError(f"column {name} is {values.dtype}: make it a number or a string in preprocess")


def _matrix_inputs(order: dict[str, list[str]]) -> list[tuple[str, Any]]:
    from skl2onnx.common.data_types import DoubleTensorType, StringTensorType

    kinds = {NUMBERS: DoubleTensorType, TEXTS: StringTensorType}
    return [(matrix, kinds[matrix]([None, len(names)])) for matrix, names in order.items()]


def _column_inputs(rows: Columns) -> list[tuple[str, Any]]:
    from skl2onnx.common.data_types import (
        BooleanTensorType,
        DoubleTensorType,
        Int64TensorType,
        StringTensorType,
    )

    kinds = {"f": DoubleTensorType, "i": Int64TensorType, "b": BooleanTensorType}
    return [
        (name, kinds.get(values.dtype.kind, StringTensorType)([None, 1]))
        for name, values in rows.items()
    ]


def _by_position(
    steps: list[tuple[str, Any]], names: list[str], order: dict[str, list[str]]
) -> list[tuple[str, Any]]:
    """Let the first step choose its columns by their place in the matrices, not by name."""
    from sklearn.compose import ColumnTransformer

    name, first = steps[0]
    if not isinstance(first, ColumnTransformer):
        if len(order) > 1:
            raise TypeError("numbers and strings together need a ColumnTransformer as first step")
        return steps
    places = {
        name: n for n, name in enumerate(name for matrix in order.values() for name in matrix)
    }
    chosen = first._transformer_to_input_indices  # noqa: SLF001 - by place, however they were named
    first.transformers_ = [
        (label, transformer, [places[names[column]] for column in chosen[label]])
        for label, transformer, _ in first.transformers_
        if label in chosen
    ]
    return [(name, first), *steps[1:]]


def _order_said(order: dict[str, list[str]]) -> dict[str, str]:
    return {f"trivet.{matrix}": json.dumps(names) for matrix, names in order.items()}


def _mend_trees(
    model: onnx.ModelProto, last: Any, precision: Precision, doubles: dict[bytes, Any]
) -> None:
    doubles |= {_key(values): values for values in exact_node_values(last)}
    missing = missing_goes_left(last)
    for node in [n for n in model.graph.node if n.op_type.startswith("TreeEnsemble")]:
        if missing is not None:
            _send_missing(node, missing)
        if precision == "double":
            _compare_in_double(model, node, doubles)
    for opset in model.opset_import:
        if opset.domain == _ML:
            opset.version = _ML_OPSET


def _send_missing(node: onnx.NodeProto, left: npt.NDArray[np.int64]) -> None:
    """Send a NaN where scikit-learn's trees send it, which skl2onnx leaves out."""
    for attribute in node.attribute:
        if attribute.name == "nodes_missing_value_tracks_true" and len(attribute.ints) == len(left):
            attribute.ints[:] = left.tolist()


def _compare_in_double(model: onnx.ModelProto, node: onnx.NodeProto, doubles: Any) -> None:
    kept = []
    for attribute in node.attribute:
        if attribute.name in _TREE_FLOATS:
            single = np.array(attribute.floats, dtype=np.float32)
            exact = doubles.get(_key(single), single).astype(np.float64)
            tensor = onnx.numpy_helper.from_array(exact, attribute.name)
            kept.append(onnx.helper.make_attribute(f"{attribute.name}_as_tensor", tensor))
        elif attribute.name != "nodes_hitrates":  # for information only
            kept.append(attribute)
    del node.attribute[:]
    node.attribute.extend(kept)
    cast = onnx.helper.make_node(
        "Cast", [node.input[0]], [f"{node.input[0]}_double"], to=onnx.TensorProto.DOUBLE
    )
    model.graph.node.insert(list(model.graph.node).index(node), cast)
    node.input[0] = cast.output[0]


def _settle_outputs(model: onnx.ModelProto) -> None:
    """Declare the outputs' true types: skl2onnx takes them for double where the inputs are.

    Where onnx cannot tell what a node gives, it is cast to double.
    """
    floats = (onnx.TensorProto.FLOAT, onnx.TensorProto.DOUBLE)
    numbers = [o for o in model.graph.output if o.type.tensor_type.elem_type in floats]
    for output in numbers:
        output.type.tensor_type.elem_type = onnx.TensorProto.UNDEFINED
    del model.graph.value_info[:]
    inferred = onnx.shape_inference.infer_shapes(model).graph.output
    found = {output.name: output.type.tensor_type.elem_type for output in inferred}
    for output in numbers:
        output.type.tensor_type.elem_type = found[output.name] or _cast_to_double(model, output)


def _cast_to_double(model: onnx.ModelProto, output: onnx.ValueInfoProto) -> int:
    inner = f"{output.name}_uncast"
    for node in model.graph.node:
        for names in (node.input, node.output):
            names[:] = [inner if name == output.name else name for name in names]
    double = onnx.TensorProto.DOUBLE
    model.graph.node.append(onnx.helper.make_node("Cast", [inner], [output.name], to=double))
    return int(double)


def _key(values: npt.NDArray[Any]) -> bytes:
    return values.astype(np.float32).tobytes()


@contextmanager
def _recorded_doubles() -> Iterator[dict[bytes, npt.NDArray[np.float64]]]:
    """Keep the double values of attributes that become single, by their single ones.

    And let skl2onnx 1.20 convert histogram gradient boosting on onnx 1.23: its converter passes
    booleans where the node attribute is a list of integers, and onnx has come to refuse them; they
    are cast where the attribute is made.
    """
    original = onnx.helper.make_attribute
    doubles: dict[bytes, npt.NDArray[np.float64]] = {}

    def make_attribute(key: str, value: Any, *args: Any, **kwargs: Any) -> Any:
        if isinstance(value, list | tuple) and any(isinstance(v, bool | np.bool_) for v in value):
            value = [int(v) for v in value]
        if key in _TREE_FLOATS:
            exact = np.asarray(value, dtype=np.float64)
            doubles[_key(exact)] = exact
        return original(key, value, *args, **kwargs)

    onnx.helper.make_attribute = make_attribute
    try:
        yield doubles
    finally:
        onnx.helper.make_attribute = original
