"""A version that is dropped is gone: its model, its code, its reader of features."""

from __future__ import annotations

import gc
import shutil
import sys
import weakref
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LinearRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from integration.tiny import MODEL, NOON, Tiny
from trivet.contract import Contract, Runtime
from trivet.errors import VersionTooLarge
from trivet.features.cache import RowCache
from trivet.features.on_demand import open_transforms
from trivet.features.reader import OnlineReader
from trivet.live import Shelf
from trivet.registry.client import connect
from trivet.registry.download import fetch
from trivet.registry.register import Submission, log_version
from trivet.runtime.convert import to_onnx
from trivet.serving.loaded import FeatureSource, Version, load_version
from trivet.serving.room import Room

CODE = """
class Table:
    pass

TABLE = Table()

def preprocess(columns):
    return {"age": columns["age"], "purchases": columns["purchases"]}
"""


class Loads:
    """A registered version and a feature store, as a worker has them."""

    def __init__(self, root: Path, kind: Literal["onnx", "pyfunc"]) -> None:
        """Register one version with code of its own."""
        self._tiny = Tiny(root)
        self._tiny.apply()
        self._tiny.materialize()
        self._store: Any = self._tiny.open()
        self._cache = RowCache(seconds=1.0, most=100)
        client = connect(self._tiny.settings)
        shelf = Shelf(self._tiny.settings.home, MODEL)
        number = log_version(client, self._tiny.settings, self._submission(kind), "a toy")
        self._folder = shelf.path(fetch(client, MODEL, number, shelf))

    def __call__(self, room: Room | None = None) -> Version:
        """Load it and answer a request."""
        version = load_version(1, self._folder, self._open, room)
        asked = version.check([{"user_id": "u00001", "amount": 1.0}])
        features = version.judge(version.fetch(asked.keys, NOON), NOON)
        prepared = version.settle(asked, features)
        (prediction,) = version.predict(prepared).predictions
        assert prediction["value"] == pytest.approx(1.0, abs=1e-6)
        return version

    def _open(self, contract: Contract) -> FeatureSource:
        self._store.refresh_registry()
        reader = OnlineReader(self._store, contract, 1.0, self._cache)
        return FeatureSource(reader=reader, transforms=open_transforms(self._store, contract))

    def _submission(self, kind: Literal["onnx", "pyfunc"]) -> Submission:
        frame = pd.DataFrame({"age": np.arange(20.0), "purchases": np.arange(20.0)})
        model = make_pipeline(FunctionTransformer(), LinearRegression()).fit(frame, frame.age)
        code = self._tiny.root / "preprocess.py"
        code.write_text(CODE)
        contract = self._tiny.contract()
        if kind == "onnx":
            contract = contract.model_copy(update={"runtime": Runtime(kind="onnx")})
        submission = Submission(
            contract=contract, estimator=model, example=frame.head(3), preprocess=code
        )
        if kind == "pyfunc":
            return submission
        columns = {name: frame[name].to_numpy() for name in frame}
        return replace(submission, onnx=to_onnx(model, columns))


@pytest.fixture(params=["onnx", "pyfunc"])
def loads(request: pytest.FixtureRequest, tmp_path: Path, empty_registry: Path) -> Iterator[Loads]:
    """Return what loads a version of either runtime, without garbage collections meanwhile."""
    shutil.copyfile(empty_registry, tmp_path / "mlflow.db")
    made = Loads(tmp_path, request.param)
    made()  # what libraries keep of the first
    gc.collect()
    gc.disable()
    yield made
    gc.enable()


def test_a_dropped_version_is_gone_without_a_garbage_collection(loads: Loads) -> None:
    """A worker under load has no full one for minutes, and there may be many releases."""
    version = loads()
    pipeline = version._pipeline
    (name,) = (name for name in sys.modules if name.startswith("trivet_preprocess_"))
    traces = {
        "version": weakref.ref(version),
        "pipeline": weakref.ref(pipeline),
        "predictor": weakref.ref(pipeline.predictor),
        "reader": weakref.ref(version._reader),
        "code": weakref.ref(sys.modules[name]),
        "what the code keeps": weakref.ref(sys.modules[name].TABLE),
    }
    del version, pipeline
    assert [what for what, trace in traces.items() if trace() is not None] == []
    assert name not in sys.modules


def test_the_same_code_serves_until_the_last_version_with_it_is_gone(loads: Loads) -> None:
    """Two versions may differ in the model alone."""
    first, second = loads(), loads()
    (name,) = (name for name in sys.modules if name.startswith("trivet_preprocess_"))
    del first
    assert sys.modules[name].preprocess({"age": 1, "purchases": 2}) == {"age": 1, "purchases": 2}
    del second
    assert name not in sys.modules


def test_a_version_that_does_not_fit_leaves_nothing_behind(loads: Loads) -> None:
    """Whether its files say so, or what the process has grown by."""
    size = loads().size
    assert size > 0
    assert loads(Room(left=size + 2**24, most=2**30)).size > 0
    with pytest.raises(VersionTooLarge, match=r"1,024\.0 MiB for loaded versions 0\.0 MiB"):
        loads(Room(left=10, most=2**30))
    assert not [name for name in sys.modules if name.startswith("trivet_preprocess_")]


def test_a_version_is_refused_for_what_loading_it_has_added(
    loads: Loads, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its files are small, and it makes something large of them."""
    kept: list[bytes] = []

    def verify(version: Version, batch_rows: int) -> None:
        kept.append(b"x" * 2**26)

    monkeypatch.setattr(Version, "verify", verify)
    with pytest.raises(VersionTooLarge):
        loads(Room(left=2**25, most=2**30))
    assert not [name for name in sys.modules if name.startswith("trivet_preprocess_")]
