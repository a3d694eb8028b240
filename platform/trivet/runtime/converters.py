"""Converters that skl2onnx lacks: LightGBM's and XGBoost's, and an imputer of doubles."""

from __future__ import annotations

import sys
from functools import cache
from typing import Any

import numpy as np
import onnx

from trivet.runtime.linear import register_linear_models


def register_converters() -> None:
    """Tell skl2onnx how to convert what it does not know, as far as it is in this process."""
    _register_imputer()
    register_linear_models()
    if "lightgbm" in sys.modules:
        _register_lightgbm()
    if "xgboost" in sys.modules:
        _register_xgboost()


@cache
def _register_lightgbm() -> None:
    import lightgbm
    from onnxmltools.convert.lightgbm.operator_converters.LightGbm import convert_lightgbm

    _register_booster(lightgbm.LGBMClassifier, "LightGbmLGBMClassifier", convert_lightgbm)
    _register_booster(lightgbm.LGBMRegressor, "LightGbmLGBMRegressor", convert_lightgbm)


@cache
def _register_xgboost() -> None:
    import xgboost
    from onnxmltools.convert.xgboost.operator_converters.XGBoost import convert_xgboost

    _register_booster(xgboost.XGBClassifier, "XGBoostXGBClassifier", convert_xgboost)
    _register_booster(xgboost.XGBRegressor, "XGBoostXGBRegressor", convert_xgboost)


def _register_booster(kind: type, alias: str, convert: Any) -> None:
    from skl2onnx import update_registered_converter
    from skl2onnx.common.shape_calculator import (
        calculate_linear_classifier_output_shapes,
        calculate_linear_regressor_output_shapes,
    )

    if alias.endswith("Classifier"):
        shapes = calculate_linear_classifier_output_shapes
        options = {"nocl": [True, False], "zipmap": [True, False, "columns"]}
        update_registered_converter(kind, alias, shapes, convert, options=options)
    else:
        update_registered_converter(kind, alias, calculate_linear_regressor_output_shapes, convert)


@cache
def _register_imputer() -> None:
    """Impute doubles: ONNX's own operator, which skl2onnx uses, takes none."""
    from skl2onnx import update_registered_converter
    from skl2onnx.common._registration import get_converter, get_shape_calculator
    from skl2onnx.common.data_types import DoubleTensorType
    from skl2onnx.operator_converters.common import concatenate_variables
    from sklearn.impute import SimpleImputer

    alias = "SklearnSimpleImputer"
    original = get_converter(alias)

    def convert(scope: Any, operator: Any, container: Any) -> None:
        imputer = operator.raw_operator
        if imputer.add_indicator:
            raise NotImplementedError("SimpleImputer with add_indicator has no converter")
        if not isinstance(operator.inputs[0].type, DoubleTensorType):
            original(scope, operator, container)
            return
        if not _is_nan(imputer.missing_values) or np.isnan(imputer.statistics_).any():
            raise NotImplementedError("SimpleImputer is converted for NaN, and no empty column")
        values = concatenate_variables(scope, operator.inputs, container)
        missing, fill = (scope.get_unique_variable_name(name) for name in ("missing", "fill"))
        statistics = np.asarray(imputer.statistics_, dtype=np.float64)
        container.add_initializer(
            fill, onnx.TensorProto.DOUBLE, [1, len(statistics)], statistics.tolist()
        )
        container.add_node("IsNaN", [values], [missing], op_version=9)
        output = operator.outputs[0].full_name
        container.add_node("Where", [missing, fill, values], [output], op_version=9)

    update_registered_converter(SimpleImputer, alias, get_shape_calculator(alias), convert)


def _is_nan(value: Any) -> bool:
    return isinstance(value, float) and bool(np.isnan(value))
