"""A shop's model by hand: a contract, and stand-ins for everything that a request passes."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from trivet.columns import Columns
from trivet.contract import (
    Column,
    Contract,
    Default,
    GoldenRow,
    JoinKey,
    Regression,
    Runtime,
    View,
)
from trivet.features.judging import ViewJudge
from trivet.features.values import Features, Found, Keys, StoredRow, to_microseconds
from trivet.live import Live, LoadedVersion, Shelf
from trivet.runtime.pipeline import Pipeline
from trivet.runtime.predictor import Output
from trivet.serving.loaded import Version
from trivet.serving.log.entry import Entry
from trivet.serving.slot import Slot
from trivet.settings import Settings

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)

INCOME = Column(name="income", source="users:income", dtype="int64", absent="reject")
AGE = Column(name="age", source="users:age", dtype="float64", absent="null")
SEGMENT = Column(
    name="segment", source="users:segment", dtype="string", absent=Default(default="none")
)
AMOUNT = Column(name="amount", source="request", dtype="float64")
QUANTITY = Column(name="quantity", source="request", dtype="int64", absent=Default(default=1))
WHEN = Column(name="when", source="request", dtype="timestamp", absent="null")
USERS = View(name="users", join_keys=("user_id",), ttl_seconds=3600)


def shop(**changes: Any) -> Contract:
    """Return a contract with every policy, on features and on request columns."""
    parts: dict[str, Any] = {
        "model": "shop",
        "project": "shop",
        "feature_service": "shop_v1",
        "join_keys": (JoinKey(name="user_id", dtype="string"),),
        "views": (USERS,),
        "columns": (INCOME, AGE, SEGMENT, AMOUNT, QUANTITY, WHEN),
        "lead_seconds": 0.0,
        "output": Regression(unit="EUR"),
        "runtime": Runtime(kind="onnx"),
        "files": {},
        "libraries": {},
        "golden": (),
    }
    return Contract(**{**parts, **changes})


def ask(**changes: Any) -> dict[str, Any]:
    """Return an instance that the shop's contract accepts."""
    return {"user_id": "u001", "amount": 20.0, "when": "2026-11-22T13:00:00Z", **changes}


def golden(**changes: Any) -> GoldenRow:
    """Return a golden row of the shop, asked at noon for an hour later."""
    parts: dict[str, Any] = {
        "asked_at": NOON,
        "request": ask(),
        "features": {
            "income": 1000,
            "age": 30.0,
            "segment": "gold",
            "amount": 20.0,
            "quantity": 1,
            "when": "2026-11-22T13:00:00Z",
        },
        "prediction": {"value": 20.0},
    }
    return GoldenRow(**{**parts, **changes})


@dataclass
class FakeReader:
    """Features of known users, in memory; whoever is not known is missing."""

    users: Mapping[str, Mapping[str, Any]] = field(
        default_factory=lambda: {"u001": {"income": 1000, "age": 30.0, "segment": "gold"}}
    )
    columns: Sequence[Column] = (INCOME, AGE, SEGMENT)
    error: Exception | None = None
    blocked: threading.Event | None = None
    """A read waits for it, as for a store that hangs."""
    expired_for: float | None = None
    """Whatever is absent expired at this age, in seconds."""
    cached: set[str] = field(default_factory=set)
    """Users that need no read."""
    asked_at: list[datetime] = field(default_factory=list)
    reads: list[list[str]] = field(default_factory=list)
    """The users of each read."""

    def recall(self, keys: Keys, at: datetime) -> Found | None:
        """Return the users' rows if all of them are cached."""
        return self._rows(keys, at) if self.cached.issuperset(keys["user_id"]) else None

    def fetch(self, keys: Keys, at: datetime, *, anew: bool = False) -> Found:
        """Look every user up."""
        self.asked_at.append(at)
        self.reads.append(list(keys["user_id"]))
        if self.blocked is not None:
            self.blocked.wait(10)
        if self.error is not None:
            raise self.error
        return self._rows(keys, at)

    def judge(self, found: Found, at: datetime) -> Features:
        """Judge as the online reader does; what is absent may be made to have expired."""
        features = ViewJudge(USERS, self.columns)(found[0], to_microseconds(at))
        if self.expired_for is None:
            return features
        absent = (replace(a, why="expired", age_seconds=self.expired_for) for a in features.absent)
        return replace(features, absent=tuple(absent))

    def _rows(self, keys: Keys, at: datetime) -> Found:
        now = to_microseconds(at)
        return [[self._row(self.users.get(user), now) for user in keys["user_id"]]]

    def _row(self, user: Mapping[str, Any] | None, now: int) -> StoredRow:
        values = tuple((user or {}).get(column.name) for column in self.columns)
        nulls = tuple(n for n, value in enumerate(values) if value is None)
        known = None if len(nulls) == len(values) else now
        return StoredRow(values=values, known=known, read=now, nulls=nulls)


