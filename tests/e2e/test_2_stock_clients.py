"""Clients that others have written get what `/predict` answers: the protocol's, and BentoML's own."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from http import HTTPStatus
from typing import Any

import bentoml
import numpy as np
import pytest
from bentoml.exceptions import BentoMLException
from tritonclient.http import (
    InferenceServerClient,
    InferInput,
    InferRequestedOutput,
    InferResult,
)
from tritonclient.utils import InferenceServerException

from journey import Service

from .registry import MODEL

Instance = dict[str, Any]
FIELDS = ["class_id", "class_name", "confidence", "probabilities", "delay_probability"]


@pytest.fixture
def triton(service: Service) -> Iterator[InferenceServerClient]:
    """Return a stock client of the Open Inference Protocol."""
    client = InferenceServerClient(service.url.removeprefix("http://"))
    yield client
    client.close()


@pytest.fixture
def theirs(service: Service) -> Iterator[bentoml.SyncHTTPClient]:
    """Return BentoML's client."""
    with bentoml.SyncHTTPClient(service.url) as client:
        yield client
        # It makes a folder for files that it might get, and leaves that to the garbage collector.
        client._temp_dir.cleanup()


@pytest.fixture
def departures(body: dict[str, Any]) -> list[Instance]:
    """Return a few departures that differ."""
    (first,) = body["instances"]
    return [
        first,
        {**first, "origin": "JFK", "dest": "LAX", "carrier": "AA", "tailnum": "N14228"},
        {**first, "origin": "LGA", "dest": "ATL", "carrier": "DL"},
    ]


def test_the_server_and_its_model_are_described(triton: InferenceServerClient) -> None:
    """Alive, ready, and with the tensors of the live version."""
    assert triton.is_server_live()
    assert triton.is_server_ready()
    assert triton.is_model_ready(MODEL)
    assert triton.is_model_ready(MODEL, "1")
    assert not triton.is_model_ready(MODEL, "99")
    assert not triton.is_model_ready("nobody")
    assert triton.get_server_metadata()["extensions"] == ["binary_tensor_data"]
    metadata = triton.get_model_metadata(MODEL)
    assert (metadata["name"], metadata["versions"]) == (MODEL, ["1"])
    needed = [t["name"] for t in metadata["inputs"] if not t["parameters"]["optional"]]
    assert set(needed) >= {"origin", "dest", "carrier", "tailnum", "scheduled_departure"}
    assert [tensor["name"] for tensor in metadata["outputs"]] == FIELDS


@pytest.mark.parametrize("binary", [True, False])
@pytest.mark.parametrize("rows", [1, 3])
def test_tensors_of_join_keys_say_what_predict_says(
    service: Service,
    triton: InferenceServerClient,
    departures: list[Instance],
    rows: int,
    binary: bool,
) -> None:
    """Row by row, whether they go as bytes or as JSON."""
    instances = departures[:rows]
    result = infer(triton, tensors(instances, binary=binary), binary=binary)
    assert_equal(result, predictions(service, instances))


def test_features_are_sent_as_tensors_too(
    service: Service, triton: InferenceServerClient, departures: list[Instance]
) -> None:
    """They override what the store has, in whole numbers as in single precision."""
    instances = [
        {**one, "plane_seats": seats, "leg_departure_delay_min": delay}
        for one, seats, delay in zip(departures, (20, 180, 300), (-5.0, 90.5, 240.0), strict=True)
    ]
    inputs = tensors(departures)
    inputs.append(tensor("plane_seats", [20, 180, 300], "INT32", np.int32))
    delays = [-5.0, 90.5, 240.0]
    inputs.append(tensor("leg_departure_delay_min", delays, "FP32", np.float32))
    expected = predictions(service, instances)
    assert_equal(infer(triton, inputs), expected)
    assert expected != predictions(service, departures)


def test_a_version_is_asked_by_its_number(
    service: Service, triton: InferenceServerClient, departures: list[Instance]
) -> None:
    """The answer names it, and hands the caller's id back."""
    result = triton.infer(MODEL, tensors(departures), model_version="1", request_id="gate-B22")
    document = result.get_response()
    assert (document["model_name"], document["model_version"]) == (MODEL, "1")
    assert document["id"] == "gate-B22"
    assert_equal(result, predictions(service, departures))


def test_what_is_missing_is_said(
    service: Service, triton: InferenceServerClient, departures: list[Instance]
) -> None:
    """As in the answer of `/predict`, in a parameter."""
    instances = [{**departures[0], "tailnum": "N00000"}]
    expected = service.post("/predict", {"instances": instances}).json()["missing"]
    parameters = infer(triton, tensors(instances)).get_response()["parameters"]
    found = json.loads(parameters["missing"])
    assert [(e["column"], e["why"]) for e in found] == [(e["column"], e["why"]) for e in expected]


