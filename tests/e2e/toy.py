"""A project of one tiny model, whose versions misbehave for callers and never for their golden rows."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from journey import Project
from trivet.canary.state import Canary, Shadow
from trivet.registry import canary, ledger
from trivet.registry.client import connect
from trivet.settings import Settings, load_settings

from .processes import left_over

MODEL = "toy"
CALLERS = 1_000_000
"""Users from this number on are those of the tests; versions are proven on others."""
GOOD, RAISES, SLOW, DIVERGES, AS_GOOD = 1, 2, 3, 4, 5

_SERVICE = '''
import bentoml

from trivet import PredictionService, TrivetService


@bentoml.service(name="toy", service_class=TrivetService)
class Toy(PredictionService):
    """Says whether a number is above zero."""

    model = "toy"
'''

_TRAIN = f"""
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from trivet import Candidate, Classification, Column, load_settings, register

STEPS = {{
    "good": "",
    "raises": "raise ValueError('this version cannot take it')",
    "slow": "time.sleep(0.3)",
    "diverges": "x = -x",
    "as_good": "",
}}
rows = pd.DataFrame({{"user": np.arange(400), "x": np.linspace(-3, 3, 400)}})
model = make_pipeline(StandardScaler(), LogisticRegression()).fit(rows[["x"]], rows.x > 0)
for name, step in STEPS.items():
    folder = Path(name)
    folder.mkdir()
    code = ["import time", "", "", "def preprocess(columns):", "    x = columns['x']"]
    code += ["    if columns['user'].max() >= {CALLERS}:", f"        {{step or 'pass'}}"]
    (folder / "preprocess.py").write_text("\\n".join([*code, "    return {{'x': x}}", ""]))
    register(
        load_settings(Path.cwd()),
        Candidate(
            model="toy",
            estimator=model,
            columns=[
                Column(name="user", source="request", dtype="int64"),
                Column(name="x", source="request", dtype="float64"),
            ],
            output=Classification(classes=("below", "above")),
            held_out=rows,
            bento=folder,
            run_name=name,
        ),
    )
from trivet.cli import trivet

trivet.main("promote toy 1".split(), standalone_mode=False)
"""


class Toy:
    """The project, and what its tests do at its registry."""

    def __init__(self, root: Path) -> None:
        """Register five versions of the model, and release the first."""
        bento = root / "bentos" / MODEL
        bento.mkdir(parents=True)
        (root / "pyproject.toml").write_text("[tool.trivet]\n")
        (bento / "service.py").write_text(_SERVICE)
        self.project = Project(root)
        self.project.run("python", "-c", _TRAIN, cwd=f"bentos/{MODEL}")
        self.settings: Settings = load_settings(root)
        self.client = connect(self.settings)

    def try_out(self, version: int, **changes: Any) -> None:
        """Begin a canary at 10 %."""
        state = Canary(version=version, **{"percent": 10, **changes})
        canary.begin(self.client, self.settings, MODEL, state, {}, "a test")

    def shadow(self, version: int) -> None:
        """Begin a shadow."""
        state = Shadow(version=version)
        canary.begin(self.client, self.settings, MODEL, state, {}, "a test")

    @property
    def ledger(self) -> tuple[ledger.Release, ...]:
        """The entries of the ledger, oldest first."""
        return ledger.read_chain(self.client, MODEL)


@contextmanager
def toy_project(root: Path) -> Iterator[Toy]:
    """Make the project, and see that nothing of it runs in the end."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        toy = Toy(root)
        yield toy
    left = left_over(toy.project)
    assert not left, f"started by these tests, and not ended: {left}"
