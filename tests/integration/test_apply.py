"""Applying features says what it changes and breaks, and refuses to break what is live."""

from __future__ import annotations

import gc
import json
import shutil
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from integration.tiny import DEFINITIONS, MODEL, NOON, SERVICE, Tiny
from trivet import cli
from trivet.applying import apply_planned, read_impacts
from trivet.doctor import examine
from trivet.errors import ApplyRefused, BadDefinitions, BadSetting
from trivet.features.apply import apply_features, plan_features
from trivet.features.offer import read_offer
from trivet.features.on_demand import open_transforms
from trivet.gates.features import feature_differences
from trivet.live import CONTRACT, Live, Shelf
from trivet.registry.client import connect
from trivet.registry.download import fetch
from trivet.registry.forced import last_forced
from trivet.watch import FeatureWatch

if TYPE_CHECKING:
    from mlflow import MlflowClient

pytestmark = [
    pytest.mark.filterwarnings("ignore:fetch_arrow_table:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:On demand feature view is an experimental:RuntimeWarning"),
]

TTL = ("hours=2", "hours=3")
DTYPE = ('Field(name="purchases", dtype=Int64)', 'Field(name="purchases", dtype=String)')
DROPPED = ('        Field(name="purchases", dtype=Int64),\n', "")
UNSELECTED = ('users[["age", "purchases"]]', 'users[["age"]]')
GROWN = (DTYPE[0], f'{DTYPE[0]},\n        Field(name="visits", dtype=Int64)')
CODE = ("1.19 * amount", "1.07 * amount")
SERVICE_GONE = ('name="toy_v1"', 'name="toy_v2"')


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


@pytest.fixture(scope="module")
def registered(tmp_path_factory: pytest.TempPathFactory, empty_registry: Path) -> Iterator[Path]:
    """Return the registry of a project with three versions: 2 is live, 1 was before, 3 waits."""
    made = Tiny(tmp_path_factory.mktemp("registered") / "tiny")
    made.apply()
    shutil.copyfile(empty_registry, made.root / "mlflow.db")
    client = connect(made.settings)
    for version in (1, 2, 3):
        assert made.register(client) == version
    made.promote(client, 1)
    made.promote(client, 2)
    yield made.root / "mlflow.db"
    shutil.rmtree(made.root)


@pytest.fixture
def client(tiny: Tiny, registered: Path) -> MlflowClient:
    """Return the project's own copy of that registry."""
    shutil.copyfile(registered, tiny.root / "mlflow.db")
    return connect(tiny.settings)


def plan(tiny: Tiny) -> Any:
    """Plan what the definitions say now."""
    return plan_features(tiny.open(), tiny.settings)


def said(tiny: Tiny) -> list[tuple[str, str, str]]:
    """Return what a plan would change: action, name, and the properties' names."""
    return [
        (change.action, change.name, ", ".join(p.name for p in change.properties))
        for change in plan(tiny).changes
    ]


def state(tiny: Tiny) -> dict[str, bytes]:
    """Return every file that Feast keeps."""
    return {file.name: file.read_bytes() for file in sorted((tiny.root / "data").iterdir())}


def test_definitions_that_are_applied_change_nothing(tiny: Tiny) -> None:
    """Not even after a materialization, which writes to the same registry."""
    assert said(tiny) == []
    tiny.materialize()
    assert said(tiny) == []


def test_before_the_first_apply_everything_is_new(tmp_path: Path) -> None:
    """Online tables too."""
    found = said(Tiny(tmp_path / "tiny"))
    assert {action for action, _, _ in found} == {"created"}
    assert {name for _, name, _ in found} >= {"users", "sums", "toy_v1", "user", "tiny_users"}


@pytest.mark.parametrize(
    ("edit", "expected"),
    [
        (TTL, ("updated", "users", "ttl")),
        (DTYPE, ("updated", "users", "features ~ purchases")),
        (GROWN, ("updated", "users", "features + visits")),
        (UNSELECTED, ("updated", "toy_v1", "features - users:purchases")),
        (CODE, ("updated", "sums", "feature_transformation.body_text")),
        (SERVICE_GONE, ("deleted", "toy_v1", "")),
        (SERVICE_GONE, ("created", "toy_v2", "")),
    ],
)
def test_every_change_is_named_with_its_properties(
    tiny: Tiny, edit: tuple[str, str], expected: tuple[str, str, str]
) -> None:
    """And what did not change is not."""
    tiny.change(*edit)
    assert expected in said(tiny)
    assert not any(name in ("user", "users_source", "tiny_users") for _, name, _ in said(tiny))


