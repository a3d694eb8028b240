"""Whatever is sent, the answer is a problem that names row and field, and the next one is answered."""

from __future__ import annotations

import json
from typing import Any

import pytest

from journey import Service

Instance = dict[str, Any]
Missing = object()

ROWS = {
    "a missing join key": ({"tailnum": Missing}, "tailnum", "tailnum is required"),
    "a join key that is null": ({"origin": None}, "origin", "origin is required"),
    "a missing request field": (
        {"scheduled_departure": Missing},
        "scheduled_departure",
        "scheduled_departure is required",
    ),
    "a value of the wrong type": ({"carrier": 5}, "carrier", "not 5"),
    "a structure in place of a value": ({"dest": {"code": "LAX"}}, "dest", "not an object"),
    "a field that nobody knows": ({"colour": "red"}, "colour", "not a field of the contract"),
    "a time without a zone": (
        {"scheduled_arrival": "2026-11-22T12:00:00"},
        "scheduled_arrival",
        "not ",
    ),
    "a time that is none": ({"scheduled_departure": "soon"}, "scheduled_departure", 'not "soon"'),
    "a feature of the wrong type": ({"plane_seats": "many"}, "plane_seats", 'not "many"'),
}

BODIES = {
    "no JSON": (b'{"instances": [', "The body is not JSON"),
    "nothing": (b"", "The body is not JSON"),
    "bytes that are no text": (b'{"instances": ["\xff"]}', "The body is not JSON"),
    "a list": (b"[]", 'The body has no "instances"'),
    "other fields": (b'{"instances": [{}], "threshold": 1}', "unknown fields: threshold"),
    "no instances": (b'{"instances": []}', "a list of at least one object"),
    "one instance outside a list": (b'{"instances": {}}', "a list of at least one object"),
}


@pytest.mark.parametrize("what", ROWS)
def test_a_row_that_does_not_fit_is_named_with_its_field(
    service: Service, body: dict[str, Any], what: str
) -> None:
    """The good row before it does not hide it, and is not answered either."""
    changes, field, words = ROWS[what]
    (good,) = body["instances"]
    wrong = {name: value for name, value in {**good, **changes}.items() if value is not Missing}
    answer = service.post("/predict", {"instances": [good, wrong]})
    problem = the_problem(answer, 422, "Invalid instances")
    (fault,) = problem["errors"]
    assert (fault["row"], fault["field"]) == (1, field)
    assert words in fault["detail"]
    assert "Row 1" in problem["detail"]
    assert_answered(service, body)


def test_every_fault_of_every_row_is_named(service: Service, body: dict[str, Any]) -> None:
    """So that they can be mended at once."""
    (good,) = body["instances"]
    rows = [{**good, "carrier": 5, "dest": None}, "JFK", good]
    problem = the_problem(service.post("/predict", {"instances": rows}), 422, "Invalid instances")
    places = [(fault["row"], fault.get("field")) for fault in problem["errors"]]
    assert sorted(places, key=str) == [(0, "carrier"), (0, "dest"), (1, None)]
    assert_answered(service, body)


@pytest.mark.parametrize("what", BODIES)
def test_a_body_that_is_no_request_is_malformed(
    service: Service, body: dict[str, Any], what: str
) -> None:
    """The problem says what is expected in its place."""
    content, words = BODIES[what]
    answer = service.post("/predict", content=content)
    assert words in the_problem(answer, 400, "Malformed request")["detail"]
    assert_answered(service, body)


def test_ten_thousand_rows_are_too_many(service: Service, body: dict[str, Any]) -> None:
    """The problem names the limit and the setting that raises it."""
    problem = the_problem(
        service.post("/predict", {"instances": body["instances"] * 10_000}),
        413,
        "Request too large",
    )
    assert "10,000 rows; at most 1,000" in problem["detail"]
    assert "TRIVET_MAX_ROWS" in problem["hint"]
    assert_answered(service, body)


def test_a_thousand_rows_are_answered(service: Service, body: dict[str, Any]) -> None:
    """The limit itself is allowed."""
    answer = service.post("/predict", {"instances": body["instances"] * 1000})
    assert answer.status_code == 200
    assert len(answer.json()["predictions"]) == 1000


def test_a_body_of_too_many_bytes_is_refused(service: Service, body: dict[str, Any]) -> None:
    """Whatever is in it: it is not read to its end."""
    content = json.dumps(body).encode() + b" " * 8 * 2**20
    problem = the_problem(service.post("/predict", content=content), 413, "Request too large")
    assert "TRIVET_MAX_BODY_BYTES" in problem["hint"]
    assert_answered(service, body)


@pytest.mark.parametrize(
    ("route", "wanted"),
    [
        ("/versions/99/predict", "version 99"),
        ("/versions/newest/predict", "version newest"),
        ("/aliases/nobody/predict", "alias 'nobody'"),
    ],
)
def test_a_version_that_is_not_there_is_not_found(
    service: Service, body: dict[str, Any], route: str, wanted: str
) -> None:
    """The problem says which versions there are."""
    problem = the_problem(service.post(route, body), 404, "Version not loaded")
    assert wanted in problem["detail"]
    assert "loaded versions: 1" in problem["detail"]
    assert_answered(service, body)


def test_an_unknown_aircraft_is_answered_with_what_was_missing(
    service: Service, body: dict[str, Any]
) -> None:
    """Its policy is `null`: the prediction is made without, and says so column by column."""
    (good,) = body["instances"]
    rows = [good, {**good, "tailnum": "N00000"}]
    answer = service.post("/predict", {"instances": rows})
    assert answer.status_code == 200, answer.text
    assert len(answer.json()["predictions"]) == 2
    # Not those that are null: the hour's weather may have gaps of its own.
    missing = {
        entry["column"]
        for entry in answer.json()["missing"]
        if entry["row"] == 1 and entry["why"] == "missing"
    }
    assert missing == {
        "leg_departure_delay_min",
        "leg_arrival_delay_min",
        "leg_air_time_min",
        "plane_age_years",
        "plane_seats",
    }


def test_no_wrong_input_left_a_traceback_in_the_log(service: Service) -> None:
    """What a caller does wrong is not a fault of the service."""
    assert "Traceback" not in service.log.read_text()


def the_problem(answer: Any, status: int, title: str) -> dict[str, Any]:
    """Return a problem after checking what every problem has."""
    assert answer.status_code == status, answer.text
    assert answer.headers["Content-Type"] == "application/problem+json"
    problem = answer.json()
    assert (problem["status"], problem["title"]) == (status, title)
    assert problem["request_id"] == answer.headers["X-Request-Id"]
    assert "Traceback" not in answer.text
    return problem


def assert_answered(service: Service, body: dict[str, Any]) -> None:
    """See that the service goes on."""
    assert service.post("/predict", body).status_code == 200
