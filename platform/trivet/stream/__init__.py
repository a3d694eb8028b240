"""Feature events and prediction requests from a broker, by the contract that the service answers."""
