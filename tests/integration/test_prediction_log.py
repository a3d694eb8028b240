"""The log against what happens to it: killed writers, a full disk, many rows; and Feast reads it."""

from __future__ import annotations

import random
import shutil
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from feast import Entity, FeatureService, FeatureStore, FeatureView, Field, FileSource, ValueType
from feast.feature_logging import FeatureServiceLoggingSource, LoggingConfig
from feast.infra.offline_stores.file_source import FileLoggingDestination
from feast.types import Bool, Float64, Int64, String, UnixTimestamp

import templates
from integration.logging_process import of_two_views
from journey import Project, Service
from trivet.logged import REQUEST_ID, log_folder, log_schema, open_folder
from trivet.observe.log import read_log
from trivet.serving.log.segment import recover
from trivet.settings import Settings

PROGRAM = Path(__file__).with_name("logging_process.py")


def start(folder: Path, *arguments: object, **settings: object) -> subprocess.Popen[str]:
    """Start a process that logs; see `logging_process.py`."""
    command = [sys.executable, str(PROGRAM), str(folder), *map(str, arguments)]
    command += [f"{name}={value}" for name, value in settings.items()]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def finish(process: subprocess.Popen[str]) -> dict[str, int]:
    """Wait for such a process, and return what it counted."""
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    return {name: int(value) for name, value in (line.split() for line in out.splitlines())}


def project(folder: Path) -> Settings:
    """Return the settings that such a process has."""
    return Settings(root=folder, home=folder)


def names(folder: Path) -> list[tuple[str, int]]:
    """Return request id and row of all that is logged."""
    table = read_log(project(folder), "shop")
    if not table.num_rows:
        return []
    columns = (table.column(REQUEST_ID), table.column("trivet__row"))
    return list(zip(*(column.to_pylist() for column in columns), strict=True))


# --- killed ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(4))
def test_a_killed_writer_loses_nothing_that_was_flushed(tmp_path: Path, seed: int) -> None:
    """Each row once, and every Parquet file whole, wherever the kill falls: rotation included."""
    writer = start(
        tmp_path, "w", 10_000_000, log_flush_seconds=0.02, log_segment_rows=3000, rate=20_000
    )
    assert writer.stdout is not None
    assert writer.stdout.readline() == "started 0\n"
    wait(lambda: bool(names(tmp_path)))
    time.sleep(random.Random(seed).random())  # noqa: S311 - no secret
    before = names(tmp_path)  # while it writes
    flushed = len(before)
    writer.kill()
    writer.communicate()
    assert flushed
    assert len(set(before)) == flushed
    left = names(tmp_path)
    recover(log_folder(tmp_path, "shop"))
    after = names(tmp_path)
    assert left == after
    assert set(before) <= set(after)
    assert len(set(after)) == len(after)
    # Requests are logged in the order in which they were answered: there is no hole before the end.
    numbers = sorted(int(name.partition("-")[2]) for name, _ in after)
    assert numbers == list(range(len(numbers)))
    assert not list(open_folder(log_folder(tmp_path, "shop")).glob("*.arrow"))
    for path in log_folder(tmp_path, "shop").glob("*.parquet"):
        assert pq.read_table(path).num_rows


def test_the_next_worker_recovers_what_a_killed_one_left(tmp_path: Path) -> None:
    """And leaves alone what a living one writes."""
    writers = [start(tmp_path, name, 10_000_000, rate=2000) for name in ("killed", "alive")]
    folder = log_folder(tmp_path, "shop")
    opened = open_folder(folder)
    wait(lambda: len(list(opened.glob("*.arrow"))) == 2)
    time.sleep(0.2)
    writers[0].kill()
    writers[0].communicate()
    kept = [name for name in names(tmp_path) if name[0].startswith("killed")]
    assert finish(start(tmp_path, "next", 10))["written"] == 10
    assert len(list(opened.glob("*.arrow"))) == 1
    found = names(tmp_path)
    assert [name for name in found if name[0].startswith("killed")] == kept
    assert len(set(found)) == len(found)
    writers[1].terminate()
    assert finish(writers[1])["lost"] == 0


