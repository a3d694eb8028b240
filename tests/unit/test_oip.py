"""A stock client of the Open Inference Protocol gets what /predict answers, as JSON and as bytes."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import orjson
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from tritonclient.http import (
    InferenceServerClient,
    InferInput,
    InferRequestedOutput,
    InferResult,
)

from trivet.columns import Columns
from trivet.contract import Classification
from trivet.errors import TrivetError
from trivet.runtime.pipeline import Pipeline
from trivet.runtime.predictor import Output
from trivet.runtime.steps import PredictionColumns
from trivet.serving.loaded import Version
from trivet.serving.oip import parse_request
from trivet.serving.oip_models import outputs_of
from unit.client import Client, Served
from unit.fakes import FakeReader, ask, golden, shop, version

INFER = "/v2/models/shop/infer"
LENGTH = "Inference-Header-Content-Length"
CLASSES = ("small", "large")
OUTPUTS = outputs_of(shop())


class SizePredictor:
    """Says how large an amount is: the chance is a hundredth of it."""

    def predict(self, columns: Columns) -> Output:
        """Return label and probabilities."""
        large = np.asarray(columns["amount"]) / 100
        return {
            "label": (large > 0.5).astype(np.int64),
            "probabilities": np.stack([1 - large, large], axis=1),
        }


def sizes(raw: Output) -> PredictionColumns:
    """Return fields of every kind."""
    label, chance = raw["label"], raw["probabilities"]
    return {
        "class_id": label,
        "class_name": np.array(CLASSES, dtype=object)[label],
        "confidence": chance.max(axis=1),
        "probabilities": {name: chance[:, i] for i, name in enumerate(CLASSES)},
        "sure": chance.max(axis=1) > 0.9,
        "odds": np.where(chance[:, 1] > 0.9, np.nan, chance[:, 1]),
    }


def classifier(number: int = 2) -> Version:
    """Return a version whose postprocess adds fields of its own."""
    prediction = {
        "class_id": 0,
        "class_name": "small",
        "confidence": 0.8,
        "probabilities": {"small": 0.8, "large": 0.2},
        "sure": False,
        "odds": 0.2,
    }
    contract = shop(output=Classification(classes=CLASSES), golden=(golden(prediction=prediction),))
    pipeline = Pipeline(SizePredictor(), contract.output, postprocess=sizes)
    return Version(number, contract, pipeline, FakeReader())


@pytest.fixture
def served(tmp_path: Path) -> Served:
    """Return the parts of a worker: version 2, a classifier, is the champion; 1 is a regressor."""
    return Served(tmp_path, classifier(), version(1))


@pytest.fixture
def client(served: Served) -> Client:
    """Return its client."""
    return Client(served)


def tensor(name: str, values: Sequence[Any], datatype: str, *, binary: bool = True) -> InferInput:
    """Return an input of the stock client."""
    dtypes = {"FP64": np.float64, "FP32": np.float32, "INT64": np.int64, "INT32": np.int32}
    given = InferInput(name, [len(values)], datatype)
    dtype = dtypes.get(datatype, np.object_)
    given.set_data_from_numpy(np.array(values, dtype=dtype), binary_data=binary)
    return given


def amounts(*values: float, binary: bool = True) -> list[InferInput]:
    """Return the inputs of a request by join key."""
    users = ["u001"] * len(values)
    return [
        tensor("user_id", users, "BYTES", binary=binary),
        tensor("amount", values, "FP64", binary=binary),
    ]


def infer(
    client: Client,
    inputs: list[InferInput],
    path: str = INFER,
    outputs: list[InferRequestedOutput] | None = None,
    **options: Any,
) -> InferResult:
    """Send a request as the stock client builds it, and read the answer as it does."""
    answer = send(client, inputs, path, outputs, **options)
    assert answer.status_code == 200, answer.text
    length = answer.headers.get(LENGTH)
    return InferenceServerClient.parse_response_body(
        answer.content, header_length=None if length is None else int(length)
    )


def send(
    client: Client,
    inputs: list[InferInput],
    path: str = INFER,
    outputs: list[InferRequestedOutput] | None = None,
    **options: Any,
) -> httpx.Response:
    """Send a request as the stock client builds it."""
    body, length = InferenceServerClient.generate_request_body(inputs, outputs=outputs, **options)
    headers = {} if length is None else {LENGTH: str(length)}
    return client.post(path, content=body, headers=headers)


def body_of(*inputs: dict[str, Any], **more: Any) -> bytes:
    """Return a request in JSON."""
    return orjson.dumps({"inputs": inputs, **more})


def field(name: str, data: Any, datatype: str = "BYTES", **more: Any) -> dict[str, Any]:
    """Return an input in JSON."""
    return {"name": name, "shape": [1], "datatype": datatype, "data": data} | more


USER = field("user_id", ["u001"])


@pytest.mark.parametrize("binary_in", [False, True])
@pytest.mark.parametrize("binary_out", [False, True])
def test_tensors_say_what_predict_says_row_by_row(
    client: Client, binary_in: bool, binary_out: bool
) -> None:
    """Every field of the predictions, in the type that it has."""
    rows = [20.0, 95.0, 60.0]
    instances = {"instances": [{"user_id": "u001", "amount": amount} for amount in rows]}
    predictions = client.post("/predict", json=instances).json()["predictions"]
    names = list(predictions[0])
    outputs = [InferRequestedOutput(name, binary_data=binary_out) for name in names]
    result = infer(client, amounts(*rows, binary=binary_in), outputs=outputs)
    assert [one["name"] for one in result.get_response()["outputs"]] == names
    columns = {name: result.as_numpy(name).tolist() for name in names}
    assert columns["class_id"] == [row["class_id"] for row in predictions]
    named = [name.decode() if binary_out else name for name in columns["class_name"]]
    assert named == [row["class_name"] for row in predictions]
    assert columns["confidence"] == [row["confidence"] for row in predictions]
    assert columns["probabilities"] == [list(row["probabilities"].values()) for row in predictions]
    assert columns["sure"] == [row["sure"] for row in predictions] == [False, True, False]
    odds = [None if np.isnan(value) else value for value in columns["odds"]]
    assert odds == [row["odds"] for row in predictions] == [0.2, None, 0.6]


def test_a_client_that_names_no_outputs_gets_all(client: Client) -> None:
    """The stock client asks for bytes then; a request in JSON gets JSON."""
    result = infer(client, amounts(20.0))
    names = [output["name"] for output in result.get_response()["outputs"]]
    assert names == ["class_id", "class_name", "confidence", "probabilities", "sure", "odds"]
    assert result.as_numpy("probabilities").shape == (1, 2)
    plain = client.post(INFER, content=body_of(USER, field("amount", [20], "INT64")))
    assert plain.headers["content-type"] == "application/json"
    assert LENGTH not in plain.headers
    assert [output["data"] for output in plain.json()["outputs"]][:2] == [[0], ["small"]]


def test_outputs_are_named_one_by_one(client: Client) -> None:
    """In the order of the request, each as bytes or as JSON."""
    outputs = [
        InferRequestedOutput("confidence", binary_data=False),
        InferRequestedOutput("class_name", binary_data=True),
    ]
    answer = send(client, amounts(20.0), outputs=outputs)
    assert answer.headers["content-type"] == "application/octet-stream"
    length = int(answer.headers[LENGTH])
    confidence, name = json.loads(answer.content[:length])["outputs"]
    assert confidence["data"] == [0.8]
    assert name["parameters"] == {"binary_data_size": 9}
    assert answer.content[length:] == b"\5\0\0\0small"


def test_features_may_be_sent_and_override_what_is_stored(client: Client) -> None:
    """An unknown user needs no row of the store for what the request brings."""
    inputs = [tensor("user_id", ["u404"], "BYTES"), tensor("amount", [20.0], "FP64")]
    assert send(client, inputs).status_code == 422
    sent = infer(client, [*inputs, tensor("income", [5], "INT32")])
    missing = json.loads(sent.get_response()["parameters"]["missing"])
    assert [entry["column"] for entry in missing] == ["age", "segment"]


def test_what_was_missing_is_said_as_in_predict(client: Client) -> None:
    """As JSON in a text: a parameter of the protocol is no list."""
    instances = [{"user_id": "u001", "amount": 1.0, "age": None}]
    expected = client.post("/predict", json={"instances": instances}).json()["missing"]
    inputs = [*amounts(1.0), tensor("age", [np.nan], "FP64")]
    parameters = infer(client, inputs).get_response()["parameters"]
    assert json.loads(parameters["missing"]) == expected


def test_single_precision_and_times_are_taken(client: Client) -> None:
    """A time is text in ISO 8601; a column is [n] or [n, 1]."""
    when = ask()["when"]
    inputs = [tensor("user_id", ["u001"], "BYTES"), tensor("when", [when], "BYTES")]
    amount = InferInput("amount", [1, 1], "FP32")
    amount.set_data_from_numpy(np.array([[0.1]], dtype=np.float32))
    chance = float(np.float32(0.1)) / 100
    assert infer(client, [*inputs, amount]).as_numpy("odds").tolist() == [chance]


def test_null_stands_for_an_absent_value_of_any_type(client: Client) -> None:
    """And NaN for one of a number, which some clients write into their JSON."""
    quantity, when = field("quantity", [None], "INT64"), field("when", [None])
    amount = field("amount", [20.0], "FP64")
    body = body_of(USER, amount, quantity, when).replace(b"[20.0]", b"[[20.0]]")
    assert client.post(INFER, content=body).status_code == 200
    absent = client.post(INFER, content=body.replace(b"20.0", b"NaN"))
    assert absent.status_code == 422
    assert absent.json() == {"error": "Row 0: amount is required"}


def test_optional_parts_may_be_null(client: Client) -> None:
    """As clients write them that leave nothing out."""
    inputs = [USER | {"parameters": None}, field("amount", [1.0], "FP64", parameters={})]
    body = body_of(*inputs, id=None, outputs=None, parameters=None)
    assert client.post(INFER, content=body).status_code == 200


def test_the_answer_names_model_version_and_ids(client: Client, served: Served) -> None:
    """The caller's own id, and the one that the log has."""
    answer = send(client, amounts(1.0), request_id="42")
    length = int(answer.headers[LENGTH])
    document = json.loads(answer.content[:length])
    assert (document["model_name"], document["model_version"], document["id"]) == (
        "shop",
        "2",
        "42",
    )
    request_id = document["parameters"]["request_id"]
    assert request_id == answer.headers["X-Request-Id"]
    assert "predict;dur=" in answer.headers["Server-Timing"]
    assert answer.headers["X-Trivet-Replica"]
    (entry,) = served.log.entries
    assert [one.request_id for one in entry.requests] == [request_id]
    assert "id" not in infer(client, amounts(1.0)).get_response()


