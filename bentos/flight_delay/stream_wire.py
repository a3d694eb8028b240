"""The replay's side of the streams: send events and questions, and wait until they are dealt with.

A second of the demo is many minutes of the replay. Nothing may overtake: an event that is online before
an earlier question is answered would let that answer see its future.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import orjson
import redis

from replay import Event, Question
from trivet.stream.messages import DATA_FIELD, Names

PATIENCE_SECONDS = 120.0
"""The first question finds a worker that is still loading its model."""
_PAUSE_SECONDS = 0.001

Answer = Mapping[str, Any]


class Wire:
    """Messages of one producer that waits for what becomes of them."""

    def __init__(self, client: redis.Redis, names: Names, group: str) -> None:
        """`group`: of the consumers of feature events."""
        self._client = client
        self._names = names
        self._group = group
        self._sent = 0
        self.events_waiting = self.questions_waiting = 0
        """Not acknowledged by the consumers, just after the last were sent."""
        self._read = "0-0"

    def push(self, events: Sequence[Event]) -> float:
        """Return once all events are online; and the seconds that took.

        Raises:
            TimeoutError: nobody has pushed them.
        """
        began = time.monotonic()
        messages = [
            {"id": f"event-{self._sent + n}", "source": event.source, "row": event.row}
            for n, event in enumerate(events)
        ]
        self._sent += len(events)
        last = self._send(self._names.features, messages)
        self.events_waiting = self._waiting(self._names.features)
        while not self._pushed(last):
            self._be_patient(began, "feature events", self._names.dead_features)
            time.sleep(_PAUSE_SECONDS)
        return time.monotonic() - began

    def ask(self, questions: Sequence[Question], at: datetime) -> tuple[dict[str, Answer], float]:
        """Return the answers to all questions, by flight; and the seconds that took.

        Raises:
            TimeoutError: one of them was not answered.
        """
        began = time.monotonic()
        messages = [{"id": q.flight, "instance": q.instance, "asked_at": at} for q in questions]
        self._send(self._names.requests, messages)
        self.questions_waiting = self._waiting(self._names.requests)
        answers: dict[str, Answer] = {}
        while len(answers) < len(questions):
            answers |= self._answers()
            self._be_patient(began, "prediction requests", self._names.dead_requests)
        return answers, time.monotonic() - began

    def given_up(self) -> int:
        """Return how many messages went to the dead letters."""
        names = (self._names.dead_features, self._names.dead_requests)
        return sum(int(self._client.xlen(name)) for name in names)

    def _send(self, stream: str, messages: Sequence[Mapping[str, Any]]) -> bytes:
        with self._client.pipeline(transaction=False) as pipeline:
            for message in messages:
                pipeline.xadd(stream, {DATA_FIELD: orjson.dumps(message)})
            places: list[bytes] = pipeline.execute()
        return places[-1]

    def _pushed(self, last: bytes) -> bool:
        for group in self._client.xinfo_groups(self._names.features):
            if group["name"].decode() == self._group:
                taken = _order(group["last-delivered-id"]) >= _order(last)
                return taken and not group["pending"]
        return False

    def _waiting(self, stream: str) -> int:
        for group in self._client.xinfo_groups(stream):
            if group["name"].decode() == self._group:
                # Before Redis 7 there is no lag; what is done with is removed once a second.
                lag = group.get("lag")
                return int(self._client.xlen(stream) if lag is None else lag + group["pending"])
        return int(self._client.xlen(stream))

    def _answers(self) -> dict[str, Answer]:
        found = self._client.xread({self._names.predictions: self._read}, block=1000)
        answers = {}
        for _, entries in found:
            for place, fields in entries:
                self._read = place
                answer = orjson.loads(fields[DATA_FIELD.encode()])
                answers[answer["id"]] = answer
        return answers

    def _be_patient(self, began: float, what: str, dead: str) -> None:
        if time.monotonic() - began <= PATIENCE_SECONDS and not self._client.xlen(dead):
            return
        letters = self._client.xrevrange(dead, count=1)
        why = letters[0][1][DATA_FIELD.encode()].decode() if letters else "see .trivet/stream-*.log"
        raise TimeoutError(f"{what} were not dealt with: {why}")


def _order(place: bytes) -> tuple[int, ...]:
    return tuple(int(part) for part in place.split(b"-"))