def test_two_workers_write_at_once(tmp_path: Path) -> None:
    """Each to segments of its own."""
    counts = [finish(one) for one in [start(tmp_path, name, 5000) for name in ("a", "b")]]
    assert [count["written"] for count in counts] == [5000, 5000]
    assert len(set(names(tmp_path))) == 10_000


def test_a_hundred_thousand_rows_are_all_there_once(tmp_path: Path) -> None:
    """In requests of one row and of more, over several segments, read while they are written."""
    writer = start(tmp_path, "w", 40_000, rows=3, log_segment_rows=25_000, wait=1)
    while writer.poll() is None:
        found = names(tmp_path)
        assert len(set(found)) == len(found)
    assert finish(writer) == {"started": 0, "written": 120_000, "lost": 0}
    expected = {(f"w-{number}", row) for number in range(40_000) for row in range(3)}
    found = names(tmp_path)
    assert len(found) == 120_000
    assert set(found) == expected
    assert len(list(log_folder(tmp_path, "shop").glob("*.parquet"))) > 1


def wait(holds: Any) -> None:
    """Wait for other processes."""
    deadline = time.monotonic() + 30
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.02)


# --- a full disk ----------------------------------------------------------------------------------


def test_a_full_disk_costs_rows_and_not_predictions(tmp_path: Path) -> None:
    """What does not fit the queue meanwhile is counted; then it goes on by itself, with no row torn."""
    counted = finish(start(tmp_path, "w", 3000, full="yes", log_queue_rows=500))
    assert counted["answered"] == 3000
    assert counted["lost"] > 0
    assert counted["written"] + counted["lost"] == 3000
    assert counted["said"] == 1
    found = names(tmp_path)
    assert len(found) == counted["written"]
    assert len(set(found)) == len(found)
    assert ("w-2999", 0) in found
    assert not list(log_folder(tmp_path, "shop").glob(".*.part"))


# --- Feast ----------------------------------------------------------------------------------------

USER = Entity(name="user", join_keys=["user_id"], value_type=ValueType.STRING)


@pytest.fixture
def store(tmp_path: Path) -> FeatureStore:
    """Return a Feast project with a feature service on two views, whose log is the folder."""
    (tmp_path / "feature_store.yaml").write_text(
        "project: shop\nprovider: local\nregistry: registry.db\n"
        "online_store:\n  type: sqlite\n  path: online.db\n"
        "offline_store:\n  type: duckdb\nentity_key_serialization_version: 3\n"
    )
    path = tmp_path / "users.parquet"
    pq.write_table(pa.table({"event_timestamp": [datetime.now(UTC)], "user_id": ["u0"]}), path)
    source = FileSource(name="users", path=str(path), timestamp_field="event_timestamp")
    kinds = {"income": Int64, "age": Float64, "segment": String}
    users = FeatureView(
        name="users",
        entities=[USER],
        ttl=timedelta(hours=1),
        schema=[
            Field(name="user_id", dtype=String),
            *(Field(name=n, dtype=k) for n, k in kinds.items()),
        ],
        source=source,
    )
    habits = FeatureView(
        name="habits",
        entities=[USER],
        schema=[
            Field(name="user_id", dtype=String),
            Field(name="loyal", dtype=Bool),
            Field(name="since", dtype=UnixTimestamp),
        ],
        source=source,
    )
    store = FeatureStore(repo_path=str(tmp_path))
    destination = FileLoggingDestination(path=str(log_folder(tmp_path, "shop")))
    service = FeatureService(
        name="shop_v1",
        features=[users, habits],
        logging_config=LoggingConfig(destination=destination),
    )
    store.apply([USER, users, habits, service])
    return store


