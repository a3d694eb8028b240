"""Where a job's features come from: the past as the offline store has it, or the online store now."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import TYPE_CHECKING, Protocol

import pyarrow as pa

from trivet.batch.given import AT
from trivet.batch.holding import workspace
from trivet.contract import Column, Contract
from trivet.features.importing import import_feast_unchecked
from trivet.features.question import ARROW, Question, Span
from trivet.settings import Settings

if TYPE_CHECKING:
    from trivet.features.on_demand import OnDemandTransform
    from trivet.features.question import Join
    from trivet.features.reader import OnlineReader

_ONLINE_ROWS = 1_000
"""Rows of one read: as many as a request may have."""


class FeatureSource(Protocol):
    """Gives the columns of feature views for rows of keys and moments."""

    digests: dict[str, str | None]
    """What was read, by feature view; None where it has no digest."""
    transforms: tuple[OnDemandTransform, ...]

    def features(self, keys: pa.Table) -> pa.Table:
        """Return n rows of every column that comes from a view, null where there is none.

        Args:
            keys: n rows with the join keys and `AT`.
        """


@contextmanager
def open_source(
    settings: Settings, contract: Contract, *, online: bool, span: Span | None, memory_limit: str
) -> Iterator[FeatureSource]:
    """Open what a contract reads, for any number of chunks.

    Raises:
        ContractMismatch: an on-demand view has other code than the contract names.
        FeaturesUnavailable: a view is not there, or its source or store cannot be read.
    """
    if contract.feature_service is None:
        yield _Nothing()
        return
    import_feast_unchecked()
    from trivet.features.on_demand import open_transforms
    from trivet.features.store import open_store

    store = open_store(settings, contract.project)
    transforms = open_transforms(store, contract)
    columns = _of_views(contract)
    if online:
        from trivet.features.reader import OnlineReader

        yield _Online(OnlineReader(store, contract), columns, transforms)
        return
    from trivet.features.asof import open_join

    question = Question(
        columns=columns, views=contract.views, join_keys=contract.join_keys, timestamp=AT
    )
    with (
        workspace(settings.home) as folder,
        open_join(store, question, span, folder, memory_limit) as join,
    ):
        yield _Offline(join, transforms)


def _of_views(contract: Contract) -> tuple[Column, ...]:
    """Return the columns of feature views, in the order in which a service names what is absent."""
    return tuple(c for view in contract.views for c in contract.columns_of(view.name))


class _Nothing:
    """For a contract that takes nothing from Feast."""

    def __init__(self) -> None:
        self.digests: dict[str, str | None] = {}
        self.transforms: tuple[OnDemandTransform, ...] = ()

    def features(self, keys: pa.Table) -> pa.Table:
        return keys.select([])


class _Offline:
    """The newest values at or before each row's moment, within their time to live."""

    def __init__(self, join: Join, transforms: tuple[OnDemandTransform, ...]) -> None:
        self._join = join
        self.digests = {source.view: source.digest for source in join.sources}
        self.transforms = transforms

    def features(self, keys: pa.Table) -> pa.Table:
        return self._join.features(keys)


class _Online:
    """What the online store has, judged as of the job's moment as a service judges it."""

    def __init__(
        self,
        reader: OnlineReader,
        columns: tuple[Column, ...],
        transforms: tuple[OnDemandTransform, ...],
    ) -> None:
        self._reader = reader
        self._columns = columns
        self.digests: dict[str, str | None] = {}
        self.transforms = transforms

    def features(self, keys: pa.Table) -> pa.Table:
        schema = pa.schema([(column.name, ARROW[column.dtype]) for column in self._columns])
        parts = [
            self._read(keys.slice(start, _ONLINE_ROWS), schema)
            for start in range(0, len(keys), _ONLINE_ROWS)
        ]
        return pa.concat_tables([schema.empty_table(), *parts])

    def _read(self, keys: pa.Table, schema: pa.Schema) -> pa.Table:
        at: datetime = keys[AT][0].as_py()
        named = {name: keys[name].to_pylist() for name in keys.column_names if name != AT}
        values = self._reader.read(named, at).values
        return pa.table({field.name: values[field.name] for field in schema}, schema=schema)
