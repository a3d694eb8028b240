"""What a prediction costs by runtime and layout: scikit-learn, and ONNX graphs side by side.

    python benchmarks/runtime.py [--rounds 9] [--json FILE]

In process, one thread, without HTTP, for two models: a forest of 100 trees on 20 numbers, and gradient
boosting of 120 iterations for three classes on 32 numbers with nulls and two texts, which has the
shape of the flight model. Each round calls every way once for every size, in turns; each call gets
other rows than the one before it, as a tree walked twice with the same row is walked faster. The
figures are medians over the rounds of the processor's time, in microseconds a call: what else the
machine does counts less than by the clock.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Mapping
from importlib.metadata import version
from itertools import cycle
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from skl2onnx.sklapi import CastTransformer
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from threadpoolctl import threadpool_limits

from trivet.contract import Classification
from trivet.runtime.convert import Precision, natural_precision, to_onnx
from trivet.runtime.estimator import EstimatorPredictor
from trivet.runtime.onnx import OnnxPredictor

OUTPUT = Classification(classes=("Low", "Medium", "High"))
SIZES = (1, 8, 32, 128, 1000)
ROWS = 20_000
LIBRARIES = ("onnxruntime", "skl2onnx", "scikit-learn", "numpy")

Columns = Mapping[str, np.ndarray]
Way = Callable[[int, int], object]
"""Predicts the rows from one number to another."""


def forest() -> tuple[Any, pd.DataFrame]:
    """Fit the forest."""
    random = np.random.default_rng(0)
    frame = pd.DataFrame(random.normal(size=(ROWS, 20)), columns=[f"f{n:02}" for n in range(20)])
    labels = np.digitize(frame["f00"] + frame["f01"] + random.normal(size=ROWS), [-1, 1])
    model = make_pipeline(
        StandardScaler(),
        CastTransformer(dtype=np.float32),
        RandomForestClassifier(100, max_depth=12, random_state=0),
    )
    return model.fit(frame[:5000], labels[:5000]), frame


def boosting() -> tuple[Any, pd.DataFrame]:
    """Fit a model of the flight model's shape."""
    random = np.random.default_rng(0)
    names = [f"f{n:02}" for n in range(32)]
    frame = pd.DataFrame(random.normal(size=(ROWS, 32)), columns=names)
    frame = frame.mask(random.random(frame.shape) < 0.2)  # noqa: PLR2004
    frame["carrier"] = random.choice([f"{a}{b}" for a in "ABCD" for b in "WXYZ"], ROWS)
    frame["origin"] = random.choice(["EWR", "JFK", "LGA"], ROWS)
    worth = frame["f00"].fillna(0) + frame["f01"].fillna(0) + random.normal(size=ROWS)
    encoder = OneHotEncoder(handle_unknown="ignore", sparse_output=False)
    model = make_pipeline(
        ColumnTransformer(
            [("numbers", "passthrough", names), ("text", encoder, ["carrier", "origin"])]
        ),
        CastTransformer(dtype=np.float32),
        HistGradientBoostingClassifier(max_iter=120, early_stopping=False, random_state=0),
    )
    return model.fit(frame, np.digitize(worth, [0, 1])), frame


def ways(estimator: Any, frame: pd.DataFrame) -> dict[str, Way]:
    """Return what is compared."""
    columns = {
        name: frame[name].to_numpy(dtype=None if frame[name].dtype.kind == "f" else object)
        for name in frame
    }
    itself = EstimatorPredictor(estimator, OUTPUT)
    one_each = OnnxPredictor(to_onnx(estimator, columns, matrices=False), OUTPUT)
    matrices = OnnxPredictor(to_onnx(estimator, columns), OUTPUT)
    another: Precision = "single" if natural_precision(estimator) == "double" else "double"
    other = OnnxPredictor(to_onnx(estimator, columns, precision=another), OUTPUT)
    numbers = np.column_stack([columns[name] for name in matrices.numbers])
    texts = np.column_stack([columns[name] for name in matrices.texts]) if matrices.texts else None

    def part(start: int, end: int) -> Columns:
        return {name: values[start:end] for name, values in columns.items()}

    def packed(start: int, end: int) -> object:
        strings = None if texts is None else texts[start:end]
        return matrices.predict_matrix(numbers[start:end], strings)

    return {
        "scikit-learn": lambda start, end: itself.predict(part(start, end)),
        "an input a column": lambda start, end: one_each.predict(part(start, end)),
        "matrices": lambda start, end: matrices.predict(part(start, end)),
        f"matrices, trees in {another}": lambda start, end: other.predict(part(start, end)),
        "matrices, packed already": packed,
    }


def measure(compared: Mapping[str, Way], rounds: int) -> dict[str, dict[int, float]]:
    """Return microseconds a call by way and size."""
    took: dict[str, dict[int, list[float]]] = {name: {s: [] for s in SIZES} for name in compared}
    starts = {size: cycle(range(0, ROWS - size, size)) for size in SIZES}
    for number in range(rounds + 1):
        for size in SIZES:
            for name, way in compared.items():
                calls = max(3, 300 // size) if name != "scikit-learn" else 1
                chosen = [next(starts[size]) for _ in range(calls)]
                began = time.process_time()
                for start in chosen:
                    way(start, start + size)
                spent = 1e6 * (time.process_time() - began) / calls
                if number:  # the first round warms up
                    took[name][size].append(spent)
    return {
        name: {size: statistics.median(values) for size, values in sizes.items()}
        for name, sizes in took.items()
    }


def show(model: str, results: Mapping[str, Mapping[int, float]]) -> None:
    """Print one model's table."""
    sys.stdout.write(f"| {model} | {' | '.join(f'{size:,}' for size in SIZES)} |\n")
    sys.stdout.write("| --- " * (len(SIZES) + 1) + "|\n")
    for way, sizes in results.items():
        cells = " | ".join(f"{value:,.0f}" for value in sizes.values())
        sys.stdout.write(f"| {way} | {cells} |\n")
    sys.stdout.write("\n")


def main() -> None:
    """Measure both models, and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    results = {}
    with threadpool_limits(limits=1):
        for name, (estimator, frame) in {"forest": forest(), "boosting": boosting()}.items():
            results[name] = measure(ways(estimator, frame), options.rounds)
            show(name, results[name])
    if options.json:
        machine = {"python": platform.python_version(), "cores": os.cpu_count()}
        libraries = {library: version(library) for library in LIBRARIES}
        document = {"machine": machine, "libraries": libraries, "microseconds": results}
        options.json.write_text(json.dumps(document, indent=2), encoding="utf-8")


if __name__ == "__main__":
    main()