def test_the_log_says_which_version_was_meant(client: Client, served: Served) -> None:
    """As it does for the other routes."""
    one = infer(client, amounts(7.0), "/v2/models/shop/versions/1/infer")
    assert one.get_response()["model_version"] == "1"
    assert one.as_numpy("value").tolist() == [7.0]
    infer(client, amounts(7.0))
    routes = [entry.requests[0].route for entry in served.log.entries]
    assert routes == ["version/1", "champion"]


def test_the_metadata_describe_every_tensor(client: Client) -> None:
    """What a request must bring comes first; the names of the classes stand at their tensor."""
    document = client.get("/v2/models/shop").json()
    assert (document["name"], document["versions"]) == ("shop", ["1", "2"])
    assert document["platform"] == "onnx_onnxv1"
    assert [
        (t["name"], t["datatype"], t["parameters"]["optional"]) for t in document["inputs"]
    ] == [
        ("user_id", "BYTES", False),
        ("amount", "FP64", False),
        ("quantity", "INT64", True),
        ("when", "BYTES", True),
        ("income", "INT64", True),
        ("age", "FP64", True),
        ("segment", "BYTES", True),
    ]
    assert all(tensor["shape"] == [-1] for tensor in document["inputs"])
    outputs = {tensor["name"]: tensor for tensor in document["outputs"]}
    assert {name: (t["datatype"], t["shape"]) for name, t in outputs.items()} == {
        "class_id": ("INT64", [-1]),
        "class_name": ("BYTES", [-1]),
        "confidence": ("FP64", [-1]),
        "probabilities": ("FP64", [-1, 2]),
        "sure": ("BOOL", [-1]),
        "odds": ("FP64", [-1]),
    }
    assert json.loads(outputs["probabilities"]["parameters"]["labels"]) == list(CLASSES)


