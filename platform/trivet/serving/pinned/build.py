"""Build a bento of one registered version: the version, its contract and Trivet itself.

version brought and verified -> service, settings, features' addresses, wheel -> `bentoml build`
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version as installed
from pathlib import Path
from typing import TYPE_CHECKING

from trivet.contract import Contract, parse_contract
from trivet.errors import BentoNotBuilt
from trivet.live import CONTRACT, Shelf
from trivet.registry.download import fetch
from trivet.registry.versions import find_version
from trivet.serving.pinned import context
from trivet.serving.pinned.loading import PINNED
from trivet.serving.pinned.requirements import pinned_requirements
from trivet.serving.pinned.wheel import pack_wheel
from trivet.settings import Settings, silence_telemetry

if TYPE_CHECKING:
    from bentoml import Bento

    from trivet.registry.client import Client

_EXTRAS = ("redis", "postgres")
"""Of Trivet, each named as the type of the online store that needs it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Built:
    """A bento in BentoML's store."""

    tag: str
    path: Path
    labels: Mapping[str, str]
    new: bool
    """False: the same bento was there already."""
    secrets: tuple[str, ...] = ()
    """Keys of feature_store.yaml that hold a password and no variable: it lies in the bento now."""


def build_bento(settings: Settings, client: Client, model: str, version: int) -> Built:
    """Build the bento of a version, or return the one that has been built of the same parts.

    A bento's version is the model's, and a digest of all that it holds.

    Raises:
        UnknownModel, ContractUnreadable, VersionCorrupt: there is no such version, or no whole one.
        FeaturesUnavailable: the feature store's configuration cannot be read.
        BentoNotBuilt: what it needs is not installed, or BentoML refuses; its words are shown.
        RegistryUnavailable: MLflow does not answer.
    """
    with tempfile.TemporaryDirectory(prefix="trivet-bento-") as made:
        folder = Path(made)
        contract = _bring(client, model, version, folder)
        labels = _labels(contract, version)
        config = _features(settings, contract)
        if config is not None:
            context.write_features(folder, config)
        _write_requirements(folder, settings, contract)
        context.write_service(folder, settings, model, version, labels)
        digest = context.digest_of_folder(folder)
        tag = f"{context.bento_name(model)}:{version}-{digest[:12]}"
        there = _find(tag)
        if there is None:
            _build(folder, tag)
        bento = there or _find(tag)
    if bento is None:
        raise BentoNotBuilt(f"BentoML has built {tag} and does not find it.")
    return Built(
        tag=tag,
        path=Path(bento.path),
        labels=labels,
        new=there is None,
        secrets=_secrets(config),
    )


def _bring(client: Client, model: str, version: int, folder: Path) -> Contract:
    shelf = Shelf(folder / PINNED, model)
    digest = fetch(client, model, version, shelf)
    contract = parse_contract((shelf.path(digest) / CONTRACT).read_bytes())
    created = find_version(client, model, version).creation_timestamp
    since = datetime.fromtimestamp(created / 1000, tz=UTC)
    context.write_version(folder, contract, version, since)
    return contract


def _labels(contract: Contract, version: int) -> dict[str, str]:
    return {
        "model": contract.model,
        "version": str(version),
        "contract_digest": contract.digest,
        "trivet": installed("trivet"),
    }


def _features(settings: Settings, contract: Contract) -> str | None:
    if contract.feature_service is None:
        return None
    from trivet.features.pinned_config import pinned_config

    return pinned_config(settings)


def _secrets(config: str | None) -> tuple[str, ...]:
    if config is None:
        return ()
    from trivet.features.pinned_config import spelled_out_secrets

    return spelled_out_secrets(config)


def _write_requirements(folder: Path, settings: Settings, contract: Contract) -> None:
    extras: tuple[str, ...] = ()
    if contract.feature_service is not None:
        from trivet.features.pinned_config import online_store_kind

        kind = online_store_kind(settings)
        extras = tuple(extra for extra in _EXTRAS if extra == kind)
    wheel = pack_wheel(folder / "wheels")
    lines = (f"./wheels/{wheel.name}", *pinned_requirements(extras, contract.libraries))
    (folder / "requirements.txt").write_text("\n".join((*lines, "")), encoding="utf-8")


def _find(tag: str) -> Bento | None:
    silence_telemetry()
    # BentoML 1.4 on the newer pathspec, when it is imported.
    warnings.filterwarnings("ignore", "GitWildMatchPattern", DeprecationWarning)
    import bentoml

    try:
        return bentoml.get(tag)
    except bentoml.exceptions.NotFound:
        return None


def _build(folder: Path, tag: str) -> None:
    # A process of its own: BentoML imports the service to look at it, as a module named `service`.
    version = tag.partition(":")[2]
    command = [sys.executable, "-m", "bentoml", "build", ".", "--version", version, "-o", "tag"]
    done = subprocess.run(  # noqa: S603 - BentoML's own command, with this interpreter
        command, cwd=folder, env=dict(os.environ), capture_output=True, text=True, check=False
    )
    if done.returncode:
        said = (done.stderr.strip() or done.stdout.strip())[-1500:]
        raise BentoNotBuilt(f"BentoML refuses to build {tag}: {said}")
