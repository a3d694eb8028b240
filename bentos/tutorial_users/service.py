"""The tutorial's users: `bentoml serve` in this folder answers with the live version."""

import bentoml

from trivet import PredictionService, TrivetService


@bentoml.service(name="tutorial_users", service_class=TrivetService)
class TutorialUsers(PredictionService):
    """Predicts for a user by `user_id`, on the age, income and purchases that Feast holds."""

    model = "tutorial_users"
