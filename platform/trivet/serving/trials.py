"""Which requests a canary or a shadow gets, and what of the champion's work they get with them."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from itertools import accumulate
from typing import Any

from trivet.canary.split import takes
from trivet.canary.state import Canary, Shadow
from trivet.serving.answering import Answers, Batch
from trivet.serving.asking import Asked
from trivet.serving.beside import Fetch, Work
from trivet.serving.crowd import Ticket
from trivet.serving.documents import Answer
from trivet.serving.loaded import Version
from trivet.serving.log.entry import Answered
from trivet.serving.shadow import Shadowing
from trivet.serving.slot import Loaded, Slot
from trivet.serving.split import Held, Record, Split
from trivet.serving.trial_counts import TrialCounts

_OTHERS = "shadow of "
"""Put before a shadow's salt, so that its share is another one than a canary's."""


class Trials:
    """The canary and the shadow of one worker."""

    def __init__(
        self, slot: Slot, counts: TrialCounts, fetch: Fetch, most_rows: int, record: Record
    ) -> None:
        """As for `Split`; `slot` says what runs."""
        self._slot = slot
        self._counts = counts
        self._record = record
        self._split = Split(counts, fetch, most_rows, record)
        self._shadowing = Shadowing(counts, fetch, most_rows)

    def stop(self) -> None:
        """End the shadow's thread."""
        self._shadowing.stop()

    def meet(self, ticket: Ticket, instances: list[Any]) -> None:
        """Say on the ticket which version the request goes to beside the champion.

        All rows of a request go to one side, that of its first row: its answer names one version.
        """
        loaded = self._slot.loaded
        if loaded.canary is None and loaded.shadow is None:
            return
        if ticket.version is not loaded.champion:
            return
        model, key = self._slot.model, key_of(ticket.asked)
        if (canary := self._canary(loaded)) is not None:
            ticket.measured = canary
            version = loaded.by_number[canary.version]
            if takes(canary.percent, model, canary.salt, key):
                ticket.canary = version
        if (shadow := _shadow(loaded)) is not None and takes(
            shadow.percent, model, _OTHERS + shadow.salt, key
        ):
            ticket.shadow = (shadow, loaded.by_number[shadow.version])
        if ticket.canary is not None or ticket.shadow is not None:
            ticket.instances = instances

    def answered(
        self, tickets: Sequence[Ticket], batch: Batch, part: Answers, requests: list[Answered]
    ) -> None:
        """Hand on what the champion has answered, each request with its own rows."""
        if not any(t.measured is not None or t.instances is not None for t in tickets):
            return
        now = time.perf_counter()
        ends = list(accumulate(one.rows for one in batch.asked))
        for number, (place, rows) in enumerate(part.each([one.rows for one in batch.asked])):
            ticket = tickets[place]
            if ticket.measured is not None:
                began = ticket.ready or part.settled
                self._counts.champion(ticket.measured, now - began, 1)
            if ticket.instances is None:
                continue
            work = Work(
                champion=batch.version,
                instances=ticket.instances,
                found=_of_request(batch, ends, place),
                at=batch.at,
                predictions=part.predictions[rows],
            )
            if ticket.shadow is not None:
                self._shadowing.take(*ticket.shadow, work)
            if ticket.canary is not None and ticket.held is not None:
                self._try(ticket, ticket.canary, ticket.held, work, (batch, part, requests, number))

    def _try(
        self,
        ticket: Ticket,
        canary: Version,
        answer: Answer,
        work: Work,
        of: tuple[Batch, Answers, list[Answered], int],
    ) -> None:
        if ticket.answered.done() or ticket.measured is None:
            return
        batch, part, requests, number = of

        def give_up() -> None:
            total = time.perf_counter() - ticket.started
            alone = [replace(one, kept=False) for one in requests]
            alone[number] = replace(requests[number], kept=True, total_seconds=total)
            self._record(batch, part, alone)

        self._split.take(
            Held(
                ticket=ticket,
                state=ticket.measured,
                canary=canary,
                work=work,
                answer=answer,
                give_up=give_up,
                began=time.perf_counter(),
            )
        )

    def _canary(self, loaded: Loaded) -> Canary | None:
        canary = loaded.canary_here
        return canary if canary is not None and self._counts.runs(canary) else None


def key_of(asked: Asked) -> tuple[Any, ...]:
    """Return what a request is sticky by: its first row's join keys, else all its request columns."""
    if asked.keys:
        return tuple([values[0] for values in asked.keys.values()])
    return asked.sent[0]


def _shadow(loaded: Loaded) -> Shadow | None:
    shadow = loaded.shadow
    return shadow if shadow is not None and shadow.version in loaded.by_number else None


def _of_request(batch: Batch, ends: Sequence[int], place: int) -> list[Any]:
    end = ends[place]
    start = end - batch.asked[place].rows
    return [of_view[start:end] for of_view in batch.found]
