"""Give a contract to a version that somebody else registered.

signature against features -> rows -> compile with parity -> golden rows -> contract beside the model
"""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from trivet.contract import Classification, Column, Contract, Regression
from trivet.errors import AdoptionRefused, BadSetting, TrivetError
from trivet.offer import Offer
from trivet.registry.adopt import Plain, add_contract, ask_pyfunc, load_estimator, read_plain
from trivet.registry.client import Client
from trivet.registry.pyfunc import PyfuncPredictor
from trivet.runtime.compile import Compiled, compile_with_parity
from trivet.runtime.estimator import EstimatorPredictor
from trivet.runtime.onnx import OnnxPredictor
from trivet.runtime.parity import gather_proof
from trivet.settings import Settings
from trivet.training.candidate import Candidate, contract_of, golden_rows, lineage_of, pipeline_of
from trivet.training.frames import to_columns, to_frame
from trivet.training.request_fields import with_request_fields
from trivet.training.signature import casting_code, match_signature


@dataclass(frozen=True, slots=True, kw_only=True)
class Adoption:
    """What is to be adopted, and what its signature does not say."""

    model: str
    version: int
    feature_service: str | None = None
    """None: the caller sends every column."""
    request: tuple[str, ...] = ()
    """Columns that the caller sends."""
    nullable: tuple[str, ...] = ()
    """Columns that may be null; the others are rejected when they are absent."""
    classes: tuple[str, ...] = ()
    """Names of a classifier's classes, in its own order; default: its own."""
    unit: str = ""
    """Of a regression."""
    rows: Path | None = None
    """A Parquet file with rows to compare on; default: the version's input example."""
    fields: Mapping[str, str] = field(default_factory=dict)
    """Values of join keys and request fields that the rows lack, for the example request."""


def adopt(settings: Settings, client: Client, adoption: Adoption) -> Contract:
    """Check a version's signature against the features, and put a contract beside its artifacts.

    Raises:
        SignatureMismatch: with every column that differs; nothing is changed.
        AdoptionRefused: it has a contract, or lacks what one is made of; nothing is changed.
        UnknownModel, VersionCorrupt, BadSetting, FeaturesUnavailable, RegistryUnavailable.
    """
    with tempfile.TemporaryDirectory(prefix="trivet-adopt-") as made:
        folder = Path(made)
        plain = read_plain(client, adoption.model, adoption.version, folder / "version")
        offer = _offer(settings, adoption)
        columns = match_signature(
            plain.model,
            plain.version,
            plain.fields,
            offer,
            request=adoption.request if offer else [name for name, _ in plain.fields],
            nullable=adoption.nullable,
        )
        code = _write_code(folder, plain)
        rows = _rows(adoption, plain, columns)
        estimator, output, reason = _understand(adoption, plain, to_columns(columns, rows))
        candidate = Candidate(
            model=plain.model,
            estimator=estimator,
            columns=columns,
            output=output,
            held_out=with_request_fields(settings, offer, columns, rows, adoption.fields),
            bento=folder,
            offer=offer,
        )
        compiled = _compile(candidate, reason)
        contract = _contract(candidate, compiled, plain)
        return add_contract(
            client,
            plain,
            contract,
            onnx=compiled.model,
            preprocess=code,
            tags=lineage_of(contract),
        )


def _offer(settings: Settings, adoption: Adoption) -> Offer | None:
    if adoption.feature_service is None:
        return None
    from trivet.features.offer import read_offer
    from trivet.features.store import open_store

    policies = dict.fromkeys(adoption.nullable, "null")
    store = open_store(settings)
    offer = read_offer(store, adoption.feature_service, policies)  # type: ignore[arg-type]
    if offer is None:
        raise AdoptionRefused(
            f"Feast has no feature service {adoption.feature_service} in project {store.project}.",
            hint="feast feature-services list shows what there is.",
        )
    return offer


def _write_code(folder: Path, plain: Plain) -> Path | None:
    # One that an interrupted adoption has left would be run: it is replaced.
    code = casting_code(plain.fields, always=plain.stale)
    if code is None:
        return None
    file = folder / "preprocess.py"
    file.write_text(code, encoding="utf-8")
    return file


