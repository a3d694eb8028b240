"""What a stream process counts: lag, rate and age, and what came of messages."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import Any

from trivet.serving.bulk import Histogram
from trivet.stream.taken import Settled

SECONDS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 60.0, 600.0)
"""Upper bounds of ages, from a message that was taken at once to one that waited for an outage."""
MESSAGES = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000)


@dataclass(frozen=True, slots=True, kw_only=True)
class Backlog:
    """How far the consumers of a stream are behind."""

    waiting: int
    """Messages that no consumer of the group has been handed, or has not acknowledged."""
    pending: int
    """Of these, the ones that a consumer was handed."""
    oldest_seconds: float
    """Age of the oldest of them; 0 where there is none."""


class Hold:
    """Whether one batch is held until something that is down comes back; a stream has several."""

    def __init__(self, say: Callable[..., None]) -> None:
        """`say`: is told for this one."""
        self._say = say

    def say(self, *, held: bool) -> None:
        """Say so."""
        self._say(self, held=held)


class StreamMetrics:
    """The numbers of one stream; those of all streams of a process are in one registry."""

    def __init__(self, stream: str) -> None:
        """`stream`: its name, a label."""
        self._stream = stream
        self._all = _all()
        self._held: set[Hold] = set()

    def settled(self, done: Sequence[Settled], duplicates: int, now: datetime) -> None:
        """Count messages that are done with; their ages run from the broker's taking them in.

        A broker does not say which are the duplicates: answers, mostly, and pushed or dead ones that
        another consumer has acknowledged first.
        """
        outcomes = Counter([one.outcome for one in done])
        left = duplicates
        for outcome in ("answered", "pushed", "dead"):
            again = min(left, outcomes[outcome])
            outcomes[outcome] -= again
            outcomes["duplicate"] += again
            left -= again
        for outcome, count in outcomes.items():
            self.count(outcome, count)
        ages = [max(0.0, (now - one.taken.at).total_seconds()) for one in done]
        if ages:
            self._all.age.labels(self._stream).observe_each(ages)

    def count(self, outcome: str, messages: int) -> None:
        """Count messages by what came of them."""
        if not messages:
            return
        self._all.messages.labels(self._stream, outcome).inc(messages)

    def taken_over(self, messages: int) -> None:
        """Count messages that another consumer, or this one in its last life, had been handed."""
        self._all.taken_over.labels(self._stream).inc(messages)

    @contextmanager
    def batch(self, messages: int) -> Iterator[Hold]:
        """Count a batch by its size, and whether it is held as long as the block lasts."""
        self._all.batch.labels(self._stream).observe(messages)
        hold = Hold(self._say)
        try:
            yield hold
        finally:
            hold.say(held=False)

    def _say(self, hold: Hold, *, held: bool) -> None:
        (self._held.add if held else self._held.discard)(hold)
        self._all.retrying.labels(self._stream).set(bool(self._held))

    def backlog(self, found: Backlog) -> None:
        """Say how far behind the group is."""
        self._all.lag.labels(self._stream).set(found.waiting)
        self._all.pending.labels(self._stream).set(found.pending)
        self._all.oldest.labels(self._stream).set(found.oldest_seconds)


class _All:
    def __init__(self) -> None:
        import prometheus_client as prometheus

        self.messages = prometheus.Counter(
            name="trivet_stream_messages_total",
            documentation="Messages by stream and what came of them.",
            labelnames=["stream", "outcome"],
        )
        self.taken_over = prometheus.Counter(
            name="trivet_stream_taken_over_total",
            documentation="Messages taken over from consumers that had not come to their end.",
            labelnames=["stream"],
        )
        self.age: Any = Histogram(
            name="trivet_stream_age_seconds",
            documentation="From the broker's taking a message in until it was done with.",
            labelnames=["stream"],
            buckets=SECONDS,
        )
        self.batch = prometheus.Histogram(
            name="trivet_stream_batch_messages",
            documentation="Messages that were taken together.",
            labelnames=["stream"],
            buckets=MESSAGES,
        )
        self.lag = prometheus.Gauge(
            name="trivet_stream_lag_messages",
            documentation="Messages that the group has not acknowledged yet.",
            labelnames=["stream"],
        )
        self.pending = prometheus.Gauge(
            name="trivet_stream_pending_messages",
            documentation="Messages that consumers of the group hold.",
            labelnames=["stream"],
        )
        self.oldest = prometheus.Gauge(
            name="trivet_stream_oldest_seconds",
            documentation="Age of the oldest message that the group has not acknowledged yet.",
            labelnames=["stream"],
        )
        self.retrying = prometheus.Gauge(
            name="trivet_stream_retrying",
            documentation="1 while a batch is held until something that is down comes back.",
            labelnames=["stream"],
        )


@cache
def _all() -> _All:
    return _All()
