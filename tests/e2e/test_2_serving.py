"""What plain `bentoml serve` answers with: predictions by entity key, and what there is about them."""

from __future__ import annotations

import re
import time
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from journey import Project, Service

from .registry import MODEL, Registry

CLASSES = {"on time", "late", "very late"}
STEPS = ["validate", "features", "preprocess", "predict", "postprocess"]
ROUTES = {
    "/predict",
    "/versions/{version}/predict",
    "/aliases/{alias}/predict",
    "/contract",
    "/status",
    "/v2",
    "/v2/health/live",
    "/v2/health/ready",
    "/v2/models/{name}",
    "/v2/models/{name}/ready",
    "/v2/models/{name}/infer",
    "/v2/models/{name}/versions/{version}",
    "/v2/models/{name}/versions/{version}/ready",
    "/v2/models/{name}/versions/{version}/infer",
    "/livez",
    "/readyz",
    "/healthz",
    "/metrics",
}


def test_a_departure_is_predicted_by_its_keys_and_schedule(
    service: Service, body: dict[str, Any]
) -> None:
    """No feature is in the request; the answer has the class, its probability, and who answered."""
    answer = service.post("/predict", body)
    assert answer.status_code == 200, answer.text
    document = answer.json()
    assert document.keys() == {"predictions", "model", "request_id", "missing"}
    assert document["model"] == {"name": MODEL, "version": 1}
    (prediction,) = document["predictions"]
    probabilities = prediction["probabilities"]
    assert probabilities.keys() == CLASSES
    assert sum(probabilities.values()) == pytest.approx(1, abs=1e-5)
    assert prediction["class_name"] == list(probabilities)[prediction["class_id"]]
    assert prediction["confidence"] == max(probabilities.values())


def test_features_are_fresh_from_the_online_store(service: Service, body: dict[str, Any]) -> None:
    """Weather, airport and carrier have values within hours of now: their TTLs are in force."""
    (instance,) = body["instances"]
    assert instance.keys() == {
        "origin",
        "dest",
        "carrier",
        "tailnum",
        "scheduled_departure",
        "scheduled_arrival",
    }
    absent = service.post("/predict", body).json()["missing"]
    # Not those that are null: the hour's weather may have gaps of its own.
    missing = {entry["column"] for entry in absent if entry["why"] != "null"}
    assert not [name for name in missing if not name.startswith(("leg_", "plane_"))]


def test_several_departures_are_answered_in_their_order(
    service: Service, body: dict[str, Any]
) -> None:
    """Each row gets what it would get alone, to the last digits of single precision."""
    (instance,) = body["instances"]
    later = {**instance, "origin": "JFK", "dest": "LAX", "carrier": "AA", "tailnum": "N14228"}
    rows = [instance, later, instance]
    together = probabilities(service.post("/predict", {"instances": rows}))
    alone = [probabilities(service.post("/predict", {"instances": [row]})) for row in rows]
    assert together == [pytest.approx(one, abs=1e-6) for (one,) in alone]
    assert together[0] == pytest.approx(together[2], abs=1e-6)
    assert together[0] != pytest.approx(together[1], abs=1e-6)


def test_the_answer_names_every_step_with_its_time(service: Service, body: dict[str, Any]) -> None:
    """`Server-Timing` is what a browser's developer tools draw."""
    timing = service.post("/predict", body).headers["Server-Timing"]
    steps = re.fullmatch(r"(\w+;dur=[\d.]+(, |$))+", timing)
    assert steps is not None, timing
    assert re.findall(r"(\w+);dur", timing) == STEPS


def test_the_answer_names_the_process_that_answered(service: Service, body: dict[str, Any]) -> None:
    """By host and process id: one of the service's own."""
    replica = service.post("/predict", body).headers["X-Trivet-Replica"]
    assert int(replica.rpartition("-")[2]) in {process.pid for process in service.processes()}


def test_a_request_id_is_handed_back(service: Service, body: dict[str, Any]) -> None:
    """In the header and in the answer, so that logs of both sides can be brought together."""
    answer = service.post("/predict", body, headers={"X-Request-Id": "gate-B22"})
    assert (answer.headers["X-Request-Id"], answer.json()["request_id"]) == ("gate-B22",) * 2


def test_a_request_without_an_id_gets_one(service: Service, body: dict[str, Any]) -> None:
    """A new one each time."""
    answers = [service.post("/predict", body) for _ in range(2)]
    ids = {answer.headers["X-Request-Id"] for answer in answers}
    assert len(ids) == 2
    assert ids == {answer.json()["request_id"] for answer in answers}


