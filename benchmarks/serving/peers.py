"""Servers that live in environments of their own: MLServer, LitServe and Ray Serve."""

from __future__ import annotations

import json
from pathlib import Path

from benchmarks.serving import bodies
from benchmarks.serving.contenders import (
    APPS,
    Contender,
    Place,
    in_environment,
    limit,
    trivet_by_value,
)
from benchmarks.serving.others import mlflow, plain_bento
from benchmarks.serving.project import REPOSITORY
from benchmarks.serving.servers import free_port


def mlserver(place: Place) -> Contender:
    """MLServer with its scikit-learn runtime, which has no ONNX one."""
    folder = place.logs / f"mlserver-{place.workers}"
    folder.mkdir(parents=True, exist_ok=True)
    port = free_port()
    settings = {
        "host": "127.0.0.1",
        "http_port": port,
        "grpc_port": free_port(),
        "metrics_port": free_port(),
        "parallel_workers": place.workers,
        "debug": False,
    }
    model = {
        "name": "forest",
        "implementation": "mlserver_sklearn.SKLearnModel",
        "parameters": {"uri": str(place.sqlite.artifacts / "forest.joblib")},
    }
    (folder / "settings.json").write_text(json.dumps(settings))
    (folder / "model-settings.json").write_text(json.dumps(model))
    command = Path(in_environment("mlserver")).with_name("mlserver")
    server = place.server(
        "mlserver",
        [str(command), "start", "."],
        port=port,
        ready="/v2/models/forest/ready",
        cwd=folder,
    )
    return Contender(
        name="mlserver",
        title="MLServer, scikit-learn",
        servers=(server,),
        path="/v2/models/forest/infer",
        body=bodies.for_protocol,
        labels=lambda answer: list(answer["outputs"][0]["data"]),
        one_row=False,
    )


def _script(place: Place, name: str, title: str, ready: str, path: str) -> Contender:
    port = free_port()
    script = str(APPS / f"{name}_app.py")
    server = place.server(
        name,
        [in_environment(name), script, str(port), str(place.workers)],
        port=port,
        ready=ready,
        # Ray's, which is off unless somebody says otherwise.
        env={"RAY_USAGE_STATS_ENABLED": "0", "PYTHONPATH": ""},
    )
    return Contender(
        name=name,
        title=title,
        servers=(server,),
        path=path,
        body=bodies.as_row,
        labels=lambda answer: [answer["label"]],
    )


def litserve(place: Place) -> Contender:
    """LitServe with ONNX Runtime."""
    return _script(place, "litserve", "LitServe, ONNX Runtime", "/health", "/predict")


def rayserve(place: Place) -> Contender:
    """Ray Serve with ONNX Runtime."""
    return _script(place, "rayserve", "Ray Serve, ONNX Runtime", "/-/healthz", "/")


def peers(place: Place) -> list[Contender]:
    """Return those of `make bench-peers`."""
    return [
        limit(place),
        trivet_by_value(place),
        plain_bento(place, "onnx", "plain BentoML, ONNX Runtime"),
        plain_bento(place, "sklearn", "plain BentoML, scikit-learn"),
        mlflow(place),
        mlserver(place),
        litserve(place),
        rayserve(place),
    ]


def pinned_versions() -> dict[str, str]:
    """Return the versions of the peers, as their requirement files pin them."""
    found = {}
    for name, package in (("mlserver", "mlserver"), ("litserve", "litserve"), ("rayserve", "ray")):
        pins = (REPOSITORY / "benchmarks" / "requirements" / f"{name}.txt").read_text()
        found[package] = pins.partition(f"\n{package}==")[2].split()[0]
    return found
