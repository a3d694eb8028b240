"""Trivet's routes answer every error by a problem, and hand everything else to the app behind."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import orjson
import pytest

from trivet.contract import parse_contract
from trivet.errors import FeaturesUnavailable
from unit.client import MOST_BYTES, Client, Served
from unit.fakes import FakeReader, ask, shop, version


@pytest.fixture
def client(tmp_path: Path) -> Client:
    """Return a client of two loaded versions."""
    return Client(Served(tmp_path, version(2), version(1)))


def body(*instances: Any) -> bytes:
    """Return a request body."""
    return orjson.dumps({"instances": instances})


def test_a_prediction_is_answered_with_who_and_how_long(client: Client) -> None:
    """The milliseconds of every step stand in a header that browsers show."""
    answer = client.post("/predict", content=body(ask()), headers={"X-Request-Id": "mine"})
    assert answer.status_code == 200
    assert answer.json()["predictions"] == [{"value": 20.0}]
    assert answer.json()["model"] == {"name": "shop", "version": 2}
    assert answer.json()["request_id"] == answer.headers["X-Request-Id"] == "mine"
    assert answer.headers["X-Trivet-Replica"]
    steps = [part.split(";dur=")[0] for part in answer.headers["Server-Timing"].split(", ")]
    assert steps == ["validate", "features", "preprocess", "predict", "postprocess"]


def test_a_request_without_an_id_gets_one(client: Client) -> None:
    """Each its own."""
    first, second = (client.post("/predict", content=body(ask())) for _ in range(2))
    assert first.headers["X-Request-Id"] != second.headers["X-Request-Id"]


@pytest.mark.parametrize(
    ("path", "number"),
    [("/predict", 2), ("/versions/1/predict", 1), ("/aliases/v1/predict", 1)],
)
def test_a_route_names_its_version(client: Client, path: str, number: int) -> None:
    """The champion's, one by number, one by alias."""
    assert client.post(path, content=body(ask())).json()["model"]["version"] == number


@pytest.mark.parametrize(
    ("path", "sent", "status", "title"),
    [
        ("/predict", b"{", 400, "Malformed request"),
        ("/predict", b"", 400, "Malformed request"),
        ("/predict", b'{"instances": []}', 400, "Malformed request"),
        ("/predict", b'{"rows": []}', 400, "Malformed request"),
        ("/predict", body(*[ask()] * 6), 413, "Request too large"),
        ("/predict", b" " * (MOST_BYTES + 1), 413, "Request too large"),
        ("/predict", body({}), 422, "Invalid instances"),
        ("/predict", body(ask(user_id="u404")), 422, "Invalid instances"),
        ("/versions/7/predict", body(ask()), 404, "Version not loaded"),
        ("/versions/x/predict", body(ask()), 404, "Version not loaded"),
        (f"/versions/{'9' * 5000}/predict", body(ask()), 404, "Version not loaded"),
        ("/aliases/none/predict", body(ask()), 404, "Version not loaded"),
    ],
)
def test_every_error_is_a_problem_and_the_next_request_is_answered(
    client: Client, path: str, sent: bytes, status: int, title: str
) -> None:
    """As RFC 9457 has it, with the request's id."""
    answer = client.post(path, content=sent)
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert (problem["status"], problem["title"], problem["type"]) == (status, title, "about:blank")
    assert problem["request_id"] == answer.headers["X-Request-Id"]
    assert client.post("/predict", content=body(ask())).status_code == 200


def test_a_problem_names_row_and_field(client: Client) -> None:
    """Of every fault; a row that is no object has no field."""
    problem = client.post("/predict", content=body(ask(), 3, ask(amount="x"))).json()
    assert problem["errors"] == [
        {"row": 1, "detail": "an object of fields is expected"},
        {"row": 2, "field": "amount", "detail": 'amount: a number is expected, not "x"'},
    ]


def test_a_problem_brings_the_hint(client: Client) -> None:
    """What to do next, apart from what is wrong."""
    problem = client.post("/predict", content=b"{}").json()
    assert problem["detail"] == 'The body has no "instances".'
    assert problem["hint"].startswith('Send {"instances"')


