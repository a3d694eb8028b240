"""The steps of a benchmark's project that need its libraries; run in its folder by `project`.

python -m benchmarks.serving.train data
python -m benchmarks.serving.train models forest forest_by_key
"""

from __future__ import annotations

import argparse
import copy
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.serving.forest import (
    CLASSES,
    ENTITIES,
    FEATURES,
    as_onnx,
    fit,
    held_out,
    made,
    names,
    user,
    write_sources,
)

ROOT = Path.cwd()
ARTIFACTS = ROOT / "artifacts"


def make_data(features: int, entities: int) -> None:
    """Write the sources of the feature views, and the entities' rows as an array."""
    rows = made(features, entities)[2]
    write_sources(ROOT / "data", rows)
    ARTIFACTS.mkdir(exist_ok=True)
    np.save(ARTIFACTS / "rows.npy", rows)


def make_models(features: int, entities: int, models: list[str]) -> None:
    """Fit the forest; register it under each name, and keep it as other servers take it."""
    import joblib

    values, labels, rows = made(features, entities)
    model = fit(values, labels)
    joblib.dump(_without_names(model), ARTIFACTS / "forest.joblib")
    (ARTIFACTS / "forest.onnx").write_bytes(as_onnx(model, features))
    (ARTIFACTS / "features.txt").write_text("\n".join(names(features)))
    np.save(ARTIFACTS / "labels.npy", _labels(model, rows))
    for name in models:
        chosen = fit(values, labels, squeezed=True) if name == "forest_pyfunc" else model
        _register(name, chosen, held_out(values))


def _without_names(model: Any) -> Any:
    """Return it as if it had been fitted on an array: else it warns at each array that it is given."""
    copied = copy.deepcopy(model)
    del copied[0].feature_names_in_
    return copied


def _labels(model: Any, rows: np.ndarray) -> np.ndarray:
    import pandas as pd

    frame = pd.DataFrame(rows, columns=names(rows.shape[1]))
    predicted: np.ndarray = model.predict(frame)
    return predicted


def _register(name: str, model: Any, values: np.ndarray) -> int:
    import pandas as pd

    from trivet import (
        Candidate,
        Classification,
        Column,
        load_settings,
        open_store,
        read_offer,
        register,
    )

    settings = load_settings()
    by_key = name.startswith("forest_by_key")
    columns = names(values.shape[1])
    frame = pd.DataFrame(values, columns=columns)
    offer = read_offer(open_store(settings), "forest_v1") if by_key else None
    asked = [Column(name=column, source="request", dtype="float64") for column in columns]
    if offer is not None:
        asked = _in_order(offer.columns, columns)
        frame = frame.assign(
            user_id=[user(n) for n in range(len(frame))], item_id=range(len(frame))
        )
    return register(
        settings,
        Candidate(
            model=name,
            estimator=model,
            columns=asked,
            output=Classification(classes=CLASSES),
            held_out=frame,
            bento=ROOT / "bentos" / name,
            offer=offer,
        ),
    )


def _in_order(columns: Any, wanted: list[str]) -> list[Any]:
    by_name = {column.name: column for column in columns}
    return [by_name[name] for name in wanted]


def main() -> None:
    """Do one of the steps."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("step", choices=("data", "models"))
    parser.add_argument("models", nargs="*")
    parser.add_argument("--features", type=int, default=FEATURES)
    parser.add_argument("--entities", type=int, default=ENTITIES)
    options = parser.parse_args()
    if options.step == "data":
        make_data(options.features, options.entities)
    else:
        make_models(options.features, options.entities, options.models)


if __name__ == "__main__":
    main()
