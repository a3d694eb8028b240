"""Entities that the offline store knows: what an example of a request can be made of."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, cast

from feast import FeatureStore
from feast.data_source import DataSource

from trivet.contract import View
from trivet.errors import FeaturesUnavailable

_BEGINNING = datetime(1970, 1, 2, tzinfo=UTC)


def known_keys(store: FeatureStore, views: Sequence[View], now: datetime) -> dict[str, Any]:
    """Return a value of each join key of these views: of the entity that each heard of last.

    A view's keys are of one entity; over several views they may be of different ones.

    Raises:
        FeaturesUnavailable: a source cannot be read.
    """
    found: dict[str, Any] = {}
    for view in views:
        if not set(view.join_keys) <= found.keys():
            found = {**_newest(store, view, now), **found}
    return found


def _newest(store: FeatureStore, described: View, now: datetime) -> dict[str, Any]:
    try:
        view = store.get_feature_view(described.name)
        source = cast("DataSource", view.batch_source)
        stamp = source.timestamp_field
        job = store.provider.offline_store.pull_latest_from_table_or_query(
            config=store.config,
            data_source=source,
            join_key_columns=list(described.join_keys),
            feature_name_columns=[field.name for field in view.features],
            timestamp_field=stamp,
            created_timestamp_column=source.created_timestamp_column,
            start_date=_BEGINNING,
            end_date=now,
        )
        table = job.to_arrow().sort_by([(stamp, "descending")]).slice(0, 1)
        rows: list[dict[str, Any]] = table.select(list(described.join_keys)).to_pylist()
    except Exception as err:
        raise FeaturesUnavailable(
            f"The source of {described.name} cannot be read: {err}",
            hint="Name an entity that exists: --field KEY=VALUE.",
        ) from err
    return rows[0] if rows else {}
