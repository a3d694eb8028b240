"""What a Feast feature service offers now, in the contract's words."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from feast import FeatureService, FeatureStore, FeatureView
from feast.errors import FeastObjectNotFoundException
from feast.on_demand_feature_view import OnDemandFeatureView
from feast.value_type import ValueType

from trivet.contract import Absent, Column, Contract, DType, JoinKey, Offer, View, compare
from trivet.errors import BadSetting, Difference, FeaturesUnavailable
from trivet.features.store import open_store
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
        service = store.get_feature_service(service_name)
        views = [
            _view_of(store, projection.name) for projection in service.feature_view_projections
        ]
    except FeastObjectNotFoundException:
        return None
    except BadSetting:
        raise
    except Exception as err:
        raise FeaturesUnavailable(f"The feature registry does not answer: {err}") from err
    join_keys = {key.name: key for view in views for key in _join_keys(view)}
    return Offer(
        project=store.project,
        feature_service=service_name,
        join_keys=tuple(join_keys.values()),
        views=tuple(_describe(view) for view in views),
        columns=_columns(service, absent or {}),
    )


def differences_from_feast(settings: Settings, contract: Contract) -> Sequence[Difference]:
    """Compare a contract with what Feast has now; the check of promotion, loading and following."""
    if contract.feature_service is None:
        return ()
    store = open_store(settings, contract.project)
    return compare(contract, read_offer(store, contract.feature_service))


def _view_of(store: FeatureStore, name: str) -> FeatureView:
    view = store.registry.get_any_feature_view(name, store.project)
    if isinstance(view, OnDemandFeatureView) or not isinstance(view, FeatureView):
        raise BadSetting(
            f"{name} is a {type(view).__name__}; a served feature service holds feature views.",
            hint="Compute request-time columns in preprocess.",
        )
    return view


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


def _columns(service: FeatureService, absent: Mapping[str, Absent]) -> tuple[Column, ...]:
    columns = [
        Column(
            name=field.name,
            source=f"{projection.name}:{field.name}",
            dtype=_dtype(field.dtype.to_value_type(), field.name),
            absent=absent.get(field.name, absent.get(f"{projection.name}:*", "reject")),
        )
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


def _dtype(kind: ValueType, name: str) -> DType:
    try:
        return _DTYPES[kind]
    except KeyError:
        raise BadSetting(
            f"{name} has Feast's type {kind.name}, which a contract has no column for.",
            hint=f"Use one of {', '.join(k.name for k in _DTYPES)}.",
        ) from None