def test_a_version_without_code_or_golden_rows_has_the_plain_outputs(client: Client) -> None:
    """Those that the contract's output has; what is answered is what is described."""
    (output,) = client.get("/v2/models/shop/versions/1").json()["outputs"]
    assert output == {"name": "value", "datatype": "FP64", "shape": [-1]}


def test_a_plain_classifier_has_the_contracts_classes(tmp_path: Path) -> None:
    """In their order."""
    contract = shop(output=Classification(classes=CLASSES))
    pipeline = Pipeline(SizePredictor(), contract.output)
    client = Client(Served(tmp_path, Version(1, contract, pipeline, FakeReader())))
    described = client.get("/v2/models/shop").json()["outputs"]
    answered = infer(client, amounts(95.0)).get_response()["outputs"]
    assert [(t["name"], t["datatype"]) for t in described] == [
        (t["name"], t["datatype"]) for t in answered
    ]
    assert [t["name"] for t in described] == [
        "class_id",
        "class_name",
        "confidence",
        "probabilities",
    ]


def test_the_server_names_its_extension(client: Client) -> None:
    """By which a client knows that it may send bytes."""
    for path in ("/v2", "/v2/"):
        document = client.get(path).json()
        assert document.keys() == {"name", "version", "extensions"}
        assert document["extensions"] == ["binary_tensor_data"]


