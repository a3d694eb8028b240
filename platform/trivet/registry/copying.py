"""Carry a version to another registry, as from development to production.

found there by its digest? -> brought and verified -> run with the evidence -> artifacts, read back and
verified -> registered, with its contract's digest and where it comes from

Registration is the last step: what was interrupted before it left a failed run, and no version.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit, urlunsplit

from trivet.contract import Contract
from trivet.errors import BadSetting, RegistryUnavailable, TrivetError
from trivet.registry import ledger
from trivet.registry.client import ensure_experiment, translated
from trivet.registry.download import download, verify
from trivet.registry.evidence import begin_run, carry, read_evidence
from trivet.registry.register import register_model_version
from trivet.registry.versions import DIGEST_TAG, digest_of, find_version, search_versions
from trivet.settings import Settings

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion

ORIGIN = "trivet/copied_from.json"
"""The artifact of a copied version's run that says where it comes from."""
_URI = "MLFLOW_TRACKING_URI"
_META = "registered_model_meta"
"""What MLflow adds to a model that it downloads."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """Where a copied version comes from; also its tags, behind `trivet.copied_from.`."""

    registry: str
    """The tracking URI, without user, password and options."""
    version: int
    run_id: str | None
    release: str | None
    """Run id of the ledger's newest release of it there; None: it was never released."""
    released_by: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Copied:
    """A version in the other registry."""

    model: str
    version: int
    digest: str
    new: bool
    """False: it was there already."""
    origin: Origin


def copy_version(
    client: MlflowClient, settings: Settings, model: str, version: int, to: str
) -> Copied:
    """Copy a version with its contract, code and evidence, or return the copy that is there.

    Args:
        client: of the registry that has it.
        settings: of the project.
        model: name of the registered model, here and there.
        version: of it, here.
        to: tracking URI of the other registry.

    Raises:
        UnknownModel, ContractUnreadable: there is no such version, or none with a contract.
        VersionCorrupt: its files are not those of its contract, here or after the upload.
        BadSetting: `to` is the registry that has it, or no tracking URI.
        RegistryUnavailable: one of the two does not answer; nothing was registered.
    """
    there = _open(client, to)
    entry = find_version(client, model, version)
    digest = digest_of(entry)
    origin = _origin(client, entry)
    found = _find(there, model, digest)
    if found is not None:
        return Copied(model=model, version=found, digest=digest, new=False, origin=origin)
    with tempfile.TemporaryDirectory(prefix="trivet-copy-") as made:
        folder = download(client, f"models:/{model}/{version}", Path(made) / "version")
        contract = verify(folder, digest, f"{model} version {version}")
        run = read_evidence(client, entry.run_id)
        experiment = ensure_experiment(there, _settings_there(settings, to), model)
        run_id = begin_run(there, experiment, f"copy of version {version}", run, _tags(origin))
        try:
            if run is not None:
                carry(client, run, there, run_id, Path(made) / "evidence")
            with translated(there):
                there.log_dict(run_id, asdict(origin), ORIGIN)
                model_id = _upload(there, experiment, contract, run_id, folder)
                there.set_terminated(run_id)
                tags = {**entry.tags, **_tags(origin)}
                with _pointed_at(to):
                    number = register_model_version(there, model, model_id, run_id, tags)
        except BaseException:
            with suppress(TrivetError), translated(there):
                there.set_terminated(run_id, "FAILED")
            raise
    return _settle(
        there, Copied(model=model, version=number, digest=digest, new=True, origin=origin)
    )


def shown_uri(uri: str) -> str:
    """Return a tracking URI without user, password and options.

    >>> shown_uri("postgresql://ann:secret@db:5432/mlflow?sslkey=x")
    'postgresql://db:5432/mlflow'
    """
    parts = urlsplit(uri)
    if "@" not in parts.netloc and not parts.query:
        return uri
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))


