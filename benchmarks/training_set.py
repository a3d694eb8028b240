"""A training set of all flights over all six feature views: ours beside Feast's own call.

    python benchmarks/training_set.py [--rounds 5] [--feast-rounds 1] [--json FILE]

In one run on one DuckDB store, whose data and definitions must be there (`make run` makes them): both
give a pandas frame of the same rows, which are compared value by value. Each call is a process of its
own, so that its peak memory is its own, and is timed after the imports. The table goes to standard
output, the figures to FILE as well.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

import trivet
from trivet.contract import Column

FLIGHTS = Path(__file__).resolve().parents[1] / "bentos" / "flight_delay"
SERVICE = "flight_delay_v1"
LIBRARIES = ("feast", "duckdb", "ibis-framework", "pandas", "pyarrow")
NUMBER = "flight_number_of_the_year"


def entities(settings: trivet.Settings) -> pd.DataFrame:
    """Return every flight of the year, the cancelled ones included, as of when it is asked about."""
    sys.path.insert(0, str(FLIGHTS))
    from departures import LEAD, read_departures, tables
    from flights import read_redating

    redating = read_redating(settings.root / "data")
    if redating is None:
        sys.exit("There is no data yet: make run makes it.")
    flights = read_departures(tables())
    moved = flights["scheduled_departure"] + pd.Timedelta(weeks=redating.weeks) - LEAD
    keys = flights[["origin", "dest", "carrier", "tailnum"]]
    return keys.assign(event_timestamp=moved, **{NUMBER: np.arange(len(keys))})


def feature_columns(settings: trivet.Settings) -> list[Column]:
    """Return the columns of the service that come from feature views."""
    offer = trivet.read_offer(trivet.open_store(settings), SERVICE)
    if offer is None:
        sys.exit(f"Feast has no feature service {SERVICE}: make run applies it.")
    return [column for column in offer.columns if column.view is not None]


def ours(settings: trivet.Settings, asked: pd.DataFrame, columns: list[Column]) -> pd.DataFrame:
    """Join by `trivet.training_set`."""
    return trivet.training_set(settings, asked, SERVICE, columns=columns, progress=False).frame


def feasts(settings: trivet.Settings, asked: pd.DataFrame, columns: list[Column]) -> pd.DataFrame:
    """Join by Feast's own retrieval."""
    store = trivet.open_store(settings)
    names = [column.source for column in columns]
    frame: pd.DataFrame = store.get_historical_features(asked, names).to_df()
    return frame


WAYS = {"trivet.training_set": ours, "Feast get_historical_features": feasts}


def call(way: str, target: Path) -> None:
    """Do one call in this process; write its rows, and print how it went."""
    settings = trivet.load_settings()
    asked, columns = entities(settings), feature_columns(settings)
    for module in ("feast.infra.offline_stores.duckdb", "trivet.training.sets"):
        import_module(module)
    began, worked = time.perf_counter(), time.process_time()
    frame = WAYS[way](settings, asked, columns)
    seconds, cpu = time.perf_counter() - began, time.process_time() - worked
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    frame.sort_values(NUMBER, ignore_index=True).to_pickle(target)
    views = len({column.view for column in columns})
    sizes = {"rows": len(frame), "views": views, "features": len(columns)}
    json.dump({"seconds": seconds, "cpu_seconds": cpu, "peak_gib": peak, **sizes}, sys.stdout)


def measure(way: str, target: Path) -> dict[str, float]:
    """Do one call in a process of its own."""
    done = subprocess.run(  # noqa: S603 - this very file
        [sys.executable, __file__, "--call", way, target], check=True, stdout=subprocess.PIPE
    )
    result: dict[str, float] = json.loads(done.stdout)
    return result


def mismatches(one: pd.DataFrame, other: pd.DataFrame) -> int:
    """Count the values in which two frames differ; a null is equal to a null."""
    if len(one) != len(other):
        sys.exit(f"{len(one):,} rows beside {len(other):,}")
    count = 0
    for name in one.columns:
        left, right = one[name].astype(object), other[name].astype(object)
        count += int(((left != right) & ~(left.isna() & right.isna())).sum())
    return count


def compare(rounds: dict[str, int]) -> dict[str, Any]:
    """Measure both ways by turns, and compare what they gave."""
    found: dict[str, list[dict[str, float]]] = {way: [] for way in rounds}
    with tempfile.TemporaryDirectory() as folder:
        files = {way: Path(folder) / str(number) for number, way in enumerate(rounds)}
        for number in range(max(rounds.values())):
            for way, most in rounds.items():
                if number < most:
                    found[way].append(measure(way, files[way]))
        frames = [pd.read_pickle(file) for file in files.values()]  # noqa: S301 - just written
    medians = {
        way: {name: statistics.median(result[name] for result in results) for name in results[0]}
        | {"rounds": len(results)}
        for way, results in found.items()
    }
    times = [result["seconds"] for result in medians.values()]
    return {
        "ways": medians,
        "times_faster": times[1] / times[0],
        "mismatches": mismatches(*frames),
        "machine": {"cores": os.cpu_count(), "system": platform.platform(terse=True)},
        "versions": {"python": platform.python_version()}
        | {name: version(name) for name in LIBRARIES},
    }


def table(result: dict[str, Any]) -> str:
    """Return the figures as a Markdown table, with where they come from."""
    first = next(iter(result["ways"].values()))
    what = (
        f"{first['rows']:,.0f} rows, {first['features']:.0f} features, {first['views']:.0f} views"
    )
    lines = [
        f"{what}: {result['times_faster']:.0f} times faster, {result['mismatches']} values differ",
        "",
        "| | seconds | CPU seconds | peak GiB | rounds |",
        "| --- | ---: | ---: | ---: | ---: |",
    ]
    for way, figures in result["ways"].items():
        numbers = [f"{figures[name]:.1f}" for name in ("seconds", "cpu_seconds", "peak_gib")]
        lines.append(f"| `{way}` | {' | '.join(numbers)} | {figures['rounds']} |")
    where = {**result["machine"], **result["versions"]}
    return "\n".join([*lines, "", ", ".join(f"{name} {value}" for name, value in where.items())])


def main() -> None:
    """Measure, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--feast-rounds", type=int, default=1)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--call", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.call:
        call(options.call[0], Path(options.call[1]))
        return
    result = compare(dict(zip(WAYS, (options.rounds, options.feast_rounds), strict=True)))
    if options.json:
        options.json.write_text(json.dumps(result, indent=2) + "\n")
    print(table(result))  # noqa: T201


if __name__ == "__main__":
    main()
