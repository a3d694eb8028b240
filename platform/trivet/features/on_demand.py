"""On-demand feature views: Feast's Python transforms, run by the same code online and in training.

Feast runs them in its own retrieval, over all columns that happen to be there, with types that
differ between its online and offline paths. Here they get exactly the columns that they declare, as
lists of plain Python values with None where one is absent.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from feast import FeatureStore
from feast.errors import FeastObjectNotFoundException
from feast.on_demand_feature_view import OnDemandFeatureView
from feast.transformation.base import Transformation
from feast.transformation.mode import TransformationMode

from trivet.contract import Contract, OnDemandView
from trivet.errors import BadSetting, ContractMismatch, Difference, FeaturesUnavailable


@dataclass(frozen=True, slots=True, kw_only=True)
class OnDemandTransform:
    """One on-demand view's code, ready to run."""

    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    singleton: bool
    function: Callable[[dict[str, Any]], Mapping[str, Any]]

    def compute(self, values: Mapping[str, Sequence[Any]]) -> dict[str, list[Any]]:
        """Compute n rows.

        Args:
            values: n values of every input, None where absent, times aware in UTC.

        Returns:
            n values of every output.

        Raises:
            Exception: whatever the view's own code raises; KeyError if it leaves an output out.
        """
        if not self.singleton:
            found = self.function({name: list(values[name]) for name in self.inputs})
            return {name: list(found[name]) for name in self.outputs}
        columns = [values[name] for name in self.inputs]
        rows = [
            self.function(dict(zip(self.inputs, row, strict=True)))
            for row in zip(*columns, strict=True)
        ]
        return {name: [row[name] for row in rows] for name in self.outputs}


def describe_on_demand(view: OnDemandFeatureView) -> OnDemandView:
    """Describe an on-demand view as a contract names it.

    Raises:
        BadSetting: it is not in Python mode: pandas and substrait ones cost milliseconds a request.
    """
    if TransformationMode(view.mode) is not TransformationMode.PYTHON:
        raise BadSetting(
            f"The on-demand view {view.name} is in {view.mode} mode, and is served in python mode.",
            hint='Define it with mode="python".',
        )
    return OnDemandView(
        name=view.name,
        inputs=input_names(view),
        outputs=tuple(field.name for field in view.features),
        digest=hashlib.sha256(_code(view).udf_string.encode()).hexdigest(),
    )


def input_names(view: OnDemandFeatureView) -> tuple[str, ...]:
    """Return the names of what an on-demand view takes: of its request sources, then its views."""
    sent = [f.name for source in view.source_request_sources.values() for f in source.schema]
    read = [
        f.name
        for projection in view.source_feature_view_projections.values()
        for f in projection.features
    ]
    return tuple(dict.fromkeys([*sent, *read]))


def open_transforms(store: FeatureStore, contract: Contract) -> tuple[OnDemandTransform, ...]:
    """Return the code of a contract's on-demand views, in the contract's order.

    Raises:
        ContractMismatch: the registry has other code, or none; the version must not answer with it.
        FeaturesUnavailable: the registry does not answer.
    """
    return tuple(open_transform(store, view, contract.model) for view in contract.on_demand)


def open_transform(store: FeatureStore, wanted: OnDemandView, model: str) -> OnDemandTransform:
    """Return the code of one on-demand view, which `model` names in an error.

    Raises:
        ContractMismatch: the registry has other code.
        FeaturesUnavailable: it has none, or does not answer.
    """
    try:
        view = store.get_on_demand_feature_view(wanted.name)
    except Exception as err:
        raise FeaturesUnavailable(
            f"Feast project {store.project} has no on-demand view {wanted.name}.",
            hint="feast apply in the feature repository brings it.",
        ) from err
    now = describe_on_demand(view)
    if now != wanted:
        difference = Difference(
            column=f"{wanted.name}:*",
            aspect="on-demand code",
            contract=wanted.digest[:8],
            feast=now.digest[:8],
        )
        raise ContractMismatch(model, None, [difference])
    return _transform(view, now)


def present_transform(store: FeatureStore, name: str) -> OnDemandTransform | None:
    """Return an on-demand view as the registry has it now, whatever a contract says; None: no more.

    Raises:
        BadSetting: it is not in Python mode.
    """
    try:
        view = store.get_on_demand_feature_view(name)
    except FeastObjectNotFoundException:
        return None
    return _transform(view, describe_on_demand(view))


def _transform(view: OnDemandFeatureView, described: OnDemandView) -> OnDemandTransform:
    return OnDemandTransform(
        name=described.name,
        inputs=described.inputs,
        outputs=described.outputs,
        singleton=bool(view.singleton),
        function=_code(view).udf,
    )


def _code(view: OnDemandFeatureView) -> Transformation:
    if view.feature_transformation is None:
        raise BadSetting(f"The on-demand view {view.name} has no code.")
    return view.feature_transformation
