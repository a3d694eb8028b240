"""Every setting of Trivet, its environment variable and its meaning.

A setting is taken from `TRIVET_<NAME>` in the environment, else from the `[tool.trivet]` table of the
project's pyproject.toml, else from the default below. What MLflow, Feast and BentoML already have a
setting for (tracking URI, stores, host, port, workers) is theirs and is only read here.
"""

from __future__ import annotations

import os
import tomllib
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from trivet.errors import BadSetting, ProjectNotFound

_TELEMETRY_OFF = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
    "BENTOML_DO_NOT_TRACK": "True",
    "RAY_USAGE_STATS_ENABLED": "0",
    "ORT_DISABLE_TELEMETRY": "1",
}


class Settings(BaseSettings):
    """The settings of one project; frozen, made by `load_settings`."""

    model_config = SettingsConfigDict(env_prefix="TRIVET_", frozen=True, extra="forbid")

    root: Path = Field(description="The project's root: relative paths below start there.")
    feature_repo: Path = Field(
        default=Path("feature_repo"), description="The folder with feature_store.yaml."
    )
    home: Path = Field(
        default=Path(".trivet"), description="Local copies of versions and the live state."
    )
    release_policy: Path = Field(
        default=Path("release-policy.toml"), description="Which gates apply to which model."
    )
    service_url: str = Field(
        default="http://127.0.0.1:3000", description="Where the command line looks for a service."
    )
    max_rows: int = Field(default=1000, ge=1, description="Most rows in one request.")
    max_body_bytes: int = Field(
        default=8 * 2**20, ge=1, description="Most bytes in one request's body."
    )
    most_in_flight: int = Field(
        default=512,
        ge=1,
        description="Most requests that a worker has accepted and not answered; more get a 503.",
    )
    haproxy: Path | None = Field(
        default=None,
        description="The HAProxy that a gateway runs, where it is not found by itself.",
    )
    versions_bytes: int = Field(
        default=2 * 2**30, ge=1, description="Most bytes of memory for a worker's loaded versions."
    )
    poll_seconds: float = Field(
        default=0.5, gt=0, description="How often the follower asks MLflow for the live version."
    )
    feature_timeout_seconds: float = Field(
        default=1.0, gt=0, description="Longest wait for the online store in one request."
    )
    cache_seconds: float = Field(
        default=1.0,
        ge=0,
        description="How long a row that was read from the online store may be used again; "
        "0 reads anew for every request.",
    )
    cache_rows: int = Field(
        default=50_000, ge=1, description="Most rows of feature views that a worker keeps."
    )
    batch_rows: int = Field(
        default=128, ge=1, description="Most rows of requests that are predicted together."
    )
    feature_check_seconds: float = Field(
        default=30.0, gt=0, description="How often the live contract is compared with Feast."
    )
    own_code_only: bool = Field(
        default=False,
        description="Load only versions that run no code beyond what the service's own folder holds.",
    )
    log_sample: float = Field(
        default=1.0,
        ge=0,
        le=1,
        description="Share of the requests whose predictions are logged; 0 switches the log off.",
    )
    log_flush_seconds: float = Field(
        default=1.0, gt=0, description="How often logged predictions are written to their segment."
    )
    log_queue_rows: int = Field(
        default=50_000, ge=1, description="Most predictions that wait in a worker to be logged."
    )
    log_segment_rows: int = Field(
        default=100_000, ge=1, description="Rows at which a segment of the log is finished."
    )
    log_segment_minutes: float = Field(
        default=10.0, gt=0, description="Age at which a segment of the log is finished."
    )
    log_retention_days: float = Field(
        default=30.0, gt=0, description="How long finished segments of the log are kept."
    )
    stream_broker: str = Field(
        default="redis://127.0.0.1:6379/0",
        description="The broker of trivet stream: redis://host:port/db or kafka://host:port.",
    )
    stream_prefix: str = Field(
        default="trivet", min_length=1, description="What the names of all streams begin with."
    )
    stream_deliveries: int = Field(
        default=5,
        ge=1,
        description="How often a message is handed out before it goes to the dead letters.",
    )
    stream_idle_seconds: float = Field(
        default=30.0,
        gt=0,
        description="Without a sign of life for so long, what a consumer holds is taken over.",
    )
    stream_keep: int = Field(
        default=1_000_000,
        ge=1,
        description="Messages that a stream of predictions or dead letters keeps, about; Redis only.",
    )
    stream_remember_seconds: int = Field(
        default=300,
        ge=0,
        description="For how long at least an answered request's id is not answered again; "
        "0 switches that off. Redis only.",
    )

    replica: str | None = Field(
        default=None, description="What this replica is called in answers; else by its host's name."
    )
    drain_file: Path | None = Field(
        default=None, description="While this file exists, workers say that they are not ready."
    )
    drain_seconds: float = Field(
        default=30.0, gt=0, description="Longest wait for requests in flight when a replica ends."
    )
    replica_start_seconds: float = Field(
        default=120.0,
        gt=0,
        description="How long a replica may take until it first answers, and one of an update until it "
        "is ready.",
    )
    replica_silent_seconds: float = Field(
        default=10.0,
        gt=0,
        description="How long a replica may leave its readiness unanswered before it is replaced.",
    )
    replica_in_flight: int = Field(
        default=64,
        ge=1,
        description="Requests that a gateway gives one replica at once; further ones wait in it.",
    )
    queue_seconds: float = Field(
        default=0.1,
        gt=0,
        description="Longest wait in a gateway for a place at a replica, then 503: long enough to even "
        "out arrivals, and what is waited for in vain costs callers no more.",
    )
    scale_up_seconds: float = Field(
        default=3.0,
        gt=0,
        description="Over how long work in flight is averaged before replicas are added.",
    )
    scale_down_seconds: float = Field(
        default=60.0,
        gt=0,
        description="How long one replica fewer must have sufficed before one goes.",
    )

    @property
    def tracking_uri(self) -> str:
        """MLflow's tracking URI: its own setting, else `mlflow.db` at the project's root.

        MLflow's own default is the same file in the *current* folder; an absolute path gives every
        command the same registry from wherever it is typed.
        """
        return os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{self.root / 'mlflow.db'}"

    @property
    def artifact_root(self) -> str:
        """Where new experiments keep their artifacts if the tracking URI is a database: a URI.

        `mlflow server`'s own setting for it, so that both put them at one place; else `mlruns` at the
        project's root, which only this machine can read.
        """
        chosen = os.environ.get("MLFLOW_DEFAULT_ARTIFACT_ROOT")
        if chosen and "://" in chosen:
            return chosen.rstrip("/")
        return (self.root / (chosen or "mlruns")).as_uri()

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Put the environment above pyproject.toml, which `load_settings` hands in as a source."""
        del settings_cls, dotenv_settings, file_secret_settings
        return env_settings, init_settings


def load_settings(start: Path | None = None) -> Settings:
    """Read the settings of the project that `start` (default: the working directory) is in.

    Raises:
        ProjectNotFound: no folder upwards has a `[tool.trivet]` table.
        BadSetting: a value does not fit, with the variable's name.
    """
    return settings_at(find_root(start))


def settings_at(root: Path) -> Settings:
    """Read the settings of the project whose root is this folder, whatever TRIVET_ROOT says.

    Raises:
        BadSetting: a value does not fit, with the variable's name.
    """
    table = project_table(root)
    try:
        settings = Settings(**{**table, "root": root})
    except ValidationError as err:
        raise BadSetting(_first_fault(err)) from err
    return settings.model_copy(
        update={
            "root": root,
            "feature_repo": root / settings.feature_repo,
            "home": root / settings.home,
            "release_policy": root / settings.release_policy,
            "drain_file": settings.drain_file and root / settings.drain_file,
        }
    )


def project_table(root: Path) -> dict[str, Any]:
    """Return what a project's own file says: its `[tool.trivet]` table, without the environment."""
    return _tool_table(root / "pyproject.toml") or {}


