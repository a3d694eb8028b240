"""Steps of the growth benchmarks that need Feast or MLflow; run in a project's folder.

python -m benchmarks.serving.write entities FROM TO SECONDS     # prints how many there are now
python -m benchmarks.serving.write versions MODEL COUNT
"""

from __future__ import annotations

import json
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.serving.forest import names, split, user

_BATCH = 5000


def write_users(first: int, end: int, seconds: float) -> int:
    """Store the features of users by Feast's own write, and return how many were in time."""
    from feast import FeatureStore

    store = FeatureStore(repo_path="feature_repo")
    rows = np.load(Path("artifacts") / "rows.npy")
    order = names(rows.shape[1])
    views = {name: part for name, part in split(rows.shape[1]).items() if name.startswith("user")}
    stop = time.monotonic() + seconds
    for start in range(first, end, _BATCH):
        if time.monotonic() > stop:
            return start
        numbers = range(start, min(start + _BATCH, end))
        for name, part in views.items():
            columns = {feature: rows[:, order.index(feature)] for feature in part}
            batch = [_row(number, columns) for number in numbers]
            store.provider.online_write_batch(
                store.config, store.get_feature_view(name), batch, progress=None
            )
    return end


def _row(number: int, columns: dict[str, np.ndarray]) -> Any:
    from feast.protos.feast.types.EntityKey_pb2 import EntityKey
    from feast.protos.feast.types.Value_pb2 import Value

    key = EntityKey(join_keys=["user_id"], entity_values=[Value(string_val=user(number))])
    values = {
        name: Value(double_val=float(column[number % len(column)]))
        for name, column in columns.items()
    }
    return key, values, datetime.now(UTC), None


def copy_versions(model: str, count: int) -> int:
    """Copy version 1 until there are so many, each with an alias, so that a service loads it."""
    from mlflow import MlflowClient

    client = MlflowClient()
    have = len(client.search_model_versions(f"name='{model}'"))
    for number in range(have + 1, count + 1):
        made = client.copy_model_version(f"models:/{model}/1", model)
        client.set_registered_model_alias(model, f"number-{number}", made.version)
    return count


def main() -> None:
    """Do one of the steps."""
    step, *rest = sys.argv[1:]
    if step == "entities":
        first, end, seconds = rest
        found = write_users(int(first), int(end), float(seconds))
    else:
        model, count = rest
        found = copy_versions(model, int(count))
    json.dump(found, sys.stdout)


if __name__ == "__main__":
    main()