def test_a_segment_begins_with_the_columns_of_feasts_own_logging(store: FeatureStore) -> None:
    """By name, order and type."""
    service = store.get_feature_service("shop_v1")
    feasts = FeatureServiceLoggingSource(service, store.project).get_schema(store.registry)
    ours = log_schema(of_two_views())
    assert [(f.name, f.type) for f in ours][: len(feasts)] == [(f.name, f.type) for f in feasts]


def test_feast_reads_the_segments_as_logged_features(store: FeatureStore, tmp_path: Path) -> None:
    """As its validation of logged features does, over segments of contracts that differ."""
    for name, more in (("a", "no"), ("b", "yes")):
        finish(start(tmp_path, name, 10, feast="yes", more=more))
    service = store.get_feature_service("shop_v1")
    now = datetime.now(UTC)
    logs = store._get_provider().retrieve_feature_service_logs(
        feature_service=service,
        start_date=now - timedelta(hours=1),
        end_date=now + timedelta(hours=1),
        config=store.config,
        registry=store.registry,
    )
    found = logs.to_arrow()
    assert found.num_rows == 20
    row = next(row for row in found.to_pylist() if row["__request_id"] == "a-0")
    assert (row["user_id"], row["users__income"], row["users__income__status"]) == ("u0", 1000, 1)
    assert (row["users__age"], row["users__age__status"]) == (None, 4)
    assert row["habits__loyal"] is True


# --- a service ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """Release the tutorial's classifier."""
    trained, _ = templates.trained_classifier(tmp_path_factory)
    root = tmp_path_factory.mktemp("logged") / "project"
    shutil.copytree(trained.root, root)
    made = Project(root)
    made.run("trivet", "promote", "tutorial_classifier", "1")
    return made


def logged(project: Project, *options: str) -> list[dict[str, Any]]:
    """Return what `trivet log` shows."""
    rows: list[dict[str, Any]] = project.json(
        "trivet", "log", "tutorial_classifier", "--limit", "1000", "--json", *options
    )
    return rows


def test_every_prediction_of_a_service_is_in_its_log(served: Project) -> None:
    """While it runs, after a worker was killed, and after its end."""
    with Service(served, "tutorial_classifier", workers=2) as service:
        body = served.json("trivet", "predict", "tutorial_classifier", "--example")
        body["instances"] *= 2
        for number in range(40):
            headers = {"X-Request-Id": f"r{number}", "Connection": "close"}
            answer = service.post("/predict", body, headers=headers).json()
        wait(lambda: service.metric("trivet_log_rows_total", model="tutorial_classifier") == 80)
        assert len(logged(served)) == 80
        rows = logged(served, "--request-id", "r39")
        assert [row["trivet__output"] for row in rows] == answer["predictions"]
        assert [row["feature_03"] for row in rows] == [
            one["feature_03"] for one in body["instances"]
        ]
        workers = [p for p in service.processes() if "worker" in " ".join(p.cmdline())]
        workers[0].kill()
        service.answering(1, within=90)
        assert len(logged(served)) == 80
    found = {(row["__request_id"], row["trivet__row"]) for row in logged(served)}
    assert found == {(f"r{number}", row) for number in range(40) for row in (0, 1)}
    assert len(logged(served)) == 80
    assert not list(
        open_folder(log_folder(served.root / ".trivet", "tutorial_classifier")).iterdir()
    )


def test_a_service_whose_log_is_switched_off_writes_none(served: Project) -> None:
    """`TRIVET_LOG_SAMPLE=0`: not even its folder."""
    before = len(logged(served))
    with Service(served, "tutorial_classifier", env={"TRIVET_LOG_SAMPLE": "0"}) as service:
        body = served.json("trivet", "predict", "tutorial_classifier", "--example")
        assert service.post("/predict", body).is_success
    assert len(logged(served)) == before