def _open(client: MlflowClient, to: str) -> MlflowClient:
    import mlflow
    from mlflow.exceptions import MlflowException

    if to == client.tracking_uri:
        raise BadSetting(f"{shown_uri(to)} is the registry that the version is in.")
    if urlsplit(to).scheme in ("", "file"):
        raise BadSetting(
            f"{to} is no tracking URI of a registry.",
            hint="One is like http://host:5000, or sqlite:////folder/mlflow.db.",
        )
    try:
        return mlflow.MlflowClient(tracking_uri=to, registry_uri=to)
    except MlflowException as err:
        raise RegistryUnavailable(to, err) from err


@contextmanager
def _pointed_at(uri: str) -> Iterator[None]:
    """Have MLflow take a URI for its own inside the block.

    A registry in a database looks a logged model up there, whatever the client's own URI is
    (`SqlAlchemyStore.create_model_version` in `mlflow.store.model_registry`).
    """
    import mlflow

    before, chosen = mlflow.get_tracking_uri(), os.environ.get(_URI)
    mlflow.set_tracking_uri(uri)
    try:
        yield
    finally:
        mlflow.set_tracking_uri(before)
        # It exports what it is given.
        os.environ.pop(_URI, None)
        if chosen is not None:
            os.environ[_URI] = chosen


def _settings_there(settings: Settings, to: str) -> Settings:
    """Return settings by which a registry in a file has its artifacts beside it, as a project's has."""
    from sqlalchemy import make_url

    file = make_url(to).database if to.startswith("sqlite:") else None
    return settings.model_copy(update={"root": Path(file).resolve().parent}) if file else settings


def _origin(client: MlflowClient, entry: ModelVersion) -> Origin:
    number = int(entry.version)
    releases = [r for r in ledger.read_chain(client, entry.name) if r.to_version == number]
    newest = releases[-1] if releases else None
    return Origin(
        registry=shown_uri(client.tracking_uri),
        version=number,
        run_id=entry.run_id or None,
        release=None if newest is None else newest.run_id,
        released_by=None if newest is None else newest.who,
    )


def _tags(origin: Origin) -> Mapping[str, str]:
    said = asdict(origin).items()
    return {f"trivet.copied_from.{key}": str(value) for key, value in said if value is not None}


def _find(there: MlflowClient, model: str, digest: str) -> int | None:
    versions = [v for v in search_versions(there, model) if v.tags.get(DIGEST_TAG) == digest]
    return min((int(v.version) for v in versions), default=None)


def _upload(
    there: MlflowClient, experiment: str, contract: Contract, run_id: str, folder: Path
) -> str:
    """Log the model from a folder, read it back, verify it, and return its id."""
    logged = there.create_logged_model(experiment, contract.model, run_id)
    model_id = str(logged.model_id)
    try:
        _readdress(folder, model_id, run_id)
        there.log_model_artifacts(model_id, str(folder))
        with tempfile.TemporaryDirectory() as back:
            found = download(there, logged.artifact_location, Path(back))
            verify(found, contract.digest, f"{contract.model} ({model_id})")
        there.finalize_logged_model(model_id, "READY")
    except BaseException:
        with suppress(TrivetError), translated(there):
            there.delete_logged_model(model_id)
        raise
    return model_id


def _readdress(folder: Path, model_id: str, run_id: str) -> None:
    """Have MLmodel name its ids in the other registry; no contract's digest covers it."""
    from mlflow.models import Model

    (folder / _META).unlink(missing_ok=True)
    described = Model.load(str(folder))
    described.model_id, described.run_id = model_id, run_id
    described.save(str(folder / "MLmodel"))


def _settle(there: MlflowClient, copied: Copied) -> Copied:
    """Of copies that were made at the same moment, keep the first."""
    first = _find(there, copied.model, copied.digest)
    if first is None or first == copied.version:
        return copied
    with translated(there):
        there.delete_model_version(copied.model, str(copied.version))
    return Copied(
        model=copied.model, version=first, digest=copied.digest, new=False, origin=copied.origin
    )
