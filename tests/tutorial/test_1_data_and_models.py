"""Section 1: sample data, and two models that differ in their number of trees."""

from __future__ import annotations

from typing import Any

import pytest

from journey import Project

from .notebook import Notebook


def test_training_registers_two_versions_with_the_accuracies_of_the_tutorial(
    training: tuple[Project, Any], notebook: Notebook
) -> None:
    """Standard output is JSON alone: versions, accuracies as scikit-learn has them, the best."""
    assert training[1] == {
        "candidates": [
            {"version": 1, "trees": 50, "accuracy": pytest.approx(notebook.accuracy(1))},
            {"version": 2, "trees": 100, "accuracy": pytest.approx(notebook.accuracy(2))},
        ],
        "best": 2,
    }


def test_the_accuracies_stand_in_the_registry_and_both_versions_are_served_by_onnx(
    trained: Project, notebook: Notebook
) -> None:
    """`trivet models` lists for each version what MLflow has logged of it."""
    versions = trained.json("trivet", "models", "tutorial_classifier", "--json")
    shown = trained.run("trivet", "models", "tutorial_classifier", env={"COLUMNS": "80"}).stdout
    assert "…" not in shown
    assert [line.split()[0] for line in shown.splitlines() if " onnx " in line] == [
        str(version["version"]) for version in versions
    ]
    found = {
        entry["version"]: (entry["metrics"]["accuracy"], entry["runtime"]) for entry in versions
    }
    assert found == {
        version: (pytest.approx(notebook.accuracy(version)), "onnx") for version in (1, 2)
    }
