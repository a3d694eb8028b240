"""What a feature service offers, and how that differs from what a contract relies on."""

from __future__ import annotations

from collections.abc import Iterable

from trivet.contract import REQUEST, Column, Contract, JoinKey, OnDemandView, Part, View
from trivet.errors import Difference


class Offer(Part):
    """What a feature service of the Feast registry gives at this moment."""

    project: str
    feature_service: str
    join_keys: tuple[JoinKey, ...]
    views: tuple[View, ...]
    columns: tuple[Column, ...]
    inputs: tuple[Column, ...] = ()
    """What only its on-demand views take: features that the service does not select, request fields."""
    on_demand: tuple[OnDemandView, ...] = ()

    def relied_on(
        self, columns: Iterable[Column]
    ) -> tuple[tuple[OnDemandView, ...], tuple[Column, ...]]:
        """Return what a choice of columns needs beside them: on-demand views, and their inputs."""
        chosen = {column.name: column for column in columns}
        views = tuple(view for view in self.on_demand if chosen.keys() & set(view.outputs))
        pool = {column.name: column for column in (*self.columns, *self.inputs)}
        wanted = dict.fromkeys(name for view in views for name in view.inputs)
        return views, tuple(pool[name] for name in wanted if name not in chosen)


def compare(contract: Contract, offer: Offer | None) -> tuple[Difference, ...]:
    """List every way in which what Feast offers differs from what the contract relies on.

    A feature service may offer more than a version uses; that is no difference.

    Args:
        contract: of the version.
        offer: of the contract's feature service, or None where Feast has no such service.
    """
    if contract.feature_service is None:
        return ()
    if offer is None:
        service = f"{contract.project}/{contract.feature_service}"
        return (
            Difference(column="*", aspect="feature service", contract=service, feast="missing"),
        )
    return (
        *_view_differences(contract, offer),
        *_on_demand_differences(contract, offer),
        *_column_differences(contract, offer),
        *_request_differences(contract, offer),
    )


def _view_differences(contract: Contract, offer: Offer) -> Iterable[Difference]:
    offered = {view.name: view for view in offer.views}
    dtypes = {key.name: key.dtype for key in offer.join_keys}
    for view in contract.views:
        now = offered.get(view.name)
        if now is None:
            yield _difference(f"{view.name}:*", "feature view", "present", "missing")
            continue
        if view.join_keys != now.join_keys:
            yield _difference(
                f"{view.name}:*", "join keys", ", ".join(view.join_keys), ", ".join(now.join_keys)
            )
        if view.ttl_seconds != now.ttl_seconds:
            yield _difference(f"{view.name}:*", "TTL", _ttl(view), _ttl(now))
    for key in contract.join_keys:
        if key.name in dtypes and dtypes[key.name] != key.dtype:
            yield _difference(key.name, "join key dtype", key.dtype, dtypes[key.name])


def _on_demand_differences(contract: Contract, offer: Offer) -> Iterable[Difference]:
    offered = {view.name: view for view in offer.on_demand}
    for view in contract.on_demand:
        now = offered.get(view.name)
        if now is None:
            yield _difference(f"{view.name}:*", "on-demand view", "present", "missing")
            continue
        if view.inputs != now.inputs:
            inputs = ", ".join(view.inputs), ", ".join(now.inputs)
            yield _difference(f"{view.name}:*", "inputs", *inputs)
        if view.digest != now.digest:
            yield _difference(f"{view.name}:*", "on-demand code", view.digest[:8], now.digest[:8])


def _column_differences(contract: Contract, offer: Offer) -> Iterable[Difference]:
    offered = {column.source: column for column in (*offer.columns, *offer.inputs)}
    present = {view.name for view in offer.views} | {view.name for view in offer.on_demand}
    computed_by = {name: view.name for view in contract.on_demand for name in view.outputs}
    for column in (*contract.columns, *contract.inputs):
        owner = computed_by.get(column.feature) if column.on_demand else column.view
        if owner not in present:
            continue
        now = offered.get(column.source)
        if now is None:
            yield _difference(column.source, "feature", "present", "missing")
        elif now.dtype != column.dtype:
            yield _difference(column.source, "dtype", column.dtype, now.dtype)


def _request_differences(contract: Contract, offer: Offer) -> Iterable[Difference]:
    """Compare the request's fields that on-demand views take; a model's own are its own business."""
    taken = {name for view in contract.on_demand for name in view.inputs}
    offered = {column.name: column.dtype for column in offer.inputs if column.source == REQUEST}
    for column in contract.request_columns:
        now = offered.get(column.name, column.dtype)
        if column.name in taken and now != column.dtype:
            yield _difference(column.name, "request field dtype", column.dtype, now)


def _difference(column: str, aspect: str, contract: str, feast: str) -> Difference:
    return Difference(column=column, aspect=aspect, contract=contract, feast=feast)


def _ttl(view: View) -> str:
    return "never" if view.ttl_seconds is None else f"{view.ttl_seconds:g} s"
