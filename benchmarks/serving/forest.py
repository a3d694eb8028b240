"""The model and the rows of every contender: a forest of 100 trees, three classes, numeric features.

Half of a row's features belong to a user and half to an item, so that a row is asked for by two keys
as well as by its values: entity i is user i with item i.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from sklearn.pipeline import Pipeline

Rows = npt.NDArray[np.float64]
"""Feature values: n rows, one column a feature, float64."""

CLASSES = ("Low", "Medium", "High")
FEATURES = 20
ENTITIES = 10_000
TREES = 100
_TRAINED, _HELD_OUT = 4000, 1000


def names(features: int = FEATURES) -> list[str]:
    """Return the names of the features, in the model's order."""
    return [f"feature_{number:03}" for number in range(features)]


def user(number: int) -> str:
    """Return the key of a user."""
    return f"u{number:07}"


def split(features: int) -> dict[str, list[str]]:
    """Return the features of each of the four views: two of users, then two of items."""
    views = ("user_now", "user_lately", "item_now", "item_lately")
    parts = np.array_split(np.array(names(features)), len(views))
    return {view: part.tolist() for view, part in zip(views, parts, strict=True)}


def made(features: int = FEATURES, entities: int = ENTITIES) -> tuple[Rows, npt.NDArray[Any], Rows]:
    """Make the rows and labels that are learned from, and the rows of the entities.

    Returns:
        5,000 rows and their labels (0, 1 or 2), and one row an entity.
    """
    from sklearn.datasets import make_classification

    informative = max(2, round(0.75 * features))
    values, labels = make_classification(
        n_samples=_TRAINED + _HELD_OUT + entities,
        n_features=features,
        n_informative=informative,
        n_redundant=min(2, features - informative),
        n_classes=len(CLASSES),
        random_state=42,
    )
    learned = _TRAINED + _HELD_OUT
    return values[:learned], labels[:learned], values[learned:]


def fit(values: Rows, labels: npt.NDArray[Any], *, squeezed: bool = False) -> Pipeline:
    """Fit the forest on the first 4,000 rows; the rest is held out.

    `squeezed`: with a step that has no counterpart in ONNX, so that the version stays pyfunc.
    """
    import pandas as pd
    from skl2onnx.sklapi import CastTransformer
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import FunctionTransformer, StandardScaler

    frame = pd.DataFrame(values, columns=names(values.shape[1]))
    forest = RandomForestClassifier(TREES, random_state=42)
    squeeze = [FunctionTransformer(np.tanh)] if squeezed else []
    cast = CastTransformer(dtype=np.float32)
    model = make_pipeline(StandardScaler(), *squeeze, cast, forest)
    return model.fit(frame[:_TRAINED], labels[:_TRAINED])


def held_out(values: Rows) -> Rows:
    """Return the rows that were not trained on."""
    return values[_TRAINED:]


def as_onnx(model: Pipeline, features: int) -> bytes:
    """Compile as the documentation of skl2onnx does: one matrix in, labels and probabilities out."""
    from skl2onnx import to_onnx
    from skl2onnx.common.data_types import DoubleTensorType

    shape = [("x", DoubleTensorType([None, features]))]
    compiled = to_onnx(model, initial_types=shape, options={"zipmap": False})
    content: bytes = compiled.SerializeToString()
    return content


def write_sources(folder: Path, entities: Rows) -> None:
    """Write what the feature views read: one Parquet file of users and one of items."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    folder.mkdir(parents=True, exist_ok=True)
    known = [datetime.now(UTC) - timedelta(minutes=1)] * len(entities)
    stamp = pa.array(known, pa.timestamp("us", "UTC"))
    views = split(entities.shape[1])
    order = names(entities.shape[1])
    numbers = range(len(entities))
    for key, ids in (
        ("user", pa.array([user(number) for number in numbers])),
        ("item", pa.array(list(numbers), pa.int64())),
    ):
        own = [name for view, part in views.items() if view.startswith(key) for name in part]
        columns = {name: pa.array(entities[:, order.index(name)]) for name in own}
        table = pa.table({f"{key}_id": ids, **columns, "event_timestamp": stamp})
        pq.write_table(table, folder / f"{key}s.parquet")
