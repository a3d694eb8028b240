"""All flights of the year, from entity rows to predictions in Parquet: ours beside a script's way.

    python benchmarks/batch.py [--rounds 3] [--script-rounds 1] [--version N] [--json FILE]

In one run on one project, whose data, definitions and versions must be there (`make run` makes them).
The script is what one would write with the libraries themselves: Feast's historical retrieval on the
same DuckDB store, the version's own preprocess, MLflow's `model.predict`, pandas' `to_parquet`. Each
call is a process of its own, timed twice: from its start to its end, imports included, and by itself,
from the entity rows to the predictions on disk. The memory is that of the process and all below it,
looked at twenty times a second. What both predicted is compared row by row. The table goes to standard
output, the figures to FILE as well.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pandas as pd
import psutil
import pyarrow.parquet as pq

import trivet

FLIGHTS = Path(__file__).resolve().parents[1] / "bentos" / "flight_delay"
MODEL, SERVICE = "flight_delay", "flight_delay_v1"
LIBRARIES = ("feast", "mlflow", "duckdb", "onnxruntime", "scikit-learn", "pandas", "pyarrow")
OURS, SCRIPT = "trivet batch", "Feast retrieval and model.predict"

CODE = """
import sys
import time
from pathlib import Path

sys.path.insert(0, {flights!r})
import mlflow
import numpy as np
import pandas as pd
from feast import FeatureStore

from preprocess import preprocess

mlflow.set_tracking_uri({tracking!r})
began = time.perf_counter()
entities = pd.read_parquet({entities!r})
store = FeatureStore(repo_path={repo!r})
job = store.get_historical_features(entities, store.get_feature_service({service!r}))
frame = job.to_df()
model = mlflow.pyfunc.load_model("models:/{model}/{number}")
inputs = pd.DataFrame(preprocess({{name: frame[name].to_numpy() for name in frame}}))
# A count without a null comes as integers, and MLflow's schema of the version has floats.
counts = {{name: float for name in inputs.select_dtypes("number")}}
# It gives what the version was registered to predict with: probabilities.
frame["class_id"] = np.asarray(model.predict(inputs.astype(counts))).argmax(axis=1)
keys = ["row", "origin", "dest", "carrier", "tailnum", "event_timestamp", "class_id"]
frame[keys].to_parquet({out!r}, index=False)
print('{{"seconds":', time.perf_counter() - began, '}}')
"""


def write_entities(settings: trivet.Settings, target: Path) -> int:
    """Write every flight of the year, the cancelled ones included, as of when it is asked about."""
    sys.path.insert(0, str(FLIGHTS))
    from departures import LEAD, read_departures, tables
    from flights import read_redating

    redating = read_redating(settings.root / "data")
    if redating is None:
        sys.exit("There is no data yet: make run makes it.")
    flights = read_departures(tables())
    shift = pd.Timedelta(weeks=redating.weeks)
    moments = {name: flights[name] + shift for name in ("scheduled_departure", "scheduled_arrival")}
    rows = flights[["origin", "dest", "carrier", "tailnum"]].assign(**moments)
    rows["event_timestamp"] = rows["scheduled_departure"] - LEAD
    rows["row"] = range(len(rows))
    rows.to_parquet(target, index=False)
    return len(rows)


def champion() -> int:
    """Return the number of the version that answers."""
    command = ["trivet", "models", MODEL, "--json"]
    found = json.loads(subprocess.check_output(command))  # noqa: S603 - of this project
    numbers = [each["version"] for each in found if each["state"] == "champion"]
    return int(numbers[0]) if numbers else sys.exit(f"{MODEL} has no champion: make run makes one.")


def measure(command: list[str]) -> dict[str, float]:
    """Run a command, and return its own seconds, the process's, and the most memory of them all."""
    began, peak = time.perf_counter(), 0
    process = psutil.Popen(command, stdout=subprocess.PIPE)
    while process.poll() is None:
        peak = max(peak, _memory(process))
        time.sleep(0.05)
    if process.returncode:
        sys.exit(f"{command[0]} ended with {process.returncode}")
    seconds = time.perf_counter() - began
    said = process.communicate()[0]
    own = json.loads(said[said.index(b"{") :])[
        "seconds"
    ]  # a library may have said something before
    return {"seconds": own, "with_imports": seconds, "peak_gib": peak / 2**30}


