"""What travels on the streams: JSON objects, checked at the edge, and read fast inside.

    <prefix>.<project>.features        feature events, for the push sources of a Feast project
    <prefix>.<model>.requests          prediction requests
    <prefix>.<model>.predictions       what they were answered
    <prefix>.<model>.dead              requests that nobody can answer, each with its reason
    <prefix>.<project>.features.dead   events that nobody can push, each with its reason

On Redis each is an entry of a stream, its JSON in the field `__data__` (FastStream's, whose own
envelope is read too); on Kafka each is a record of a topic, its JSON the value.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, TypeVar

import orjson
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from trivet.errors import MalformedRequest

DATA_FIELD = "__data__"
"""The field of a Redis stream's entry that holds a message."""

MOST_ID = 200
"""Characters of an id: it is in the answer, in the prediction log and in what is remembered."""

M = TypeVar("M", bound=BaseModel)

Id = Annotated[str, Field(min_length=1, max_length=MOST_ID)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Names:
    """The names of the streams of one model and one Feast project."""

    prefix: str
    model: str
    project: str

    @property
    def features(self) -> str:
        """Feature events."""
        return f"{self.prefix}.{self.project}.features"

    @property
    def requests(self) -> str:
        """Prediction requests."""
        return f"{self.prefix}.{self.model}.requests"

    @property
    def predictions(self) -> str:
        """What requests were answered."""
        return f"{self.prefix}.{self.model}.predictions"

    @property
    def dead_requests(self) -> str:
        """Requests that nobody can answer."""
        return f"{self.prefix}.{self.model}.dead"

    @property
    def dead_features(self) -> str:
        """Events that nobody can push."""
        return f"{self.features}.dead"


class FeatureEvent(BaseModel):
    """Something that has happened, for a push source of Feast."""

    model_config = ConfigDict(frozen=True)

    id: Id
    source: str = Field(min_length=1, description="The push source's name.")
    row: dict[str, Any] = Field(
        description="The source's columns: join keys, features and the event timestamp, which is ISO "
        "8601 (without a zone: UTC) or a number of seconds since 1970."
    )


class PredictionRequest(BaseModel):
    """One instance to predict."""

    model_config = ConfigDict(frozen=True)

    id: Id
    instance: dict[str, Any] = Field(
        description="Join keys and request columns, as one of the instances of POST /predict."
    )
    asked_at: AwareDatetime | None = Field(
        default=None, description="Default: when the broker took the message in."
    )


class ModelVersion(BaseModel):
    """Who has answered."""

    model_config = ConfigDict(frozen=True)

    name: str
    version: int


class Prediction(BaseModel):
    """What one request was answered."""

    model_config = ConfigDict(frozen=True)

    id: Id
    prediction: dict[str, Any] = Field(
        description="As one of the predictions that POST /predict answers."
    )
    model: ModelVersion
    missing: list[dict[str, Any]] = Field(
        description="Feature values that were absent, as POST /predict lists them."
    )
    asked_at: AwareDatetime
    answered_at: AwareDatetime


class DeadLetter(BaseModel):
    """A message that was given up, and why."""

    model_config = ConfigDict(frozen=True)

    id: str | None = Field(description="Null where the message has none that can be read.")
    reason: dict[str, Any] = Field(
        description="What is wrong, with the members of application/problem+json (RFC 9457): title, "
        "status, detail, and errors by field where there are any."
    )
    message: Any = Field(
        description="The message as it came: its JSON, or its text where that is none, or is nested "
        "too deeply."
    )
    deliveries: int = Field(ge=1, description="How often it was handed to a consumer.")


@dataclass(slots=True, kw_only=True)
class Event:
    """A feature event, read; nobody changes it, but a frozen one takes longer to make."""

    id: str
    source: str
    row: dict[str, Any]


@dataclass(slots=True, kw_only=True)
class Request:
    """A prediction request, read."""

    id: str
    instance: dict[str, Any]
    asked_at: datetime | None = None


def read_event(body: bytes) -> Event:
    """Read a feature event.

    Raises:
        MalformedRequest: it is none; the sentence says why.
    """
    match _parsed(body):
        case {"id": str(id), "source": str(source), "row": dict(row)} if id and source:
            if len(id) <= MOST_ID:
                return Event(id=id, source=source, row=row)
    event = _checked(FeatureEvent, body)
    return Event(id=event.id, source=event.source, row=event.row)


def read_request(body: bytes) -> Request:
    """Read a prediction request.

    Raises:
        MalformedRequest: it is none; the sentence says why.
    """
    match _parsed(body):
        case {"id": str(id), "instance": dict(instance), **others} if id:
            if len(id) <= MOST_ID and others.get("asked_at") is None:
                return Request(id=id, instance=instance)
    request = _checked(PredictionRequest, body)
    return Request(id=request.id, instance=request.instance, asked_at=request.asked_at)


def id_of(body: bytes) -> str | None:
    """Return a message's id, if that much of it can be read."""
    try:
        found = _parsed(body)
    except MalformedRequest:
        return None
    own = found.get("id") if isinstance(found, dict) else None
    return own[:MOST_ID] if isinstance(own, str) else None


def dead_letter(body: bytes, reason: dict[str, Any], deliveries: int) -> bytes:
    """Write what became of a message that is given up, as `DeadLetter` says; whatever it was."""
    text = body.decode("utf-8", "backslashreplace")
    try:
        message: Any = orjson.loads(body)
    except orjson.JSONDecodeError:
        message = text
    letter = {"id": id_of(body), "reason": reason, "message": message, "deliveries": deliveries}
    try:
        return orjson.dumps(letter)
    except orjson.JSONEncodeError:
        # JSON is read to four times the depth to which it is written, and the words of an error may
        # hold what is no UTF-8.
        words = json.dumps(reason, ensure_ascii=False).encode("utf-8", "replace")
        return orjson.dumps({**letter, "reason": orjson.loads(words), "message": text})


def prediction(
    id: str,  # noqa: A002 - as in the message
    answer: dict[str, Any],
    asked_at: datetime,
    answered_at: datetime,
) -> bytes:
    """Write what a request was answered.

    Args:
        id: of the request.
        answer: the document of POST /predict for its one instance.
        asked_at: when it was asked.
        answered_at: the present moment.
    """
    return orjson.dumps(
        {
            "id": id,
            "prediction": answer["predictions"][0],
            "model": answer["model"],
            "missing": answer["missing"],
            "asked_at": asked_at,
            "answered_at": answered_at,
        }
    )


def _parsed(body: bytes) -> Any:
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as err:
        raise MalformedRequest(f"The message is not JSON: {err}.") from err


def _checked(kind: type[M], body: bytes) -> M:
    try:
        return kind.model_validate_json(body)
    except ValidationError as err:
        first = err.errors(include_url=False)[0]
        where = ".".join(map(str, first["loc"])) or "it"
        raise MalformedRequest(
            f"The message is no {kind.__name__}: {where}: {first['msg']}.",
            hint="trivet stream MODEL --describe lists the fields.",
        ) from err
