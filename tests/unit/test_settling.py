"""Overrides and policies are put over what the store had."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from trivet.columns import Columns
from trivet.contract import Column, Contract, Default
from trivet.errors import FeaturesUnavailable, InvalidInstances, VersionCorrupt
from trivet.features.values import AbsentValue, Features
from trivet.runtime.pipeline import Pipeline
from trivet.runtime.predictor import Output
from trivet.serving.asking import Asked
from trivet.serving.loaded import Prepared, Version, load_version
from unit.fakes import AGE, NOON, AmountPredictor, FakeReader, ask, golden, shop, version

EMPTY = FakeReader(users={"u001": {"income": 1000}})


def settle(reader: FakeReader, *instances: dict[str, Any]) -> Prepared:
    """Check, fetch and settle instances."""
    one = version(reader=reader)
    asked = one.check(list(instances))
    return one.settle(asked, features_of(one, asked))


def features_of(one: Version, asked: Asked) -> Features:
    """Read and judge what was asked for, at noon."""
    return one.judge(one.fetch(asked.keys, NOON), NOON)


def bare() -> Contract:
    """Return a contract of one request column."""
    return shop(
        project=None,
        feature_service=None,
        join_keys=(),
        views=(),
        columns=(AGE.model_copy(update={"name": "amount", "source": "request"}),),
    )


def test_columns_stand_in_the_contracts_order() -> None:
    """Features and request columns alike."""
    prepared = settle(FakeReader(), ask())
    assert list(prepared.columns) == ["income", "age", "segment", "amount", "quantity", "when"]
    assert prepared.columns["income"].tolist() == [1000]
    assert prepared.absent == ()


def test_an_absent_value_whose_policy_is_null_stays_null() -> None:
    """And is listed."""
    prepared = settle(EMPTY, ask())
    assert np.isnan(prepared.columns["age"]).all()
    assert [(value.row, value.column.name) for value in prepared.absent] == [
        (0, "age"),
        (0, "segment"),
    ]


def test_a_default_stands_in_for_an_absent_value() -> None:
    """Only in the row where it is absent."""
    reader = FakeReader(
        users={"u001": {"income": 1}, "u002": {"income": 2, "age": 5.0, "segment": "gold"}}
    )
    prepared = settle(reader, ask(), ask(user_id="u002"))
    assert prepared.columns["segment"].tolist() == ["none", "gold"]


def test_a_default_is_of_its_columns_dtype() -> None:
    """A time is written as a string in the contract, and is a moment in the column."""
    since = Column(
        name="since",
        source="users:since",
        dtype="timestamp",
        absent=Default(default="2020-01-01T00:00:00Z"),
    )
    contract = shop(columns=(since, *shop().columns))
    one = version(contract=contract, reader=FakeReader(columns=(since, *contract.columns[1:4])))
    asked = one.check([ask()])
    columns = one.settle(asked, features_of(one, asked)).columns
    assert columns["since"].tolist() == [np.datetime64("2020-01-01", "us").item()]


def test_an_absent_value_whose_policy_is_reject_refuses_the_request() -> None:
    """With row, column, why, and the keys that were asked for."""
    with pytest.raises(InvalidInstances) as caught:
        settle(FakeReader(), ask(), ask(user_id="u404"))
    (fault,) = caught.value.faults
    assert (fault.row, fault.field) == (1, "income")
    assert fault.detail == "income is missing for user_id='u404'"


def test_an_expired_value_is_refused_with_its_age() -> None:
    """Whoever runs the materialization learns how late it is."""
    one = version()
    asked = one.check([ask()])
    income = shop().columns[0]
    expired = AbsentValue(row=0, column=income, why="expired", age_seconds=7200.4)
    features = Features(
        values={"income": [None], "age": [1.0], "segment": ["a"]}, absent=(expired,)
    )
    with pytest.raises(InvalidInstances, match="income is expired \\(7200 s old\\) for user_id"):
        one.settle(asked, features)


def test_an_override_takes_the_place_of_what_was_read() -> None:
    """In its row alone."""
    prepared = settle(FakeReader(), ask(age=99), ask())
    assert prepared.columns["age"].tolist() == [99.0, 30.0]


def test_an_override_makes_up_for_an_absent_value() -> None:
    """An unknown user can be asked about, if the caller knows what the store does not."""
    prepared = settle(FakeReader(), ask(user_id="u404", income=5, age=1, segment="new"))
    assert prepared.columns["income"].tolist() == [5]
    assert prepared.absent == ()


def test_an_override_by_null_follows_the_policy() -> None:
    """Null where it may be null, the default where there is one."""
    prepared = settle(FakeReader(), ask(age=None, segment=None))
    assert np.isnan(prepared.columns["age"]).all()
    assert prepared.columns["segment"].tolist() == ["none"]


def test_what_was_read_is_not_changed() -> None:
    """A cache may have handed it out."""
    one = version()
    asked = one.check([ask(age=99)])
    features = features_of(one, asked)
    before = replace(features, values={name: list(v) for name, v in features.values.items()})
    one.settle(asked, features)
    assert features == before


def test_a_version_without_features_reads_nothing() -> None:
    """It has no reader."""
    contract = bare()
    one = Version(1, contract, Pipeline(AmountPredictor(), contract.output), None)
    asked = one.check([{"amount": 3}])
    read = features_of(one, asked)
    assert read == Features(values={}, absent=())
    assert one.predict(one.settle(asked, read)).predictions == [{"value": 3.0}]
    one.probe(NOON)


def test_the_probe_asks_for_a_golden_row() -> None:
    """It is the cheapest read that shows that the store answers."""
    reader = FakeReader()
    version(reader=reader).probe(NOON)
    assert reader.asked_at == []
    version(reader=reader, contract=shop(golden=(golden(),))).probe(NOON)
    assert reader.asked_at == [NOON]


def test_the_probe_fails_where_the_store_does() -> None:
    """Readiness shows it."""
    broken = FakeReader(error=FeaturesUnavailable("gone"))
    with pytest.raises(FeaturesUnavailable):
        version(reader=broken, contract=shop(golden=(golden(),))).probe(NOON)


def test_a_version_verifies_its_golden_rows() -> None:
    """The answers that were stored are the answers that it gives."""
    version(contract=shop(golden=(golden(),))).verify()
    with pytest.raises(VersionCorrupt, match="golden row 0"):
        version(contract=shop(golden=(golden(prediction={"value": 21.0}),))).verify()


@dataclass
class Slow:
    """Predicts the amount, and takes its time by a clock of its own; it may take no more rows."""

    seconds: float
    """Of a row."""
    most: int = 1000
    now: float = 0.0
    largest: int = 0

    def predict(self, columns: Columns) -> Output:
        """Predict n rows."""
        rows = len(columns["amount"])
        self.now += rows * self.seconds
        self.largest = max(self.largest, rows)
        if rows > self.most:
            raise MemoryError
        return {"value": np.asarray(columns["amount"])}


@pytest.mark.parametrize(
    ("model", "quick_rows", "largest"),
    [
        (Slow(1e-6), 100, 100),
        (Slow(0.00009), 32, 64),
        (Slow(0.0029), 1, 8),
        (Slow(5.0), 0, 8),
        (Slow(1e-6, most=8), 8, 16),
    ],
    ids=["quick", "slower by the row", "one row", "slow", "fails on many"],
)
def test_a_version_knows_how_many_rows_are_quick(
    model: Slow, quick_rows: int, largest: int
) -> None:
    """A batch that would hold the event loop up for 3 ms is a thread's; none far beyond is tried."""
    contract = shop(golden=(golden(),) * 8)
    one = Version(1, contract, Pipeline(model, contract.output), FakeReader())
    one.verify(100, timer=lambda: model.now)
    assert (one.quick_rows, model.largest) == (quick_rows, largest)


def test_a_version_that_nobody_timed_is_not_quick() -> None:
    """For want of golden rows, or because no batch may be predicted in the event loop."""
    for one in (version(), version(contract=shop(golden=(golden(),)))):
        one.verify()
        assert one.quick_rows == 0


def test_a_folder_without_a_contract_is_no_version(tmp_path: Path) -> None:
    """It was swept away, or never came whole."""
    with pytest.raises(VersionCorrupt, match="Version 3 has no readable contract"):
        load_version(3, tmp_path, lambda _: FakeReader())
