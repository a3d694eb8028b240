"""The flight-delay service: `bentoml serve` in this folder answers with the live version."""

import bentoml

from trivet import PredictionService, TrivetService


@bentoml.service(name="flight_delay", service_class=TrivetService)
class FlightDelay(PredictionService):
    """Says how likely a departure from New York arrives on time, late, or very late."""

    model = "flight_delay"
