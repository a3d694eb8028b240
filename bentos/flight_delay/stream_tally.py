"""What the stream demo has seen so far, and how that is shown: rates, waits, and honest quality."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import numpy as np
from rich.box import SIMPLE_HEAD
from rich.console import Group
from rich.table import Table
from rich.text import Text

from replay import Outcome
from scoring import score

CLASSES = 3
RECENT_SECONDS = 5.0
NEW_YORK = timedelta(hours=-5)
"""Standard time all year, as the features have it."""


@dataclass
class Flow:
    """Messages of one kind: how many, how many lately, and how long they took until dealt with."""

    count: int = 0
    waiting: int = 0
    """In the broker and not dealt with, just after the last were sent."""
    waits: list[float] = field(default_factory=list)
    _recent: deque[tuple[float, int]] = field(default_factory=deque)

    def add(self, messages: int, seconds: float) -> None:
        """Count messages that were sent together, and dealt with so many seconds later."""
        self.count += messages
        self.waits.append(1000 * seconds)
        self._recent.append((time.monotonic(), messages))

    def rate(self) -> float:
        """Return messages a second, over the last seconds."""
        since = time.monotonic() - RECENT_SECONDS
        while self._recent and self._recent[0][0] < since:
            self._recent.popleft()
        return sum(messages for _, messages in self._recent) / RECENT_SECONDS

    def wait(self, percent: float) -> float:
        """Return a percentile of the milliseconds."""
        return float(np.percentile(self.waits, percent)) if self.waits else 0.0


@dataclass
class Tally:
    """All that was sent, answered and has come out."""

    speed: float
    at: datetime
    behind: float = 0.0
    """Seconds that the replay is later than its speed demands."""
    version: int | None = None
    events: Flow = field(default_factory=Flow)
    questions: Flow = field(default_factory=Flow)
    called_off: int = 0
    with_missing: int = 0
    _asked: dict[str, list[float]] = field(default_factory=dict)
    _labels: list[int] = field(default_factory=list)
    _answers: list[list[float]] = field(default_factory=list)

    def answered(self, answers: Mapping[str, Mapping[str, Any]]) -> None:
        """Keep what was predicted until it is known what happened."""
        for flight, answer in answers.items():
            self._asked[flight] = list(answer["prediction"]["probabilities"].values())
            self.version = answer["model"]["version"]
            self.with_missing += bool(answer["missing"])

    def forget_waits(self) -> None:
        """Leave out how long the first messages took: they waited for processes to start."""
        self.events.waits.clear()
        self.questions.waits.clear()

    def came_out(self, outcomes: Iterable[Outcome]) -> None:
        """Hold predictions against what happened; what was never asked about does not count."""
        for outcome in outcomes:
            predicted = self._asked.pop(outcome.flight, None)
            if predicted is None:
                continue
            if outcome.label is None:
                self.called_off += 1
            else:
                self._labels.append(outcome.label)
                self._answers.append(predicted)

    @property
    def known(self) -> int:
        """How many predictions have been held against what happened."""
        return len(self._labels)

    def quality(self) -> Mapping[str, float] | None:
        """Measure the predictions; None until each class has happened once."""
        if len(set(self._labels)) < CLASSES:
            return None
        answers = np.array(self._answers)
        # They were float32: their sums are 1 to seven digits.
        return score(np.array(self._labels), answers / answers.sum(axis=1, keepdims=True))

    def line(self) -> str:
        """Say it all in one line, for a log."""
        said = [f"{self._clock():%a %H:%M}"]
        for name, flow in (("events", self.events), ("asked", self.questions)):
            flows = f"{flow.count:,} {name} {flow.rate():.0f}/s {flow.wait(50):.0f} ms"
            said.append(f"{flows}, {flow.waiting:,} waiting")
        quality = self.quality()
        if quality is None:
            return " | ".join([*said, f"{self.known:,} known"])
        said.append(
            f"{self.known:,} known: accuracy {quality['accuracy']:.3f} "
            f"(baseline {quality['baseline_accuracy']:.3f}), AUC {quality['auc_macro']:.3f}, "
            f"macro F1 {quality['f1_macro']:.3f}"
        )
        return " | ".join(said)

    def picture(self) -> Group:
        """Lay it all out, for a terminal."""
        head = Text.assemble(
            (f"{self._clock():%a %d %b %Y, %H:%M}", "bold"),
            f" in New York, at {self.speed:g} times the speed",
            (f", {self.behind:.0f} s behind" if self.behind >= 1 else "", "yellow"),
        )
        return Group(head, self._flows(), self._quality(), Text(self._counts(), style="dim"))

    def _clock(self) -> datetime:
        return self.at + NEW_YORK

    def _flows(self) -> Table:
        table = Table(box=SIMPLE_HEAD)
        table.add_column("stream")
        for name in ("messages", "a second", "ms p50", "ms p99", "waiting"):
            table.add_column(name, justify="right")
        for name, flow in (("events, online", self.events), ("asked, answered", self.questions)):
            numbers = (f"{flow.rate():.0f}", f"{flow.wait(50):.1f}", f"{flow.wait(99):.1f}")
            table.add_row(name, f"{flow.count:,}", *numbers, f"{flow.waiting:,}")
        return table

    def _quality(self) -> Table:
        version = "" if self.version is None else f" v{self.version}"
        table = Table(box=SIMPLE_HEAD)
        table.add_column(f"{self.known:,} outcomes known")
        for name in ("accuracy", "macro F1", "AUC"):
            table.add_column(name, justify="right")
        found = self.quality()
        if found is None:
            table.add_row("not every class has happened yet", "", "", "")
            return table
        live = (found["accuracy"], found["f1_macro"], found["auc_macro"])
        always = (found["baseline_accuracy"], found["baseline_f1_macro"], 0.5)
        table.add_row(f"flight_delay{version}", *(f"{value:.3f}" for value in live), style="bold")
        table.add_row("always the most frequent", *(f"{value:.3f}" for value in always))
        return table

    def _counts(self) -> str:
        return (
            f"{len(self._asked):,} on their way, {self.called_off:,} called off, "
            f"{self.with_missing:,} answered with a value missing"
        )
