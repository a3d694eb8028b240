"""A version that somebody registered without a contract: read it, and put one beside its artifacts."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trivet.contract import Contract
from trivet.errors import AdoptionRefused, UnknownModel, VersionCorrupt
from trivet.live import CONTRACT
from trivet.registry.client import translated
from trivet.registry.download import download, verify
from trivet.registry.flavor import ONNX, PREPROCESS, sha256
from trivet.registry.versions import DIGEST_TAG, RUNTIME_TAG, find_version, read_aliases

if TYPE_CHECKING:
    import numpy.typing as npt
    import pandas as pd
    from mlflow import MlflowClient
    from mlflow.models import Model

_DESCRIPTIVE = (
    "MLmodel",
    "conda.yaml",
    "input_example.json",
    "python_env.yaml",
    "registered_model_meta",
    "requirements.txt",
    "serving_input_example.json",
)
"""What MLflow writes about a model; nothing runs on it, or it is MLflow's to change."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plain:
    """A version as it was registered, brought to this host."""

    model: str
    version: int
    source: str
    folder: Path
    fields: tuple[tuple[str, str], ...]
    """Names and MLflow's types of the signature's columns, in order."""
    example: pd.DataFrame | None
    flavors: tuple[str, ...]
    stale: bool
    """Whether an adoption that did not come to its end has left files beside the artifacts."""


def parse_uri(client: MlflowClient, uri: str) -> tuple[str, int]:
    """Return model and version of `models:/NAME/3` or `models:/NAME@alias`.

    Raises:
        UnknownModel: it is neither, or there is no such alias.
    """
    found = re.fullmatch(r"models:/([^/@]+)(?:/(\d+)|@(.+))", uri)
    if found is None:
        raise UnknownModel(f"{uri} is neither like models:/NAME/3 nor like models:/NAME@alias.")
    model, number, alias = found.groups()
    if number is not None:
        return model, int(number)
    aliases = read_aliases(client, model)
    if alias not in aliases:
        raise UnknownModel(
            f"{model} has no alias {alias}; aliases: {', '.join(aliases) or 'none'}."
        )
    return model, aliases[alias]


def read_plain(client: MlflowClient, model: str, version: int, folder: Path) -> Plain:
    """Bring a version without a contract to this host.

    Raises:
        UnknownModel: there is no such version.
        AdoptionRefused: it has a contract, shares its artifacts with one that has, or has no signature
            of named columns.
        VersionCorrupt: its artifacts cannot be read.
        RegistryUnavailable: MLflow does not answer.
    """
    entry = find_version(client, model, version)
    source = str(entry.source)
    if DIGEST_TAG in entry.tags:
        raise AdoptionRefused(f"{model} version {version} has a contract already.")
    _require_writable(model, version, source)
    _require_own_artifacts(client, model, version, source)
    path = download(client, f"models:/{model}/{version}", folder)
    from mlflow.models import Model

    try:
        described = Model.load(str(path))
    except Exception as err:
        raise VersionCorrupt(f"The MLmodel of {model} version {version} is none: {err}") from err
    return Plain(
        model=model,
        version=version,
        source=source,
        folder=path,
        fields=_fields(model, version, described),
        example=_example(described, path),
        flavors=tuple(described.flavors),
        stale=(path / PREPROCESS).exists(),
    )


def load_estimator(plain: Plain) -> Any | None:
    """Return the version's scikit-learn model; None for one of another kind.

    Raises:
        VersionCorrupt: it cannot be loaded here.
    """
    if "sklearn" not in plain.flavors:
        return None
    import mlflow.sklearn

    try:
        return mlflow.sklearn.load_model(str(plain.folder))
    except Exception as err:
        raise VersionCorrupt(
            f"{plain.model} version {plain.version} cannot be loaded: {err}"
        ) from err


def ask_pyfunc(plain: Plain, frame: pd.DataFrame) -> npt.NDArray[Any]:
    """Return what the version gives for some rows, through MLflow's pyfunc.

    Raises:
        VersionCorrupt: it cannot be loaded here, or fails.
    """
    import mlflow.pyfunc
    import numpy as np

    try:
        return np.asarray(mlflow.pyfunc.load_model(str(plain.folder)).predict(frame))
    except Exception as err:
        raise VersionCorrupt(f"{plain.model} version {plain.version} fails: {err}") from err


