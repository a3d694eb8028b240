"""Columns that are computed on demand are the same online and offline, by Trivet and by Feast."""

from __future__ import annotations

import math
from typing import Any

import pandas as pd

from contract.project import NOON, Project
from trivet.features.on_demand import open_transforms
from trivet.serving.asking import Asker
from trivet.serving.settling import Settler

ASKED = [25.0, 20.5, 10.0]


def test_computed_columns_are_the_same_everywhere(project: Project) -> None:
    """From a stored level and one that the request brings, both with and without a value."""
    sensors = [project.name() for _ in ASKED]
    stored = [20.5, 20.5, 20.5]
    rows = [
        project.row("readings", NOON, sensor=sensor, level=level)
        for sensor, level in zip(sensors, stored, strict=True)
    ]
    project.learn("readings", rows, NOON)
    expected = {"above": [4.5, 0.0, -10.5], "is_above": [True, False, False]}
    assert ours(project, sensors) == expected
    assert feasts_online(project, sensors) == expected
    assert feasts_offline(project, sensors) == expected


def test_an_absent_input_reaches_the_code_as_none(project: Project) -> None:
    """And what it makes of it is absent in turn, with its own policy."""
    assert ours(project, [project.name()]) == {"above": [None], "is_above": [None]}


def ours(project: Project, sensors: list[str]) -> dict[str, list[Any]]:
    """Compute as a service does."""
    instances = [
        {"sensor": sensor, "shop_id": -1, "grade": -1, "asked_level": asked}
        for sensor, asked in zip(sensors, ASKED, strict=False)
    ]
    asked = Asker(project.contract).check(instances)
    features = project.reader.read(asked.keys, NOON)
    transforms = open_transforms(project.store, project.contract)
    columns = Settler(project.contract, transforms).settle(asked, features).columns
    assert list(columns) == [column.name for column in project.contract.columns]
    above, is_above = columns["above"].tolist(), columns["is_above"].tolist()
    return {
        "above": [None if math.isnan(value) else value for value in above],
        "is_above": [None if math.isnan(value) else bool(value) for value in is_above],
    }


def feasts_online(project: Project, sensors: list[str]) -> dict[str, list[Any]]:
    """Compute as Feast does for an online read."""
    rows = [
        {"sensor": sensor, "asked_level": asked}
        for sensor, asked in zip(sensors, ASKED, strict=True)
    ]
    found = project.store.get_online_features(["spread:above", "spread:is_above"], rows).to_dict()
    return {name: list(found[name]) for name in ("above", "is_above")}


def feasts_offline(project: Project, sensors: list[str]) -> dict[str, list[Any]]:
    """Compute as Feast does for a training set."""
    entities = pd.DataFrame({"sensor": sensors, "asked_level": ASKED, "event_timestamp": NOON})
    found = project.store.get_historical_features(
        entities, ["readings:level", "spread:above", "spread:is_above"]
    ).to_df()
    found = found.set_index("sensor").loc[sensors]
    return {name: found[name].tolist() for name in ("above", "is_above")}
