"""Streams without a broker: what the handlers are given, and what they hand back."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson
from prometheus_client import REGISTRY

from trivet.errors import InvalidInstances
from trivet.errors.request import Fault
from trivet.stream.taken import Batch, Settled, Taken
from unit.fakes import NOON


@dataclass
class FakeOutlet:
    """Remembers what was settled; refuses so many times first."""

    refusals: int = 0
    duplicates: int = 0
    """That it says there were, each time."""
    settled: list[Settled] = field(default_factory=list)

    async def settle(self, done: Sequence[Settled]) -> int:
        """Take them, or refuse them all."""
        if self.refusals:
            self.refusals -= 1
            raise ConnectionError("no broker")
        self.settled += done
        return self.duplicates

    @property
    def outcomes(self) -> list[tuple[str | None, str]]:
        """Ids with what came of them."""
        return [(one.id, one.outcome) for one in self.settled]

    def out(self, number: int) -> Any:
        """Return what was published for one of them."""
        return orjson.loads(self.settled[number].out or b"null")


@dataclass
class FakeSource:
    """A push source with one required column, `n`, of whole numbers."""

    pushed: list[list[dict[str, Any]]] = field(default_factory=list)
    errors: list[Exception] = field(default_factory=list)
    """Raised by the next pushes, one each."""
    refuses: Mapping[int, Exception] = field(default_factory=dict)
    """Raised by every push of a row with such an `n`."""

    def read(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """Check a row."""
        if not isinstance(row.get("n"), int):
            raise InvalidInstances([Fault(field="n", detail="n is required")])
        return dict(row)

    def push(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Remember the rows, or raise."""
        if self.errors:
            raise self.errors.pop(0)
        for row in rows:
            if row["n"] in self.refuses:
                raise self.refuses[row["n"]]
        self.pushed.append([dict(row) for row in rows])


def taken(message: Any, number: int = 0, deliveries: int = 1) -> Taken:
    """Return a message: bytes as they are, anything else as JSON."""
    body = message if isinstance(message, bytes) else orjson.dumps(message)
    return Taken(body=body, at=NOON, place=number, deliveries=deliveries)


def batch(*messages: Any, **options: Any) -> Batch:
    """Return messages that were taken together."""
    made = [m if isinstance(m, Taken) else taken(m, n) for n, m in enumerate(messages)]
    return Batch(messages=made, **options)


def count(name: str, stream: str, **labels: str) -> float:
    """Return a sample; 0 where there is none."""
    return REGISTRY.get_sample_value(name, {"stream": stream, **labels}) or 0.0


async def soon(stopping: asyncio.Event, seconds: float = 0.05) -> None:
    """Have the process end in a moment."""
    await asyncio.sleep(seconds)
    stopping.set()
