"""Section 2: a service with health and request counts, and a gateway's routes to its versions."""

from __future__ import annotations

import numpy as np
import pytest

from journey import Service

from .notebook import CLASSES, Notebook

ROWS = slice(0, 100)


def test_the_service_predicts_what_scikit_learn_predicts(
    classifier_service: Service, notebook: Notebook
) -> None:
    """A hundred test rows get the classes and probabilities of the tutorial's own second model."""
    answer = _predict(classifier_service, "/predict", notebook)
    expected = notebook.probabilities(2, ROWS)
    assert [p["class_id"] for p in answer["predictions"]] == expected.argmax(axis=1).tolist()
    assert _probabilities(answer) == pytest.approx(expected, abs=1e-5)


def test_the_service_says_that_it_is_healthy(classifier_service: Service) -> None:
    """It is alive, and ready: a version is loaded."""
    for route in ("/livez", "/readyz", "/healthz"):
        assert classifier_service.get(route).status_code == 200


def test_requests_are_counted_by_version_over_all_workers(
    classifier_service: Service, notebook: Notebook
) -> None:
    """What `/metrics` counts grows by exactly the requests that were sent, whoever answered."""
    body = {"instances": notebook.instances(slice(0, 1))}
    before = _counts(classifier_service)
    workers: set[str] = set()
    sent = {"1": 0, "2": 0}
    while min(sent.values()) < 10 or (len(workers) < 2 and sum(sent.values()) < 1000):
        version = "1" if sent["1"] < sent["2"] / 2 else "2"
        sent[version] += 1
        route = "/versions/1/predict" if version == "1" else "/predict"
        # Without keep-alive, so that both workers are asked.
        answer = classifier_service.post(route, body, headers={"Connection": "close"})
        workers.add(answer.headers["X-Trivet-Replica"])
    after = _counts(classifier_service)
    assert {version: after[version] - before[version] for version in after} == sent
    assert len(workers) == 2


@pytest.mark.parametrize("version", [1, 2])
def test_each_version_has_a_route_of_its_own(
    classifier_service: Service, notebook: Notebook, version: int
) -> None:
    """The answer names the version, and is that version's."""
    answer = _predict(classifier_service, f"/versions/{version}/predict", notebook)
    assert answer["model"] == {"name": "tutorial_classifier", "version": version}
    expected = notebook.probabilities(version, ROWS)
    assert _probabilities(answer) == pytest.approx(expected, abs=1e-5)


def test_the_example_that_the_command_line_prints_is_answered(classifier_service: Service) -> None:
    """`trivet predict --example` prints a body that the live version takes."""
    project = classifier_service.project
    body = project.json("trivet", "predict", "tutorial_classifier", "--example")
    assert classifier_service.post("/predict", body).status_code == 200


def test_an_unknown_route_is_not_found(classifier_service: Service, notebook: Notebook) -> None:
    """A route that nobody has registered answers 404."""
    body = {"instances": notebook.instances(slice(0, 1))}
    assert classifier_service.post("/api/v3/predict", body).status_code == 404


def test_an_unknown_version_is_not_found_and_the_loaded_ones_are_named(
    classifier_service: Service, notebook: Notebook
) -> None:
    """The problem says which version was wanted and which there are."""
    body = {"instances": notebook.instances(slice(0, 1))}
    answer = classifier_service.post("/versions/3/predict", body)
    assert answer.status_code == 404
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert "version 3" in answer.json()["detail"]
    assert "loaded versions: 1, 2" in answer.json()["detail"]


def _predict(service: Service, route: str, notebook: Notebook):
    answer = service.post(route, {"instances": notebook.instances(ROWS)})
    assert answer.status_code == 200, answer.text
    return answer.json()


def _probabilities(answer) -> np.ndarray:
    return np.array([[p["probabilities"][name] for name in CLASSES] for p in answer["predictions"]])


def _counts(service: Service) -> dict[str, float]:
    return {
        version: service.metric("trivet_requests_total", version=version, status="200")
        for version in ("1", "2")
    }