def find_root(start: Path | None = None) -> Path:
    """Return the nearest folder upwards whose pyproject.toml has a `[tool.trivet]` table.

    `TRIVET_ROOT` names it outright.

    Raises:
        ProjectNotFound: there is none.
    """
    if named := os.environ.get("TRIVET_ROOT"):
        return Path(named).resolve()
    here = (start or Path.cwd()).resolve()
    for folder in (here, *here.parents):
        if _tool_table(folder / "pyproject.toml") is not None:
            return folder
    raise ProjectNotFound(str(here))


def silence_telemetry() -> None:
    """Switch off usage reporting of MLflow, BentoML, Ray and ONNX Runtime unless the user set it.

    Feast 0.67 reports nothing.

    To be called before one of them is imported: each reads its variable at import.
    """
    for name, value in _TELEMETRY_OFF.items():
        os.environ.setdefault(name, value)


def _tool_table(path: Path) -> dict[str, Any] | None:
    try:
        document = tomllib.loads(path.read_text())
    except OSError:
        return None
    except tomllib.TOMLDecodeError as err:
        raise BadSetting(f"{path} is not TOML: {err}.") from err
    table = document.get("tool", {}).get("trivet")
    return table if isinstance(table, dict) else None


def _first_fault(err: ValidationError) -> str:
    first = err.errors()[0]
    name = str(first["loc"][0]) if first["loc"] else "?"
    return f"TRIVET_{name.upper()} (or {name} in [tool.trivet]): {first['msg']}."
