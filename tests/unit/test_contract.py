"""A contract is read as it was written, and says in which columns Feast has come to differ."""

from __future__ import annotations

import json
import random
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from trivet.contract import (
    Classification,
    Column,
    Contract,
    Default,
    JoinKey,
    View,
    parse_contract,
)
from trivet.errors import ContractUnreadable, Difference
from trivet.offer import Offer, compare
from trivet.schemas import Older
from unit.fakes import AGE, AMOUNT, INCOME, SEGMENT, USERS, golden, shop

STORED_DIGEST = "fca784a8efe61ccfaa2cccde75642512c46542c2dab822b3df690dab2cf352eb"
"""Of `contract-1.json`."""

JSON = st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text() | st.floats()


def shuffled(value: Any, order: random.Random) -> Any:
    """Return a JSON value with the fields of every object in another order."""
    if isinstance(value, list):
        return [shuffled(item, order) for item in value]
    if not isinstance(value, dict):
        return value
    names = order.sample(list(value), len(value))
    return {name: shuffled(value[name], order) for name in names}


def offer(**changes: Any) -> Offer:
    """Return what Feast has when nothing has changed since the shop's contract."""
    parts: dict[str, Any] = {
        "project": "shop",
        "feature_service": "shop_v1",
        "join_keys": (JoinKey(name="user_id", dtype="string"),),
        "views": (USERS,),
        "columns": (INCOME, AGE, SEGMENT),
    }
    return Offer(**{**parts, **changes})


@given(
    asked_at=st.datetimes(timezones=st.just(UTC)),
    request=st.dictionaries(st.text(), JSON, max_size=3),
    value=st.floats(allow_nan=False, allow_infinity=False),
)
def test_a_contract_is_read_as_it_was_written(
    asked_at: datetime, request: dict[str, Any], value: float
) -> None:
    """Its digest survives the way through the file, whatever the golden rows hold."""
    row = golden(asked_at=asked_at, request=request, prediction={"value": value})
    contract = shop(golden=(row,))
    assert parse_contract(contract.to_json()).digest == contract.digest
    assert parse_contract(contract.to_json().encode()).golden[0].asked_at == asked_at


@given(order=st.randoms(use_true_random=False))
def test_the_digest_does_not_depend_on_the_order_of_fields(order: random.Random) -> None:
    """A document that another program has written again is still the same contract."""
    contract = shop(golden=(golden(),), files={"a": "1", "b": "2"})
    document = json.dumps(shuffled(json.loads(contract.to_json()), order))
    assert parse_contract(document).digest == contract.digest


def test_the_digest_stays_the_same_from_release_to_release() -> None:
    """It is a tag of versions that were registered long ago."""
    assert shop().digest == ("2bdc2d092301d7bbca71a2cb5ee751d0e90bad7c86dd45ffb82415dd95c54e5e")


@pytest.mark.parametrize(
    "change",
    [
        {"model": "other"},
        {"columns": (AGE, INCOME, SEGMENT, AMOUNT)},
        {"files": {"model.onnx": "0" * 64}},
        {"output": Classification(classes=("no", "yes"))},
    ],
)
def test_any_change_gives_another_digest(change: dict[str, Any]) -> None:
    """The order of the columns counts: the model takes them in it."""
    assert shop(**change).digest != shop().digest


def test_the_schema_version_comes_first() -> None:
    """A reader decides by it whether to go on."""
    assert shop().to_json().startswith('{\n  "schema_version": 1,')


def test_a_newer_schema_is_refused_by_a_sentence() -> None:
    """An old host in a new fleet says what it lacks."""
    document = shop().to_json().replace('"schema_version": 1', '"schema_version": 2')
    with pytest.raises(ContractUnreadable) as caught:
        parse_contract(document)
    assert caught.value.sentence == (
        "The contract has schema_version 2; this Trivet reads up to 1."
    )
    assert caught.value.hint == "Upgrade Trivet."


def test_a_contract_that_was_stored_by_schema_1_is_read_and_keeps_its_digest() -> None:
    """The file was written when a version was registered; its digest is that version's tag."""
    stored = Path(__file__).with_name("contract-1.json")
    contract = parse_contract(stored.read_bytes())
    assert contract.digest == STORED_DIGEST
    assert (contract.model, contract.feature_service) == ("shop", "shop_v1")
    assert contract.to_json() == stored.read_text()


def test_a_contract_of_an_older_schema_is_upgraded_and_keeps_its_digest(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A schema 0 that called the model its name; nothing else would find the version's tag again."""

    def upgrade(fields: dict[str, Any]) -> dict[str, Any]:
        more = {"schema_version": 1, "model": fields["name"]}
        return {key: value for key, value in fields.items() if key != "name"} | more

    older = Older(digest=lambda fields: f"digest of {fields['name']}", upgrade=upgrade)
    monkeypatch.setattr("trivet.schemas.OLDER", {0: older})
    fields = json.loads(shop().to_json())
    fields["name"] = fields.pop("model")
    contract = parse_contract(json.dumps(fields | {"schema_version": 0}))
    assert contract.model_dump() == shop().model_dump()
    assert contract.digest == "digest of shop"
    with pytest.raises(ContractUnreadable, match="schema_version -1; the oldest that is read is 0"):
        parse_contract(json.dumps(fields | {"schema_version": -1}))


@pytest.mark.parametrize(
    ("document", "says"),
    [
        ("", "not JSON"),
        (b"\xff\xfe", "not JSON"),
        ("[]", "no schema_version"),
        ("{}", "no schema_version"),
        ('{"schema_version": "1"}', "no schema_version"),
        ('{"schema_version": 0}', "schema_version 0; the oldest that is read is 1"),
        ('{"schema_version": 1}', "wrong at model"),
    ],
)
def test_what_is_no_contract_is_refused(document: str | bytes, says: str) -> None:
    """The sentence says what is missing or wrong, and where."""
    with pytest.raises(ContractUnreadable, match=says):
        parse_contract(document)


def test_a_fault_deep_inside_is_named_by_its_place() -> None:
    """Somebody has edited a file by hand."""
    document = shop().to_json().replace('"dtype": "float64"', '"dtype": "float16"', 1)
    with pytest.raises(ContractUnreadable, match=r"wrong at columns\.1\.dtype"):
        parse_contract(document)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"views": ()}, "income is of the unknown view users"),
        ({"join_keys": ()}, r"view users needs the join keys \['user_id'\]"),
        ({"columns": ()}, "at least 1 item"),
    ],
)
def test_a_contract_that_does_not_hold_together_is_not_made(
    change: dict[str, Any], says: str
) -> None:
    """It would fail at its first request."""
    with pytest.raises(ValidationError, match=says):
        shop(**change)


