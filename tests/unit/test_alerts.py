"""The alert rules name only metrics that there are, and say what to do."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from unit.deploy.expressions import EVERYWHERE, faults, labels_of, metrics_of

ROOT = Path(__file__).resolve().parents[2]
RULES = ROOT / "deploy" / "prometheus" / "alerts.yml"


def rules() -> list[dict[str, Any]]:
    """Return every rule of the file."""
    groups = yaml.safe_load(RULES.read_text())["groups"]
    assert all(set(group) == {"name", "rules"} for group in groups)
    return [rule for group in groups for rule in group["rules"]]


def test_there_is_a_rule_for_whatever_must_wake_somebody() -> None:
    """Stale features, no champion, errors, what no longer fits; objectives; the gateway."""
    assert {rule["alert"] for rule in rules()} == {
        "TrivetViewStale",
        "TrivetNoChampion",
        "TrivetErrors",
        "TrivetReleaseRefused",
        "TrivetFeaturesChanged",
        "TrivetVersionsLeftOut",
        "TrivetRegistryUnreachable",
        "TrivetAvailabilityFast",
        "TrivetAvailabilitySlow",
        "TrivetSlow",
        "TrivetLogLost",
        "TrivetGatewayDown",
        "TrivetReplicaDown",
        "TrivetNoReplica",
        "TrivetQueue",
        "TrivetGatewayErrors",
        "TrivetStreamBehind",
        "TrivetStreamLag",
        "TrivetStreamHeld",
        "TrivetStreamDeadLetters",
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
    assert faults(rule["expr"]) == []
    assert metrics_of(rule["expr"])


@pytest.mark.parametrize("rule", rules(), ids=lambda rule: rule["alert"])
def test_a_sentence_names_only_labels_that_its_expression_keeps(rule: dict[str, Any]) -> None:
    """Anything else would be blank; a comparison of a whole series keeps `instance` and `job`."""
    kept = labels_of(rule["expr"]) | (EVERYWHERE if "by (" not in rule["expr"] else set())
    said = " ".join(rule["annotations"].values())
    assert set(re.findall(r"\$labels\.(\w+)", said)) <= kept


def test_a_burn_rate_is_looked_at_over_a_long_and_a_short_window() -> None:
    """Of the same objective, 99.9 %: the short one is a twelfth of the long one."""
    hours = {"m": 1 / 60, "h": 1}
    found = {rule["alert"]: rule["expr"] for rule in rules() if "Availability" in rule["alert"]}
    for name, rate in {"TrivetAvailabilityFast": "14.4", "TrivetAvailabilitySlow": "6"}.items():
        assert re.findall(r"> (\S+) \* (\S+)", found[name]) == [(rate, "0.001")] * 2
        windows = [int(n) * hours[unit] for n, unit in re.findall(r"\[(\d+)([mh])\]", found[name])]
        assert windows[0] == windows[1] == pytest.approx(12 * windows[2])
        assert windows[2] == windows[3]


def test_a_stream_whose_broker_tells_no_age_is_watched_by_its_lag() -> None:
    """Kafka's age is 0 always, so a rule on it alone would be silent however much waits.

    Lag is set against the rate at which it is worked off, and a rate that nobody has counted is none.
    Where there is an age the other rule speaks: consumers on Redis all count the whole group's lag, and
    their sum would be too much.
    """
    found = {rule["alert"]: " ".join(rule["expr"].split()) for rule in rules()}
    assert "trivet_stream_oldest_seconds) > 60" in found["TrivetStreamBehind"]
    lag, rest = found["TrivetStreamLag"].split(" / ", 1)
    rate, unless = rest.split(" > 60 unless on (stream) ")
    assert lag == "sum by (stream) (trivet_stream_lag_messages)"
    assert rate == f"( sum by (stream) (rate(trivet_stream_messages_total[5m])) or 0 * {lag} )"
    assert unless == "max by (stream) (trivet_stream_oldest_seconds) > 0"
    line = (ROOT / "platform" / "trivet" / "stream" / "kafka" / "line.py").read_text()
    assert "oldest_seconds=0.0" in line, "if Kafka tells an age, one rule is enough"