def test_a_plan_touches_neither_registry_nor_online_store(tiny: Tiny) -> None:
    """Nor does an offer that is read from it."""
    tiny.materialize()
    gc.collect()  # closes its store: SQLite then writes its log back into the file, at any moment else
    before = state(tiny)
    tiny.change(*SERVICE_GONE)
    made = plan(tiny)
    assert made.offer(SERVICE) is None
    assert made.offer("toy_v2") is not None
    assert state(tiny) == before


@pytest.mark.parametrize("edit", [TTL, DTYPE, GROWN, UNSELECTED, CODE, SERVICE_GONE])
def test_the_planned_offer_is_the_one_that_the_registry_then_gives(
    tiny: Tiny, edit: tuple[str, str]
) -> None:
    """What is compared before is what promotion and loading compare after."""
    tiny.change(*edit)
    made = plan(tiny)
    offers = [made.offer(name) for name in ("toy_v1", "toy_v2")]
    apply_features(made, tiny.settings)
    assert [read_offer(tiny.open(), name) for name in ("toy_v1", "toy_v2")] == offers
    assert said(tiny) == []


def test_on_demand_code_runs_as_it_was_applied(tiny: Tiny) -> None:
    """The code that was planned from the folder is what the registry hands out."""
    tiny.change(*CODE)
    tiny.apply()
    (transform,) = open_transforms(tiny.open(), tiny.contract())
    assert transform.compute({"amount": [100.0]}) == {"gross": [pytest.approx(107.0)]}


def test_a_registry_in_a_database_is_planned_and_applied_alike(tmp_path: Path) -> None:
    """It is what several hosts share."""
    tiny = Tiny(tmp_path / "tiny")
    yaml = tiny.root / "feature_repo" / "feature_store.yaml"
    address = f"sqlite:///{tiny.root / 'data' / 'registry.sqlite'}"
    own = f"registry:\n  registry_type: sql\n  path: {address}\n  cache_ttl_seconds: 0"
    yaml.write_text(yaml.read_text().replace("registry: ../data/registry.db", own))
    assert {action for action, _, _ in said(tiny)} == {"created"}
    tiny.apply()
    tiny.materialize()
    assert said(tiny) == []
    tiny.change(*DTYPE)
    assert ("updated", "users", "features ~ purchases") in said(tiny)
    tiny.apply()
    assert said(tiny) == []


def test_versions_are_compared_the_live_one_first(tiny: Tiny, client: MlflowClient) -> None:
    """Champion, challenger, previous, then the rest."""
    client.set_registered_model_alias(MODEL, "challenger", "3")
    tiny.change(*DTYPE)
    impacts = read_impacts(client, tiny.settings, plan(tiny))
    assert [(each.version, each.standing) for each in impacts] == [
        (2, "champion"),
        (3, "challenger"),
        (1, "previous"),
    ]
    (difference,) = impacts[0].differences
    assert (difference.column, difference.aspect) == ("users:purchases", "dtype")
    assert (difference.contract, difference.feast) == ("int64", "string")


@pytest.mark.parametrize("edit", [TTL, DTYPE, UNSELECTED, CODE, SERVICE_GONE])
def test_breaking_the_live_version_is_refused_and_changes_nothing(
    tiny: Tiny, client: MlflowClient, edit: tuple[str, str]
) -> None:
    """By name; Feast itself would do it silently."""
    tiny.change(*edit)
    made = plan(tiny)
    before = state(tiny)
    impacts = read_impacts(client, tiny.settings, made)
    with pytest.raises(ApplyRefused, match="toy version 2"):
        apply_planned(client, tiny.settings, made, impacts, who="ann")
    assert state(tiny) == before
    assert last_forced(client, "tiny") is None


def test_what_breaks_nothing_is_applied_with_versions_registered(
    tiny: Tiny, client: MlflowClient
) -> None:
    """A feature more harms nobody; those who are online already get it by materializing again."""
    tiny.materialize()
    tiny.change(*GROWN)
    made = plan(tiny)
    impacts = read_impacts(client, tiny.settings, made)
    assert not any(each.differences for each in impacts)
    apply_planned(client, tiny.settings, made, impacts, who="ann")
    assert [change.name for change in made.changes if change.backfill] == ["users"]
    tiny.materialize()
    assert {row[1] for row in tiny.online()} == {"age", "purchases"}
    tiny.materialize(again=True)
    assert {row[1] for row in tiny.online()} == {"age", "purchases", "visits"}


