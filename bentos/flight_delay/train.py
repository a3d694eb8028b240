"""Train two candidates on point-in-time features, measure them beside the baseline, register them.

    python train.py [--rows N]

Trained on January to August, measured on September and October of the re-dated year. The result on
standard output is JSON: the registered versions, their metrics, and the best one.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from rich.console import Console
from rich.table import Table
from skl2onnx.sklapi import CastTransformer
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from departures import LEAD
from flights import read_redating
from postprocess import CLASSES
from redating import Redating
from scoring import confusion_picture, score
from trivet import (
    Candidate,
    Classification,
    Column,
    Offer,
    Settings,
    TrainingSet,
    load_settings,
    model_inputs,
    open_store,
    read_offer,
    register,
    training_set,
)

BENTO = Path(__file__).resolve().parent
SERVICE = "flight_delay_v1"
UNUSED = {"leg_dest", "plane_engines", "plane_engine_type", "plane_manufacturer"}
REQUEST = (
    Column(name="carrier", source="request", dtype="string"),
    Column(name="origin", source="request", dtype="string"),
)
TEXT = ["carrier", "origin"]

console = Console(stderr=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sets:
    """The training and the held-out rows, and the features that they are made of."""

    offer: Offer
    columns: tuple[Column, ...]
    joined: TrainingSet
    train: pd.DataFrame
    train_labels: npt.NDArray[np.int64]
    held_out: pd.DataFrame
    held_out_labels: npt.NDArray[np.int64]
    held_out_frame: pd.DataFrame


def main() -> None:
    """Train, register, and print what came of it."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rows", type=int, help="train on a sample of so many departures")
    arguments = parser.parse_args()
    settings = load_settings(BENTO)
    sets = read_sets(settings, arguments.rows)
    results = {
        name: train_candidate(settings, name, estimator, sets)
        for name, estimator in estimators(sets.train).items()
    }
    show(results, sets)
    best = max(results.values(), key=lambda result: result["metrics"]["auc_macro"])
    json.dump({"candidates": results, "best": best["version"]}, sys.stdout, indent=2)
    sys.stdout.write("\n")


def read_columns(settings: Settings) -> tuple[Offer, tuple[Column, ...]]:
    """Return the feature service as Feast has it, and the columns that this model uses of it."""
    store = open_store(settings)
    views = ("airport_weather", "airport_recent", "aircraft_last_leg", "carrier_recent")
    absent = {f"{view}:*": "null" for view in (*views, "route_history", "plane")}
    offer = read_offer(store, SERVICE, absent)
    if offer is None:
        sys.exit(f"Feast has no feature service {SERVICE}: run feast apply in feature_repo/ first.")
    used = tuple(column for column in offer.columns if column.name not in UNUSED)
    return offer, (*used, *REQUEST)


def read_sets(settings: Settings, rows: int | None) -> Sets:
    """Build the entity frame, join the features of its moments, and split by time."""
    offer, columns = read_columns(settings)
    data = settings.root / "data"
    redating = read_redating(data)
    if redating is None:
        sys.exit("There is no data yet: python flights.py in this folder makes it.")
    entities = entity_frame(data, redating, rows)
    joined = training_set(settings, entities, SERVICE, columns=columns, timestamp="asked_at")
    frame = joined.frame
    # By when the outcome was known, not by when it was asked: nothing is learnt from a test month.
    train = frame[frame["known_at"] < redating.test[0]]
    held_out = frame[frame["asked_at"] >= redating.test[0]]
    return Sets(
        offer=offer,
        columns=columns,
        joined=joined,
        train=model_inputs(BENTO, columns, train),
        train_labels=train["label"].to_numpy(dtype=np.int64),
        held_out=model_inputs(BENTO, columns, held_out),
        held_out_labels=held_out["label"].to_numpy(dtype=np.int64),
        held_out_frame=held_out,
    )


def entity_frame(data: Path, redating: Redating, rows: int | None) -> pd.DataFrame:
    """Return the departures of the training and test months, as of when they were asked about."""
    departures = pd.read_parquet(data / "flights" / "departures.parquet")
    asked = departures["asked_at"]
    chosen = departures[(asked >= redating.train[0]) & (asked < redating.test[1])]
    if rows is not None and rows < len(chosen):
        chosen = chosen.sample(rows, random_state=0)
    return chosen.sort_values("asked_at", ignore_index=True)


def estimators(inputs: pd.DataFrame) -> dict[str, Pipeline]:
    """Return the candidates: the plain one, and the one that usually wins on such tables.

    Both cast to float32 in a step of their own: so ONNX Runtime, which compares in single precision,
    sees the very numbers that were trained on.
    """
    numbers = [name for name in inputs if name not in TEXT]
    encode = ColumnTransformer(
        [
            ("numbers", "passthrough", numbers),
            ("text", OneHotEncoder(handle_unknown="ignore", sparse_output=False), TEXT),
        ]
    )
    cast = CastTransformer(dtype=np.float32)
    return {
        "logistic_regression": Pipeline(
            [
                ("encode", encode),
                ("cast", cast),
                ("impute", SimpleImputer(strategy="median")),
                ("scale", StandardScaler()),
                ("model", LogisticRegression(max_iter=300)),
            ]
        ),
        "gradient_boosting": Pipeline(
            [
                ("encode", encode),
                ("cast", cast),
                (
                    "model",
                    HistGradientBoostingClassifier(
                        max_iter=120, early_stopping=False, random_state=0
                    ),
                ),
            ]
        ),
    }


def train_candidate(
    settings: Settings,
    name: str,
    estimator: Pipeline,
    sets: Sets,
) -> dict[str, Any]:
    """Fit one candidate, measure it on the held-out months, and register it with its contract."""
    with console.status(f"Training {name} on {len(sets.train):,} departures"):
        estimator.fit(sets.train, sets.train_labels)
    probabilities = estimator.predict_proba(sets.held_out)
    metrics = score(sets.held_out_labels, probabilities)
    with console.status(f"Registering {name}"):
        version = register(
            settings,
            Candidate(
                model="flight_delay",
                estimator=estimator,
                columns=sets.columns,
                output=Classification(classes=CLASSES),
                held_out=sets.held_out_frame,
                labels=sets.held_out_labels,
                bento=BENTO,
                offer=sets.offer,
                training_set=sets.joined,
                lead=LEAD.to_pytimedelta(),
                run_name=name,
                metrics=metrics,
                params={"candidate": name, "train_rows": str(len(sets.train))},
                figures={
                    "confusion_matrix.png": confusion_picture(
                        sets.held_out_labels, probabilities, CLASSES, name
                    )
                },
            ),
        )
    return {"version": version, "metrics": metrics}


def show(results: Mapping[str, Mapping[str, Any]], sets: Sets) -> None:
    """Print the candidates beside the majority-class baseline."""
    months = f"held out: {len(sets.held_out):,} departures of September and October"
    table = Table("", "version", "accuracy", "macro F1", "AUC", title=months)
    first = next(iter(results.values()))["metrics"]
    table.add_row(
        "always “on time”",
        "",
        f"{first['baseline_accuracy']:.3f}",
        f"{first['baseline_f1_macro']:.3f}",
        "0.500",
    )
    for name, result in results.items():
        metrics = result["metrics"]
        numbers = [f"{metrics[key]:.3f}" for key in ("accuracy", "f1_macro", "auc_macro")]
        table.add_row(name, str(result["version"]), *numbers)
    console.print(table)


if __name__ == "__main__":
    main()
