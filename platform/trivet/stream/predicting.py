"""Prediction requests in, predictions out: a batch goes through a worker's data plane as one crowd."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from trivet.clock import Clock, system_clock
from trivet.errors import FeaturesUnavailable, NoChampion, Overloaded, TrivetError
from trivet.serving.dataplane import DataPlane
from trivet.serving.problems import problem
from trivet.serving.slot import Slot
from trivet.stream.messages import Request, dead_letter, id_of, prediction, read_request
from trivet.stream.metrics import Hold, StreamMetrics
from trivet.stream.patience import Patience, until_done
from trivet.stream.replaying import ReplayClock
from trivet.stream.taken import Batch, Outlet, Settled, Taken

ROUTE = "stream"
"""Of these requests in the prediction log."""

_TO_COME = (FeaturesUnavailable, NoChampion, Overloaded)
"""What holds a request back until it is over; everything else is the request's own fault."""


@dataclass(slots=True, kw_only=True)
class _Held:
    """A request whose answer is to be had later."""

    taken: Taken
    why: TrivetError


class Predictions:
    """Answers prediction requests."""

    def __init__(  # noqa: PLR0917 - its parts, wired once
        self,
        dataplane: DataPlane,
        outlet: Outlet,
        metrics: StreamMetrics,
        stopping: asyncio.Event,
        most_deliveries: int,
        clock: Clock,
    ) -> None:
        """`most_deliveries`: a message that was handed out more often is given up."""
        self._dataplane = dataplane
        self._outlet = outlet
        self._metrics = metrics
        self._stopping = stopping
        self._most_deliveries = most_deliveries
        self._clock = clock

    async def handle(self, batch: Batch) -> None:
        """Answer every request of a batch; see `Role.handle`.

        A request that cannot be answered goes to the dead letters. While the feature store is down, or
        no version is live, the batch is held.
        """
        with self._metrics.batch(len(batch.messages)) as hold:
            await self._handle(batch, hold)

    async def _handle(self, batch: Batch, hold: Hold) -> None:
        left: Sequence[Taken] = batch.messages
        patience = Patience(self._stopping, "prediction requests are held")
        while True:
            came_of = await asyncio.gather(*[self._answer(taken) for taken in left])
            held = [one for one in came_of if isinstance(one, _Held)]
            if not await self._settle([one for one in came_of if isinstance(one, Settled)], hold):
                return
            hold.say(held=bool(held))
            if not held:
                patience.worked()
                await finish(batch, self._stopping, hold)
                return
            if not await patience.wait(held[0].why):
                return
            left = [one.taken for one in held]

    async def _answer(self, taken: Taken) -> Settled | _Held:
        if taken.deliveries > self._most_deliveries:
            return dead(taken, given_up(taken.deliveries))
        try:
            request = read_request(taken.body)
            if request.asked_at is not None and isinstance(self._clock, ReplayClock):
                self._clock.advance(request.asked_at)
            answer = await self._ask(request)
            out = prediction(request.id, answer, request.asked_at or taken.at, self._clock())
        except _TO_COME as err:
            return _Held(taken=taken, why=err)
        except Exception as err:  # noqa: BLE001 - whatever it is, it is this request's
            return dead(taken, err)
        return Settled(taken=taken, id=request.id, outcome="answered", out=out)

    async def _ask(self, request: Request) -> dict[str, Any]:
        answer = await self._dataplane.answer(
            lambda _: ([request.instance], request.id), Slot.champion, ROUTE, shared=True
        )
        return answer.document

    async def _settle(self, done: list[Settled], hold: Hold) -> bool:
        return await settle(self._outlet, done, self._metrics, self._stopping, hold)


async def settle(
    outlet: Outlet,
    done: Sequence[Settled],
    metrics: StreamMetrics,
    stopping: asyncio.Event,
    hold: Hold,
) -> bool:
    """Settle messages, however long that takes; False where the process is to end before."""
    if not done:
        return True
    duplicates = await until_done(
        lambda: outlet.settle(done),
        stopping,
        "the broker does not take what is done",
        lambda: hold.say(held=True),
    )
    if duplicates is None:
        return False
    metrics.settled(done, duplicates, system_clock())
    return True


async def finish(batch: Batch, stopping: asyncio.Event, hold: Hold) -> None:
    """Acknowledge a batch as a whole, however long that takes."""
    await until_done(
        batch.finish, stopping, "a batch cannot be acknowledged", lambda: hold.say(held=True)
    )


def dead(taken: Taken, err: Exception) -> Settled:
    """Return a message as one that is given up for an error."""
    own = id_of(taken.body)
    known = (
        err
        if isinstance(err, TrivetError)
        else TrivetError(f"It failed: {type(err).__name__}: {err}")
    )
    reason = problem(known, own or "")
    reason.pop("request_id")
    letter = dead_letter(taken.body, reason, taken.deliveries)
    return Settled(taken=taken, id=own, outcome="dead", out=letter)


def given_up(deliveries: int) -> TrivetError:
    """Return why a message is given up that nobody has come to the end of."""
    return TrivetError(
        f"{deliveries - 1} consumers in a row were handed the message, and none came to its end.",
        hint="Did they run out of memory? What they logged last says.",
    )
