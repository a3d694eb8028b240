"""Batch jobs of the worked example: equal to the service, and whole after twenty kills."""

from __future__ import annotations

import asyncio
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from integration.batching import Notes, read
from trivet.batch.job import Options
from trivet.batch.run import Request, run_batch
from trivet.contract import Contract
from trivet.features.materialize import materialize
from trivet.features.on_demand import open_transforms
from trivet.features.reader import OnlineReader
from trivet.features.store import open_store
from trivet.live import Shelf
from trivet.serving.dataplane import DataPlane
from trivet.serving.loaded import FeatureSource, Version, load_version
from trivet.settings import Settings, settings_at
from unit.fakes import FakeRecorder, filled_slot

pytestmark = [
    pytest.mark.prove,
    pytest.mark.timeout(1800),
    pytest.mark.filterwarnings("ignore:On demand feature view is an exp:RuntimeWarning"),
]

ROOT = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent
MODEL = "flight_delay"
ROWS = 10_000
KILLS = 20
MOST_GIB = 3
KEYS = ["origin", "dest", "carrier", "tailnum"]
VIEWS = (
    "airport_weather",
    "airport_recent",
    "aircraft_last_leg",
    "carrier_recent",
    "route_history",
    "plane",
)
SCHEDULE = ["scheduled_departure", "scheduled_arrival"]


@pytest.fixture(scope="module")
def flights(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Make a project elsewhere with the flights' data and a version that was trained on them."""
    root = tmp_path_factory.mktemp("flights")
    for folder in ("feature_repo", "bentos/flight_delay"):
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / folder, root / folder, ignore=ignored)
    shutil.copy(ROOT / "pyproject.toml", root)
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        patch.setenv("PATH", f"{BIN}{os.pathsep}{os.environ['PATH']}")
        bento = root / "bentos" / "flight_delay"
        run(sys.executable, bento / "flights.py", cwd=root)
        run("feast", "apply", cwd=root / "feature_repo")
        run(sys.executable, "train.py", "--rows", "20000", cwd=bento)
        yield root


