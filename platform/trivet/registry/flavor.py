"""How a version lies on disk: MLflow's scikit-learn flavor, and beside it what Trivet serves from.

    MLmodel, model.skops, requirements …   MLflow's; `mlflow.pyfunc.load_model` reads it as ever
    model.onnx                             the faster runtime, a flavor of its own
    trivet/preprocess.py, postprocess.py   the steps around the model
    trivet/contract.json                   what it all promises, and the digest of each such file

A flavor module in MLflow's sense: handed to `mlflow.models.Model.log(flavor=...)`.
"""

from __future__ import annotations

import hashlib
import shutil
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version as installed
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np
import numpy.typing as npt

from trivet.contract import Contract
from trivet.live import CONTRACT

if TYPE_CHECKING:
    import pandas as pd
    from mlflow.models import Model, ModelSignature

ONNX = "model.onnx"
PREPROCESS = "trivet/preprocess.py"
POSTPROCESS = "trivet/postprocess.py"

_ALWAYS_PINNED = ("mlflow", "numpy", "pandas", "scikit-learn", "skops")


class Estimator(Protocol):
    """A fitted model of scikit-learn's kind; a classifier also has `predict_proba`."""

    def predict(self, frame: pd.DataFrame, /) -> npt.NDArray[np.generic]:
        """Return one result a row."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """What a version is made of; `contract.files` is still empty."""

    contract: Contract
    estimator: Estimator
    example: pd.DataFrame
    onnx: bytes | None
    preprocess: Path | None
    postprocess: Path | None
    skops_trusted_types: Sequence[str]


def save_model(
    path: str, mlflow_model: Model, parts: Parts, *, validate_serving_input: bool = False
) -> None:
    """Write the version's folder, the contract last, with the digests of what was written.

    Args:
        path: a folder that does not exist yet.
        mlflow_model: takes the flavors; becomes MLmodel.
        parts: of the version.
        validate_serving_input: MLflow's own, read by `Model.log`.
    """
    del validate_serving_input
    import mlflow.sklearn

    classifier = parts.contract.output.kind == "classification"
    if parts.onnx is not None:
        _add_onnx_flavor(mlflow_model)
    mlflow.sklearn.save_model(
        parts.estimator,
        path,
        mlflow_model=mlflow_model,
        serialization_format="skops",
        signature=_signature(parts, "predict_proba" if classifier else "predict"),
        input_example=parts.example,
        pip_requirements=_pins(parts.contract),
        pyfunc_predict_fn="predict_proba" if classifier else "predict",
        skops_trusted_types=list(parts.skops_trusted_types),
    )
    folder = Path(path)
    files = [mlflow_model.flavors["sklearn"]["pickled_model"], *_write_own(folder, parts)]
    digests = {file: sha256(folder / file) for file in sorted(files)}
    contract = parts.contract.model_copy(update={"files": digests})
    (folder / CONTRACT).write_text(contract.to_json(), encoding="utf-8")


def sha256(file: Path) -> str:
    """Return the hexadecimal SHA-256 of a file's bytes."""
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def _add_onnx_flavor(mlflow_model: Model) -> None:
    # The entry that mlflow.onnx.save_model would write, so that mlflow.onnx.load_model finds it.
    mlflow_model.add_flavor(
        "onnx",
        onnx_version=installed("onnx"),
        data=ONNX,
        providers=["CPUExecutionProvider"],
        onnx_session_options=None,
        code=None,
    )


def _write_own(folder: Path, parts: Parts) -> list[str]:
    (folder / CONTRACT).parent.mkdir()
    written = []
    if parts.onnx is not None:
        (folder / ONNX).write_bytes(parts.onnx)
        written.append(ONNX)
    for name, source in ((PREPROCESS, parts.preprocess), (POSTPROCESS, parts.postprocess)):
        if source is not None:
            shutil.copyfile(source, folder / name)
            written.append(name)
    return written


def _signature(parts: Parts, method: str) -> ModelSignature:
    from mlflow.models import infer_signature

    answer = getattr(parts.estimator, method)(parts.example)
    with warnings.catch_warnings():
        # MLflow advises to make integer columns floats; the contract says which may be null.
        warnings.filterwarnings("ignore", message=".*integer column.*")
        return infer_signature(parts.example, answer)


def _pins(contract: Contract) -> list[str]:
    # Stated: MLflow would find them by loading the model in a second process, to watch its imports.
    pins: Mapping[str, str] = {name: installed(name) for name in _ALWAYS_PINNED}
    return [f"{name}=={number}" for name, number in sorted({**pins, **contract.libraries}.items())]
