"""`trivet promote`, `rollback` and `history` as typed, on a registry in SQLite and the real runtime."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import trivet
from trivet import cli
from trivet.cli import output
from trivet.contract import Classification, Column
from trivet.live import Shelf
from trivet.registry import ledger
from trivet.registry.client import connect
from trivet.registry.follower import Follower
from trivet.settings import Settings

MODEL = "buyers"
COLUMNS = tuple(Column(name=name, source="request", dtype="float64") for name in ("age", "income"))
POLICY = """
[models.buyers]
metrics.auc_macro = { min = 0.8, tolerance = 0.05 }
latency.p99_ms = { 1 = 5000, 50 = 5000 }
latency.seconds = 0.1
"""
OWN = """
[models.buyers.own.weekday]
call = "checks.days:not_on_friday"
parameters = { day = "Friday" }
"""


def people(seed: int, rows: int = 400) -> tuple[pd.DataFrame, np.ndarray]:
    """Return people, and whether they buy, which income tells."""
    random = np.random.default_rng(seed)
    frame = pd.DataFrame({"age": random.normal(40, 10, rows), "income": random.normal(5, 2, rows)})
    return frame, (frame["income"] + random.normal(0, 1, rows) > 5).astype(int).to_numpy()


def register(settings: Settings, *, good: bool, held_out: int, labels: bool = True) -> int:
    """Train and register a version that knows the income, or looks at it the wrong way."""
    frame, truth = people(0)
    model = make_pipeline(StandardScaler(), LogisticRegression())
    model.fit(frame, truth if good else frame["age"] > 40)
    rows, right = people(held_out)
    probabilities = model.predict_proba(rows)[:, 1]
    order = probabilities.argsort().argsort() + 1
    ones = right.sum()
    auc = (order[right == 1].sum() - ones * (ones + 1) / 2) / (ones * (len(right) - ones))
    return trivet.register(
        settings,
        trivet.Candidate(
            model=MODEL,
            estimator=model,
            columns=COLUMNS,
            output=Classification(classes=("no", "yes")),
            held_out=rows,
            labels=right if labels else None,
            bento=settings.root,
            metrics={"auc_macro": float(auc)},
        ),
    )


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory, empty_registry: Path) -> Iterator[Path]:
    """Return a project with versions: 1 and 2 good, 3 bad, 4 good on other rows, 5 without labels."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        root = tmp_path_factory.mktemp("buyers")
        shutil.copyfile(empty_registry, root / "mlflow.db")
        (root / "pyproject.toml").write_text("[tool.trivet]\n")
        settings = Settings(root=root, home=root / ".trivet")
        for good, held_out, labels in (
            (True, 1, True),
            (True, 1, True),
            (False, 1, True),
            (True, 2, True),
            (True, 2, False),
        ):
            register(settings, good=good, held_out=held_out, labels=labels)
    yield root
    shutil.rmtree(root)


class Commands:
    """The command line in a project of the test's own."""

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
        """Go there."""
        self.root = root
        self._patch = monkeypatch
        self._capsys = capsys
        self.settings = Settings(root=root, home=root / ".trivet")
        self.client = connect(self.settings)
        monkeypatch.chdir(root)
        # Not by COLUMNS: where that is set when the console is made, it stays as it was.
        monkeypatch.setattr(output.out, "width", 140)

    def __call__(self, *words: str) -> tuple[int, str, str]:
        """Run `trivet` with these words; return exit code, output and log."""
        self._patch.setattr(sys, "argv", ["trivet", *words])
        code: Any = 0
        try:
            cli.main()
        except SystemExit as end:
            code = end.code
        captured = self._capsys.readouterr()
        return code, captured.out, captured.err

    def json(self, *words: str) -> Any:
        """Run it with `--json`, whatever its exit code."""
        return json.loads(self(*words, "--json")[1])

    def state(self) -> tuple[object, ...]:
        """Return alias, ledger and live state, after this host's follower has looked."""
        Follower(self.settings, MODEL).step()
        live = Shelf(self.settings.home, MODEL).read_live()
        aliases = self.client.get_registered_model(MODEL).aliases
        return aliases, ledger.read_chain(self.client, MODEL), live

    def policy(self, text: str) -> None:
        """Write the release policy."""
        (self.root / "release-policy.toml").write_text(text)


