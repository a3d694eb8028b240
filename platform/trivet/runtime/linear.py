"""Linear models in double precision, of plain ONNX operators.

ONNX's own operators for them compute in single precision: they overflow where the model itself does
not, and ONNX Runtime refuses some with doubles.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import onnx

_REGRESSORS = ("LinearRegression", "Ridge", "Lasso", "ElasticNet")


@cache
def register_linear_models() -> None:
    """Tell skl2onnx to convert logistic and linear regressions so."""
    from skl2onnx import update_registered_converter
    from skl2onnx.common.shape_calculator import (
        calculate_linear_classifier_output_shapes,
        calculate_linear_regressor_output_shapes,
    )
    from sklearn import linear_model

    update_registered_converter(
        linear_model.LogisticRegression,
        "TrivetLogisticRegression",
        calculate_linear_classifier_output_shapes,
        _convert_logistic,
        options={"nocl": [True, False], "zipmap": [True, False, "columns"]},
    )
    for name in _REGRESSORS:
        update_registered_converter(
            getattr(linear_model, name),
            f"Trivet{name}",
            calculate_linear_regressor_output_shapes,
            _convert_regression,
        )


class _Nodes:
    """Adds nodes to a graph in the making, each with one output."""

    def __init__(self, scope: Any, container: Any) -> None:
        self._scope = scope
        self._container = container

    def add(self, kind: str, *inputs: str, into: str | None = None, **attributes: Any) -> str:
        output = into or self._scope.get_unique_variable_name(kind.lower())
        self._container.add_node(kind, list(inputs), [output], op_version=13, **attributes)
        return str(output)

    def constant(self, values: Any) -> str:
        values = np.asarray(values)
        kind = onnx.TensorProto.INT64 if values.dtype.kind == "i" else onnx.TensorProto.DOUBLE
        name = self._scope.get_unique_variable_name("constant")
        self._container.add_initializer(name, kind, list(values.shape), values.ravel().tolist())
        return str(name)

    def scores(self, operator: Any) -> str:
        """Compute the products with the coefficients, [n, targets]."""
        from skl2onnx.operator_converters.common import concatenate_variables

        model = operator.raw_operator
        values = concatenate_variables(self._scope, operator.inputs, self._container)
        doubles = self.add("Cast", values, to=onnx.TensorProto.DOUBLE)
        product = self.add("MatMul", doubles, self.constant(np.atleast_2d(model.coef_).T * 1.0))
        return self.add("Add", product, self.constant(np.ravel(model.intercept_) * 1.0))


def _convert_regression(scope: Any, operator: Any, container: Any) -> None:
    nodes = _Nodes(scope, container)
    nodes.add("Identity", nodes.scores(operator), into=operator.outputs[0].full_name)


def _convert_logistic(scope: Any, operator: Any, container: Any) -> None:
    model = operator.raw_operator
    nodes = _Nodes(scope, container)
    scores = nodes.scores(operator)
    label, probabilities = (output.full_name for output in operator.outputs)
    if len(model.classes_) > 2 and model.solver == "liblinear":  # noqa: PLR2004
        raise NotImplementedError("LogisticRegression by liblinear is converted for two classes")
    if len(model.classes_) == 2:  # noqa: PLR2004
        second = nodes.add("Sigmoid", scores)
        first = nodes.add("Sub", nodes.constant([1.0]), second)
        nodes.add("Concat", first, second, into=probabilities, axis=1)
        positive = nodes.add("Greater", scores, nodes.constant([0.0]))
        place = nodes.add("Cast", positive, to=onnx.TensorProto.INT64)
        place = nodes.add("Reshape", place, nodes.constant([-1]))
    else:
        nodes.add("Softmax", scores, into=probabilities, axis=1)
        place = nodes.add("ArgMax", scores, axis=1, keepdims=0)
    nodes.add("Gather", nodes.constant(model.classes_.astype(np.int64)), place, into=label)
