"""MLflow decides which version answers, Feast brings its features, BentoML serves it.

The names below are what a bento's `train.py` and `service.py` are written with. They are imported when
they are first used: a service must not pay for what only training needs.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from trivet.contract import Classification, Column, Default, Regression
    from trivet.features.offer import read_offer
    from trivet.features.store import open_store
    from trivet.offer import Offer
    from trivet.registry.gate import Verdict
    from trivet.registry.proposal import Proposal
    from trivet.serving.service import PinnedService, PredictionService, TrivetService
    from trivet.settings import Settings, load_settings
    from trivet.training.candidate import Candidate, model_inputs, register
    from trivet.training.sets import TrainingSet, rebuild_training_set, training_set

__all__ = [
    "Candidate",
    "Classification",
    "Column",
    "Default",
    "Offer",
    "PinnedService",
    "PredictionService",
    "Proposal",
    "Regression",
    "Settings",
    "TrainingSet",
    "TrivetService",
    "Verdict",
    "load_settings",
    "model_inputs",
    "open_store",
    "read_offer",
    "rebuild_training_set",
    "register",
    "training_set",
]

_HOMES = {
    "trivet.contract": ("Classification", "Column", "Default", "Regression"),
    "trivet.features.offer": ("read_offer",),
    "trivet.features.store": ("open_store",),
    "trivet.offer": ("Offer",),
    "trivet.registry.gate": ("Verdict",),
    "trivet.registry.proposal": ("Proposal",),
    "trivet.serving.service": ("PinnedService", "PredictionService", "TrivetService"),
    "trivet.settings": ("Settings", "load_settings"),
    "trivet.training.candidate": ("Candidate", "model_inputs", "register"),
    "trivet.training.sets": ("TrainingSet", "rebuild_training_set", "training_set"),
}


def __getattr__(name: str) -> object:
    """Import a public name from its module; see PEP 562."""
    for module, names in _HOMES.items():
        if name in names:
            return getattr(import_module(module), name)
    raise AttributeError(f"module 'trivet' has no attribute {name!r}")