def add_contract(
    client: MlflowClient,
    plain: Plain,
    contract: Contract,
    *,
    onnx: bytes | None,
    preprocess: Path | None,
    tags: Mapping[str, str],
) -> Contract:
    """Put a contract, and what goes with it, beside a version's artifacts; return it with its files.

    The digest's tag comes last, when what is there has been read back: a version without the tag has
    no contract, whatever was left beside its artifacts.

    Raises:
        VersionCorrupt: what was read back is not what was written.
        RegistryUnavailable: MLflow does not answer; doing it again mends it.
    """
    own = {ONNX: onnx, PREPROCESS: None if preprocess is None else preprocess.read_bytes()}
    added = {name: content for name, content in own.items() if content is not None}
    with tempfile.TemporaryDirectory() as made:
        staging, back = Path(made) / "staging", Path(made) / "back"
        for name, content in added.items():
            _write(staging / name, content)
        digests = {file: sha256(plain.folder / file) for file in _parts(plain.folder, added)}
        digests |= {name: sha256(staging / name) for name in added}
        whole = contract.model_copy(update={"files": dict(sorted(digests.items()))})
        _write(staging / CONTRACT, whole.to_json().encode())
        _upload(client, plain.source, staging)
        found = download(client, f"models:/{plain.model}/{plain.version}", back)
        verify(found, whole.digest, f"{plain.model} version {plain.version}")
    everything = {**tags, RUNTIME_TAG: whole.runtime.kind, DIGEST_TAG: whole.digest}
    with translated(client):
        for key, value in everything.items():  # the digest is the last
            client.set_model_version_tag(plain.model, str(plain.version), key, value)
    return whole


def _parts(folder: Path, added: Mapping[str, bytes]) -> list[str]:
    files = [p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()]
    left_out = {*_DESCRIPTIVE, *added, CONTRACT, ONNX, PREPROCESS}
    return sorted(file for file in files if file not in left_out)


def _write(file: Path, content: bytes) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content)


def _upload(client: MlflowClient, source: str, folder: Path) -> None:
    kind, _, rest = source.partition(":/")
    with translated(client):
        if kind == "models":
            client.log_model_artifacts(rest, str(folder))
        else:
            run_id, _, path = rest.lstrip("/").partition("/")
            client.log_artifacts(run_id, str(folder), path or None)


def _require_writable(model: str, version: int, source: str) -> None:
    if not re.match(r"models:/m-|runs:/", source):
        raise AdoptionRefused(
            f"The artifacts of {model} version {version} are at {source}, outside of MLflow.",
            hint="Log the model (mlflow.<flavor>.log_model) and register what was logged.",
        )


def _require_own_artifacts(client: MlflowClient, model: str, version: int, source: str) -> None:
    with translated(client):
        sharing = client.search_model_versions(f"source_path = '{source}'")
    for other in sharing:
        if DIGEST_TAG in other.tags:
            raise AdoptionRefused(
                f"{model} version {version} shares its artifacts with {other.name} version "
                f"{other.version}, which has a contract.",
                hint="Use that version, or log the model once more.",
            )


def _fields(model: str, version: int, described: Model) -> tuple[tuple[str, str], ...]:
    from mlflow.types import ColSpec

    signature = described.signature
    columns = [] if signature is None or signature.inputs is None else list(signature.inputs)
    if not columns or not all(isinstance(c, ColSpec) and c.name for c in columns):
        raise AdoptionRefused(
            f"{model} version {version} has no signature of named columns.",
            hint="Log it with signature=infer_signature(frame, ...), or with input_example=frame.",
        )
    return tuple((c.name, getattr(c.type, "name", str(c.type))) for c in columns)


def _example(described: Model, folder: Path) -> pd.DataFrame | None:
    import pandas as pd

    example = described.load_input_example(str(folder))
    return example if isinstance(example, pd.DataFrame) else None
