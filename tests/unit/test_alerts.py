"""The alert rules name only metrics that there are, and say what to do."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
RULES = ROOT / "deploy" / "prometheus" / "alerts.yml"
METRICS = ROOT / "platform" / "trivet" / "serving" / "metrics.py"
# Prometheus's own.
_WORDS = {"up", "time", "max", "min", "sum", "rate", "by", "on", "and", "unless"}


def rules() -> list[dict[str, Any]]:
    """Return every rule of the file."""
    groups = yaml.safe_load(RULES.read_text())["groups"]
    assert all(set(group) == {"name", "rules"} for group in groups)
    return [rule for group in groups for rule in group["rules"]]


def test_there_is_a_rule_for_whatever_must_wake_somebody() -> None:
    """Stale features, no champion, errors, a refused release, what no longer fits or is not there."""
    assert {rule["alert"] for rule in rules()} == {
        "TrivetViewStale",
        "TrivetNoChampion",
        "TrivetErrors",
        "TrivetReleaseRefused",
        "TrivetFeaturesChanged",
        "TrivetVersionsLeftOut",
        "TrivetRegistryUnreachable",
    }


@pytest.mark.parametrize("rule", rules(), ids=lambda rule: rule["alert"])
def test_a_rule_has_the_shape_that_prometheus_takes(rule: dict[str, Any]) -> None:
    """And a severity, and a sentence of what to do."""
    assert set(rule) == {"alert", "expr", "for", "labels", "annotations"}
    assert re.fullmatch(r"\d+[smh]", rule["for"])
    assert rule["labels"]["severity"] in {"critical", "warning"}
    assert set(rule["annotations"]) == {"summary", "description"}
    assert rule["expr"].count("(") == rule["expr"].count(")")


@pytest.mark.parametrize("rule", rules(), ids=lambda rule: rule["alert"])
def test_a_rule_names_only_metrics_and_labels_that_exist(rule: dict[str, Any]) -> None:
    """One that does not would never fire."""
    source = METRICS.read_text()
    metrics = set(re.findall(r'name="(trivet_[a-z_]+)"', source))
    labels = set(re.findall(r'"([a-z]+)"', " ".join(re.findall(r"labelnames=\[(.*?)\]", source))))
    expression = re.sub(r'"[^"]*"|\[[^]]*\]', "", rule["expr"])
    words = set(re.findall(r"[a-z_]+", expression)) - _WORDS
    assert {word for word in words if word.startswith("trivet_")} <= metrics
    assert {word for word in words if not word.startswith("trivet_")} <= labels | {
        "instance",
        "job",
    }
    assert any(word.startswith("trivet_") for word in words)
