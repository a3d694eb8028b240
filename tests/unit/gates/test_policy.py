"""The release policy says which gates apply to which model; a fault names file, key and remedy."""

from __future__ import annotations

from pathlib import Path

import pytest

from trivet.errors import BadPolicy
from trivet.gates import release_gates
from trivet.gates.policy import MetricRule, Policy, direction_of, read_policy
from unit.fakes import settings

WHOLE = """
[default]
latency.p99_ms = { 1 = 50 }

[models.churn]
metrics.auc_macro = { min = 0.7, tolerance = 0.01 }
metrics.log_loss = { max = 0.6 }
metrics.profit = { tolerance = 10, direction = "higher" }
latency = { p99_ms = { 1 = 5, 100 = 40 }, seconds = 1 }

[models.churn.own.fairness]
call = "checks.fairness:equal_error"
parameters = { most = 0.1 }
on = ["promote", "rollback"]
"""


def read(root: Path, text: str) -> Policy:
    """Read a policy file of this text."""
    (root / "release-policy.toml").write_text(text)
    return read_policy(settings(root))


def test_without_a_file_only_what_must_always_hold_is_asked(tmp_path: Path) -> None:
    """For every kind of release."""
    for action in ("promote", "rollback", "accept"):
        assert list(release_gates(settings(tmp_path), "churn", action)) == ["features", "golden"]


def test_a_models_table_adds_its_gates_by_the_kind_of_release(tmp_path: Path) -> None:
    """A rollback is not asked for its metrics unless the policy says so."""
    read(tmp_path, WHOLE)
    always = ["features", "golden"]
    found = {
        action: list(release_gates(settings(tmp_path), "churn", action))
        for action in ("promote", "rollback", "accept")
    }
    assert found == {
        "promote": [*always, "metrics", "latency", "fairness"],
        "rollback": [*always, "fairness"],
        "accept": always,
    }


def test_a_model_without_a_table_has_the_default_and_nothing_is_merged(tmp_path: Path) -> None:
    """What holds for a model is read in one place."""
    policy = read(tmp_path, WHOLE)
    assert policy.of("other").latency is not None
    assert policy.of("other").metrics == {}
    churn = policy.of("churn").latency
    assert churn is not None
    assert churn.p99_ms == {1: 5.0, 100: 40.0}


def test_another_file_can_be_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Production may be stricter than staging."""
    (tmp_path / "strict.toml").write_text("[default]\nlatency.p99_ms = { 1 = 1 }\n")
    chosen = settings(tmp_path, release_policy=Path("strict.toml"))
    assert "latency" in release_gates(chosen, "churn", "promote")


@pytest.mark.parametrize(
    ("text", "key", "says"),
    [
        ("[models.churn", "", "not TOML"),
        ("[modells.churn]", "modells", "extra inputs are not permitted"),
        ("[models.churn]\nlatencey = 1", "models.churn.latencey", "not permitted"),
        ("[models.c]\nmetrics.auc = {}", "models.c.metrics.auc", "say min, max or tolerance"),
        (
            "[models.c]\nmetrics.auc = { min = 'x' }",
            "models.c.metrics.auc.min",
            "a valid number",
        ),
        (
            "[models.c]\nmetrics.auc = { tolerance = -1 }",
            "models.c.metrics.auc.tolerance",
            "greater than or equal to 0",
        ),
        ("[models.c]\nmetrics.profit = { min = 1 }", "models.c", "which way is profit better"),
        ("[models.c]\nmetrics.auc = { max = 1 }", "models.c", "auc has a max, and higher is"),
        ("[models.c]\nlatency.p99_ms = {}", "models.c.latency.p99_ms", "at least 1 item"),
        ("[models.c]\nlatency.p99_ms = { 0 = 1 }", "models.c.latency.p99_ms.0", "greater than"),
        ("[models.c]\nown.x = { call = 'checks' }", "models.c.own.x.call", "match pattern"),
        ("[models.c]\nown.golden = { call = 'a:b' }", "models.c", "own.golden cannot be"),
        (
            "[models.c]\nown.x = { call = 'a:b', on = ['never'] }",
            "models.c.own.x.on",
            "'promote', 'rollback', 'accept', 'canary' or 'shadow'",
        ),
    ],
)
def test_a_fault_names_the_file_the_key_and_what_to_do(
    tmp_path: Path, text: str, key: str, says: str
) -> None:
    """Wrong usage: nothing is released by a policy that was misread."""
    with pytest.raises(BadPolicy) as caught:
        read(tmp_path, text)
    place = f"release-policy.toml, {key}" if key else "release-policy.toml"
    assert caught.value.sentence.startswith(place)
    assert says in caught.value.sentence
    assert caught.value.hint
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(
    ("name", "better"),
    [
        ("auc_macro", "higher"),
        ("f1", "higher"),
        ("f1_macro", "higher"),
        ("log_loss", "lower"),
        ("loss_val", "lower"),
        ("rmse", "lower"),
        ("r2", "higher"),
        ("precision_at_10", "higher"),
        ("profit", None),
        ("aucpr", None),
    ],
)
def test_which_way_is_better_is_known_of_the_usual_metrics(name: str, better: str | None) -> None:
    """By their beginning; what is said outright wins."""
    assert direction_of(name, MetricRule(min=0)) == better
    assert direction_of(name, MetricRule(min=0, direction="lower")) == "lower"


def test_the_examples_own_policy_can_be_read() -> None:
    """The file at this project's root."""
    policy = read_policy(settings(Path(__file__).resolve().parents[3]))
    assert {"auc_macro", "f1_macro"} == policy.of("flight_delay").metrics.keys()
    assert policy.of("flight_delay").latency is not None
