"""What travels on the streams is read fast, and checked where that fails."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trivet.errors import MalformedRequest
from trivet.stream.messages import (
    DeadLetter,
    FeatureEvent,
    Names,
    Prediction,
    PredictionRequest,
    dead_letter,
    id_of,
    prediction,
    read_event,
    read_request,
)
from unit.fakes import NOON

EVENT = {"id": "e", "source": "legs", "row": {"tailnum": "N1", "event_timestamp": 5}}
REQUEST = {"id": "r", "instance": {"user_id": "u"}}


def test_streams_are_named_for_the_model_and_the_project() -> None:
    """All of them begin with the prefix."""
    names = Names(prefix="trivet", model="late", project="flights")
    assert names.features == "trivet.flights.features"
    assert names.requests == "trivet.late.requests"
    assert names.predictions == "trivet.late.predictions"
    assert names.dead_requests == "trivet.late.dead"
    assert names.dead_features == "trivet.flights.features.dead"


def test_an_event_is_read() -> None:
    """With its source and its row as they came."""
    event = read_event(orjson.dumps(EVENT))
    assert (event.id, event.source, event.row) == ("e", "legs", EVENT["row"])


@pytest.mark.parametrize("asked_at", ["2026-11-22T12:00:00Z", "2026-11-22T13:00:00+01:00"])
def test_a_request_may_say_when_it_was_asked(asked_at: str) -> None:
    """In any zone; without it nobody has said so."""
    assert read_request(orjson.dumps({**REQUEST, "asked_at": asked_at})).asked_at == NOON
    assert read_request(orjson.dumps(REQUEST)).asked_at is None


@pytest.mark.parametrize(
    ("message", "why"),
    [
        (b"\xff", "is not JSON"),
        (b"[]", "Input should be an object"),
        ({**REQUEST, "id": ""}, "id: String should have at least 1 character"),
        ({**REQUEST, "id": "x" * 201}, "id: String should have at most 200 characters"),
        ({**REQUEST, "id": 7}, "id: Input should be a valid string"),
        ({"id": "r"}, "instance: Field required"),
        ({**REQUEST, "instance": []}, "instance: Input should be"),
        ({**REQUEST, "asked_at": "noon"}, "asked_at"),
        ({**REQUEST, "asked_at": "2026-11-22T12:00:00"}, "asked_at"),
    ],
)
def test_what_is_no_request_is_refused_with_its_reason(message: Any, why: str) -> None:
    """The sentence names the field."""
    body = message if isinstance(message, bytes) else orjson.dumps(message)
    with pytest.raises(MalformedRequest, match=why):
        read_request(body)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=4,
)


@given(
    message=st.fixed_dictionaries(
        {},
        optional={
            "id": json_values,
            "source": json_values,
            "row": json_values,
            "instance": json_values,
            "other": json_values,
        },
    )
)
def test_the_fast_way_takes_what_the_types_say(message: dict[str, Any]) -> None:
    """No more and no less, of events and of requests."""
    body = orjson.dumps(message)
    for kind, read in ((FeatureEvent, read_event), (PredictionRequest, read_request)):
        try:
            kind.model_validate_json(body)
        except ValueError:
            with pytest.raises(MalformedRequest):
                read(body)
        else:
            assert read(body).id == message["id"]


def test_a_prediction_is_what_its_type_says() -> None:
    """It holds the one prediction of the service's answer."""
    answer = {"predictions": [{"value": 1.5}], "model": {"name": "m", "version": 3}, "missing": []}
    written = prediction("r", answer, NOON, NOON + timedelta(seconds=1))
    read = Prediction.model_validate_json(written)
    assert read.prediction == {"value": 1.5}
    assert (read.model.name, read.model.version) == ("m", 3)
    assert read.answered_at - read.asked_at == timedelta(seconds=1)


@pytest.mark.parametrize(
    ("body", "own", "message"),
    [
        (b'{"id": "r", "x": 1}', "r", {"id": "r", "x": 1}),
        (b"[1]", None, [1]),
        (b"no \xff", None, "no \\xff"),
        (b'{"id": 5}', None, {"id": 5}),
    ],
)
def test_a_dead_letter_keeps_the_message_as_it_came(
    body: bytes, own: str | None, message: Any
) -> None:
    """Whatever it was, it can be read by people, and sent again if it was JSON."""
    letter = DeadLetter.model_validate_json(dead_letter(body, {"title": "t"}, 3))
    assert (letter.id, letter.message, letter.deliveries) == (own, message, 3)
    assert id_of(body) == own


@pytest.mark.parametrize("depth", [100, 254, 900, 2000])
def test_a_dead_letter_can_be_written_of_json_of_any_depth(depth: int) -> None:
    """As text, where it is nested too deeply to be written as JSON."""
    body = b'{"id": "r", "x": %s}' % (b"[" * depth + b"]" * depth)
    letter = orjson.loads(dead_letter(body, {"title": "t"}, 1))
    assert letter["message"] == (orjson.loads(body) if depth == 100 else body.decode())
    assert letter["id"] == (None if depth == 2000 else "r")


def test_a_dead_letter_can_be_written_whatever_an_error_says() -> None:
    """A path, say, whose bytes are no text."""
    letter = orjson.loads(dead_letter(b"{}", {"detail": "no file \udcff", "status": 500}, 1))
    assert letter["reason"] == {"detail": "no file ?", "status": 500}
