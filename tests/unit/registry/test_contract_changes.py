"""What a plan says would change between two contracts."""

from __future__ import annotations

from trivet.contract import Classification, Column, Contract, Runtime
from trivet.registry.plan import contract_changes


def contract(*columns: Column, kind: str = "pyfunc") -> Contract:
    """Return a contract with these columns."""
    return Contract(
        model="toy",
        project=None,
        feature_service=None,
        join_keys=(),
        views=(),
        columns=columns,
        lead_seconds=0,
        output=Classification(classes=("no", "yes")),
        runtime=Runtime.model_validate({"kind": kind}),
        files={},
        libraries={},
        golden=(),
    )


A = Column(name="a", source="request", dtype="float64")
B = Column(name="b", source="request", dtype="int64")


def test_equal_contracts_change_nothing() -> None:
    """A retrained version with the same inputs has nothing to say."""
    assert list(contract_changes(contract(A, B), contract(A, B))) == []


def test_columns_that_go_and_come_are_named_with_their_source() -> None:
    """A reader sees what the caller has to send from now on."""
    assert list(contract_changes(contract(A), contract(B))) == [
        "column a: no longer needed",
        "column b: new, from request",
    ]


def test_a_column_that_stays_but_differs_is_named() -> None:
    """Its policy for an absent value counts as well as its dtype."""
    lenient = A.model_copy(update={"absent": "null"})
    (line,) = contract_changes(contract(A), contract(lenient))
    assert line.startswith("column a: ")
    assert "absent='null'" in line


def test_a_change_of_runtime_is_named() -> None:
    """It changes the latency that an operator will see."""
    changes = contract_changes(contract(A), contract(A, kind="onnx"))
    assert list(changes) == ["runtime: pyfunc -> onnx"]
