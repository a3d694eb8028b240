"""The forest by entity key: its features come from Feast."""

import bentoml

from trivet import PredictionService, TrivetService


@bentoml.service(name="forest_by_key", service_class=TrivetService)
class ForestByKey(PredictionService):
    """Puts a user with an item into one of three classes."""

    model = "forest_by_key"
