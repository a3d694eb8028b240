"""A service on a server with accounts, artifacts in S3: as on a file, and no credentials are shown."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression

from journey import Project, Service
from trivet import Candidate, Classification, Column, load_settings, register

from .conftest import Servers, on_a_server_with_accounts, set_environment
from .servers import ADMIN_PASSWORD, AWS

if TYPE_CHECKING:
    from trivet.settings import Settings

MODEL = "tutorial_classifier"
BENTO = f"bentos/{MODEL}"
BODY = {"instances": [{"age": 30.0, "purchases": 3.0}]}


def register_one(settings: Settings, strength: float) -> None:
    """Register a small model, which ONNX Runtime serves, as the next version."""
    generator = np.random.default_rng(1)
    frame = pd.DataFrame(generator.normal(30, 9, (300, 2)), columns=["age", "purchases"])
    estimator = LogisticRegression(C=strength).fit(frame, (frame.age > 30).astype(int))
    register(
        settings,
        Candidate(
            model=MODEL,
            estimator=estimator,
            columns=[Column(name=name, source="request", dtype="float64") for name in frame],
            output=Classification(classes=("young", "old")),
            held_out=frame,
            bento=settings.root / BENTO,
            run_name=f"C={strength}",
        ),
    )


def test_a_service_follows_releases_and_shows_its_credentials_nowhere(
    servers: Servers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They come from MLflow's own variables: to commands and follower, and to nothing else."""
    project = Project.copy(tmp_path / "project")
    account = on_a_server_with_accounts(servers)
    set_environment(monkeypatch, account)
    for strength in (0.1, 1.0):
        register_one(load_settings(project.root / BENTO), strength)
    project.run("trivet", "promote", MODEL, "1", env=account)
    with Service(project, MODEL, env=account) as service:
        assert service.post("/predict", BODY).json()["model"]["version"] == 1
        project.run("trivet", "promote", MODEL, "2", env=account)
        service.answering(2)
        wrong = {**account, "MLFLOW_TRACKING_PASSWORD": "wrong-1"}
        denied = project.run("trivet", "rollback", MODEL, env=wrong, code=1).stderr
        assert "does not let the account boss in" in denied
        assert service.post("/predict", BODY).json()["model"]["version"] == 2
        status = service.get("/status").text
    shown = [denied, status, service.log.read_text()]
    written = [file for file in (project.root / ".trivet").rglob("*") if file.is_file()]
    assert {"live.json", "contract.json", "model.onnx"} <= {file.name for file in written}
    for secret in (ADMIN_PASSWORD, "wrong-1", AWS["AWS_SECRET_ACCESS_KEY"]):
        assert not [text for text in shown if secret in text]
        assert not [file for file in written if secret.encode() in file.read_bytes()]
