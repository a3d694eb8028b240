"""Feast's own retrieval as a join of chunks: for sources that are no Parquet files of this machine."""

from __future__ import annotations

import pyarrow as pa
from feast import FeatureStore

from trivet.errors import FeaturesUnavailable
from trivet.features.question import (
    ROW,
    Question,
    SourceState,
    at_rows,
    keys_and_moments,
)

_EVENT_TIMESTAMP = "event_timestamp"
"""The name by which every offline store knows an entity frame's moment."""


class FeastJoin:
    """`FeatureStore.get_historical_features`, with the entity rows in their order and all there.

    Its time to live is the registry's, whatever the question says.
    """

    def __init__(self, store: FeatureStore, question: Question) -> None:
        """Name the sources; nothing is read yet."""
        self._store = store
        self._question = question
        self.sources = tuple(
            SourceState(view=view.name, source=_source_name(store, view.name))
            for view in question.used_views
        )

    def features(self, entities: pa.Table) -> pa.Table:
        """Retrieve one chunk; an entity row that the store drops gets nulls."""
        columns = self._question.columns
        found = self._retrieve(keys_and_moments(entities, self._question))
        found = found.rename_columns({c.feature: c.name for c in columns if c.feature != c.name})
        at = at_rows(found, found[ROW].to_numpy(), len(entities), columns)
        return pa.table(at)

    def _retrieve(self, keyed: pa.Table) -> pa.Table:
        renamed = keyed.rename_columns({self._question.timestamp: _EVENT_TIMESTAMP})
        try:
            return self._store.get_historical_features(
                renamed.to_pandas(), [column.source for column in self._question.columns]
            ).to_arrow()
        except Exception as err:
            raise FeaturesUnavailable(
                f"The offline store failed: {type(err).__name__}: {err}"
            ) from err


def _source_name(store: FeatureStore, view: str) -> str:
    source = store.get_feature_view(view).batch_source
    return "" if source is None else str(source.name)
