"""What a Feast feature service offers now, in the contract's words."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from feast import FeatureService, FeatureStore, FeatureView, Field
from feast.base_feature_view import BaseFeatureView
from feast.errors import FeastObjectNotFoundException
from feast.feature_view_projection import FeatureViewProjection
from feast.on_demand_feature_view import OnDemandFeatureView
from feast.value_type import ValueType

from trivet.contract import (
    ON_DEMAND,
    REQUEST,
    Absent,
    Column,
    Contract,
    DType,
    JoinKey,
    View,
)
from trivet.errors import BadSetting, Difference, FeaturesUnavailable
from trivet.features.on_demand import describe_on_demand
from trivet.features.store import open_store
from trivet.offer import Offer, compare
from trivet.settings import Settings

_DTYPES: Mapping[ValueType, DType] = {
    ValueType.DOUBLE: "float64",
    ValueType.FLOAT: "float64",
    ValueType.INT64: "int64",
    ValueType.INT32: "int64",
    ValueType.STRING: "string",
    ValueType.BOOL: "bool",
    ValueType.UNIX_TIMESTAMP: "timestamp",
}

ViewOf = Callable[[str], BaseFeatureView]
"""Returns a view of any kind by its name, or raises."""


def read_offer(
    store: FeatureStore, service_name: str, absent: Mapping[str, Absent] | None = None
) -> Offer | None:
    """Describe a feature service as the registry has it now.

    Args:
        store: of the project.
        service_name: of the feature service.
        absent: policies by column or by `view:*`; the rest is `reject`.

    Returns:
        None where the project has no such service.

    Raises:
        FeaturesUnavailable: the registry does not answer.
    """
    try:
        store.refresh_registry()  # type: ignore[no-untyped-call]
        return describe_offer(
            store.project,
            store.get_feature_service(service_name),
            lambda name: store.registry.get_any_feature_view(name, store.project),
            absent,
        )
    except FeastObjectNotFoundException:
        return None
    except BadSetting:
        raise
    except Exception as err:
        raise FeaturesUnavailable(f"The feature registry does not answer: {err}") from err


def describe_offer(
    project: str,
    service: FeatureService,
    view_of: ViewOf,
    absent: Mapping[str, Absent] | None = None,
) -> Offer:
    """Describe a feature service from its objects: the registry's, or those of a folder.

    Args:
        project: of Feast.
        service: with its projections inferred, as Feast leaves it after a plan.
        view_of: returns a view by its name.
        absent: policies, as for `read_offer`.

    Raises:
        BadSetting: the service holds something that a contract cannot name.
        Exception: what `view_of` raises for a view that is not there.
    """
    selected = [_view_of(view_of, p.name) for p in service.feature_view_projections]
    on_demand = [view for view in selected if isinstance(view, OnDemandFeatureView)]
    read = {p.name: _view_of(view_of, p.name) for view in on_demand for p in _sources(view)}
    views = {view.name: view for view in (*selected, *read.values())}
    plain = [view for view in views.values() if isinstance(view, FeatureView)]
    join_keys = {key.name: key for view in plain for key in _join_keys(view)}
    columns = _columns(service, on_demand, absent or {})
    return Offer(
        project=project,
        feature_service=service.name,
        join_keys=tuple(join_keys.values()),
        views=tuple(_describe(view) for view in plain),
        columns=columns,
        inputs=_inputs(on_demand, columns, absent or {}),
        on_demand=tuple(describe_on_demand(view) for view in on_demand),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class DescribedView:
    """A feature view by itself, whatever service it is part of; columns are named `view:feature`."""

    view: View
    join_keys: tuple[JoinKey, ...]
    columns: tuple[Column, ...]


def describe_view(view: FeatureView) -> DescribedView:
    """Describe a feature view with all its columns.

    Raises:
        BadSetting: one is of a type that a contract has no dtype for.
    """
    columns = [_column(view.name, field, {}) for field in view.features]
    return DescribedView(
        view=_describe(view),
        join_keys=tuple(_join_keys(view)),
        columns=tuple(column.model_copy(update={"name": column.source}) for column in columns),
    )


def declared_dtypes(view: FeatureView) -> dict[str, DType]:
    """Return the dtype of each feature of a view; without those that a contract has none for."""
    kinds = {field.name: field.dtype.to_value_type() for field in view.features}
    return {name: _DTYPES[kind] for name, kind in kinds.items() if kind in _DTYPES}


def differences_from_feast(settings: Settings, contract: Contract) -> Sequence[Difference]:
    """Compare a contract with what Feast has now; the check of promotion, loading and following."""
    if contract.feature_service is None:
        return ()
    store = open_store(settings, contract.project)
    return compare(contract, read_offer(store, contract.feature_service))


def _view_of(view_of: ViewOf, name: str) -> FeatureView | OnDemandFeatureView:
    view = view_of(name)
    if not isinstance(view, FeatureView | OnDemandFeatureView):
        raise BadSetting(
            f"{name} is a {type(view).__name__}, which a contract cannot name.",
            hint="A served feature service holds feature views and on-demand feature views.",
        )
    return view


def _sources(view: OnDemandFeatureView) -> Sequence[FeatureViewProjection]:
    return list(view.source_feature_view_projections.values())


def _join_keys(view: FeatureView) -> Sequence[JoinKey]:
    return [
        JoinKey(name=field.name, dtype=_dtype(field.dtype.to_value_type(), field.name))
        for field in view.entity_columns
    ]


def _describe(view: FeatureView) -> View:
    seconds = view.ttl.total_seconds() if view.ttl else 0.0
    return View(
        name=view.name,
        join_keys=tuple(key.name for key in _join_keys(view)),
        # Feast's own rule: a zero timedelta never expires.
        ttl_seconds=seconds or None,
    )


def _columns(
    service: FeatureService, on_demand: Sequence[OnDemandFeatureView], absent: Mapping[str, Absent]
) -> tuple[Column, ...]:
    computed = {view.name for view in on_demand}
    columns = [
        _column(projection.name, field, absent, on_demand=projection.name in computed)
        for projection in service.feature_view_projections
        for field in projection.features
    ]
    twice = [name for name, count in Counter(c.name for c in columns).items() if count > 1]
    if twice:
        raise BadSetting(
            f"Feature service {service.name} has {', '.join(twice)} in more than one view.",
            hint="Give the features names that are unique over the service's views.",
        )
    return tuple(columns)


def _inputs(
    on_demand: Sequence[OnDemandFeatureView],
    columns: Sequence[Column],
    absent: Mapping[str, Absent],
) -> tuple[Column, ...]:
    """Return what on-demand views take and the service does not select itself."""
    found = {
        field.name: Column(
            name=field.name,
            source=REQUEST,
            dtype=_dtype(field.dtype.to_value_type(), field.name),
            absent=absent.get(field.name, "reject"),
        )
        for view in on_demand
        for source in view.source_request_sources.values()
        for field in source.schema
    }
    for view in on_demand:
        for projection in _sources(view):
            for field in projection.features:
                found.setdefault(field.name, _column(projection.name, field, absent))
    selected = {column.name for column in columns}
    return tuple(column for name, column in found.items() if name not in selected)


def _column(
    view: str, field: Field, absent: Mapping[str, Absent], *, on_demand: bool = False
) -> Column:
    return Column(
        name=field.name,
        source=f"{ON_DEMAND if on_demand else view}:{field.name}",
        dtype=_dtype(field.dtype.to_value_type(), field.name),
        absent=absent.get(field.name, absent.get(f"{view}:*", "reject")),
    )


def _dtype(kind: ValueType, name: str) -> DType:
    try:
        return _DTYPES[kind]
    except KeyError:
        raise BadSetting(
            f"{name} has Feast's type {kind.name}, which a contract has no column for.",
            hint=f"Use one of {', '.join(k.name for k in _DTYPES)}.",
        ) from None
