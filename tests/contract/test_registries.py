"""A registry keeps what it is told, on every online store; switching is `feature_store.yaml` alone."""

from __future__ import annotations

from datetime import timedelta

from contract.definitions import PUSH
from contract.project import NOON, Project, whole_contract
from trivet.features.materialize import materialize
from trivet.features.offer import read_offer
from trivet.features.on_demand import open_transforms
from trivet.features.push import push
from trivet.features.reader import OnlineReader
from trivet.offer import compare


def test_another_process_finds_the_same_offer_and_code(combination: Project) -> None:
    """As it was applied: columns, keys, times to live, and the code of on-demand views."""
    store = combination.open()
    contract = whole_contract(store)
    assert contract == combination.contract
    service = contract.feature_service
    assert service is not None
    assert compare(contract, read_offer(store, service)) == ()
    (transform,) = open_transforms(store, contract)
    assert transform.compute({"asked_level": [3.0], "level": [1.0]}) == {
        "above": [2.0],
        "is_above": [True],
    }


def test_materialization_goes_on_where_it_ended(combination: Project) -> None:
    """The intervals live in the registry, and the values are there for another process."""
    sensor = combination.name()
    # Later than what any other test has brought online.
    first = NOON + timedelta(days=10)
    row = combination.row("readings", first, sensor=sensor)
    combination.learn("readings", [row], first)
    store = combination.open()
    later = first + timedelta(minutes=5)
    (done,) = materialize(store, combination.settings, later, ["readings"])
    assert (done.start, done.end) == (first, later)
    (again,) = materialize(combination.open(), combination.settings, later, ["readings"])
    assert (again.start, again.end) == (later, later)
    keys = {"sensor": [sensor], "shop_id": [-1], "grade": [-1]}
    assert OnlineReader(store, combination.contract).read(keys, later).values["count"] == [3]


def test_a_push_source_is_found(combination: Project) -> None:
    """And what is pushed through it is read."""
    sensor = combination.name()
    rows = combination.frame([combination.row("readings", NOON, sensor=sensor)])
    store = combination.open()
    assert push(store, combination.settings, PUSH, rows, clock=lambda: NOON).written == 1
    assert combination.read(NOON, sensor=[sensor]).values["label"] == ["warm"]