def test_a_body_is_read_no_further_than_the_limit(client: Client) -> None:
    """Whoever announces no length is stopped at the first byte too many."""
    taken = []

    async def parts() -> AsyncIterator[bytes]:
        for number in range(9):
            taken.append(number)
            yield b" " * MOST_BYTES

    answer = client.post("/predict", content=parts())
    assert answer.status_code == 413
    assert taken == [0, 1]
    assert "TRIVET_MAX_BODY_BYTES" in answer.json()["hint"]


@pytest.mark.parametrize("path", ["/predict", "/v2/models/shop/infer"])
def test_a_body_that_is_too_large_is_counted(tmp_path: Path, path: str) -> None:
    """As any other request that is refused; which version it was for, nobody knows."""
    served = Served(tmp_path)
    Client(served).post(path, content=b" " * (MOST_BYTES + 1))
    assert served.recorder.refusals == [(None, 413)]


def test_before_the_first_release_a_request_may_come_again(tmp_path: Path) -> None:
    """503 with Retry-After, and a sentence on how to release."""
    client = Client(Served(tmp_path))
    for answer in (client.post("/predict", content=body(ask())), client.get("/contract")):
        assert answer.status_code == 503
        assert answer.headers["Retry-After"] == "1"
        assert answer.json()["title"] == "No champion yet"
        assert "trivet promote shop" in answer.json()["hint"]


@pytest.mark.parametrize("path", ["/predict", "/v2/models/shop/infer"])
def test_an_overloaded_worker_refuses_on_every_route(tmp_path: Path, path: str) -> None:
    """503 with Retry-After, in the form of the route's family."""
    served = Served(tmp_path)
    served.dataplane.in_flight = served.settings.most_in_flight
    answer = Client(served).post(path, content=body(ask()))
    assert answer.status_code == 503
    assert answer.headers["Retry-After"] == "1"
    document = answer.json()
    assert "512 requests to answer already" in document.get("detail", document.get("error"))
    assert served.recorder.not_begun == 1


def test_a_store_that_is_down_is_a_503(tmp_path: Path) -> None:
    """It is not the caller's fault, and may pass."""
    reader = FakeReader(error=FeaturesUnavailable("The online store failed."))
    client = Client(Served(tmp_path, version(reader=reader)))
    answer = client.post("/predict", content=body(ask()))
    assert answer.status_code == 503
    assert answer.json()["detail"] == "The online store failed."


@pytest.mark.parametrize(
    "made",
    [{"error": ValueError("secret")}, {"reader": FakeReader(error=KeyError("secret"))}],
    ids=["the version's own code", "ours"],
)
def test_an_unexpected_failure_is_a_problem_and_no_traceback(
    tmp_path: Path, made: dict[str, Any]
) -> None:
    """And the next request is taken."""
    client = Client(Served(tmp_path, version(**made)))
    for _ in range(2):
        answer = client.post("/predict", content=body(ask()))
        assert answer.status_code == 500
        assert answer.headers["content-type"] == "application/problem+json"
        assert "Traceback" not in answer.text
        assert "fakes.py" not in answer.text


def test_the_contract_is_the_live_versions(client: Client) -> None:
    """As it was registered."""
    answer = client.get("/contract")
    assert answer.headers["content-type"] == "application/json"
    assert parse_contract(answer.content).digest == shop().digest


def test_the_status_lists_what_is_loaded(client: Client) -> None:
    """An operator compares replicas by it."""
    assert client.get("/status").json() == {
        "model": "shop",
        "champion": 2,
        "versions": [1, 2],
        "left_out": {},
        "bytes": 0,
        "refused": None,
        "registry": None,
        "features": None,
        "canary": None,
        "shadow": None,
    }


def test_the_page_is_made_from_trivets_description(client: Client) -> None:
    """BentoML's page asks for this document."""
    assert client.get("/docs.json").json() == {"paths": {}}


def test_every_other_route_falls_to_the_app_behind(client: Client) -> None:
    """Its pages, and its own answer to what it does not know."""
    assert client.get("/").text == "a page"
    unknown = client.post("/predictions", content=body(ask()))
    assert (unknown.status_code, unknown.text) == (404, "Not Found")


def test_another_method_is_not_allowed(client: Client) -> None:
    """A browser that opens the route is told so."""
    assert client.get("/predict").status_code == 405