def test_breaking_only_what_is_not_live_is_applied(tiny: Tiny, client: MlflowClient) -> None:
    """The table warns of it: a rollback to that version would be refused."""
    tiny.change(*TTL)
    tiny.apply()
    assert tiny.register(client) == 4
    tiny.promote(client, 4)
    tiny.define()
    tiny.change("hours=2", "hours=3")
    tiny.define((tiny.root / "feature_repo" / "users.py").read_text() + "\n# touched\n")
    impacts = read_impacts(client, tiny.settings, plan(tiny))
    assert [(i.version, i.standing, bool(i.differences), i.breaks) for i in impacts][:2] == [
        (4, "champion", False, False),
        (2, "previous", True, False),
    ]


def test_what_is_broken_already_does_not_stop_the_next_apply(
    tiny: Tiny, client: MlflowClient
) -> None:
    """Or a bare `feast apply` could not be mended step by step."""
    tiny.change(*TTL)
    tiny.apply()
    tiny.define(DEFINITIONS.replace(*TTL).replace(*GROWN))
    made = plan(tiny)
    impacts = read_impacts(client, tiny.settings, made)
    assert impacts[0].differences == impacts[0].already
    assert not impacts[0].breaks
    apply_planned(client, tiny.settings, made, impacts, who="ann")
    assert said(tiny) == []


def test_forced_it_is_applied_and_the_reason_is_kept(tiny: Tiny, client: MlflowClient) -> None:
    """In MLflow, where releases are; whoever finds the version broken finds it."""
    tiny.change(*DTYPE)
    made = plan(tiny)
    impacts = read_impacts(client, tiny.settings, made)
    apply_planned(
        client, tiny.settings, made, impacts, who="ann", reason="codes", clock=lambda: NOON
    )
    assert said(tiny) == []
    forced = last_forced(client, "tiny")
    assert forced is not None
    assert (forced.who, forced.reason, forced.broken) == ("ann", "codes", "toy version 2")
    assert forced.at == NOON


