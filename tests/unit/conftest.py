"""No test sees the settings of the machine that it runs on, and all of them are fast."""

from __future__ import annotations

import os

import hypothesis
import pytest

hypothesis.settings.register_profile("unit", max_examples=40, deadline=None)
hypothesis.settings.load_profile("unit")


@pytest.fixture(autouse=True)
def _no_setting_of_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith(("TRIVET_", "MLFLOW_")):
            monkeypatch.delenv(name)