def test_health_is_answered(client: Client, tmp_path: Path) -> None:
    """200 or not is what a probe looks at; live needs no model."""
    paths = ("/v2/health/ready", "/v2/models/shop/ready", "/v2/models/shop/versions/1/ready")
    assert client.get("/v2/health/live").json() == {"live": True}
    assert [client.get(path).json()["ready"] for path in paths] == [True] * 3
    before = Client(Served(tmp_path / "before"))
    assert before.get("/v2/health/live").status_code == 200
    answers = [before.get(path) for path in paths[:2]]
    assert [answer.status_code for answer in answers] == [503, 503]
    assert answers[0].json() == {"ready": False}
    assert "shop has no champion yet" in answers[1].json()["error"]
    assert [answer.headers["Retry-After"] for answer in answers] == ["1", "1"]


@pytest.mark.parametrize(
    ("path", "says"),
    [
        ("/v2/models/other", "This service serves shop, not other."),
        ("/v2/models/shop/versions/7", "shop has no version 7 loaded here; loaded versions: 1, 2."),
        ("/v2/models/shop/versions/x", "shop has no version x loaded here"),
    ],
)
@pytest.mark.parametrize("what", ["", "/ready", "/infer"])
def test_what_is_not_here_is_not_found(client: Client, path: str, says: str, what: str) -> None:
    """With the sentence of the other routes, in the protocol's form."""
    answer = (
        send(client, amounts(1.0), path + what) if what == "/infer" else client.get(path + what)
    )
    assert answer.status_code == 404
    assert answer.headers["content-type"] == "application/json"
    assert answer.json().keys() == {"error"}
    assert answer.json()["error"].startswith(says)


def test_a_fault_of_a_row_has_the_sentence_of_predict(client: Client, served: Served) -> None:
    """And its status, which is counted for the version that was asked."""
    problem = client.post("/predict", json={"instances": [{"user_id": "u001", "amount": "x"}]})
    answer = client.post(INFER, content=body_of(USER, field("amount", ["x"])))
    assert answer.status_code == problem.status_code == 422
    assert answer.json() == {"error": problem.json()["detail"]}
    assert served.recorder.refusals == [(2, 422), (2, 422)]


