"""The forest with all features in the request."""

import bentoml

from trivet import PredictionService, TrivetService


@bentoml.service(name="forest", service_class=TrivetService)
class Forest(PredictionService):
    """Puts a row of numbers into one of three classes."""

    model = "forest"
