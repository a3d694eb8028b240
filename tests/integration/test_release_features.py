"""The gate `features` holds a contract against what Feast has now; a rollback finds what still fits."""

from __future__ import annotations

import json
import shutil
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from integration.tiny import DEFINITIONS, MODEL, Tiny
from trivet import cli
from trivet.cli import output
from trivet.gates import features, release_gates
from trivet.gates.features import feature_differences
from trivet.live import Shelf
from trivet.registry import ledger
from trivet.registry.client import connect
from trivet.registry.follower import Follower

if TYPE_CHECKING:
    from mlflow import MlflowClient

pytestmark = [
    pytest.mark.filterwarnings("ignore:fetch_arrow_table:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:On demand feature view is an experimental:RuntimeWarning"),
]

PURCHASES = 'Field(name="purchases", dtype=Int64)'
TEXT = 'Field(name="purchases", dtype=String)'


@pytest.fixture(autouse=True)
def _no_setting_of_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI", "TRIVET_ROOT"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def tiny(tmp_path: Path) -> Tiny:
    """Return a project whose definitions are applied."""
    made = Tiny(tmp_path / "tiny")
    made.apply()
    return made


@pytest.fixture
def client(tiny: Tiny, empty_registry: Path) -> MlflowClient:
    """Return a client of the project's registry."""
    shutil.copyfile(empty_registry, tiny.root / "mlflow.db")
    return connect(tiny.settings)


def run(monkeypatch: pytest.MonkeyPatch, capsys: Any, *words: str) -> tuple[int, str, str]:
    """Run `trivet` with these words."""
    monkeypatch.setattr(sys, "argv", ["trivet", *words])
    code: Any = 0
    try:
        cli.main()
    except SystemExit as end:
        code = end.code
    captured = capsys.readouterr()
    return code, captured.out, captured.err


@pytest.mark.parametrize(
    ("edit", "named"),
    [
        (('name="toy_v1"', 'name="toy_v2"'), ("*", "feature service", "tiny/toy_v1", "missing")),
        (
            ('users[["age", "purchases"]]', 'users[["age"]]'),
            ("users:purchases", "feature", "present", "missing"),
        ),
        ((PURCHASES, TEXT), ("users:purchases", "dtype", "int64", "string")),
        (("hours=2", "hours=3"), ("users:*", "TTL", "7200 s", "10800 s")),
        (("1.19 * amount", "1.07 * amount"), ("sums:*", "on-demand code")),
        (
            (
                'schema=[Field(name="amount", dtype=Float64)]',
                'schema=[Field(name="amount", dtype=Int64)]',
            ),
            ("amount", "request field dtype", "float64", "int64"),
        ),
    ],
)
def test_each_way_in_which_feast_comes_to_differ_is_named_by_its_column(
    tiny: Tiny, edit: tuple[str, str], named: tuple[str, ...]
) -> None:
    """Service, selection, dtypes, TTL, code and request fields."""
    contract = tiny.contract()
    assert feature_differences(tiny.settings, contract) == ()
    tiny.change(*edit)
    tiny.apply()
    (difference,) = feature_differences(tiny.settings, contract)
    found = (difference.column, difference.aspect, difference.contract, difference.feast)
    assert found[: len(named)] == named


def story(tiny: Tiny, client: MlflowClient) -> None:
    """Release 1 on the first features, 2 on others, 3 on the first again; the others are in force.

    So the champion before the champion fits, and the one after that does not.
    """
    tiny.register(client)
    tiny.change(PURCHASES, TEXT)
    tiny.apply()
    tiny.register(client)
    tiny.define(DEFINITIONS)
    tiny.apply()
    tiny.register(client)
    for version in (2, 1, 3):
        tiny.promote(client, version)
    tiny.change(PURCHASES, TEXT)
    tiny.apply()


def test_a_rollback_to_what_no_longer_fits_names_the_newest_that_does(
    tiny: Tiny, client: MlflowClient, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    """Column by column why, and what to type; alias, ledger and service are as they were."""
    story(tiny, client)
    monkeypatch.chdir(tiny.root)
    # Not by COLUMNS: where that is set when the console is made, it stays as it was.
    monkeypatch.setattr(output.out, "width", 140)
    shelf = Shelf(tiny.settings.home, MODEL)
    Follower(tiny.settings, MODEL).step()

    def state() -> tuple[object, ...]:
        aliases = client.get_registered_model(MODEL).aliases
        return aliases, ledger.read_chain(client, MODEL), shelf.live_file.read_bytes()

    before = state()
    code, out, err = run(monkeypatch, capsys, "rollback", MODEL)
    assert code == 1
    (row,) = (line.split() for line in out.splitlines() if "users:purchases" in line)
    assert row == ["features", "users:purchases", "dtype", "int64", "string"]
    assert "Version 2, champion 2 releases ago, still fits: trivet rollback toy --steps 2." in out
    assert "refused by features" in err
    assert state() == before
    client.delete_model_version(MODEL, "1")
    code, _, err = run(monkeypatch, capsys, "rollback", MODEL)
    assert code == 1
    assert "toy version 1, champion 1 release ago, was deleted." in err
    assert "Version 2, champion 2 releases ago, still fits" in err
    assert state() == before
    code, out, _ = run(monkeypatch, capsys, "rollback", MODEL, "--steps", "2", "--json")
    assert code == 0
    done = json.loads(out)
    assert [gate["passed"] for gate in done["gates"]] == [True, True]
    assert client.get_registered_model(MODEL).aliases == {"champion": 2}


def test_an_alias_moved_by_hand_is_followed_only_where_its_contract_holds(
    tiny: Tiny, client: MlflowClient
) -> None:
    """By the gates that hold for every release; what is refused is shown with its columns."""
    story(tiny, client)
    tiny.promote(client, 2)
    shelf = Shelf(tiny.settings.home, MODEL)
    gates = partial(release_gates, tiny.settings, MODEL)
    watching = Follower(tiny.settings, MODEL, gates_factory=gates)
    watching.step()
    client.set_registered_model_alias(MODEL, "champion", "1")
    for _ in range(3):
        watching.step()
    live = shelf.read_live()
    assert live is not None
    assert live.champion == 2
    assert "users:purchases dtype: int64 -> string" in (live.refused or "")
    assert ledger.read_chain(client, MODEL)[-1].action == "promote"
    tiny.define(DEFINITIONS)
    tiny.apply()
    retried = Follower(tiny.settings, MODEL, gates_factory=gates)
    for _ in range(3):
        retried.step()
    live = shelf.read_live()
    assert live is not None
    assert (live.champion, live.refused) == (1, None)
    accepted = ledger.read_chain(client, MODEL)[-1]
    assert (accepted.action, accepted.who) == ("accept", "somebody in MLflow")


def test_a_contract_of_features_that_fit_passes_the_gate(tiny: Tiny) -> None:
    """Said with the service that it was held against."""

    class Proposal:
        contract = tiny.contract()

    verdict = features.judge(tiny.settings, Proposal())  # type: ignore[arg-type]
    assert verdict.passed
    assert verdict.sentences == ("It fits tiny/toy_v1 as Feast has it now.",)
