"""Learning objective 5: the same version predicts in batches what it answers one by one."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from journey import Project, Service

from .notebook import CLASSES, Notebook


def test_a_batch_of_all_test_rows_gets_the_notebooks_predictions(
    classifier: Project, classifier_service: Service, notebook: Notebook
) -> None:
    """And the service's: the first rows to the last bit; the accuracy is the one that it prints."""
    rows = slice(0, len(notebook.test))
    frame = pd.DataFrame(notebook.instances(rows)).assign(late=notebook.test_labels)
    frame.to_parquet(classifier.root / "test.parquet", index=False)
    command = ("trivet", "batch", "tutorial_classifier", "--version", "2", "--now", "--json")
    files = ("--entities", "test.parquet", "--out", "predicted", "--label", "late")
    done = classifier.json(*command, *files, "--rows-per-chunk", "300")
    assert done["predicted"] == len(frame)
    assert done["quality"]["accuracy"] == pytest.approx(notebook.accuracy(2))
    table = pq.read_table(classifier.root / "predicted" / "predictions").sort_by("row")
    found = np.stack([table[f"probabilities.{name}"].to_numpy() for name in CLASSES], axis=1)
    assert found == pytest.approx(notebook.probabilities(2, rows), abs=1e-6)
    asked = {"instances": notebook.instances(slice(0, 100))}
    answers = classifier_service.post("/predict", asked).json()["predictions"]
    for row, answer in zip(table.slice(0, 100).to_pylist(), answers, strict=True):
        assert row["class_name"] == answer["class_name"]
        for name in CLASSES:
            assert row[f"probabilities.{name}"] == answer["probabilities"][name]
