"""The next step from the replicas that there are to those that are wanted.

One rule starts, scales and renews: what is missing is started; a replica of older code is drained once
one more than are wanted is ready; what is too many is drained. So capacity never falls below what is
wanted, whatever the number, at the price of memory for one more replica.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from trivet.gateway.state import Condition

_LEAVING = frozenset({"draining", "ending"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Seat:
    """A place for a replica, as far as the next step depends on it."""

    name: str
    state: Condition
    current: bool = True
    """Whether its code is what is wanted now."""

    @property
    def taken(self) -> bool:
        """Whether there is a replica that is meant to stay."""
        return self.state != "off" and self.state not in _LEAVING


@dataclass(frozen=True, slots=True)
class Start:
    """Start a replica at a free place."""

    name: str


@dataclass(frozen=True, slots=True)
class Drain:
    """Let a replica end, after what it has in flight."""

    name: str


def next_step(seats: Sequence[Seat], wanted: int) -> Start | Drain | None:
    """Return what to do now; None: nothing, or nothing yet."""
    taken = [seat for seat in seats if seat.taken]
    free = next((seat for seat in seats if seat.state == "off"), None)
    old = [seat for seat in taken if not seat.current]
    if len(taken) < wanted:
        return Start(free.name) if free else None
    if len(taken) > wanted:
        return _leave(taken, old, wanted)
    if old and free and wanted:
        return Start(free.name)
    return None


def _leave(taken: Sequence[Seat], old: Sequence[Seat], wanted: int) -> Drain | None:
    """Return who goes where there are too many: first who does not answer, last who is needed."""
    idle = [seat for seat in old or taken if seat.state != "ready"]
    if idle and (old or len(taken) - len(idle) >= wanted):
        return Drain(idle[-1].name)
    ready = sum(seat.state == "ready" for seat in taken)
    if ready > wanted:
        return Drain(old[0].name if old else taken[-1].name)
    if old:
        return None
    return Drain(idle[-1].name) if idle else Drain(taken[-1].name)
