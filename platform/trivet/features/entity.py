"""Read one entity's features with the times that they are of: online, or offline as of a moment."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Literal, TypeAlias

import pyarrow as pa
from feast import FeatureStore

from trivet.contract import Column, Contract, JoinKey, View
from trivet.errors import BadSetting, FeaturesUnavailable
from trivet.features.asof import open_join
from trivet.features.offer import describe_view, read_offer
from trivet.features.question import ARROW, Question
from trivet.features.reader import OnlineReader
from trivet.features.retrieval import FeastJoin
from trivet.features.values import Why
from trivet.offer import Offer

Store: TypeAlias = FeatureStore
"""For the layers above, which pass a store on and never import feast."""

Status = Literal["present"] | Why

_AT = "trivet_at"
_TIME = "trivet_time:"
"""What the column with a view's own event timestamp is named by, before the view's name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Readable:
    """Feature views that can be read by join keys, and which of their columns."""

    join_keys: tuple[JoinKey, ...]
    views: tuple[View, ...]
    columns: tuple[Column, ...]

    def columns_of(self, view: str) -> tuple[Column, ...]:
        """Return the columns of one view."""
        return tuple(column for column in self.columns if column.view == view)

    def by(self, keys: Mapping[str, Any]) -> Readable:
        """Return the part that can be read by these join keys.

        Raises:
            BadSetting: none can, or a key is none of any view.
        """
        known = {key.name for key in self.join_keys}
        if unknown := keys.keys() - known:
            raise BadSetting(
                f"No feature view here has the join key {', '.join(sorted(unknown))}.",
                hint=f"Join keys are {', '.join(sorted(known))}.",
            )
        views = tuple(view for view in self.views if keys.keys() >= set(view.join_keys))
        if not views:
            needs = "; ".join(f"{v.name} needs {', '.join(v.join_keys)}" for v in self.views)
            raise BadSetting(f"No feature view can be read by the keys that are given: {needs}.")
        names = {view.name for view in views}
        return replace(self, views=views, columns=tuple(c for c in self.columns if c.view in names))


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """One feature of the entity."""

    view: str
    feature: str
    value: Any
    """None unless it is present."""
    status: Status
    event_time: datetime | None
    """When it was known; None where there is nothing, or the offline store does not say."""
    age_seconds: float | None
    ttl_seconds: float | None


def readable(store: Store, service: str | None = None) -> Readable:
    """Return what a feature service reads, or all feature views of the project.

    Raises:
        BadSetting: there is no such service, or a feature is of a type without a dtype here.
        FeaturesUnavailable: the registry does not answer.
    """
    if service is not None:
        offer = read_offer(store, service)
        if offer is None:
            raise BadSetting(f"Feast project {store.project} has no feature service {service}.")
        return readable_of(offer)
    try:
        views = [view for view in store.list_batch_feature_views() if view.online]
    except Exception as err:
        raise FeaturesUnavailable(f"The feature registry does not answer: {err}") from err
    parts = [describe_view(view) for view in sorted(views, key=lambda view: view.name)]
    return Readable(
        join_keys=tuple({key.name: key for part in parts for key in part.join_keys}.values()),
        views=tuple(part.view for part in parts),
        columns=tuple(column for part in parts for column in part.columns),
    )


def readable_of(described: Offer | Contract) -> Readable:
    """Return what is read for a feature service or a version: features, what is computed left out."""
    columns = [c for c in (*described.columns, *described.inputs) if c.view is not None]
    return Readable(
        join_keys=described.join_keys,
        views=described.views,
        # By their sources: two views may have a feature of one name.
        columns=tuple(column.model_copy(update={"name": column.source}) for column in columns),
    )


def read_online(
    store: Store, wanted: Readable, keys: Mapping[str, Any], at: datetime
) -> tuple[Found, ...]:
    """Read the online store, and judge the values' ages as of a moment.

    Raises:
        FeaturesUnavailable: the store failed.
    """
    features = OnlineReader(store, wanted).read({name: [keys[name]] for name in keys}, at)
    why = {value.column.name: value.why for value in features.absent}
    return tuple(
        _found(
            view,
            column,
            (features.values[column.name][0], why.get(column.name, "present")),
            features.event_times[view.name][0],
            at,
        )
        for view in wanted.views
        for column in wanted.columns_of(view.name)
    )


def read_offline(
    store: Store, wanted: Readable, keys: Mapping[str, Any], at: datetime
) -> tuple[Found, ...]:
    """Read the offline store as of a moment.

    Raises:
        FeaturesUnavailable: a source could not be read.
    """
    # Without TTL: what has expired shall still be found, to be called so.
    ageless = tuple(view.model_copy(update={"ttl_seconds": None}) for view in wanted.views)
    times = [_time_column(store, view) for view in wanted.views]
    question = _question(wanted, views=ageless, columns=(*wanted.columns, *times))
    dtypes = {key.name: ARROW[key.dtype] for key in wanted.join_keys}
    entity = pa.table(
        {
            **{name: pa.array([value], dtypes[name]) for name, value in keys.items()},
            _AT: pa.array([at], ARROW["timestamp"]),
        }
    )
    with tempfile.TemporaryDirectory() as folder:
        with open_join(store, question, (at, at), Path(folder)) as join:
            if not isinstance(join, FeastJoin):
                return _judged(wanted, join.features(entity).to_pylist()[0], at)
        # Feast's own retrieval says neither when a value was known nor why there is none.
        row = FeastJoin(store, _question(wanted)).features(entity).to_pylist()[0]
    return tuple(
        _found(view, c, (row[c.name], "missing" if row[c.name] is None else "present"), None, at)
        for view in wanted.views
        for c in wanted.columns_of(view.name)
    )


def _judged(wanted: Readable, row: Mapping[str, Any], at: datetime) -> tuple[Found, ...]:
    found = []
    for view in wanted.views:
        time = row[_TIME + view.name]
        for column in wanted.columns_of(view.name):
            judged = _judge(row[column.name], time, at, view)
            found.append(_found(view, column, judged, time, at))
    return tuple(found)


def _judge(value: Any, time: datetime | None, at: datetime, view: View) -> tuple[Any, Status]:
    """Return a value and its status by the rules of the online reader."""
    if time is None:
        return None, "missing"
    if view.ttl_seconds is not None and at - time > timedelta(seconds=view.ttl_seconds):
        return None, "expired"
    absent = value is None or value != value  # noqa: PLR0124 - NaN is a null as well
    return (None, "null") if absent else (value, "present")


def _found(
    view: View, column: Column, judged: tuple[Any, Status], time: datetime | None, at: datetime
) -> Found:
    return Found(
        view=view.name,
        feature=column.feature,
        value=judged[0],
        status=judged[1],
        event_time=None if time is None else time.astimezone(UTC),
        age_seconds=None if time is None else (at - time).total_seconds(),
        ttl_seconds=view.ttl_seconds,
    )


def _question(
    wanted: Readable, views: Sequence[View] | None = None, columns: Sequence[Column] | None = None
) -> Question:
    return Question(
        columns=tuple(wanted.columns if columns is None else columns),
        views=tuple(wanted.views if views is None else views),
        join_keys=wanted.join_keys,
        timestamp=_AT,
    )


def _time_column(store: Store, view: View) -> Column:
    """Return the column of a view's source that says when a row was known."""
    source = store.get_feature_view(view.name).batch_source
    field = "event_timestamp" if source is None else source.timestamp_field
    return Column(name=_TIME + view.name, source=f"{view.name}:{field}", dtype="timestamp")
