"""One entity's features with their times and why one is absent: the same online and offline."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from contract.definitions import READINGS_TTL, SERVICE
from contract.project import NOON, Project
from trivet.cli import trivet
from trivet.errors import BadSetting
from trivet.features.entity import Found, read_offline, read_online, readable

HOUR_LATER = NOON + READINGS_TTL


def known(project: Project) -> dict[str, object]:
    """Bring an entity of two views online, with a null, and return its keys."""
    keys = {"sensor": project.name(), "shop_id": project.number()}
    reading = project.row("readings", NOON, sensor=keys["sensor"], label=None)
    project.learn("readings", [reading], NOON)
    project.learn("visits", [project.row("visits", NOON, **keys)], NOON)
    return keys


@pytest.mark.parametrize(
    "late", [timedelta(0), READINGS_TTL, READINGS_TTL + timedelta(seconds=1), timedelta(days=99)]
)
def test_online_and_offline_say_the_same(project: Project, late: timedelta) -> None:
    """Value, status, time, age and time to live of every feature, as of the same moment."""
    keys = known(project)
    wanted = readable(project.store, SERVICE).by(keys)
    online = read_online(project.store, wanted, keys, NOON + late)
    assert online == read_offline(project.store, wanted, keys, NOON + late)
    expired = late > READINGS_TTL
    by_name = {found.feature: found for found in online}
    assert by_name["label"].status == ("expired" if expired else "null")
    assert by_name["count"] == Found(
        view="readings",
        feature="count",
        value=None if expired else 3,
        status="expired" if expired else "present",
        event_time=NOON,
        age_seconds=late.total_seconds(),
        ttl_seconds=READINGS_TTL.total_seconds(),
    )
    assert (by_name["visits"].value, by_name["visits"].ttl_seconds) == (7, None)


def test_an_unknown_entity_is_missing_everywhere(project: Project) -> None:
    """Without a time or an age."""
    keys = {"sensor": project.name()}
    wanted = readable(project.store).by(keys)
    found = read_online(project.store, wanted, keys, NOON)
    assert found == read_offline(project.store, wanted, keys, NOON)
    assert {(one.view, one.status, one.event_time) for one in found} == {
        ("readings", "missing", None)
    }


def test_before_it_was_known_it_was_missing(project: Project) -> None:
    """The offline store is asked as of a moment."""
    keys = known(project)
    wanted = readable(project.store).by(keys)
    before = read_offline(project.store, wanted, keys, NOON - timedelta(microseconds=1))
    assert {found.status for found in before} == {"missing"}


def test_where_the_source_is_no_file_feasts_retrieval_answers(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It gives the values, and not their times."""
    keys = known(project)
    wanted = readable(project.store, SERVICE).by(keys)
    ours = read_offline(project.store, wanted, keys, HOUR_LATER)
    monkeypatch.setattr("trivet.features.asof.parquet_source", lambda store, view: None)
    feasts = read_offline(project.store, wanted, keys, HOUR_LATER)
    assert {found.event_time for found in feasts} == {None}
    assert [found.value for found in feasts] == [found.value for found in ours]


def test_views_that_lack_a_key_are_left_out_and_named(project: Project) -> None:
    """If nothing can be read at all, the error says which view needs which keys."""
    everything = readable(project.store)
    assert [view.name for view in everything.by({"sensor": "s"}).views] == ["readings"]
    with pytest.raises(BadSetting, match="visits needs shop_id, sensor"):
        everything.by({"shop_id": 1})
    with pytest.raises(BadSetting, match=r"join key censor\. Join keys are grade, sensor"):
        everything.by({"censor": "s"})


@pytest.fixture
def command(
    project: Project, monkeypatch: pytest.MonkeyPatch, empty_registry: Path
) -> Callable[..., Result]:
    """Return what runs `trivet features` in the project, whose registry has no model."""
    shutil.copyfile(empty_registry, project.settings.root / "mlflow.db")
    (project.settings.root / "pyproject.toml").write_text('[tool.trivet]\nfeature_repo = "."\n')
    for variable, value in project.variables.items():
        monkeypatch.setenv(variable, value)
    monkeypatch.setattr("trivet.cli.output.out._width", 200)
    monkeypatch.chdir(project.settings.root)
    monkeypatch.setattr("trivet.cli.entities.system_clock", lambda: HOUR_LATER)
    # What the command opens is closed with the project.
    monkeypatch.setattr("trivet.features.store.open_store", lambda *_: project.open())

    def run(*arguments: str) -> Result:
        return CliRunner().invoke(trivet, ["features", *arguments])

    return run


def test_the_command_shows_values_times_and_ages(
    project: Project, command: Callable[..., Result]
) -> None:
    """And says on standard error what was left out."""
    keys = known(project)
    done = command(f"sensor={keys['sensor']}")
    assert done.exit_code == 0, done
    lines = {
        line.split()[1]: line.split() for line in done.stdout.splitlines() if "readings" in line
    }
    assert lines["count"][2:4] == ["3", "present"]
    assert lines["count"][-4:] == ["1", "h", "1", "h"]
    assert lines["label"][2:4] == ["-", "null"]
    assert "visits is left out: it also needs shop_id." in done.stderr


def test_the_command_prints_json(project: Project, command: Callable[..., Result]) -> None:
    """Offline as of a moment as well; a key is taken in its join key's dtype."""
    keys = known(project)
    given = [f"{name}={value}" for name, value in keys.items()]
    online = json.loads(command(*given, "--json").stdout)
    at = HOUR_LATER.isoformat()
    offline = json.loads(command(*given, "--offline", "--at", at, "--json").stdout)
    assert (online["store"], offline["store"]) == ("online", "offline")
    assert online["features"] == offline["features"]
    assert online["keys"] == keys
    assert online["left_out"] == [{"view": "grades", "needs": ["grade"]}]
    (visits,) = [one for one in online["features"] if one["feature"] == "visits"]
    assert visits == {
        "view": "visits",
        "feature": "visits",
        "value": 7,
        "status": "present",
        "event_time": NOON.isoformat(),
        "age_seconds": 3600.0,
        "ttl_seconds": None,
    }


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["sensor=s", "shop_id=x"], "shop_id is of dtype int64, and 'x' is not"),
        (["sensor=s", "--service", "none"], "has no feature service none"),
        (["sensor=s", "--model", "none"], "MLflow has no model none"),
        (["sensor=s", "--at", "10m"], "--at needs --offline"),
        (["sensor=s", "--service", "a", "--model", "b"], "give one"),
        (["sensor"], "is not like"),
    ],
)
def test_what_the_command_cannot_use_is_said(
    command: Callable[..., Result], arguments: list[str], sentence: str
) -> None:
    """Before anything is read."""
    done = command(*arguments)
    assert done.exit_code != 0
    assert sentence in f"{done.output}{done.exception}"