@pytest.mark.parametrize(
    ("dtype", "default"),
    [("float64", "x"), ("float64", True), ("int64", 1.5), ("string", 1), ("bool", 0)],
)
def test_a_default_of_another_dtype_is_not_accepted(dtype: Any, default: Any) -> None:
    """It would fail at the first absent value."""
    with pytest.raises(ValidationError, match="not of its dtype"):
        Column(name="a", source="request", dtype=dtype, absent=Default(default=default))


def test_a_column_knows_where_it_comes_from() -> None:
    """A feature may have another name in its view than in the model."""
    column = Column(name="years", source="users:age", dtype="float64")
    assert (column.view, column.feature) == ("users", "age")
    assert (AMOUNT.view, AMOUNT.feature) == (None, "amount")
    assert shop().columns_of("users") == (INCOME, AGE, SEGMENT)


def test_an_offer_that_has_not_changed_is_no_difference() -> None:
    """Promotion goes on."""
    assert compare(shop(), offer()) == ()


def test_an_offer_of_more_is_no_difference() -> None:
    """A feature service may grow for the next model."""
    more = View(name="baskets", join_keys=("basket_id",))
    assert (
        compare(
            shop(),
            offer(
                columns=(Column(name="n", source="baskets:n", dtype="int64"), INCOME, AGE, SEGMENT),
                views=(more, USERS),
                join_keys=(
                    JoinKey(name="basket_id", dtype="int64"),
                    JoinKey(name="user_id", dtype="string"),
                ),
            ),
        )
        == ()
    )


def test_a_contract_without_features_differs_from_nothing() -> None:
    """Its columns are all in the request, and Feast need not be there."""
    assert compare(shop(feature_service=None), None) == ()


def changed(column: str, aspect: str, contract: str, feast: str) -> Difference:
    """Return the one difference that a test expects."""
    return Difference(column=column, aspect=aspect, contract=contract, feast=feast)


@pytest.mark.parametrize(
    ("now", "expected"),
    [
        (None, changed("*", "feature service", "shop/shop_v1", "missing")),
        (
            offer(views=(), columns=()),
            changed("users:*", "feature view", "present", "missing"),
        ),
        (
            offer(views=(USERS.model_copy(update={"join_keys": ("user_id", "shop_id")}),)),
            changed("users:*", "join keys", "user_id", "user_id, shop_id"),
        ),
        (
            offer(views=(USERS.model_copy(update={"ttl_seconds": 60.0}),)),
            changed("users:*", "TTL", "3600 s", "60 s"),
        ),
        (
            offer(views=(USERS.model_copy(update={"ttl_seconds": None}),)),
            changed("users:*", "TTL", "3600 s", "never"),
        ),
        (
            offer(join_keys=(JoinKey(name="user_id", dtype="int64"),)),
            changed("user_id", "join key dtype", "string", "int64"),
        ),
        (
            offer(columns=(INCOME, SEGMENT)),
            changed("users:age", "feature", "present", "missing"),
        ),
        (
            offer(columns=(INCOME, AGE.model_copy(update={"dtype": "int64"}), SEGMENT)),
            changed("users:age", "dtype", "float64", "int64"),
        ),
    ],
    ids=lambda value: value.aspect if isinstance(value, Difference) else "",
)
def test_each_kind_of_difference_is_named_by_its_column(
    now: Offer | None, expected: Difference
) -> None:
    """One change is one difference, and not one for each column behind it."""
    assert compare(shop(), now) == (expected,)


def test_several_differences_are_all_named() -> None:
    """Nobody has to mend one to learn of the next."""
    now = offer(
        views=(USERS.model_copy(update={"ttl_seconds": None}),),
        columns=(INCOME.model_copy(update={"dtype": "string"}), AGE),
    )
    contract: Contract = shop()
    assert {difference.aspect for difference in compare(contract, now)} == {
        "TTL",
        "dtype",
        "feature",
    }


def test_parity_that_was_written_before_rows_were_counted_by_kind_is_read() -> None:
    """And its contract keeps its digest."""
    early = {"rows": 60, "label_mismatches": 0, "max_difference": 1e-7, "tolerance": 1e-5}
    fields = json.loads(shop().to_json())
    fields["runtime"] = {"kind": "onnx", "parity": early, "reason": None}
    contract = parse_contract(json.dumps(fields))
    assert contract.runtime.parity is not None
    assert contract.runtime.parity.adversarial_rows == {}
    assert contract.runtime.parity.model_dump(exclude_defaults=True) == early
