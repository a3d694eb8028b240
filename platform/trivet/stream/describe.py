"""The AsyncAPI document of a model's streams, made by FastStream from the messages' own types."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from trivet.stream.address import Address
from trivet.stream.messages import DeadLetter, FeatureEvent, Names, Prediction, PredictionRequest

if TYPE_CHECKING:
    from faststream._internal.broker import BrokerUsecase


def describe(names: Names, address: Address, roles: frozenset[str], version: str) -> dict[str, Any]:
    """Return the document.

    Args:
        names: of the streams.
        address: of the broker; a password in it is left out.
        roles: `features`, `predictions` or both.
        version: of this program.
    """
    from faststream.specification import AsyncAPI

    document = AsyncAPI(
        _broker(names, address, roles),
        title=f"Streams of {names.model}",
        version=version,
        description=f"Feature events of {names.project}, and predictions of {names.model}.",
        schema_version="3.0.0",
    )
    described: dict[str, Any] = document.to_specification().to_jsonable()
    return described


def _broker(names: Names, address: Address, roles: frozenset[str]) -> BrokerUsecase[Any, Any, Any]:
    """Return a broker that is never started: its handlers say what the running ones take and give."""
    broker, ends = _redis(address) if address.kind == "redis" else _kafka(address)
    if "predictions" in roles:
        _predictions(ends, names)
    if "features" in roles:
        _features(ends, names)
    return broker


@dataclass(frozen=True, slots=True, kw_only=True)
class _Ends:
    """How a broker's ends of a stream are made, by its name and a description."""

    subscriber: Callable[..., Any]
    publisher: Callable[..., Any]


def _redis(address: Address) -> tuple[BrokerUsecase[Any, Any, Any], _Ends]:
    from faststream.redis import RedisBroker

    broker = RedisBroker(address.url)
    return broker, _Ends(
        subscriber=lambda name, **said: broker.subscriber(stream=name, **said),
        publisher=lambda name, **said: broker.publisher(stream=name, **said),
    )


def _kafka(address: Address) -> tuple[BrokerUsecase[Any, Any, Any], _Ends]:
    from faststream.kafka import KafkaBroker

    broker = KafkaBroker(address.servers)
    return broker, _Ends(subscriber=broker.subscriber, publisher=broker.publisher)


def _predictions(ends: _Ends, names: Names) -> None:
    @ends.subscriber(names.requests, description="Prediction requests.")
    async def predict(message: PredictionRequest) -> None:
        """Answer a request by the version that is live."""

    ends.publisher(names.predictions, description="What requests were answered.", schema=Prediction)
    _dead(ends, names.dead_requests, "Requests that nobody can answer.")


def _features(ends: _Ends, names: Names) -> None:
    @ends.subscriber(names.features, description="Feature events.")
    async def push(message: FeatureEvent) -> None:
        """Push an event to the online store, and the offline one."""

    _dead(ends, names.dead_features, "Events that nobody can push.")


def _dead(ends: _Ends, stream: str, description: str) -> None:
    ends.publisher(stream, description=description, schema=DeadLetter)
