"""Dashboards draw only what there is, from the data source that Grafana is given."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from unit.deploy.expressions import ROOT, faults, metrics_of

GRAFANA = ROOT / "deploy" / "grafana"
FILES = sorted((GRAFANA / "dashboards").glob("*.json"))
DASHBOARDS: dict[str, Any] = {file.stem: json.loads(file.read_text()) for file in FILES}


def expressions(board: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield the title of each panel with each of its expressions, variables filled in."""
    for panel in board["panels"]:
        for target in panel["targets"]:
            plain = target["expr"].replace("$__rate_interval", "5m")
            for variable in board["templating"]["list"]:
                plain = plain.replace(f"${variable['name']}", ".*")
            yield panel["title"], plain


def test_there_is_one_for_the_service_and_one_for_the_gateway() -> None:
    """Named for what they show."""
    assert {"service", "gateway"} <= DASHBOARDS.keys()


@pytest.mark.parametrize("name", DASHBOARDS)
def test_a_dashboard_draws_only_metrics_and_labels_that_exist(name: str) -> None:
    """One that does not would stay empty."""
    found = {title: faults(expression) for title, expression in expressions(DASHBOARDS[name])}
    assert {title: what for title, what in found.items() if what} == {}


@pytest.mark.parametrize("name", DASHBOARDS)
def test_a_legend_names_only_labels_that_its_expression_keeps(name: str) -> None:
    """Anything else would be blank."""
    for panel in DASHBOARDS[name]["panels"]:
        for target in panel["targets"]:
            for part in target["legendFormat"].split("{{")[1:]:
                assert part.partition("}}")[0] in target["expr"], panel["title"]


@pytest.mark.parametrize("name", DASHBOARDS)
def test_panels_do_not_lie_on_each_other(name: str) -> None:
    """Their ids and places differ, and all lie within the 24 columns."""
    panels = DASHBOARDS[name]["panels"]
    places = [(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in panels]
    assert len(set(places)) == len({panel["id"] for panel in panels}) == len(panels)
    assert all(panel["gridPos"]["x"] + panel["gridPos"]["w"] <= 24 for panel in panels)


def test_variables_are_filled_from_metrics_that_exist() -> None:
    """And from a label that these have."""
    for board in DASHBOARDS.values():
        for variable in board["templating"]["list"]:
            metric, label = variable["query"]["query"].removesuffix(")").split("(")[1].split(", ")
            assert faults(f'{metric}{{{label}="x"}}') == []


def test_grafana_is_given_the_data_source_and_the_dashboards() -> None:
    """By the names that the dashboards use, and the folder that compose mounts."""
    source = yaml.safe_load((GRAFANA / "provisioning/datasources/prometheus.yaml").read_text())
    uids = {one["uid"] for one in source["datasources"]}
    for board in DASHBOARDS.values():
        used = {target["datasource"]["uid"] for p in board["panels"] for target in p["targets"]}
        assert used | {panel["datasource"]["uid"] for panel in board["panels"]} == uids
    providers = yaml.safe_load((GRAFANA / "provisioning/dashboards/trivet.yaml").read_text())
    (path,) = {Path(one["options"]["path"]) for one in providers["providers"]}
    compose = yaml.safe_load((ROOT / "deploy/compose/compose.yaml").read_text())
    mounts = dict(volume.split(":")[:2] for volume in compose["services"]["grafana"]["volumes"])
    assert mounts["../grafana/dashboards"] == str(path)
    assert len({board["uid"] for board in DASHBOARDS.values()}) == len(DASHBOARDS)


def test_what_was_asked_of_the_service_is_drawn() -> None:
    """Rate, latency whole and by step, losses of the log, versions, canary, load."""
    drawn = {
        name
        for board in DASHBOARDS.values()
        for _, expression in expressions(board)
        for name in metrics_of(expression)
    }
    for name in ("requests_total", "request_seconds_bucket", "step_seconds_bucket"):
        assert f"trivet_{name}" in drawn
    for name in ("log_lost_rows_total", "live_version", "canary_percent", "requests_in_flight"):
        assert f"trivet_{name}" in drawn
