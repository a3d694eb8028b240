"""Appending 1,000 events to a view's Parquet source: as a segment, beside Feast's own way.

    python benchmarks/offline_push.py [--source FILE] [--rounds 20] [--feast-rounds 5]

The source is the worked example's last legs (327,000 rows; `make run` makes them), copied to a
temporary folder. Feast's `write_to_offline_store` reads the file and writes it anew; a segment is
written beside it, reaches the disk, and is folded into the file later, whose time is given too.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from feast import Entity, FeatureStore, FeatureView, Field, FileSource, ValueType
from feast.types import Float64, String

from trivet.features.folding import fold
from trivet.features.push import in_schema
from trivet.features.segments import append, folder_of, read_source

SOURCE = Path(__file__).resolve().parents[1] / "data" / "flights" / "aircraft_last_leg.parquet"
VIEW = "legs"
ROWS = 1000
_YAML = """\
project: pushing
provider: local
registry: registry.db
online_store:
  type: sqlite
  path: online.db
offline_store:
  type: duckdb
entity_key_serialization_version: 3
"""


def open_store(folder: Path, source: Path) -> FeatureStore:
    """Return a store of the one view."""
    (folder / "feature_store.yaml").write_text(_YAML)
    store = FeatureStore(str(folder))
    aircraft = Entity(name="aircraft", join_keys=["tailnum"], value_type=ValueType.STRING)
    delays = ("leg_departure_delay_min", "leg_arrival_delay_min", "leg_air_time_min")
    fields = [Field(name="tailnum", dtype=String), Field(name="leg_dest", dtype=String)]
    view = FeatureView(
        name=VIEW,
        entities=[aircraft],
        ttl=timedelta(hours=24),
        schema=[*fields, *(Field(name=name, dtype=Float64) for name in delays)],
        source=FileSource(name="s", path=str(source), timestamp_field="event_timestamp"),
    )
    store.apply([aircraft, view])
    return store


def timed(work: Callable[[], object], rounds: int) -> list[float]:
    """Return the milliseconds of each call but the first, which imports."""
    taken = []
    for _ in range(rounds + 1):
        began = time.perf_counter()
        work()
        taken.append(1000 * (time.perf_counter() - began))
    return taken[1:]


def main() -> None:
    """Measure both in one run, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--source", type=Path, default=SOURCE)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--feast-rounds", type=int, default=5)
    given = parser.parse_args()
    warnings.filterwarnings("ignore", category=DeprecationWarning)
    with tempfile.TemporaryDirectory() as made:
        source = Path(made) / "legs.parquet"
        shutil.copyfile(given.source, source)
        store = open_store(Path(made), source)
        schema = pq.read_schema(source).remove_metadata()
        rows = pq.read_table(source).slice(0, ROWS).replace_schema_metadata().to_pandas()
        stood = pq.read_metadata(source).num_rows
        segment = timed(lambda: append(source, in_schema(rows, schema)), given.rounds)
        count = read_source(
            source, lambda files: sum(pq.read_metadata(file).num_rows for file in files)
        )
        assert count == stood + ROWS * (given.rounds + 1)
        size = sum(path.stat().st_size for path in folder_of(source).glob("*.parquet"))
        folded = timed(lambda: fold_one(source, rows, schema), 3)
        feast = timed(lambda: store.write_to_offline_store(VIEW, rows), given.feast_rounds)
    lines = [f"{ROWS:,} rows to a source of {stood:,}, milliseconds, median (slowest)"]
    lines += [
        f"  {name:<8} {statistics.median(taken):8.1f} ({max(taken):.1f})"
        for name, taken in (("segment", segment), ("fold", folded), ("Feast", feast))
    ]
    ratio = statistics.median(feast) / statistics.median(segment)
    lines += [f"  Feast / segment: {ratio:.0f}; a segment has {size // (given.rounds + 1):,} bytes"]
    sys.stdout.write("\n".join(lines) + "\n")


def fold_one(source: Path, rows: pd.DataFrame, schema: pa.Schema) -> None:
    """Append once more, and fold."""
    append(source, in_schema(rows, schema))
    fold(source)


if __name__ == "__main__":
    main()
