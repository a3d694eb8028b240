"""A service may be there before its model is: it says so, and takes the first release by itself."""

from __future__ import annotations

import time

from journey import Service

from .conftest import FirstRelease
from .registry import MODEL

PROBLEM = "application/problem+json"


def test_before_the_first_release_the_service_is_alive_and_not_ready(
    first_release: FirstRelease,
) -> None:
    """A load balancer would send it nothing."""
    assert first_release.ready.status_code == 503


def test_before_the_first_release_a_prediction_is_refused_as_no_champion_yet(
    first_release: FirstRelease,
) -> None:
    """The problem says what to type, and when to ask again."""
    answer = first_release.prediction
    assert (answer.status_code, answer.headers["Content-Type"]) == (503, PROBLEM)
    assert answer.json()["title"] == "No champion yet"
    assert answer.json()["hint"] == f"Release one: trivet promote {MODEL} VERSION."
    assert "Retry-After" in answer.headers


def test_before_the_first_release_there_is_no_contract(first_release: FirstRelease) -> None:
    """As there is none to name the fields, this is the same problem."""
    answer = first_release.contract
    assert (answer.status_code, answer.headers["Content-Type"]) == (503, PROBLEM)


def test_before_the_first_release_the_page_lists_the_routes_without_an_example(
    first_release: FirstRelease,
) -> None:
    """No contract says yet what an instance is made of."""
    operation = first_release.docs["paths"]["/predict"]["post"]
    assert "example" not in operation["requestBody"]["content"]["application/json"]
    assert "No version has been released yet." in first_release.docs["info"]["description"]


def test_with_the_first_release_the_service_becomes_ready_without_a_restart(
    service: Service,
) -> None:
    """The very workers that had nothing answer with version 1."""
    deadline = time.monotonic() + 10
    while not service.get("/readyz").is_success:
        assert time.monotonic() < deadline, service.tail()
        time.sleep(0.05)
    status = service.get("/status").json()
    assert (status["champion"], status["versions"], status["refused"]) == (1, [1], None)