def test_the_protocols_client_shows_the_services_sentence(
    triton: InferenceServerClient, departures: list[Instance]
) -> None:
    """Of a version that is not there, of rows that do not fit, and of tensors that are none."""
    inputs = tensors(departures)
    with pytest.raises(InferenceServerException, match=r"no version 99 loaded here") as missing:
        triton.infer(MODEL, inputs, model_version="99")
    assert missing.value.status() == "404"
    with pytest.raises(InferenceServerException, match=r"This service serves flight_delay, not x"):
        triton.infer("x", inputs)
    with pytest.raises(InferenceServerException, match=r"Row 0: tailnum is required") as unfit:
        triton.infer(MODEL, [one for one in inputs if one.name() != "tailnum"])
    assert unfit.value.status() == "422"
    with pytest.raises(InferenceServerException, match=r"Input 'origin': it has 1 rows") as ragged:
        triton.infer(MODEL, [*inputs[1:], tensor("origin", ["JFK"], "BYTES", np.object_)])
    assert ragged.value.status() == "400"


def test_bentomls_client_gets_the_same_answers(
    service: Service, theirs: bentoml.SyncHTTPClient, departures: list[Instance]
) -> None:
    """It finds the API method by BentoML's description, and the route in front answers it."""
    answer = theirs.predict(instances=departures)
    expected = service.post("/predict", {"instances": departures}).json()
    assert answer.keys() == expected.keys()
    assert answer["model"] == expected["model"]
    for one, other in zip(answer["predictions"], expected["predictions"], strict=True):
        assert one["class_name"] == other["class_name"]
        assert one["probabilities"] == pytest.approx(other["probabilities"], abs=1e-6)


@pytest.mark.parametrize(
    ("instances", "status", "title"),
    [
        ([{"origin": "JFK"}], HTTPStatus.UNPROCESSABLE_ENTITY, "Invalid instances"),
        ([], HTTPStatus.BAD_REQUEST, "Malformed request"),
        ([{}] * 1001, HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "Request too large"),
    ],
)
def test_bentomls_client_raises_with_status_and_problem(
    theirs: bentoml.SyncHTTPClient, instances: list[Instance], status: HTTPStatus, title: str
) -> None:
    """Its exception has the status as its code, and the problem as its text."""
    with pytest.raises(BentoMLException) as raised:
        theirs.predict(instances=instances)
    assert raised.value.error_code == status
    assert json.loads(str(raised.value))["title"] == title


def tensors(instances: Sequence[Instance], *, binary: bool = True) -> list[InferInput]:
    """Return departures as tensors: all of their fields are text, times among them."""
    return [
        tensor(name, [one[name] for one in instances], "BYTES", np.object_, binary=binary)
        for name in instances[0]
    ]


def tensor(
    name: str, values: Sequence[Any], datatype: str, dtype: Any, *, binary: bool = True
) -> InferInput:
    """Return an input of the stock client."""
    given = InferInput(name, [len(values)], datatype)
    given.set_data_from_numpy(np.array(values, dtype=dtype), binary_data=binary)
    return given


def infer(
    triton: InferenceServerClient, inputs: list[InferInput], *, binary: bool = True
) -> InferResult:
    """Ask for all fields, as bytes or as JSON."""
    outputs = [InferRequestedOutput(name, binary_data=binary) for name in FIELDS]
    return triton.infer(MODEL, inputs, outputs=outputs)


def predictions(service: Service, instances: Sequence[Instance]) -> list[dict[str, Any]]:
    """Return what `/predict` answers."""
    answer = service.post("/predict", {"instances": instances})
    assert answer.status_code == 200, answer.text
    found: list[dict[str, Any]] = answer.json()["predictions"]
    return found


def assert_equal(result: InferResult, expected: Sequence[dict[str, Any]]) -> None:
    """Compare every tensor with the field of the predictions, row by row."""
    names = result.as_numpy("class_name").tolist()
    assert [n.decode() if isinstance(n, bytes) else n for n in names] == [
        one["class_name"] for one in expected
    ]
    assert result.as_numpy("class_id").tolist() == [one["class_id"] for one in expected]
    numbers = [list(one["probabilities"].values()) for one in expected]
    assert result.as_numpy("probabilities") == pytest.approx(np.array(numbers), abs=1e-6)
    for name in ("confidence", "delay_probability"):
        column = np.array([one[name] for one in expected])
        assert result.as_numpy(name) == pytest.approx(column, abs=1e-6)