def _memory(process: psutil.Popen) -> int:
    total = 0
    try:
        for each in [process, *process.children(recursive=True)]:
            total += each.memory_info().rss
    except psutil.Error:  # it has just ended
        pass
    return total


def commands(settings: trivet.Settings, number: int, folder: Path) -> dict[str, list[str]]:
    """Return both ways as commands; each writes below the folder."""
    entities = str(folder / "entities.parquet")
    code = CODE.format(
        flights=str(FLIGHTS),
        tracking=settings.tracking_uri,
        entities=entities,
        repo=str(settings.feature_repo),
        service=SERVICE,
        model=MODEL,
        number=number,
        out=str(folder / "script.parquet"),
    )
    file = folder / "ours_entities.parquet"
    pq.write_table(pq.read_table(entities).drop_columns(["row"]), file)
    rest = ["--version", str(number), "--entities", str(file), "--out"]
    return {OURS: ["trivet", "batch", MODEL, "--json", *rest], SCRIPT: [sys.executable, "-c", code]}


def different(folder: Path, out: Path) -> dict[str, int]:
    """Compare the classes of the rows that both have predicted."""
    ours = pq.read_table(out / "predictions", columns=["row", "class_id"]).to_pandas()
    theirs = pd.read_parquet(folder / "script.parquet", columns=["row", "class_id"])
    both = ours.merge(theirs, on="row", suffixes=("", "_script"))
    return {
        "compared": len(both),
        "mismatches": int((both["class_id"] != both["class_id_script"]).sum()),
    }


def compare(rounds: dict[str, int], number: int | None) -> dict[str, Any]:
    """Measure both ways by turns, and compare what they gave."""
    settings = trivet.load_settings()
    number = champion() if number is None else number
    found: dict[str, list[dict[str, float]]] = {way: [] for way in rounds}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        rows = write_entities(settings, folder / "entities.parquet")
        ways = commands(settings, number, folder)
        for turn in range(max(rounds.values())):
            for way, most in rounds.items():
                if turn < most:
                    more = [str(folder / f"out-{turn}")] if way == OURS else []
                    found[way].append(measure([*ways[way], *more]))
        compared = different(folder, folder / "out-0")
    medians = {
        way: {name: statistics.median(one[name] for one in results) for name in results[0]}
        | {"rounds": len(results)}
        for way, results in found.items()
    }
    return {
        "rows": rows,
        "ways": medians,
        "times_faster": medians[SCRIPT]["seconds"] / medians[OURS]["seconds"],
        "times_faster_with_imports": medians[SCRIPT]["with_imports"]
        / medians[OURS]["with_imports"],
        **compared,
        "machine": {"cores": os.cpu_count(), "system": platform.platform(terse=True)},
        "versions": {"python": platform.python_version()}
        | {name: version(name) for name in LIBRARIES},
    }


def table(result: dict[str, Any]) -> str:
    """Return the figures as a Markdown table, with where they come from."""
    compared = f"of {result['compared']:,} rows that both predicted {result['mismatches']:,} got"
    imports = f"{result['times_faster_with_imports']:.1f} with imports"
    lines = [
        f"{result['times_faster']:.1f} times faster, {imports}; {compared} another class",
        "",
        f"| {result['rows']:,} rows | seconds | rows/s | with imports, s | peak GiB | rounds |",
        "| --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    for way, figures in result["ways"].items():
        rate = result["rows"] / figures["seconds"]
        lines.append(
            f"| `{way}` | {figures['seconds']:.1f} | {rate:,.0f} | {figures['with_imports']:.1f} "
            f"| {figures['peak_gib']:.2f} | {figures['rounds']} |"
        )
    where = {**result["machine"], **result["versions"]}
    return "\n".join([*lines, "", ", ".join(f"{name} {value}" for name, value in where.items())])


def main() -> None:
    """Measure, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--script-rounds", type=int, default=1)
    parser.add_argument("--version", type=int)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    rounds = {OURS: options.rounds, SCRIPT: options.script_rounds}
    result = compare(rounds, options.version)
    if options.json:
        options.json.write_text(json.dumps(result, indent=2) + "\n")
    print(table(result))  # noqa: T201


if __name__ == "__main__":
    main()
