"""The example is a golden row as it would be asked now."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trivet.columns import from_json
from trivet.contract import Column, Contract
from trivet.errors import ContractUnreadable
from trivet.example import example_request
from trivet.serving.asking import Asker
from unit.fakes import AMOUNT, NOON, WHEN, ask, golden, shop

RETURN = Column(name="return", source="request", dtype="timestamp", absent="null")


def travel(**request: object) -> Contract:
    """Return a contract with two times, and a golden row that asks this."""
    return shop(
        feature_service=None,
        views=(),
        columns=(AMOUNT, WHEN, RETURN),
        golden=(golden(request=ask(**request)),),
    )


@given(
    now=st.datetimes(
        min_value=NOON.replace(tzinfo=None),
        max_value=NOON.replace(tzinfo=None, year=2100),
        timezones=st.just(NOON.tzinfo),
    )
)
def test_all_times_are_moved_by_the_same_shift(now: datetime) -> None:
    """A departure an hour ahead is an hour ahead again, to the minute, and the way back stays."""
    contract = travel(**{"return": "2026-11-22T21:00:00Z"})
    (instance,) = example_request(contract, now)["instances"]
    when, back = (from_json("timestamp", instance[name]) for name in ("when", "return"))
    assert back - when == timedelta(hours=8)
    assert timedelta(minutes=59) < when - now <= timedelta(hours=1)
    assert (when.second, when.microsecond) == (0, 0)


def test_whatever_is_no_time_stays() -> None:
    """And so does a time that was not given."""
    (instance,) = example_request(travel(**{"return": None}), NOON)["instances"]
    assert instance == ask(**{"return": None})


def test_the_version_accepts_its_example() -> None:
    """At any later moment as well."""
    contract = shop(golden=(golden(),))
    body = example_request(contract, NOON + timedelta(days=400))
    assert Asker(contract).check(body["instances"]).rows == 1


def test_the_row_with_the_fewest_absent_features_is_taken() -> None:
    """It shows most of what the model can do."""
    full = golden(request=ask(user_id="u002"))
    sparse = golden(features=dict.fromkeys(golden().features))
    body = example_request(shop(golden=(sparse, full)), NOON)
    assert body["instances"][0]["user_id"] == "u002"


def test_without_golden_rows_there_is_no_example() -> None:
    """The sentence names the model."""
    with pytest.raises(ContractUnreadable, match="shop has no golden rows"):
        example_request(shop(), NOON)