@pytest.fixture
def trivet_(
    template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> Commands:
    """Return the command line, with nothing released yet and the policy in force."""
    for name in ("mlflow.db", "pyproject.toml"):
        shutil.copyfile(template / name, tmp_path / name)
    commands = Commands(tmp_path, monkeypatch, capsys)
    commands.policy(POLICY)
    return commands


def test_an_example_is_there_as_soon_as_a_version_is_released(trivet_: Commands) -> None:
    """Before any service on this host has followed it; without a release the sentence says how."""
    code, out, log = trivet_("predict", MODEL, "--example")
    assert (code, out) == (3, "")
    assert f"trivet promote {MODEL} VERSION" in log
    code, out, log = trivet_("predict", "nobody", "--example")
    assert (code, out) == (2, "")
    assert "trivet models" in log
    assert trivet_("promote", MODEL, "1")[0] == 0
    code, out, _ = trivet_("predict", MODEL, "--example")
    assert code == 0
    assert set(json.loads(out)["instances"][0]) == {"age", "income"}
    assert Shelf(trivet_.settings.home, MODEL).read_live() is None


def test_a_good_version_passes_every_gate_and_its_release_says_so(trivet_: Commands) -> None:
    """The first has no champion to be compared with; the second was measured on the same rows."""
    code, out, _ = trivet_("promote", MODEL, "1", "--reason", "the first")
    assert code == 0
    for part in ("champion: none -> 1", "features", "golden", "metrics", "latency", "passed"):
        assert part in out
    assert "refused" not in out
    assert "buyers: version 1 is the champion." in out
    done = trivet_.json("promote", MODEL, "2")
    assert done["outcome"] == "released"
    assert done["release"]["to_version"] == 2
    gates = {gate["gate"]: gate for gate in done["gates"]}
    assert list(gates) == ["features", "golden", "metrics", "latency"]
    assert all(gate["passed"] for gate in gates.values())
    assert gates["metrics"]["figures"].keys() == {"auc_macro", "champion_auc_macro"}
    assert "the same 400 held-out rows" in gates["metrics"]["sentences"][-1]
    assert gates["latency"]["figures"]["p99_ms_50_rows"] > 0


def test_a_dry_run_shows_plan_and_gates_and_writes_nothing(trivet_: Commands) -> None:
    """Exit code 0 where the release would go through, 1 where it would be refused."""
    trivet_("promote", MODEL, "1")
    before = trivet_.state()
    code, out, _ = trivet_("promote", MODEL, "2", "--dry-run")
    assert code == 0
    assert "champion: 1 -> 2" in out
    assert "Nothing was changed: --dry-run." in out
    code, out, err = trivet_("promote", MODEL, "3", "--dry-run")
    assert code == 1
    assert "is under the floor of 0.8. auc_macro" in " ".join(out.split())
    assert "worse than the champion's" in " ".join(out.split())
    assert "refused by metrics. Nothing was changed." in err
    code, out, _ = trivet_("promote", MODEL, "3", "--dry-run", "--force", "--reason", "why")
    assert code == 0
    assert "It would be forced past metrics." in out
    found = trivet_.json("promote", MODEL, "3", "--dry-run")
    assert (found["outcome"], found["release"]) == ("refused", None)
    assert found["plan"]["to_version"] == 3
    assert trivet_.state() == before


def test_a_refused_promotion_leaves_everything_as_it_was(trivet_: Commands) -> None:
    """Alias, ledger and what this host serves."""
    trivet_("promote", MODEL, "1")
    before = trivet_.state()
    code, _, err = trivet_("promote", MODEL, "3")
    assert code == 1
    assert err.startswith("Release refused: buyers version 3 is not released: refused by metrics.")
    assert trivet_.state() == before


def test_force_needs_a_reason_and_both_stand_in_the_ledger(trivet_: Commands) -> None:
    """`trivet history` shows that it was forced, and past which gates."""
    trivet_("promote", MODEL, "1")
    code, _, err = trivet_("promote", MODEL, "3", "--force")
    assert code == 2
    assert "--force needs --reason" in err
    code, out, _ = trivet_("promote", MODEL, "3", "--force", "--reason", "the fair is tomorrow")
    assert code == 0
    assert "version 3 is the champion, forced past metrics." in out
    _, out, _ = trivet_("history", MODEL)
    (line,) = (line for line in out.splitlines() if "forced past metrics" in line)
    assert "the fair is tomorrow" in line
    (entry, _) = trivet_.json("history", MODEL)
    assert (entry["forced"], entry["reason"]) == (["metrics"], "the fair is tomorrow")
    assert 0 < entry["gates_seconds"] <= entry["seconds"]


def test_a_rollback_is_not_asked_for_its_metrics(trivet_: Commands) -> None:
    """It can be looked at first, like a promotion."""
    trivet_("promote", MODEL, "3", "--force", "--reason", "there is no other")
    trivet_("promote", MODEL, "1")
    before = trivet_.state()
    code, out, _ = trivet_("rollback", MODEL, "--dry-run")
    assert code == 0
    assert "champion: 1 -> 3" in out
    assert trivet_.state() == before
    assert trivet_("rollback", MODEL, "--force")[0] == 2
    done = trivet_.json("rollback", MODEL)
    assert [gate["gate"] for gate in done["gates"]] == ["features", "golden"]
    assert (done["release"]["action"], done["release"]["to_version"]) == ("rollback", 3)


def test_on_other_rows_both_versions_are_measured_again(trivet_: Commands) -> None:
    """By the runtime that serves, on the rows that the new version came with."""
    trivet_("promote", MODEL, "1")
    gate = trivet_.json("promote", MODEL, "4", "--dry-run")["gates"][2]
    assert gate["passed"]
    assert gate["sentences"][-1] == "Measured on 400 of its held-out rows, both just now."
    figures = gate["figures"]
    # Trained on the same rows, they are the same model.
    assert figures["auc_macro"] == pytest.approx(figures["champion_auc_macro"])
    code, out, _ = trivet_("promote", MODEL, "5")
    assert code == 1
    assert "without the truth of its held-out rows" in " ".join(out.split())


def test_a_corrupt_version_is_not_released_by_force(
    trivet_: Commands, template: Path, tmp_path: Path
) -> None:
    """The file is named, and the hint does not speak of force."""
    trivet_("promote", MODEL, "1")
    uri = trivet_.client.get_model_version_download_uri(MODEL, "2")
    stored = Path(uri.removeprefix("file://")) / "model.onnx"
    kept = stored.read_bytes()
    before = trivet_.state()
    try:
        stored.write_bytes(kept[:-1])
        code, out, err = trivet_("promote", MODEL, "2", "--force", "--reason", "now")
    finally:
        stored.write_bytes(kept)
    assert code == 1
    assert "model.onnx of buyers version 2 is not the one that its contract names" in " ".join(
        out.split()
    )
    assert "cannot be forced" in err
    assert trivet_.state() == before


def test_a_projects_own_gate_is_found_from_its_root(trivet_: Commands) -> None:
    """And refuses by what it raises."""
    trivet_.policy(POLICY + OWN)
    (trivet_.root / "checks").mkdir()
    (trivet_.root / "checks" / "days.py").write_text(
        "def not_on_friday(proposal, day):\n"
        "    raise RuntimeError(f'{proposal.plan.model} is not released on a {day}')\n"
    )
    code, out, err = trivet_("promote", MODEL, "1")
    assert code == 1
    assert "RuntimeError: buyers is not released on a Friday" in " ".join(out.split())
    assert "refused by weekday" in err


def test_a_policy_that_cannot_be_read_is_wrong_usage(trivet_: Commands) -> None:
    """Nothing is released by a rule that was misread."""
    trivet_.policy("[models.buyers]\nmetrics.auc_macro = { minimum = 0.8 }\n")
    code, _, err = trivet_("promote", MODEL, "1")
    assert code == 2
    assert "release-policy.toml, models.buyers.metrics.auc_macro.minimum" in err
    assert trivet_.client.get_registered_model(MODEL).aliases == {}


def test_history_says_which_version_answered_at_a_moment(trivet_: Commands) -> None:
    """Also before the first release, when none did; the time zone that is taken is named."""
    code, out, _ = trivet_("history", MODEL, "--at", "2026-01-01T12:00")
    assert code == 0
    assert f"no version of {MODEL} answered; it was never released" in out
    trivet_("promote", MODEL, "1")
    trivet_("promote", MODEL, "2")
    second, first = trivet_.json("history", MODEL)
    for entry in (first, second):
        found = trivet_.json("history", MODEL, "--at", entry["at"])
        assert found["version"] == entry["to_version"]
        assert found["release"]["run_id"] == entry["run_id"]
    chain = ledger.read_chain(trivet_.client, MODEL)
    local = (chain[2].at + timedelta(seconds=1)).astimezone()
    code, out, _ = trivet_("history", MODEL, "--at", f"{local:%Y-%m-%dT%H:%M:%S}")
    assert code == 0
    assert f"version 2 of {MODEL} was the champion, by a promote of" in out
    assert f"{local:%H:%M:%S} {local.tzname()} ({local:%z})" in out
    code, out, _ = trivet_("history", MODEL, "--at", "2020-01-01T00:00Z")
    assert code == 0
    assert "answered yet; its first release, of version 1, was at" in out
    assert trivet_.json("history", MODEL, "--at", "2020-01-01T00:00Z")["version"] is None
    assert trivet_("history", MODEL, "--at", "yesterday")[0] == 2