def run(*command: object, cwd: Path) -> None:
    """Run a command in the project."""
    done = subprocess.run(
        [str(part) for part in command], cwd=cwd, check=False, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


def departures(root: Path, after: float) -> pd.DataFrame:
    """Return departures from a share of the year on."""
    rows = pd.read_parquet(root / "data" / "flights" / "departures.parquet")
    rows = rows.sort_values("asked_at", ignore_index=True).iloc[int(after * len(rows)) :]
    return rows[[*KEYS, *SCHEDULE, "asked_at"]].reset_index(drop=True)


class Service:
    """What a worker answers with, on a clock that stands still."""

    def __init__(self, settings: Settings, at: datetime, digest: str) -> None:
        """Load the version that the job has brought to this host."""
        self._settings, self._at = settings, at
        folder = Shelf(settings.home / "batch", MODEL).path(digest)
        version = load_version(2, folder, self._source)
        self._plane = self._dataplane(version)

    def answers(self, rows: pd.DataFrame) -> Iterator[tuple[dict[str, Any], list[str]]]:
        """Yield each row's prediction and what was missing, asked a thousand at a time."""
        times = {name: rows[name].map(lambda moment: moment.isoformat()) for name in SCHEDULE}
        instances = rows[KEYS].assign(**times).to_dict("records")
        for start in range(0, len(instances), 1_000):
            part = instances[start : start + 1_000]
            answer = asyncio.run(self._plane.predict(part, lambda s: s.champion(), "r"))
            missing: dict[int, list[str]] = {}
            for entry in answer.document["missing"]:
                missing.setdefault(entry["row"], []).append(entry["column"])
            for row, prediction in enumerate(answer.document["predictions"]):
                yield prediction, missing.get(row, [])

    def _source(self, contract: Contract) -> FeatureSource:
        store = open_store(self._settings, contract.project)
        return FeatureSource(
            reader=OnlineReader(store, contract), transforms=open_transforms(store, contract)
        )

    def _dataplane(self, version: Version) -> DataPlane:
        slot = filled_slot(self._settings.root / "slot", version)
        settings = self._settings.model_copy(update={"feature_timeout_seconds": 60.0})
        return DataPlane(slot, settings, lambda: self._at, FakeRecorder())


def test_ten_thousand_rows_get_what_the_service_answers(flights: Path) -> None:
    """From the past as of a moment, and online at that moment: every field, to the last bit."""
    settings = settings_at(flights)
    rows = departures(flights, 0.6).head(ROWS)
    at = rows["asked_at"].iloc[0].to_pydatetime()
    asked = rows.assign(event_timestamp=pa.array([at] * ROWS, pa.timestamp("us", "UTC")))
    asked.to_parquet(flights / "rows.parquet", index=False)
    list(materialize(open_store(settings), settings, at, VIEWS))
    found = {}
    for name, options in {
        "past": Options(),
        "online": Options(moment="now", online=True),
    }.items():
        request = Request(
            model=MODEL,
            version=2,
            entities=flights / "rows.parquet",
            out=flights / name,
            options=options,
        )
        outcome = run_batch(settings, request, Notes(), lambda: at)
        assert outcome.predicted == ROWS
        found[name] = read(flights / name).to_pylist()
    service = Service(settings, at, outcome.job.wanted.contract_digest)
    some_missing = 0
    for row, (answer, missing) in enumerate(service.answers(rows)):
        some_missing += bool(missing)
        parts = {f"probabilities.{k}": v for k, v in answer.pop("probabilities").items()}
        for table in found.values():
            got = table[row]
            assert {name: got[name] for name in (*answer, *parts)} == answer | parts, row
            assert got["missing"] == missing
    assert row + 1 == ROWS
    assert 0 < some_missing < ROWS


def test_twenty_kills_leave_the_same_output(flights: Path) -> None:
    """At random moments of starting, joining and writing; no row twice, none lost."""
    departures(flights, 0.0).head(60_000).to_parquet(flights / "many.parquet", index=False)
    command = [BIN / "trivet", "batch", MODEL, "--version", "2", "--entities", "many.parquet"]
    command += ["--timestamp", "asked_at", "--rows-per-chunk", "500"]
    command += ["--partition-by", "class_name"]
    run(*command, "--out", "once", cwd=flights)
    out, chance = flights / "killed", random.Random(0)  # noqa: S311 - not for secrets
    chunks = out / "_trivet" / "chunks"
    for _ in range(KILLS):
        before = len(list(chunks.glob("*.json")))
        process = subprocess.Popen(
            [*command, "--out", "killed"],
            cwd=flights,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        started = chance.random() < 0.2  # else it is let come to its work first
        while process.poll() is None and not started:
            time.sleep(0.002)
            started = len(list(chunks.glob("*.json"))) > before
        time.sleep(chance.random() * 0.5)
        assert process.poll() is None, "it was done before it could be killed"
        process.send_signal(signal.SIGKILL)
        process.wait()
    run(*command, "--out", "killed", cwd=flights)
    once, killed = ({f.relative_to(o): f for f in files(o)} for o in (flights / "once", out))
    assert killed.keys() == once.keys()
    for name, file in once.items():
        assert killed[name].read_bytes() == file.read_bytes(), name
    rows = pq.read_table(out / "predictions", columns=["row"])["row"].to_pylist()
    assert sorted(rows) == list(range(60_000))


def files(out: Path) -> list[Path]:
    """Return a job's files for readers."""
    return sorted((out / "predictions").rglob("*.parquet"))


def test_three_million_rows_take_less_than_3_gib(flights: Path) -> None:
    """The year's departures, ten times over and in random order: memory is that of a chunk."""
    rows = departures(flights, 0.0)
    chosen = np.random.default_rng(0).permutation(10 * len(rows)) % len(rows)
    rows.iloc[chosen].to_parquet(flights / "long.parquet", index=False)
    command = [BIN / "trivet", "batch", MODEL, "--version", "2", "--entities", "long.parquet"]
    process = psutil.Popen(
        [*command, "--timestamp", "asked_at", "--out", "long"],
        cwd=flights,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    peak = 0
    while process.poll() is None:
        with suppress(psutil.Error):
            peak = max(peak, process.memory_info().rss)
        time.sleep(0.1)
    assert process.returncode == 0
    assert len(read(flights / "long")) == len(chosen)
    assert 2**28 < peak < MOST_GIB * 2**30
