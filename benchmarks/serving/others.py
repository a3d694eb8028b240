"""BentoML, MLflow and Feast as their own documentation has them, and who is in which comparison."""

from __future__ import annotations

from typing import Any

from benchmarks.serving import bodies
from benchmarks.serving.contenders import (
    APPS,
    Contender,
    Place,
    bento,
    limit,
    trivet_by_key,
    trivet_by_value,
)
from benchmarks.serving.project import Project
from benchmarks.serving.servers import Server, free_port


def plain_bento(place: Place, kind: str, title: str) -> Contender:
    """A BentoML service as its documentation writes it."""
    name = f"bento_{kind}"
    server = bento(place, APPS / name, name, name, place.sqlite)
    return Contender(
        name=name,
        title=title,
        servers=(server,),
        path="/predict",
        body=bodies.as_matrix,
        labels=list,
        one_row=False,
    )


def _mlflow_server(place: Place, name: str, project: Project, model: str) -> Server:
    port = free_port()
    options = ["--port", str(port), "--host", "127.0.0.1", "--workers", str(place.workers)]
    uri = ["--model-uri", f"models:/{model}/1", "--env-manager", "local"]
    command = ["mlflow", "models", "serve", *uri, *options]
    return place.server(name, command, port=port, ready="/ping", project=project)


def mlflow(place: Place) -> Contender:
    """`mlflow models serve` alone."""
    return Contender(
        name="mlflow",
        title="mlflow models serve",
        servers=(_mlflow_server(place, "mlflow", place.sqlite, "forest"),),
        path="/invocations",
        body=bodies.for_mlflow,
        labels=_likeliest,
        one_row=False,
    )


def feast_and_mlflow(place: Place) -> Contender:
    """`feast serve` on Redis, followed by `mlflow models serve`."""
    port = free_port()
    options = ["--port", str(port), "--workers", str(place.workers), "--no-access-log"]
    # By default a worker ends after 1,000 requests, which would measure how fast it starts.
    command = ["feast", "-c", "feature_repo", "serve", *options, "--max-requests", "0"]
    feast = place.server("feast", command, port=port, ready="/health", project=place.redis)
    return Contender(
        name="feast-mlflow",
        title="feast serve (Redis), then mlflow models serve",
        servers=(feast, _mlflow_server(place, "mlflow-after", place.redis, "forest_by_key")),
        path="/get-online-features",
        body=bodies.for_feast,
        labels=_likeliest,
    )


def usual(place: Place) -> list[Contender]:
    """Return those of `make bench`."""
    return [
        limit(place),
        trivet_by_value(place),
        *(
            trivet_by_key(place, store, warm=warm)
            for store in ("redis", "sqlite")
            for warm in (True, False)
        ),
        plain_bento(place, "onnx", "plain BentoML, ONNX Runtime"),
        plain_bento(place, "sklearn", "plain BentoML, scikit-learn"),
        mlflow(place),
        feast_and_mlflow(place),
    ]


def quick(place: Place) -> list[Contender]:
    """Return those of a smoke run."""
    by_key = [trivet_by_key(place, "redis", warm=warm) for warm in (True, False)]
    plain = plain_bento(place, "onnx", "plain BentoML, ONNX Runtime")
    return [limit(place), trivet_by_value(place), *by_key, plain]


def _likeliest(answer: Any) -> list[int]:
    """Read the classes from MLflow's answer, which is the probabilities of each."""
    return [row.index(max(row)) for row in answer["predictions"]]
