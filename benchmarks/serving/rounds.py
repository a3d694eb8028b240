"""Contenders by turns: in each round everyone is measured once, so what else runs falls on all.

Their order moves by one from round to round. Before it is measured, each has a second to get warm.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import httpx
import numpy as np
import orjson

from benchmarks.serving import bodies
from benchmarks.serving.callers import HTTPConnection, ask_both
from benchmarks.serving.contenders import Contender
from benchmarks.serving.forest import Rows
from benchmarks.serving.load import WARM_SECONDS, Generator, Load
from benchmarks.serving.openloop import Latencies

_CHECKED = 20
_MANY = 1000
_Found = TypeVar("_Found")


@dataclass(frozen=True, slots=True, kw_only=True)
class Effort:
    """How long a run measures."""

    rounds: int
    seconds: float


class Turns:
    """Contenders that are up and paused, and the requests that each is asked."""

    def __init__(
        self, contenders: Sequence[Contender], rows: Rows, labels: np.ndarray, folder: Path
    ) -> None:
        """Write everybody's requests; each row of `rows` is an entity's, each label its class."""
        self.contenders = contenders
        self._rows = rows
        self._labels = labels
        self._folder = folder
        self._order = np.random.default_rng(1).permutation(len(rows)).tolist()

    def requests(self, contender: Contender, rows: int = 1) -> Path:
        """Return a file of requests that go through all entities, `rows` of them at a time."""
        path = self._folder / f"{contender.name}-{rows}.jsonl"
        if not path.exists():
            starts = range(0, len(self._order) - rows + 1, rows)
            asked = [self._order[start : start + rows] for start in starts]
            bodies.write(path, contender.body, self._rows, asked)
        return path

    def verify(self) -> None:
        """See that everybody predicts the same classes.

        Raises:
            SystemExit: somebody does not.
        """
        for contender in self.contenders:
            with turn(contender):
                for number in self._order[:_CHECKED]:
                    got = _asked(contender, contender.body(self._rows, [number]))
                    if got != [self._labels[number]]:
                        sys.exit(
                            f"{contender.name} says {got} for entity {number}, "
                            f"and scikit-learn {self._labels[number]}."
                        )

    def closed(self, generator: Generator, effort: Effort, rows: int = 1) -> dict[str, list[Load]]:
        """Measure everybody's throughput, by contender's name."""

        def measure(contender: Contender, _: int) -> Load:
            requests = self.requests(contender, rows)
            generator.warm(contender, requests)
            return generator.closed(contender, requests, effort.seconds)

        return self._rounds(self.contenders, effort.rounds, measure)

    def open(
        self, generator: Generator, effort: Effort, rates: dict[str, float]
    ) -> dict[str, list[Latencies]]:
        """Measure latencies at a rate for each of some contenders."""

        def measure(contender: Contender, number: int) -> Latencies:
            requests, rate = self.requests(contender), rates[contender.name]
            generator.open(contender, requests, WARM_SECONDS, rate=rate, seed=100 + number)
            return generator.open(contender, requests, effort.seconds, rate=rate, seed=number)

        chosen = [contender for contender in self.contenders if contender.name in rates]
        return self._rounds(chosen, effort.rounds, measure)

    def _rounds(
        self, chosen: Sequence[Contender], rounds: int, measure: Callable[[Contender, int], _Found]
    ) -> dict[str, list[_Found]]:
        found: dict[str, list[_Found]] = {contender.name: [] for contender in chosen}
        for number in range(rounds):
            first = number % len(chosen)
            for contender in (*chosen[first:], *chosen[:first]):
                with turn(contender):
                    if contender.warmed:
                        self._fill(contender)
                    found[contender.name].append(measure(contender, number))
        return found

    def _fill(self, contender: Contender) -> None:
        """Ask for every entity, on new connections, until each worker has had the chance."""
        url = f"http://127.0.0.1:{contender.port}{contender.path}"
        lines = self.requests(contender, min(_MANY, len(self._order))).read_bytes().splitlines()
        kind = {"Content-Type": "application/json", "Connection": "close"}
        for _ in range(1 if contender.servers[0].core is not None else 4):
            for line in lines:
                httpx.post(url, content=line, headers=kind, timeout=60).raise_for_status()


@contextmanager
def turn(contender: Contender) -> Iterator[None]:
    """Let one contender run for a while, and pause it again."""
    for server in contender.servers:
        server.resume()
    time.sleep(0.2)
    try:
        yield
    finally:
        for server in contender.servers:
            server.pause()


def _asked(contender: Contender, body: object) -> list[int]:
    if len(contender.servers) > 1:
        both = [HTTPConnection("127.0.0.1", s.port, timeout=30) for s in contender.servers]
        return contender.labels(ask_both(both, orjson.dumps(body)))
    url = f"http://127.0.0.1:{contender.port}{contender.path}"
    answer = httpx.post(url, json=body, timeout=60)
    if not answer.is_success:
        sys.exit(f"{contender.name} answers {answer.status_code}: {answer.text[:500]}")
    return [int(label) for label in contender.labels(answer.json())]
