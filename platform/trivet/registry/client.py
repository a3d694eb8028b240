"""The way to MLflow: a client for a project's registry, and its failures as Trivet's."""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from trivet.errors import PackageMissing, RegistryUnavailable, TrivetError, UnknownModel
from trivet.registry import failures
from trivet.settings import Settings, silence_telemetry

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException

Client: TypeAlias = "MlflowClient"
"""For the layers above, which pass a client on and never import mlflow."""

_QUIET = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",  # at once; MLflow's 7 take minutes
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_LOGGING_LEVEL": "WARNING",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",  # stdout is for results
    "GIT_PYTHON_REFRESH": "quiet",
}
_URI = "MLFLOW_TRACKING_URI"
_POOL = "MLFLOW_SQLALCHEMYSTORE_"
"""How MLflow's variables for its pool of database connections begin."""
_PATIENCE_SECONDS = 5
"""How long a database may take to accept a connection."""
_SILENCE = "MLFLOW_HTTP_REQUEST_TIMEOUT"
"""Seconds for which a server may send nothing: 120 by MLflow's default."""


def connect(settings: Settings, *, silence_seconds: int | None = None) -> MlflowClient:
    """Return a client for the project's registry and make it MLflow's default as well.

    MLflow's own variables win where the user set them; the registry is where the tracking URI is,
    unless MLFLOW_REGISTRY_URI says otherwise.

    Args:
        settings: of the project.
        silence_seconds: how long this process waits for a server that says nothing. Default: MLflow's
            own, which leaves a server time to store a large model before it answers.

    Raises:
        RegistryUnavailable: the tracking URI leads nowhere.
        PackageMissing: the driver of its database is not installed.
    """
    silence_telemetry()
    for name, value in _QUIET.items():
        os.environ.setdefault(name, value)
    if silence_seconds is not None:
        os.environ.setdefault(_SILENCE, str(silence_seconds))
    import mlflow

    # MLflow 3.17 uses a loader strategy that SQLAlchemy 2.1 has deprecated, and Feast shows it.
    warnings.filterwarnings("ignore", "The ..noload.. loader strategy", DeprecationWarning)
    # It prints database errors as tracebacks, at each poll of an outage; they are raised as well.
    logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)
    uri = settings.tracking_uri
    if uri.startswith("sqlite:") and not any(name.startswith(_POOL) for name in os.environ):
        # A kept connection goes on reading a file that was removed or replaced, for ever.
        os.environ[f"{_POOL}POOLCLASS"] = "NullPool"
    chosen = os.environ.get(_URI)
    with _named(uri):
        _reach(uri)
        mlflow.set_tracking_uri(uri)
        if chosen is None:
            # MLflow exports what it was given; the next settings would take it for the user's.
            os.environ.pop(_URI, None)
        return mlflow.MlflowClient()


def require_database(settings: Settings) -> None:
    """See that an SQLite registry's file is there; MLflow would make an empty one in its place.

    Raises:
        RegistryUnavailable: it is not there.
    """
    file = database_file(settings)
    if file is not None and not file.exists():
        raise RegistryUnavailable(settings.tracking_uri, FileNotFoundError(f"there is no {file}"))


def database_file(settings: Settings) -> Path | None:
    """Return the file of an SQLite registry; None for any other."""
    uri = settings.tracking_uri
    if not uri.startswith("sqlite:"):
        return None
    from sqlalchemy import make_url

    database = make_url(uri).database
    return Path(database) if database else None


@contextmanager
def translated(client: MlflowClient, missing: str | None = None) -> Iterator[None]:
    """Turn failures of MLflow inside the block into Trivet's; Trivet's own pass through.

    Args:
        client: whose tracking URI an error names.
        missing: the sentence for something that the registry does not have; default: MLflow's own.

    Raises:
        RegistryUnavailable: MLflow, the database below it or its artifacts did not answer.
        RegistryDenied: it does not let this account in, or not do this.
        UnknownModel: it answered that there is no such thing.
    """
    with _named(client.tracking_uri, missing):
        yield


def ensure_experiment(
    client: MlflowClient, settings: Settings, name: str, tags: Mapping[str, str] | None = None
) -> str:
    """Return the id of the experiment of this name, made with `tags` where there is none.

    Whoever else makes it at the same moment wins; their tags then stand.

    Raises:
        UnknownModel: it was deleted; the sentence says how to restore it.
        RegistryUnavailable: MLflow does not answer.
    """
    with translated(client):
        if (found := find_experiment(client, name)) is not None:
            return found
        try:
            location = _location(client, settings, name)
            return str(client.create_experiment(name, location, dict(tags or {})))
        except _mlflow_exception() as err:
            if (
                err.error_code not in failures.EXISTS
                or (found := find_experiment(client, name)) is None
            ):
                raise
            return found


def find_experiment(client: MlflowClient, name: str) -> str | None:
    """Return the id of the experiment of this name, or None.

    Raises:
        UnknownModel: it was deleted; the sentence says how to restore it.
        RegistryUnavailable: MLflow does not answer.
    """
    with translated(client):
        experiment = client.get_experiment_by_name(name)
    if experiment is None:
        return None
    number = str(experiment.experiment_id)
    if experiment.lifecycle_stage == "deleted":
        raise UnknownModel(
            f"MLflow's experiment {name} was deleted.",
            hint=f"Restore it: mlflow experiments restore -x {number}.",
        )
    return number


def _location(client: MlflowClient, settings: Settings, name: str) -> str | None:
    # Without one, a database puts artifacts below the working directory of whoever came first; a
    # server decides for itself.
    return f"{settings.artifact_root}/{name}" if _is_database(client.tracking_uri) else None


def _is_database(uri: str) -> bool:
    from mlflow.store.db.db_types import DATABASE_ENGINES

    return uri.partition(":")[0].partition("+")[0] in DATABASE_ENGINES


def _reach(uri: str) -> None:
    # MLflow would try ten times, for a hundred seconds, and say nothing meanwhile.
    if uri.startswith("sqlite:") or not _is_database(uri):
        return
    from sqlalchemy import create_engine
    from sqlalchemy.pool import NullPool

    knows = uri.startswith(("postgresql", "mysql"))
    waits = {"connect_timeout": _PATIENCE_SECONDS} if knows else {}
    create_engine(uri, poolclass=NullPool, connect_args=waits).connect().close()


@contextmanager
def _named(uri: str, missing: str | None = None) -> Iterator[None]:
    mlflow_exception = _mlflow_exception()
    try:
        yield
    except TrivetError:
        raise
    except mlflow_exception as err:
        raise failures.from_mlflow(uri, err, missing) from err
    except failures.kinds_below() as err:
        told = failures.from_below(uri, err, missing)
        if isinstance(err, ModuleNotFoundError) and not isinstance(told, PackageMissing):
            raise
        raise told from err


def _mlflow_exception() -> type[MlflowException]:
    from mlflow.exceptions import MlflowException

    raised: type[MlflowException] = MlflowException
    return raised