def _rows(adoption: Adoption, plain: Plain, columns: tuple[Column, ...]) -> pd.DataFrame:
    if adoption.rows is not None:
        try:
            rows = pd.read_parquet(adoption.rows)
        except (OSError, ValueError) as err:
            raise BadSetting(f"{adoption.rows} is no Parquet file: {err}.") from err
    elif plain.example is not None:
        rows = plain.example
    else:
        raise AdoptionRefused(
            f"{plain.model} version {plain.version} has no input example to compare runtimes on.",
            hint="Give rows as a Parquet file: --rows FILE.",
        )
    missing = [column.name for column in columns if column.name not in rows]
    if missing or rows.empty:
        raise BadSetting(f"The rows have no {', '.join(missing) or 'row'}.")
    return rows


def _understand(
    adoption: Adoption, plain: Plain, values: Mapping[str, Any]
) -> tuple[Any | None, Classification | Regression, str | None]:
    """Return the estimator where it can be compiled, what it gives, and else the reason why not."""
    estimator = load_estimator(plain)
    if estimator is None:
        reason = f"only models of scikit-learn are compiled; this one is {', '.join(plain.flavors)}"
        return None, _output_of(adoption, plain, values), reason
    own = getattr(estimator, "classes_", None)
    if own is None:
        return estimator, Regression(unit=adoption.unit), None
    if not hasattr(estimator, "predict_proba"):
        raise AdoptionRefused(f"{plain.model} version {plain.version} gives no probabilities.")
    output = Classification(classes=_names(adoption, [str(each) for each in own]))
    try:
        return _numbered(estimator, to_frame(values)), output, None
    except (AttributeError, TypeError) as err:
        return None, output, f"its classes cannot be numbered: {err}"


def _output_of(
    adoption: Adoption, plain: Plain, values: Mapping[str, Any]
) -> Classification | Regression:
    answer = ask_pyfunc(plain, to_frame(values))
    if answer.ndim == 1 or answer.shape[1] == 1:
        return Regression(unit=adoption.unit)
    return Classification(classes=_names(adoption, [str(n) for n in range(answer.shape[1])]))


def _names(adoption: Adoption, own: list[str]) -> tuple[str, ...]:
    if adoption.classes and len(adoption.classes) != len(own):
        raise BadSetting(
            f"--classes names {len(adoption.classes)}; the model has {len(own)}: {', '.join(own)}."
        )
    return adoption.classes or tuple(own)


def _numbered(estimator: Any, rows: pd.DataFrame) -> Any:
    """Return a classifier whose answers are the positions of its classes.

    Most of scikit-learn's classifiers look their answer up in `classes_`, as the last thing they do.

    Raises:
        AttributeError, TypeError: this one does not.
    """
    classes = np.asarray(estimator.classes_)
    if np.array_equal(classes, np.arange(len(classes))):
        return estimator
    numbered = copy.deepcopy(estimator)
    last = numbered.steps[-1][1] if hasattr(numbered, "steps") else numbered
    last.classes_ = np.arange(len(classes))
    if np.asarray(numbered.predict(rows)).dtype.kind not in "iu":
        raise TypeError(f"{type(last).__name__} looks them up elsewhere")
    return numbered


def _compile(candidate: Candidate, reason: str | None) -> Compiled:
    if candidate.estimator is None:
        return Compiled(model=None, parity=None, reason=reason)
    model = EstimatorPredictor(candidate.estimator, candidate.output)
    values = to_columns(candidate.columns, candidate.held_out)
    prepare = pipeline_of(candidate, model).prepare
    try:
        proof = gather_proof(candidate.estimator, model, candidate.columns, values, prepare)
    except TrivetError:
        raise
    except Exception as err:
        raise AdoptionRefused(f"The model fails on the rows: {type(err).__name__}: {err}") from err
    return compile_with_parity(candidate.estimator, proof, candidate.output)


def _contract(candidate: Candidate, compiled: Compiled, plain: Plain) -> Contract:
    predictor = (
        PyfuncPredictor(plain.folder, candidate.output)
        if compiled.model is None
        else OnnxPredictor(compiled.model, candidate.output)
    )
    golden = golden_rows(candidate, pipeline_of(candidate, predictor))
    return contract_of(candidate, compiled, golden)
