"""Policies over columns do what they do over a request's rows."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from hypothesis import given, strategies

from trivet.batch.given import AT, Given
from trivet.batch.settling import settle
from trivet.contract import Column, Default, OnDemandView, View
from trivet.features.values import AbsentValue, Features
from trivet.serving import settling as serving
from trivet.serving.asking import Asked
from unit.fakes import AGE, NOON, shop

SCORE = Column(name="score", source="users:score", dtype="int64", absent="null")
TASTE = Column(name="taste", source="users:taste", dtype="string", absent=Default(default="?"))
LOYAL = Column(name="loyal", source="users:loyal", dtype="bool", absent="null")
RATIO = Column(name="ratio", source="on_demand:ratio", dtype="float64", absent="null")
AMOUNT = Column(name="amount", source="request", dtype="float64")
FEATURES = (SCORE, TASTE, LOYAL)
CONTRACT = shop(
    columns=(*FEATURES, AMOUNT, RATIO),
    views=(View(name="users", join_keys=("user_id",), ttl_seconds=60),),
    on_demand=(
        OnDemandView(name="ratios", inputs=("score", "amount"), outputs=("ratio",), digest=""),
    ),
)
ROWS = strategies.lists(
    strategies.tuples(
        strategies.none() | strategies.integers(-(2**63), 2**63 - 1),
        strategies.none() | strategies.text(),
        strategies.none() | strategies.booleans(),
        strategies.floats(-1e9, 1e9),
    ),
    min_size=1,
    max_size=8,
)


@dataclass(frozen=True)
class Ratios:
    """Gives a number, a NaN, or nothing."""

    name: str = "ratios"
    inputs: tuple[str, ...] = ("score", "amount")

    def compute(self, values):
        """Divide, where there is something to divide by."""
        pairs = zip(values["score"], values["amount"], strict=True)
        return {"ratio": [None if s is None else math.nan if s == 0 else a / s for s, a in pairs]}


@given(ROWS)
def test_columns_are_settled_as_rows_are(rows):
    """The same arrays, of the same dtypes, and the same values absent, NaN that is computed apart."""
    scores, tastes, loyals, amounts = map(list, zip(*rows, strict=True))
    stored = {"score": scores, "taste": tastes, "loyal": loyals}
    by_row = serving.Settler(CONTRACT, (Ratios(),)).settle(_asked(amounts), _read(stored))
    kinds = {"score": pa.int64(), "taste": pa.string(), "loyal": pa.bool_()}
    features = pa.table({name: pa.array(stored[name], kind) for name, kind in kinds.items()})
    found = settle(CONTRACT, (Ratios(),), _given(amounts), features)
    assert list(found.columns) == list(by_row.columns)
    for name, column in by_row.columns.items():
        assert found.columns[name].dtype == column.dtype
        np.testing.assert_array_equal(found.columns[name], column)
    absent = {(value.column.name, value.row) for value in by_row.absent}
    masks = {(name, row) for name, mask in found.absent.items() for row in np.flatnonzero(mask)}
    assert masks == absent


def test_a_row_that_may_not_lack_a_value_is_left_out_with_its_reason():
    """And nothing of it is computed; the others keep their numbers."""
    strict = AGE.model_copy(update={"absent": "reject", "source": "users:age"})
    contract = CONTRACT.model_copy(update={"columns": (strict, *CONTRACT.columns)})
    features = pa.table(
        {
            "age": pa.array([1.0, None, math.nan, 4.0]),
            "score": pa.array([1, 2, 3, 4]),
            "taste": pa.array(["a"] * 4),
            "loyal": pa.array([True] * 4),
        }
    )
    found = settle(contract, (Ratios(),), _given([1.0] * 4), features)
    assert found.rows.tolist() == [0, 3]
    assert found.columns["ratio"].tolist() == [1.0, 0.25]
    assert [(reject.row, reject.field) for reject in found.rejects] == [(1, "age"), (2, "age")]
    assert found.rejects[0].reason == (
        "age is unknown, older than 60 s, or null for user_id='u1' at "
        f"{NOON.isoformat().replace('+00:00', 'Z')}"
    )


def _asked(amounts) -> Asked:
    keys = {"user_id": [f"u{n}" for n in range(len(amounts))]}
    return Asked(rows=len(amounts), keys=keys, sent=[(a,) for a in amounts], names=("amount",))


def _read(stored) -> Features:
    absent = tuple(
        AbsentValue(row=row, column=column, why="null", age_seconds=1.0)
        for column in FEATURES
        for row, value in enumerate(stored[column.name])
        if value is None
    )
    return Features(values=stored, absent=absent)


def _given(amounts) -> Given:
    n = len(amounts)
    moments = pa.array([NOON] * n, pa.timestamp("us", "UTC"))
    keys = pa.table({"user_id": [f"u{row}" for row in range(n)], AT: moments})
    nothing = pa.table({"": pa.nulls(n)}).select([])
    return Given(
        keys=keys,
        request=pa.table({"amount": pa.array(amounts)}),
        overrides=nothing,
        kept=nothing,
        label=None,
        rejects=(),
    )
