"""The forest behind a step that ONNX has no counterpart for."""

import bentoml

from trivet import PredictionService, TrivetService


@bentoml.service(name="forest_pyfunc", service_class=TrivetService)
class ForestPyfunc(PredictionService):
    """Puts a row of numbers into one of three classes."""

    model = "forest_pyfunc"
