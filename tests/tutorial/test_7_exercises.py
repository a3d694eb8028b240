"""Section 7: both exercises, each as one journey."""

from __future__ import annotations

import pytest

from journey import Service

from .notebook import CLASSES, USERS, Notebook, predict_users


def test_exercise_1_a_complete_serving_system(
    classifier_service: Service, notebook: Notebook
) -> None:
    """Of two registered versions the promoted one answers all of a hundred requests, by name."""
    before = _answered(classifier_service)
    answers = [
        classifier_service.post("/predict", {"instances": [instance]}).json()
        for instance in notebook.instances(slice(0, 100))
    ]
    assert _answered(classifier_service) - before == 100
    assert {answer["model"]["version"] for answer in answers} == {2}
    sample = answers[0]["predictions"][0]
    expected = notebook.probabilities(2, slice(0, 1))[0]
    assert sample["class_id"] == expected.argmax()
    assert sample["class_name"] == CLASSES[expected.argmax()]
    assert sample["confidence"] == pytest.approx(expected.max(), abs=1e-5)


def test_exercise_2_predictions_by_user_id_are_those_of_scikit_learn(
    users_service: Service,
) -> None:
    """With the user's id alone, each user gets the label that the tutorial's own model gives."""
    body = {"instances": [{"user_id": user} for user in USERS]}
    answer = users_service.post("/predict", body).json()
    assert [prediction["class_id"] for prediction in answer["predictions"]] == predict_users()
    assert answer["model"] == {"name": "tutorial_users", "version": 1}
    assert answer["missing"] == []


def test_the_example_request_for_a_user_is_a_user_id(users_service: Service) -> None:
    """`trivet predict --example` asks for nothing that Feast knows, and the service answers it."""
    body = users_service.project.json("trivet", "predict", "tutorial_users", "--example")
    assert [list(instance) for instance in body["instances"]] == [["user_id"]]
    assert users_service.post("/predict", body).status_code == 200


def _answered(service: Service) -> float:
    return service.metric("trivet_requests_total", version="2", status="200")