def test_the_contract_is_the_one_that_was_registered(service: Service, registry: Registry) -> None:
    """Word for word what lies among the version's artifacts in MLflow."""
    assert service.get("/contract").json() == registry.contract(1)


def test_the_live_version_is_also_asked_by_number_and_by_alias(
    service: Service, body: dict[str, Any]
) -> None:
    """All three routes give the same prediction."""
    routes = ("/predict", "/versions/1/predict", "/aliases/champion/predict")
    answers = [service.post(route, body).json() for route in routes]
    assert [answer["model"]["version"] for answer in answers] == [1, 1, 1]
    assert answers[0]["predictions"] == answers[1]["predictions"] == answers[2]["predictions"]


def test_the_page_lists_every_route_with_an_example_that_is_answered(
    service: Service, body: dict[str, Any]
) -> None:
    """Whoever tries the example out in BentoML's page gets a prediction."""
    assert service.get("/").status_code == 200
    assert service.get("/docs.json").json()["paths"].keys() == ROUTES
    assert service.post("/predict", body).status_code == 200


def test_the_service_listens_on_loopback_alone(service: Service) -> None:
    """BentoML's default is every interface of the machine."""
    parent = service.follower().parent()
    assert parent is not None
    listening = [
        connection.laddr
        for process in (parent, *service.processes())
        for connection in process.net_connections("inet")
        if connection.status == psutil.CONN_LISTEN
    ]
    assert service.port in {address.port for address in listening}
    assert {address.ip for address in listening} == {"127.0.0.1"}


def test_an_example_printed_by_the_command_line_is_answered(
    service: Service, project: Project
) -> None:
    """It comes from this host's own copy of the live version, dated now."""
    printed = project.run("trivet", "predict", MODEL, "--example").stdout
    headers = {"Content-Type": "application/json"}
    answer = service.post("/predict", content=printed, headers=headers)
    assert answer.status_code == 200, answer.text


def test_the_command_line_asks_the_service(service: Service, project: Project) -> None:
    """Without a file it asks for the example of the service's own contract."""
    answer = project.json("trivet", "predict", MODEL, "--url", service.url)
    assert answer["model"] == {"name": MODEL, "version": 1}
    assert answer["predictions"][0]["class_name"] in CLASSES


def test_the_command_line_shows_a_refusal_and_ends_with_1(
    service: Service, project: Project
) -> None:
    """What it sends is taken from standard input, as it is."""
    refused = project.run(
        "trivet", "predict", MODEL, "-", "--url", service.url, stdin='{"instances": [{}]}', code=1
    )
    assert "HTTP 422" in refused.stderr
    assert '"field": "tailnum"' in refused.stdout


def test_the_command_line_ends_with_3_where_nothing_answers(project: Project) -> None:
    """Port 9 is the one at which everything is discarded."""
    nobody = "http://127.0.0.1:9"
    down = project.run("trivet", "predict", MODEL, "--url", nobody, code=3)
    assert f"Nothing answers at {nobody}" in down.stderr


def test_a_report_is_drawn_from_the_traffic(
    service: Service, project: Project, body: dict[str, Any]
) -> None:
    """Average and p99 of each step, and the distribution of the whole: numbers and a picture."""
    service.post("/predict", body)
    folder = project.root / "reports" / MODEL
    report = project.json("trivet", "report", MODEL, "--url", service.url, "--json")
    assert [step["name"] for step in report["steps"]] == STEPS
    assert report["total"]["count"] == sum(share["requests"] for share in report["distribution"])
    assert (folder / "latency.png").read_bytes().startswith(b"\x89PNG")
    assert (folder / "latency.json").stat().st_size > 0


def test_what_was_served_is_what_the_offline_store_says(
    service: Service, project: Project, body: dict[str, Any]
) -> None:
    """But for what has become known since the features were brought online; drawn beside training."""
    service.post("/predict", body).raise_for_status()
    time.sleep(1.5)  # for the log to be flushed
    found = project.json("trivet", "skew", MODEL, "--json")
    assert found["rows"] > 1
    assert found["skewed"] == 0
    assert found["drift"] == []
    assert {cause for column in found["columns"] for cause in column["causes"]} <= {
        "lag",
        "override",
    }
    assert Path(found["picture"]).stat().st_size > 50_000


def probabilities(answer: httpx.Response) -> list[dict[str, float]]:
    """Return the classes' probabilities of each prediction."""
    assert answer.status_code == 200, answer.text
    return [prediction["probabilities"] for prediction in answer.json()["predictions"]]
