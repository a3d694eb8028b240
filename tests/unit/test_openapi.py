"""The page describes the routes, and what the live contract makes of them."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import orjson

from trivet.contract import Contract
from trivet.serving.asking import Asker
from trivet.serving.oip import parse_request
from trivet.serving.openapi import describe_routes
from unit.fakes import NOON, golden, shop

ABOUT = "Prices of a shop."
V2 = [
    "/v2",
    "/v2/health/live",
    "/v2/health/ready",
    "/v2/models/{name}",
    "/v2/models/{name}/ready",
    "/v2/models/{name}/infer",
    "/v2/models/{name}/versions/{version}",
    "/v2/models/{name}/versions/{version}/ready",
    "/v2/models/{name}/versions/{version}/infer",
]
THEIRS = {"openapi": "3.0.2", "paths": {"/predict": {"post": {}}, "/livez": {"get": {}}}}


def request_of(contract: Contract | None, path: str = "/predict") -> dict[str, Any]:
    """Return what a route takes."""
    document = describe_routes(THEIRS, ABOUT, contract, NOON + timedelta(days=1))
    content: dict[str, Any] = document["paths"][path]["post"]["requestBody"]["content"]
    return content["application/json"]


def test_trivets_routes_stand_beside_bentomls() -> None:
    """BentoML's description is not changed, and its own /predict gives way."""
    document = describe_routes(THEIRS, ABOUT, shop(), NOON)
    assert document["openapi"] == "3.0.2"
    assert list(document["paths"]) == [
        "/predict",
        "/versions/{version}/predict",
        "/aliases/{alias}/predict",
        "/contract",
        "/status",
        *V2,
        "/livez",
    ]
    assert THEIRS["paths"] == {"/predict": {"post": {}}, "/livez": {"get": {}}}


def test_the_head_says_what_is_served() -> None:
    """What the service is for, and where its features come from."""
    head = describe_routes({"info": {"title": "shop"}}, ABOUT, shop(), NOON)["info"]
    assert head["title"] == "shop"
    assert head["description"] == (
        "Prices of a shop.\n\nFeatures from Feast: users. Runtime: onnx."
    )
    before = describe_routes({}, ABOUT, None, NOON)["info"]["description"]
    assert before.endswith("No version has been released yet.")


def test_an_instance_has_the_contracts_fields() -> None:
    """Those that a caller must send are required; a feature may be sent."""
    instance = request_of(shop())["schema"]["properties"]["instances"]["items"]
    assert instance["required"] == ["user_id", "amount"]
    assert instance["properties"]["age"] == {
        "type": "number",
        "format": "double",
        "description": "optional override of users:age",
    }
    assert set(instance["properties"]) == {"user_id", *(c.name for c in shop().columns)}


def test_the_example_is_one_that_is_answered() -> None:
    """A reader presses the button, and gets a prediction."""
    contract = shop(golden=(golden(),))
    example = request_of(contract, "/versions/{version}/predict")["example"]
    assert Asker(contract).check(example["instances"]).rows == 1


def test_the_example_of_tensors_is_one_that_is_answered() -> None:
    """The same row, a tensor a field."""
    contract = shop(golden=(golden(),))
    example = request_of(contract, "/v2/models/{name}/infer")["example"]
    request = parse_request(orjson.dumps(example), None, {}, 1)
    assert request.instances == request_of(contract)["example"]["instances"]
    assert Asker(contract).check(request.instances).rows == 1


def test_a_route_is_described_with_its_parts() -> None:
    """The parameters of its path, and the form that its errors have."""
    paths = describe_routes({}, ABOUT, shop(), NOON)["paths"]
    infer = paths["/v2/models/{name}/versions/{version}/infer"]["post"]
    assert [part["name"] for part in infer["parameters"]] == ["name", "version"]
    assert set(infer["responses"]["422"]["content"]) == {"application/json"}
    predict = paths["/predict"]["post"]
    assert predict["parameters"] == []
    assert set(predict["responses"]["422"]["content"]) == {"application/problem+json"}
    operations = [entry.get("get") or entry["post"] for entry in paths.values()]
    assert len({operation["operationId"] for operation in operations}) == len(paths)


def test_before_the_first_release_any_object_is_described() -> None:
    """The routes are there, their fields are not known."""
    taken = request_of(None)
    assert taken["schema"]["properties"]["instances"]["items"] == {"type": "object"}
    assert "example" not in taken


def test_problems_are_described() -> None:
    """With the statuses that the routes answer."""
    responses = describe_routes({}, ABOUT, shop(), NOON)["paths"]["/predict"]["post"]["responses"]
    assert set(responses) == {"200", "400", "404", "413", "422", "503"}