def test_a_forced_apply_that_fails_says_so_in_mlflow(
    tiny: Tiny, client: MlflowClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The run is there before anything is changed."""
    tiny.change(*DTYPE)
    made = plan(tiny)
    impacts = read_impacts(client, tiny.settings, made)
    monkeypatch.setattr(
        "trivet.features.apply.apply_total_with_repo_instance",
        lambda *_, **__: (_ for _ in ()).throw(OSError("the disk is full")),
    )
    with pytest.raises(Exception, match="the disk is full"):
        apply_planned(client, tiny.settings, made, impacts, who="ann", reason="codes")
    experiment = client.get_experiment_by_name("trivet/features/tiny")
    (run,) = client.search_runs([experiment.experiment_id])
    assert run.info.status == "FAILED"


def test_definitions_that_fail_are_refused_with_the_cause(tiny: Tiny) -> None:
    """Nothing is changed."""
    before = state(tiny)
    tiny.define("import nonsense\n")
    with pytest.raises(BadDefinitions, match="No module named 'nonsense'"):
        plan(tiny)
    assert state(tiny) == before


def test_a_copied_registry_cannot_drop_the_original_projects_tables(
    tiny: Tiny, tmp_path: Path
) -> None:
    """Feast would: to it, a table with another path is one to tear down."""
    copy = Tiny(tmp_path / "copy")
    shutil.copyfile(tiny.registry_file, copy.registry_file)
    tiny.materialize()
    rows = tiny.online()
    with pytest.raises(BadSetting, match="would drop them there"):
        plan(copy)
    assert tiny.online() == rows


def test_the_command_shows_the_table_and_refuses(
    tiny: Tiny, client: MlflowClient, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    """Exit code 1, also dry; with --force it needs a reason; with one it is done."""
    del client
    monkeypatch.chdir(tiny.root)
    monkeypatch.setattr("trivet.cli.output.out._width", 140)
    tiny.change(*DTYPE)
    for arguments in ([], ["--dry-run"]):
        code, out, err = _run(monkeypatch, capsys, "apply", *arguments)
        assert code == 1
        assert "features ~ purchases: INT64 -> STRING" in out
        assert "Apply refused" in err
    assert _run(monkeypatch, capsys, "apply", "--force")[0] == 2
    code, out, _ = _run(monkeypatch, capsys, "apply", "--force", "--reason", "why", "--json")
    document = json.loads(out)
    assert (code, document["applied"]) == (0, True)
    assert [each["breaks"] for each in document["versions"]] == [True, True, True]
    code, out, _ = _run(monkeypatch, capsys, "apply")
    assert code == 0
    assert "has what the definitions of tiny say" in out


def test_after_a_bare_apply_the_follower_and_the_doctor_say_what_broke(
    tiny: Tiny, client: MlflowClient
) -> None:
    """The live version stays; what no longer fits is named column by column, and unsaid when mended."""
    shelf = Shelf(tiny.settings.home, MODEL)
    _make_live(tiny, client, shelf)
    watch = _watch(tiny)
    watch.look()
    check = shelf.read_check()
    assert check is not None
    assert (check.version, check.differences) == (2, ())
    tiny.change(*DTYPE)
    tiny.apply()
    watch.look()
    check = shelf.read_check()
    assert check is not None
    assert [each.column for each in check.differences] == ["users:purchases"]
    found = {one.check: one for one in examine(tiny.settings, "http://127.0.0.1:9", lambda: NOON)}
    wrong = found["toy: contract"]
    assert (wrong.ok, wrong.exit_code) == (False, 1)
    assert [each.column for each in wrong.differences] == ["users:purchases"]
    assert found["toy: local copies"].ok
    tiny.define()
    tiny.apply()
    watch.look()
    check = shelf.read_check()
    assert check is not None
    assert check.differences == ()


def test_the_doctor_says_what_does_not_answer(tiny: Tiny, client: MlflowClient) -> None:
    """Each part by itself, with what to do, and how bad it is."""
    _make_live(tiny, client, shelf := Shelf(tiny.settings.home, MODEL))
    live = shelf.read_live()
    assert live is not None
    (shelf.path(live.versions[0].digest) / CONTRACT).unlink()
    client.set_registered_model_alias(MODEL, "champion", "3")
    (tiny.root / "feature_repo" / "feature_store.yaml").write_text("project: [")
    found = {one.check: one for one in examine(tiny.settings, "http://127.0.0.1:9", lambda: NOON)}
    assert {name: one.exit_code for name, one in found.items()} == {
        "project": 0,
        "Feast": 3,
        "MLflow": 0,
        "artifacts": 0,
        "toy: release": 1,
        "toy: contract": 1,
        "toy: local copies": 1,
        "service": 3,
    }
    assert all(one.todo for one in found.values() if not one.ok)
    assert "alias champion points to version 3" in found["toy: release"].detail
    assert CONTRACT in found["toy: local copies"].detail


def test_no_password_of_the_registrys_address_is_shown(
    tiny: Tiny, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    """Neither by what stands where, nor by what is wrong with it."""
    monkeypatch.chdir(tiny.root)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://ann:hidden-1@127.0.0.1:9")
    for command in ("status", "doctor"):
        _, out, err = _run(monkeypatch, capsys, command, "--json", "--url", "http://127.0.0.1:9")
        assert "http://…@127.0.0.1:9" in str(json.loads(out))
        assert "hidden-1" not in out + err


def _run(monkeypatch: pytest.MonkeyPatch, capsys: Any, *arguments: str) -> tuple[Any, str, str]:
    monkeypatch.setattr(sys, "argv", ["trivet", *arguments])
    code: Any = 0
    try:
        cli.main()
    except SystemExit as end:
        code = end.code
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def _make_live(tiny: Tiny, client: MlflowClient, shelf: Shelf) -> None:
    """Do what a follower does of the champion."""
    digest = fetch(client, MODEL, 2, shelf)
    versions = ({"version": 2, "digest": digest},)
    shelf.write_live(
        Live(model=MODEL, champion=2, versions=versions, release="run", since=NOON)  # type: ignore[arg-type]
    )


def _watch(tiny: Tiny) -> FeatureWatch:
    settings = tiny.settings.model_copy(update={"feature_check_seconds": 1e-9})
    return FeatureWatch(settings, MODEL, partial(feature_differences, tiny.settings), lambda: NOON)
