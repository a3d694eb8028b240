"""A request's bytes become columns, or every fault of every row is named."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trivet.columns import from_json
from trivet.contract import Column
from trivet.errors import Fault, InvalidInstances, MalformedRequest, RequestTooLarge
from trivet.serving.asking import Asker, parse_instances
from unit.fakes import ask, settings, shop

ASKER = Asker(shop())
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=4,
)


def faults(*instances: Any) -> tuple[Fault, ...]:
    """Return what is wrong with instances."""
    with pytest.raises(InvalidInstances) as caught:
        ASKER.check(list(instances))
    return caught.value.faults


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"", "not JSON"),
        (b'{"instances": [', "not JSON"),
        (b'{"instances": [NaN]}', "not JSON"),
        (b"\xff", "not JSON"),
        (b"[" * 2000, "not JSON"),
        (b"[]", 'no "instances"'),
        (b"null", 'no "instances"'),
        (b"{}", 'no "instances"'),
        (b'{"instances": [{}], "b": 1, "a": 2}', "unknown fields: a, b"),
        (b'{"instances": []}', "at least one object"),
        (b'{"instances": {}}', "at least one object"),
        (b'{"instances": null}', "at least one object"),
    ],
)
def test_a_body_that_the_route_does_not_take_is_refused(
    tmp_path: Path, body: bytes, says: str
) -> None:
    """With a hint that shows what is taken."""
    with pytest.raises(MalformedRequest, match=says):
        parse_instances(body, settings(tmp_path))


def test_as_many_rows_as_the_setting_allows_are_taken(tmp_path: Path) -> None:
    """One more is too many, and the error counts them."""
    three = settings(tmp_path, max_rows=3)
    assert parse_instances(b'{"instances": [{}, {}, {}]}', three) == [{}, {}, {}]
    with pytest.raises(RequestTooLarge, match="4 rows; at most 3"):
        parse_instances(b'{"instances": [{}, {}, {}, {}]}', three)


def test_good_rows_become_columns_in_their_order() -> None:
    """Defaults stand in, and what may be null is."""
    asked = ASKER.check([ask(user_id="b", quantity=3.0), ask(user_id="a", amount=1, when=None)])
    assert asked.rows == 2
    assert asked.keys == {"user_id": ["b", "a"]}
    assert asked.request == {
        "amount": [20.0, 1.0],
        "quantity": [3, 1],
        "when": [from_json("timestamp", "2026-11-22T13:00:00Z"), None],
    }
    assert asked.overrides == {}


@pytest.mark.parametrize(
    ("instance", "field", "says"),
    [
        ({"amount": 1}, "user_id", "user_id is required"),
        (ask(user_id=None), "user_id", "user_id is required"),
        (ask(user_id=7), "user_id", "user_id: a string is expected, not 7"),
        ({"user_id": "u001"}, "amount", "amount is required"),
        (ask(amount=None), "amount", "amount is required"),
        (ask(amount="20"), "amount", 'amount: a number is expected, not "20"'),
        (ask(amount=True), "amount", "amount: a number is expected, not true"),
        (ask(amount={"EUR": 1}), "amount", "amount: a number is expected, not an object"),
        (ask(quantity=1.5), "quantity", "quantity: a whole number is expected, not 1.5"),
        (ask(quantity=10**30), "quantity", "a whole number of 64 bits is expected, not 1000"),
        (ask(when="noon"), "when", 'an ISO 8601 time is expected, not "noon"'),
        (ask(colour="red"), "colour", "colour is not a field of the contract"),
        (ask(age="old"), "age", 'age: a number is expected, not "old"'),
        (ask(income=None), "income", "income is required"),
    ],
)
def test_a_fault_names_its_row_and_field(instance: Any, field: str, says: str) -> None:
    """A caller with a thousand rows has to find it."""
    (fault,) = faults(ask(), instance)
    assert (fault.row, fault.field) == (1, field)
    assert says in fault.detail


@pytest.mark.parametrize("instance", [None, 1, "u001", ["u001"], True])
def test_a_row_that_is_no_object_is_named(instance: Any) -> None:
    """It has no field to name."""
    (fault,) = faults(instance, ask())
    assert fault == Fault(row=0, detail="an object of fields is expected")


def test_every_fault_of_every_row_is_named() -> None:
    """Not only the first: a caller mends them all at once."""
    found = faults({"user_id": 1, "b": 1, "a": 1}, ask(), 3, ask(amount="x"))
    assert [(fault.row, fault.field) for fault in found] == [
        (0, "a"),
        (0, "b"),
        (0, "user_id"),
        (0, "amount"),
        (2, None),
        (3, "amount"),
    ]


def test_a_hundred_faults_are_enough() -> None:
    """An answer does not grow with a request that is wrong from top to bottom."""
    assert len(faults(*[{}] * 80)) == 100


def test_a_join_key_that_is_a_column_too_is_wrong_once() -> None:
    """As an airport, which is looked up and which the model takes."""
    airport = Column(name="user_id", source="request", dtype="string")
    asker = Asker(shop(columns=(*shop().columns, airport)))
    assert asker.check([ask()]).request["user_id"] == ["u001"]
    for wrong in (ask(user_id=None), ask(user_id=7)):
        with pytest.raises(InvalidInstances) as caught:
            asker.check([wrong])
        assert [fault.field for fault in caught.value.faults] == ["user_id"]


def test_a_feature_may_be_given_by_the_caller() -> None:
    """Only in the rows that give it; null follows the column's policy."""
    asked = ASKER.check([ask(age=44, segment=None), ask(), ask(age=None, income=1.0)])
    assert asked.overrides == {
        "age": {0: 44.0, 2: None},
        "segment": {0: "none"},
        "income": {2: 1},
    }


def test_a_value_that_nests_too_deeply_to_be_written_is_still_named() -> None:
    """The parser reads deeper than the writer writes."""
    deep = orjson.loads(b"[" * 900 + b"]" * 900)
    (fault,) = faults(ask(amount=deep))
    assert fault.detail == "amount: a number is expected, not a list"


@given(instances=st.lists(JSON | st.builds(ask, amount=JSON, age=JSON), max_size=3))
def test_whatever_is_sent_is_taken_or_refused(instances: list[Any]) -> None:
    """Nothing that JSON has makes the check itself fail."""
    try:
        asked = ASKER.check(instances)
    except InvalidInstances as err:
        rows = {fault.row for fault in err.faults}
    else:
        rows = set()
        assert len(asked.sent) == asked.rows == len(instances)
    assert rows <= set(range(len(instances)))
