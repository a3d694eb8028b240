"""A service on a server with accounts, artifacts in S3: as on a file, and no credentials are shown."""

from __future__ import annotations

import json
from pathlib import Path

from journey import Project, Service

from .conftest import Servers, on_a_server_with_accounts
from .servers import ADMIN, ADMIN_PASSWORD, AWS

MODEL = "tutorial_classifier"


def test_a_service_follows_releases_and_shows_its_credentials_nowhere(
    servers: Servers, tmp_path: Path
) -> None:
    """They come from MLflow's own variables: to the commands, the follower, and nothing else."""
    project = Project.copy(tmp_path / "project")
    account = on_a_server_with_accounts(servers)
    project.run("trivet", "train", MODEL, env=account)
    project.run("trivet", "promote", MODEL, "1", env=account)
    with Service(project, MODEL, env=account) as service:
        operation = service.get("/docs.json").json()["paths"]["/predict"]["post"]
        body = operation["requestBody"]["content"]["application/json"]["example"]
        assert service.post("/predict", body).json()["model"]["version"] == 1
        project.run("trivet", "promote", MODEL, "2", env=account)
        service.answering(2)
        denied = project.run(
            "trivet",
            "rollback",
            MODEL,
            env={**account, "MLFLOW_TRACKING_PASSWORD": "wrong-1"},
            code=1,
        )
        assert "does not let the account boss in" in denied.stderr
        assert service.post("/predict", body).json()["model"]["version"] == 2
        examined = project.run("trivet", "doctor", "--url", service.url, env=account)
        in_address = servers.accounts.url.replace("://", f"://{ADMIN}:{ADMIN_PASSWORD}@")
        status = project.run(
            "trivet", "status", "--json", env={"MLFLOW_TRACKING_URI": in_address}
        ).stdout
        assert [one["champion"] for one in json.loads(status)["mlflow"]["models"]] == [2]
    shown = [status, denied.stderr, examined.stdout, examined.stderr, service.log.read_text()]
    written = [file for file in (project.root / ".trivet").rglob("*") if file.is_file()]
    assert "live.json" in {file.name for file in written}
    assert "as boss" in examined.stdout
    assert "can be written and read at mlflow-artifacts:" in " ".join(examined.stdout.split())
    for secret in (ADMIN_PASSWORD, "wrong-1", AWS["AWS_SECRET_ACCESS_KEY"]):
        assert not [text for text in shown if secret in text]
        assert not [file for file in written if secret.encode() in file.read_bytes()]