class AmountPredictor:
    """Predicts the amount itself, or fails."""

    def __init__(self, error: Exception | None = None) -> None:
        """`error`: raised at every prediction."""
        self._error = error

    def predict(self, columns: Columns) -> Output:
        """Return the column `amount`."""
        if self._error is not None:
            raise self._error
        return {"value": np.asarray(columns["amount"])}


@dataclass
class FakeRecorder:
    """Remembers what it was told to count."""

    answers: list[tuple[int, int]] = field(default_factory=list)
    """Version and rows."""
    refusals: list[tuple[int | None, int]] = field(default_factory=list)
    """Version and status."""
    not_begun: int = 0
    """Refusals because too many were unanswered."""
    batches: list[int] = field(default_factory=list)
    """How many requests were answered together each time."""

    def answered(self, entry: Entry) -> None:
        """Remember the answers; the steps of each are parts of its whole."""
        for request in entry.requests:
            steps = request.validate_seconds + request.features_seconds
            assert steps + sum(entry.seconds.values()) <= request.total_seconds
            self.answers.append((entry.version, request.rows))
        self.batches.append(len(entry.requests))

    def refused(self, version: int | None, status: int) -> None:
        """Remember a refusal."""
        self.refusals.append((version, status))

    def overloaded(self) -> None:
        """Remember one that was not begun."""
        self.not_begun += 1
        self.refused(None, 503)


def version(
    number: int = 1,
    *,
    contract: Contract | None = None,
    reader: FakeReader | None = None,
    error: Exception | None = None,
) -> Version:
    """Return a loaded version of the shop."""
    contract = contract or shop()
    pipeline = Pipeline(AmountPredictor(error), contract.output)
    return Version(number, contract, pipeline, reader or FakeReader())


def live(champion: int, *others: int, **changes: Any) -> Live:
    """Return a live state; a version's digest is its number, its alias `v` and its number."""
    entries = [
        LoadedVersion(version=number, digest=str(number), aliases=(f"v{number}",))
        for number in (champion, *others)
    ]
    parts: dict[str, Any] = {
        "model": "shop",
        "champion": champion,
        "versions": tuple(entries),
        "release": f"run-{champion}",
        "since": NOON,
    }
    return Live(**{**parts, **changes})


def filled_slot(folder: Path, *versions: Version) -> Slot:
    """Return a slot in which these versions are loaded, the first as champion."""
    have = {one.number: one for one in versions}
    shelf = Shelf(folder, "shop")
    slot = Slot(shelf, lambda entry, _: have[entry.version], on_swap=lambda _: None)
    if versions:
        shelf.write_live(live(*have))
        slot.look()
    return slot


def settings(root: Path, **changes: Any) -> Settings:
    """Return the settings of a project in a temporary folder."""
    return Settings(root=root, home=root / ".trivet", **changes)
