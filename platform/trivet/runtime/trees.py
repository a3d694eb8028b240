"""What the trees inside a fitted estimator compare with: features, thresholds, and the way of a NaN."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

_TREES = ("tree_", "_predictors", "booster_", "get_booster")
"""What a fitted model with trees has, one of: scikit-learn's two kinds, LightGBM, XGBoost."""

_MEMBERS = ("estimators_", "calibrated_classifiers_", "estimator", "estimator_")
"""Where ensembles of scikit-learn keep models that see the same features as they do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Splits:
    """Every distinct comparison of a model's trees: `features[i]` with `thresholds[i]`."""

    features: npt.NDArray[np.int64]
    thresholds: npt.NDArray[np.float64]

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self.features)


def read_splits(estimator: Any) -> Splits:
    """Collect the numeric splits of a fitted model; none where it has no trees."""
    pairs = [_splits(model) for model in _members(estimator)]
    if not pairs:
        return Splits(features=np.empty(0, np.int64), thresholds=np.empty(0))
    both = np.concatenate(pairs, axis=1)
    features, thresholds = np.unique(both[:, np.isfinite(both[1])], axis=1)
    return Splits(features=features.astype(np.int64), thresholds=thresholds)


def compares_in_single(estimator: Any) -> bool:
    """Whether the model has trees that compare numbers as float32: scikit-learn's own and XGBoost's.

    Histogram gradient boosting and LightGBM compare in double precision.
    """
    return any(hasattr(m, "tree_") or hasattr(m, "get_booster") for m in _members(estimator))


def exact_node_values(estimator: Any) -> Iterator[npt.NDArray[np.float64]]:
    """Yield, for each histogram gradient boosting, its nodes' thresholds; 0 at a leaf.

    In the order in which skl2onnx writes the nodes down, which it does in single precision.
    """
    for model in _members(estimator):
        if hasattr(model, "_predictors"):
            nodes = _boosted_nodes(model)
            yield np.where(nodes["is_leaf"], 0.0, nodes["num_threshold"]).astype(np.float64)


def missing_goes_left(estimator: Any) -> npt.NDArray[np.int64] | None:
    """Return for each node of scikit-learn's trees whether a NaN goes left; None: no such trees."""
    trees = [estimator] if hasattr(estimator, "tree_") else getattr(estimator, "estimators_", [])
    flat = np.ravel(np.asarray(trees, dtype=object))
    if not len(flat) or not all(hasattr(tree, "tree_") for tree in flat):
        return None
    return np.concatenate([tree.tree_.missing_go_to_left for tree in flat]).astype(np.int64)


def _boosted_nodes(model: Any) -> npt.NDArray[Any]:
    predictors = model._predictors  # noqa: SLF001 - they are nowhere else
    return np.concatenate([tree.nodes for stage in predictors for tree in stage])


def _members(estimator: Any) -> Iterator[Any]:
    """Yield the models with trees of their own, however deep in ensembles."""
    if any(hasattr(estimator, name) for name in _TREES):
        yield estimator
        return
    for name in _MEMBERS:
        held = getattr(estimator, name, None)
        for one in np.ravel(np.asarray(held, dtype=object)) if _many(held) else [held]:
            if hasattr(one, "predict_proba") or hasattr(one, "predict"):
                yield from _members(one)


def _many(held: Any) -> bool:
    return isinstance(held, list | tuple | np.ndarray)


def _splits(model: Any) -> npt.NDArray[np.float64]:
    """Return features and thresholds of one model, of shape [2, splits]."""
    if hasattr(model, "tree_"):
        inner = model.tree_.children_left != -1
        return np.stack([model.tree_.feature[inner], model.tree_.threshold[inner]])
    if hasattr(model, "_predictors"):
        nodes = _boosted_nodes(model)
        inner = nodes[(nodes["is_leaf"] == 0) & (nodes["is_categorical"] == 0)]
        return np.stack([inner["feature_idx"].astype(np.float64), inner["num_threshold"]])
    if hasattr(model, "booster_"):
        frame = model.booster_.trees_to_dataframe().dropna(subset=["split_feature", "threshold"])
        frame = frame[frame["decision_type"] == "<="]
        names = model.booster_.feature_name()
        return _named(names, frame["split_feature"], frame["threshold"])
    booster = model.get_booster()
    frame = booster.trees_to_dataframe().dropna(subset=["Split"])
    names = booster.feature_names or [f"f{n}" for n in range(booster.num_features())]
    return _named(names, frame["Feature"], frame["Split"])


def _named(
    names: Iterable[str], features: Iterable[str], thresholds: Iterable[Any]
) -> npt.NDArray[np.float64]:
    numbers = {name: number for number, name in enumerate(names)}
    indices = np.array([numbers[name] for name in features], dtype=np.float64)
    return np.stack([indices, np.asarray(list(thresholds), dtype=np.float64)])
