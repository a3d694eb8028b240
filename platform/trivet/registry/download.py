"""Bring a version, or only its contract, to this host, verified."""

from __future__ import annotations

import logging
import shutil
import tempfile
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from trivet.contract import Contract, parse_contract
from trivet.errors import ContractUnreadable, UnknownModel, VersionCorrupt
from trivet.live import CONTRACT, Shelf
from trivet.registry.client import translated
from trivet.registry.flavor import sha256
from trivet.registry.versions import digest_of, find_version

if TYPE_CHECKING:
    from mlflow import MlflowClient

_log = logging.getLogger(__name__)


def read_contract(client: MlflowClient, model: str, version: int) -> Contract:
    """Return a version's contract, checked against the version's tag.

    Raises:
        UnknownModel: there is no such version; the sentence names those that exist.
        ContractUnreadable: the version has none, or it cannot be read.
        VersionCorrupt: it is not the contract that the version was registered with.
        RegistryUnavailable: MLflow does not answer.
    """
    digest = digest_of(find_version(client, model, version))
    contract = download_contract(client, f"models:/{model}/{version}", f"{model} version {version}")
    if contract.digest != digest:
        raise VersionCorrupt(
            f"{CONTRACT} of {model} version {version} has the digest {contract.digest[:12]}, "
            f"and the version was registered with {digest[:12]}."
        )
    return contract


def fetch(client: MlflowClient, model: str, version: int, shelf: Shelf) -> str:
    """Bring a version to this host, verified, and return its contract's digest.

    The folder appears on the shelf as a whole or not at all. One that is there is taken if it is as it
    should be, and replaced if not.

    Raises:
        UnknownModel: there is no such version.
        ContractUnreadable: it has no contract.
        VersionCorrupt: a file is missing or not the one that the contract names.
        RegistryUnavailable: MLflow does not answer.
    """
    digest = digest_of(find_version(client, model, version))
    target, name = shelf.path(digest), f"{model} version {version}"
    if _is_whole(target, digest, name):
        return digest
    shelf.versions.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".partial-", dir=shelf.versions) as partial:
        folder = bring(client, model, version, Path(partial) / "version")
        if target.is_dir():
            target.rename(Path(partial) / "broken")
        _move(folder, target)
    return digest


def bring(client: MlflowClient, model: str, version: int, folder: Path) -> Path:
    """Download a version into a folder and verify it there; return where it lies.

    Raises:
        As `fetch`.
    """
    digest = digest_of(find_version(client, model, version))
    found = download(client, f"models:/{model}/{version}", folder)
    verify(found, digest, f"{model} version {version}")
    return found


def _is_whole(folder: Path, digest: str, name: str) -> bool:
    if not folder.is_dir():
        return False
    try:
        verify(folder, digest, name)
    except (VersionCorrupt, ContractUnreadable) as err:
        _log.warning("the local copy is brought again: %s", err)
        return False
    return True


def verify(folder: Path, digest: str, name: str) -> Contract:
    """Check a version's folder against its contract, and the contract against its digest.

    Args:
        folder: as `flavor.save_model` writes it.
        digest: that the contract must have.
        name: of the version, for the sentences.

    Raises:
        VersionCorrupt: with the file that is missing or different.
        ContractUnreadable: the contract itself cannot be read.
    """
    try:
        contract = parse_contract((folder / CONTRACT).read_bytes())
    except FileNotFoundError as err:
        raise VersionCorrupt(f"{CONTRACT} of {name} is missing.") from err
    if contract.digest != digest:
        raise VersionCorrupt(f"{CONTRACT} of {name} is not the one it was registered with.")
    for file, expected in contract.files.items():
        path = PurePosixPath(file)
        if path.is_absolute() or ".." in path.parts:
            raise VersionCorrupt(f"{name} names a file outside its folder: {file}.")
        if not (folder / path).is_file():
            raise VersionCorrupt(f"{file} of {name} is missing.")
        if sha256(folder / path) != expected:
            raise VersionCorrupt(f"{file} of {name} is not the one that its contract names.")
    return contract


def download_contract(client: MlflowClient, uri: str, name: str) -> Contract:
    """Return the contract below an MLflow URI.

    Raises:
        ContractUnreadable: there is none, or it cannot be read.
        RegistryUnavailable: MLflow does not answer.
    """
    with tempfile.TemporaryDirectory() as folder:
        try:
            file = download(client, f"{uri}/{CONTRACT}", Path(folder))
        except VersionCorrupt as err:
            raise ContractUnreadable(f"{name} has no {CONTRACT}.") from err
        return parse_contract(file.read_bytes())


def download_run_file(
    client: MlflowClient, model: str, version: int, name: str, folder: Path
) -> Path:
    """Bring one artifact of the run that a version came from into a folder.

    Raises:
        UnknownModel: there is no such version.
        VersionCorrupt: its run is not there any more, or has no such artifact.
        RegistryUnavailable: MLflow does not answer.
    """
    entry = find_version(client, model, version)
    return download(client, f"runs:/{entry.run_id}/{name}", folder)


def download(client: MlflowClient, uri: str, folder: Path) -> Path:
    """Bring what is at an MLflow URI into a folder, and return where it lies; nothing is verified.

    Raises:
        VersionCorrupt: there is nothing, or it cannot be read.
        RegistryUnavailable: MLflow does not answer.
    """
    from mlflow.artifacts import download_artifacts

    try:
        with translated(client):
            return Path(
                download_artifacts(uri, dst_path=str(folder), tracking_uri=client.tracking_uri)
            )
    except (UnknownModel, OSError) as err:
        raise VersionCorrupt(f"The artifacts of {uri} cannot be read: {err}.") from err


def _move(folder: Path, target: Path) -> None:
    try:
        folder.rename(target)
    except OSError:
        if not target.is_dir():  # else another process brought the same version first
            raise
        shutil.rmtree(folder)
