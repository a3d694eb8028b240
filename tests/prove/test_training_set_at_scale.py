"""A training set of millions of rows is made in bounded memory."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
ROWS = 3_000_000
MOST_GIB = 8

SCRIPT = """
import json, resource, sys
from pathlib import Path

import numpy as np
import pandas as pd

import trivet

root, rows = Path(sys.argv[1]), int(sys.argv[2])
settings = trivet.load_settings(root)
flights = pd.read_parquet(root / "data" / "flights" / "departures.parquet")

def join(entities):
    return trivet.training_set(settings, entities, "flight_delay_v1", timestamp="asked_at")

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20

once = join(flights).frame
which = np.random.default_rng(0).permutation(rows) % len(flights)
many = join(flights.iloc[which])
peaks = {"made": peak()}
seen = 0
for batch in many.batches():
    expected = once.iloc[which[seen : seen + len(batch)]].reset_index(drop=True)
    pd.testing.assert_frame_equal(batch, expected)
    seen += len(batch)
peaks["batches"] = peak()
shape = many.frame.shape
peaks["frame"] = peak()
print(json.dumps({"seen": seen, "shape": shape, "peaks": peaks}))
"""


@pytest.fixture(scope="module")
def flights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a project elsewhere with the flights' data and definitions."""
    root = tmp_path_factory.mktemp("flights")
    for folder in ("feature_repo", "bentos/flight_delay"):
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / folder, root / folder, ignore=ignored)
    shutil.copy(ROOT / "pyproject.toml", root)
    subprocess.run([sys.executable, root / "bentos" / "flight_delay" / "flights.py"], check=True)
    feast = Path(sys.executable).parent / "feast"
    subprocess.run([feast, "apply"], cwd=root / "feature_repo", check=True)
    return root


@pytest.mark.prove
@pytest.mark.timeout(900)
def test_three_million_rows_take_less_than_8_gib(flights: Path) -> None:
    """The flights in random order, nine times over: each row as in the set of all of them once."""
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, flights, str(ROWS)],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    result = json.loads(done.stdout)
    assert result["seen"] == result["shape"][0] == ROWS
    assert max(result["peaks"].values()) < MOST_GIB
