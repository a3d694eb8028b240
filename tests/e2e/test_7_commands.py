"""The tools' own commands, typed bare in the project, show and do what they always do."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import time
from collections.abc import Iterator

import httpx
import psutil
import pytest

from journey import Project
from waiting import wait_or_kill

from .registry import MODEL, Registry

API = "/api/2.0/mlflow"


@pytest.fixture(scope="module")
def mlflow_ui(project: Project) -> Iterator[httpx.Client]:
    """Run `mlflow ui` at the root, and return a client of it."""
    port = free_port()
    log = project.root / "mlflow.log"
    with log.open("wb") as out:
        process = psutil.Popen(
            ["mlflow", "ui", "--port", str(port), "--workers", "1"],
            cwd=project.root,
            # Else it starts seven processes beside it for jobs that are not Trivet's.
            env=project.env | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"},
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
        )
    started = [process]
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30) as client:
            deadline = time.monotonic() + 90
            while not healthy(client):
                assert process.poll() is None, log.read_text()
                assert time.monotonic() < deadline, log.read_text()
                time.sleep(0.2)
            started += process.children(recursive=True)
            yield client
    finally:
        process.terminate()
        left = wait_or_kill(started, within=20)
    assert not left, log.read_text()


def test_feast_apply_is_at_home_in_the_feature_repository(project: Project) -> None:
    """Nothing has to be set for it, and what is applied already stays."""
    assert (
        "No changes to infrastructure" in project.run("feast", "apply", cwd="feature_repo").stdout
    )


def test_mlflow_ui_shows_the_model_and_its_champion(
    mlflow_ui: httpx.Client, registry: Registry
) -> None:
    """Typed at the root without an address, it opens the very registry."""
    model = ask(mlflow_ui, "registered-models/get", name=MODEL)["registered_model"]
    aliases = {entry["alias"]: int(entry["version"]) for entry in model["aliases"]}
    assert aliases == registry.aliases == {"champion": 1}


def test_mlflow_ui_shows_each_versions_metrics_and_picture(mlflow_ui: httpx.Client) -> None:
    """The quality beside the baseline, and the confusion matrix as a picture that opens."""
    for number in (1, 2):
        found = ask(mlflow_ui, "model-versions/get", name=MODEL, version=number)
        run = found["model_version"]["run_id"]
        metrics = {
            m["key"] for m in ask(mlflow_ui, "runs/get", run_id=run)["run"]["data"]["metrics"]
        }
        assert {"auc_macro", "f1_macro", "accuracy", "baseline_accuracy"} <= metrics
        picture = mlflow_ui.get(
            "/get-artifact", params={"run_uuid": run, "path": "confusion_matrix.png"}
        )
        assert picture.content.startswith(b"\x89PNG")


def test_mlflow_ui_shows_the_releases(mlflow_ui: httpx.Client, registry: Registry) -> None:
    """The ledger is an experiment like any other: a run each, with its gates' report."""
    name = f"trivet/releases/{MODEL}"
    found = ask(mlflow_ui, "experiments/get-by-name", experiment_name=name)
    body = {"experiment_ids": [found["experiment"]["experiment_id"]]}
    runs = mlflow_ui.post(f"{API}/runs/search", json=body).raise_for_status().json()["runs"]
    params = [{p["key"]: p["value"] for p in run["data"]["params"]} for run in runs]
    shown = sorted(params, key=lambda one: int(one["sequence"]))
    assert [(one["action"], one["to_version"]) for one in shown] == registry.releases
    artifacts = ask(mlflow_ui, "artifacts/list", run_id=runs[-1]["info"]["run_id"])
    assert [file["path"] for file in artifacts["files"]] == ["gates.json"]


def healthy(client: httpx.Client) -> bool:
    """Say whether the server answers yet."""
    with contextlib.suppress(httpx.TransportError):
        return client.get("/health").is_success
    return False


def ask(client: httpx.Client, route: str, **parameters: object) -> dict:
    """Ask MLflow's REST API."""
    return client.get(f"{API}/{route}", params=parameters).raise_for_status().json()


def free_port() -> int:
    """Return a port of the loopback interface that nobody has."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
