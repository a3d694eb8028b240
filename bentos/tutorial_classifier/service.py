"""The tutorial's classifier: `bentoml serve` in this folder answers with the live version."""

import bentoml

from trivet import PredictionService, TrivetService


@bentoml.service(name="tutorial_classifier", service_class=TrivetService)
class TutorialClassifier(PredictionService):
    """Puts twenty numbers of a request into one of three classes: Low, Medium or High."""

    model = "tutorial_classifier"
