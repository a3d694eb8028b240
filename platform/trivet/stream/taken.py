"""What a broker hands to a handler, and what a handler hands back."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol


@dataclass(slots=True, kw_only=True)
class Taken:
    """One message, taken from a stream and not acknowledged yet."""

    body: bytes
    at: datetime
    """When the broker took it in."""
    place: Any
    """Where it stands in the stream, as the broker says it."""
    deliveries: int = 1
    """How often it was handed to a consumer, this time included."""


async def _nothing() -> None:
    return


@dataclass(slots=True, kw_only=True)
class Batch:
    """Messages that were taken together, in their order."""

    messages: Sequence[Taken]
    finish: Callable[[], Awaitable[None]] = field(default=_nothing)
    """Acknowledges all of them, where a broker can acknowledge nothing less."""
    again: Callable[[], Awaitable[None]] = field(default=_nothing)
    """Has all of them handed out again, where a broker goes on to the next by itself."""


@dataclass(slots=True, kw_only=True)
class Settled:
    """A message that is done with."""

    taken: Taken
    id: str | None
    outcome: str
    """`answered`, `pushed` or `dead`."""
    out: bytes | None = None
    """What is published: a prediction or a dead letter; nothing for an event that was pushed."""


class Outlet(Protocol):
    """Publishes what came of messages, and acknowledges them."""

    async def settle(self, done: Sequence[Settled]) -> int:
        """Publish and acknowledge, and return how many of them somebody had answered already.

        To call it again with the same messages does no harm.

        Raises:
            Exception: the broker does not answer; whatever was published is known to it.
        """
        ...


class Role(Protocol):
    """What is done with the messages of one stream."""

    async def handle(self, batch: Batch) -> None:
        """Settle every message of a batch; return before that only where the process is to end."""
        ...