AMOUNT = field("amount", [1.0], "FP64")
MALFORMED = {
    "no JSON": (b"{", "The body is no inference request"),
    "nothing": (b"", "The body is no inference request"),
    "a list": (b"[]", "The body is no inference request"),
    "no inputs": (b"{}", "The request is wrong at inputs"),
    "an empty list": (body_of(), "The request is wrong at inputs"),
    "an input without a shape": (body_of({"name": "a", "datatype": "BOOL"}), "at inputs.0.shape"),
    "an id that is a number": (body_of(USER, id=3), "The request is wrong at id"),
    "an unknown datatype": (
        body_of(USER | {"datatype": "TEXT"}),
        "Input 'user_id': the datatype 'TEXT' is none of BOOL, UINT8,",
    ),
    "a number of another type": (
        body_of(AMOUNT | {"datatype": "INT64"}),
        "Input 'amount': element 0 is not of INT64",
    ),
    "neither data nor bytes": (
        body_of(USER | {"data": None}),
        "needs either data or the parameter",
    ),
    "both": (body_of(USER | {"parameters": {"binary_data_size": 4}}), "needs either data or"),
    "a matrix": (
        body_of(AMOUNT | {"shape": [1, 2], "data": [1.0, 2.0]}),
        "Input 'amount': its shape is [1, 2], not [n] or [n, 1]",
    ),
    "a scalar": (body_of(AMOUNT | {"shape": []}), "its shape is [], not"),
    "no rows": (body_of(AMOUNT | {"shape": [0], "data": []}), "its shape is [0], not"),
    "rows below zero": (body_of(AMOUNT | {"shape": [-1]}), "at inputs.0.shape.0"),
    "a shape beyond 64 bits": (
        b'{"inputs": [{"name": "a", "datatype": "BOOL", "shape": [' + b"9" * 500 + b"]}]}",
        "inputs.0.shape.0",
    ),
    "ragged inputs": (
        body_of(USER, AMOUNT | {"shape": [2], "data": [1.0, 2.0]}),
        "Input 'amount': it has 2 rows, the first input 1",
    ),
    "fewer data than the shape": (body_of(USER, AMOUNT | {"data": []}), "the data 0"),
    "one input twice": (body_of(USER, USER), "Input 'user_id': it is there twice"),
    "an unknown output": (
        body_of(USER, AMOUNT, outputs=[{"name": "colour"}]),
        "There is no output 'colour'; the outputs are class_id, class_name",
    ),
    "classification of an output": (
        body_of(USER, AMOUNT, outputs=[{"name": "sure", "parameters": {"classification": 1}}]),
        "Output 'sure': neither classification nor shared memory",
    ),
    "bytes without the header": (
        body_of(
            {"name": "a", "shape": [1], "datatype": "INT8", "parameters": {"binary_data_size": 1}}
        ),
        "Input 'a': binary_data_size is 1, and 0 bytes are left for it",
    ),
}


@pytest.mark.parametrize("what", MALFORMED)
def test_a_request_that_is_none_is_refused(client: Client, served: Served, what: str) -> None:
    """By 400 and a sentence that names the tensor; the next one is answered."""
    body, says = MALFORMED[what]
    assert_refused(client.post(INFER, content=body), says)
    assert served.recorder.refusals == [(2, 400)]
    assert send(client, amounts(1.0)).status_code == 200


BYTES = {
    "less than was said": (-1, 0, "bytes are left for it"),
    "more than was said": (1, 0, "1 bytes are left when all inputs are read"),
    "a header that is too short": (0, -1, "The body is no inference request"),
    "a header that is too long": (0, 1, "The body is no inference request"),
}


@pytest.mark.parametrize("what", BYTES)
def test_lengths_that_do_not_fit_are_refused(client: Client, what: str) -> None:
    """Whichever of them is wrong."""
    more, longer, says = BYTES[what]
    body, length = InferenceServerClient.generate_request_body(amounts(1.0))
    body = body[:more] if more < 0 else body + b"\0" * more
    answer = client.post(INFER, content=body, headers={LENGTH: str(length + longer)})
    assert_refused(answer, says)


