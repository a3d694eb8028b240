"""The tutorial's data and its two random forests, registered as versions of one model.

    python train.py

The smallest bento to copy. All features are in the request, so there is no Feast; the scaler is a
step of the model, so there is no preprocess.py; the contract names the classes, so there is no
postprocess.py. The result on standard output is JSON: versions, accuracies, and the best one.
"""

import json
import sys
from pathlib import Path

import numpy as np
import pandas as pd
from rich.console import Console
from skl2onnx.sklapi import CastTransformer
from sklearn.datasets import make_classification
from sklearn.ensemble import RandomForestClassifier
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from trivet import Candidate, Classification, Column, load_settings, register

BENTO = Path(__file__).resolve().parent
FEATURES = [f"feature_{number:02}" for number in range(20)]
CLASSES = ("Low", "Medium", "High")


def main() -> None:
    """Train forests of 50 and of 100 trees, register them, and print what came of it."""
    values, labels = make_classification(
        n_samples=5000, n_features=20, n_informative=15, n_classes=3, random_state=42
    )
    frame = pd.DataFrame(values, columns=FEATURES)
    sets = train_test_split(frame, labels, test_size=0.2, random_state=42)
    results = [train(trees, *sets) for trees in (50, 100)]
    best = max(results, key=lambda result: result["accuracy"])
    json.dump({"candidates": results, "best": best["version"]}, sys.stdout, indent=2)
    sys.stdout.write("\n")


def train(
    trees: int, rows: pd.DataFrame, held_out: pd.DataFrame, labels: np.ndarray, truth: np.ndarray
) -> dict[str, float]:
    """Fit one forest, measure it on the held-out rows, and register it as the next version."""
    forest = RandomForestClassifier(n_estimators=trees, random_state=42)
    # Cast as its own step: ONNX Runtime then compares the very numbers that were trained on.
    model = make_pipeline(StandardScaler(), CastTransformer(dtype=np.float32), forest)
    model.fit(rows, labels)
    accuracy = float(model.score(held_out, truth))
    version = register(
        load_settings(BENTO),
        Candidate(
            model="tutorial_classifier",
            estimator=model,
            columns=[Column(name=name, source="request", dtype="float64") for name in FEATURES],
            output=Classification(classes=CLASSES),
            held_out=held_out,
            labels=truth,
            bento=BENTO,
            run_name=f"{trees} trees",
            metrics={"accuracy": accuracy},
            params={"trees": str(trees)},
        ),
    )
    Console(stderr=True).print(f"Version {version}: {trees} trees, accuracy {accuracy:.4f}")
    return {"version": version, "trees": trees, "accuracy": accuracy}


if __name__ == "__main__":
    main()