@pytest.mark.parametrize("length", ["0", "-1", "x", "", "1.5", "5000", "9" * 30, "²"])
def test_a_header_that_is_no_length_of_the_body_is_refused(client: Client, length: str) -> None:
    """The protocol's raw requests, of length 0, name no tensor: they are refused too."""
    body, _ = InferenceServerClient.generate_request_body(amounts(1.0))
    answer = client.post(INFER, content=body, headers={LENGTH: length.encode()})
    assert_refused(answer, "Inference-Header-Content-Length is")


def test_a_compressed_body_is_refused(client: Client) -> None:
    """By a sentence of its own."""
    answer = client.post(INFER, content=b"\x1f\x8b", headers={"Content-Encoding": "gzip"})
    assert_refused(answer, "The body is compressed.")


def test_the_limits_are_those_of_predict(client: Client) -> None:
    """Of rows and of bytes."""
    many = send(client, amounts(*[1.0] * 6))
    assert many.status_code == 413
    assert "6 rows; at most 5" in many.json()["error"]
    assert "TRIVET_MAX_ROWS" in many.json()["error"]
    claimed = client.post(INFER, content=body_of(AMOUNT | {"shape": [2**62]}))
    assert claimed.status_code == 413
    large = client.post(INFER, content=b" " * 2001)
    assert large.status_code == 413
    assert "TRIVET_MAX_BODY_BYTES" in large.json()["error"]


def test_a_request_is_told_what_failed(tmp_path: Path) -> None:
    """In the protocol's form, without a traceback."""
    client = Client(Served(tmp_path, version(1, error=RuntimeError("no memory"))))
    answer = send(client, amounts(1.0))
    assert answer.status_code == 500
    assert answer.json() == {"error": "predict failed: RuntimeError: no memory"}


GOOD, GOOD_LENGTH = InferenceServerClient.generate_request_body(amounts(1.0))


@hypothesis_settings(max_examples=200, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.binary(max_size=60)
    | st.builds(
        lambda at, junk: GOOD[:at] + junk + GOOD[at + len(junk) :],
        st.integers(0, len(GOOD)),
        st.binary(min_size=1, max_size=4),
    ),
    st.none() | st.just(b"%d" % GOOD_LENGTH) | st.binary(max_size=4),
)
def test_any_bytes_are_a_request_or_are_refused(body: bytes, length: bytes | None) -> None:
    """By an error that is told to the caller, and by nothing else."""
    try:
        request = parse_request(body, length, OUTPUTS, 5)
    except TrivetError as err:
        assert err.status in {400, 413}  # noqa: PT017 - which error it is, is the test
        return
    assert request.instances


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["name", "shape", "datatype", "data", "parameters", "inputs", "binary_data_size"]
            ),
            inner,
            max_size=5,
        )
    ),
    max_leaves=15,
)


@given(json_values, json_values, json_values)
def test_any_json_is_a_request_or_is_refused(inputs: Any, outputs: Any, data: Any) -> None:
    """As above, with what is nearer to a request."""
    for document in (
        {"inputs": inputs, "outputs": outputs, "parameters": data},
        {"inputs": [{"name": "a", "datatype": "FP64", "shape": [1], "data": data}]},
        {"inputs": [{"name": "a", "datatype": "BYTES", "shape": inputs, "data": data}]},
    ):
        try:
            parse_request(json.dumps(document).encode(), None, OUTPUTS, 5)
        except TrivetError as err:
            assert err.status in {400, 413}  # noqa: PT017 - which error it is, is the test


def assert_refused(answer: httpx.Response, says: str) -> None:
    """See that a request was told to be malformed, in the protocol's form."""
    assert answer.status_code == 400, answer.text
    assert answer.headers["content-type"] == "application/json"
    assert answer.json().keys() == {"error"}
    assert says in answer.json()["error"]
    assert "Traceback" not in answer.text
