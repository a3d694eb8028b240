"""A training set: an entity frame joined with its features, and what it takes to make it again.

entities -> entities.parquet -> as-of join and on-demand columns, chunk by chunk -> rows.parquet

The joined rows lie in a Parquet file, not in memory: a frame of any length is made in the memory of
one chunk and the features' sources, and whoever trains on it decides whether to have it whole
(`frame`), in parts (`batches`) or by a reader of their own (`path`).
"""

from __future__ import annotations

import shutil
import tempfile
import weakref
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from trivet.contract import Absent, Column
from trivet.errors import BadSetting, UnknownModel, VersionCorrupt
from trivet.features.asof import Store
from trivet.features.offer import read_offer
from trivet.features.store import open_store
from trivet.registry.client import connect
from trivet.registry.download import download_run_file
from trivet.settings import Settings
from trivet.training.joining import CHUNK, join_rows
from trivet.training.record import (
    ENTITIES,
    RECORD,
    Recipe,
    Record,
    check_same,
    choose,
    read_record,
)

_NULLABLE = {pa.int64(): pd.Int64Dtype(), pa.bool_(): pd.BooleanDtype()}
"""So that a feature's dtype does not depend on whether some row happens to lack it."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, weakref_slot=True)
class TrainingSet:
    """An entity frame joined with features; its files go when nobody holds it any more.

    The entity frame's own columns come first, as they were; then one column a feature: float64,
    `Int64`, `boolean`, object (text or None), or datetime64[us, UTC].
    """

    record: Record
    folder: Path

    def __post_init__(self) -> None:
        """Tie the folder's life to this object's."""
        weakref.finalize(self, shutil.rmtree, self.folder, ignore_errors=True)

    def __len__(self) -> int:
        """Return the number of rows: the entity frame's."""
        return self.record.rows

    @property
    def project(self) -> str:
        """The Feast project."""
        return self.record.project

    @property
    def service(self) -> str:
        """The feature service."""
        return self.record.service

    @property
    def entity_digest(self) -> str:
        """A digest of the entity frame's values."""
        return self.record.entity_digest

    @property
    def path(self) -> Path:
        """The joined rows as one Parquet file, for readers of other libraries."""
        return self.folder / "rows.parquet"

    @property
    def entities(self) -> Path:
        """The entity frame as a Parquet file."""
        return self.folder / "entities.parquet"

    @property
    def frame(self) -> pd.DataFrame:
        """All rows, in the entity frame's order; read at every access, so hold on to it."""
        own = [name for name in pq.read_schema(self.path).names if name not in self._features]
        return _frame(
            pq.read_table(self.path, columns=own), pq.read_table(self.path, columns=self._features)
        )

    def batches(self, rows: int = CHUNK) -> Iterator[pd.DataFrame]:
        """Yield the same rows in parts of at most so many, for what need not be in memory at once."""
        with pq.ParquetFile(self.path) as file:
            for batch in file.iter_batches(batch_size=rows):
                part = pa.Table.from_batches([batch])
                yield _frame(part.drop_columns(self._features), part.select(self._features))

    @property
    def files(self) -> Mapping[str, Path]:
        """What a run keeps of it as files, by artifact name."""
        return {ENTITIES: self.entities}

    @property
    def documents(self) -> Mapping[str, Any]:
        """What a run keeps of it as JSON, by artifact name."""
        return {RECORD: self.record.model_dump(mode="json")}

    @property
    def _features(self) -> list[str]:
        return [column.name for column in self.record.columns]


def training_set(
    settings: Settings,
    entities: pd.DataFrame | Path,
    service: str,
    *,
    columns: Sequence[Column] | None = None,
    absent: Mapping[str, Absent] | None = None,
    timestamp: str = "event_timestamp",
    progress: bool = True,
) -> TrainingSet:
    """Join every row of an entity frame with a feature service's features as of its moment.

    No row sees a value from its future, and none is lost: what is unknown or expired is null. The
    rules are those of Feast's own retrieval; see `trivet.features.asof`.

    Args:
        settings: of the project.
        entities: n rows with the join keys, the timestamp, what on-demand views take of a request,
            and whatever else should go along, such as labels; in any order, equal rows included. A
            Parquet file where that is too much to hold in memory. An index is left out.
        service: the feature service.
        columns: only these of its columns; those of the request may be among them. Default: all.
        absent: policies, as for `read_offer`, of what on-demand views take and `columns` leaves out.
        timestamp: the entity frame's column with the moments to look back from; in UTC, or with a
            zone.
        progress: show a bar on standard error.

    Raises:
        BadSetting: the service or a column is not there, or not of its dtype.
        FeaturesUnavailable: a source could not be read.
        PredictionFailed: an on-demand view's own code failed.
    """
    store = open_store(settings)
    offer = read_offer(store, service, absent)
    if offer is None:
        raise BadSetting(
            f"Feast project {store.project} has no feature service {service}.",
            hint="feast apply in the feature repository brings it.",
        )
    recipe = choose(offer, offer.columns if columns is None else columns, timestamp)
    return _make(settings, store, entities, recipe, progress=progress)


def rebuild_training_set(
    settings: Settings, model: str, version: int, *, progress: bool = True
) -> TrainingSet:
    """Make the training set of a registered version again, from what its run has kept.

    Columns and times to live are those of then, whatever the feature service has become. The
    sources are those of now: rows that were added to them since do no harm where they are later
    than the entity frame's moments.

    Raises:
        UnknownModel: there is no such version, or it was registered without its training set.
        VersionCorrupt: what comes out is not what it was; the sentence names the changed sources.
        ContractMismatch: an on-demand view has other code now.
        FeaturesUnavailable: a view or its source is not there any more.
    """
    again, record = remake_training_set(settings, model, version, progress=progress)
    check_same(again.record, record, f"{model} version {version}")
    return again


def remake_training_set(
    settings: Settings, model: str, version: int, *, progress: bool = True
) -> tuple[TrainingSet, Record]:
    """Join the entity frame of a registered version with what its sources hold now.

    Returns:
        The set, and the record of the one that was trained on, which may be another one.

    Raises:
        UnknownModel, ContractMismatch, FeaturesUnavailable: as for `rebuild_training_set`.
    """
    client = connect(settings)
    with tempfile.TemporaryDirectory() as folder:
        try:
            record = read_record(download_run_file(client, model, version, RECORD, Path(folder)))
            entities = download_run_file(client, model, version, ENTITIES, Path(folder))
        except VersionCorrupt as err:
            raise UnknownModel(
                f"{model} version {version} has no training set that could be made again: {err}",
                hint="Register with Candidate(training_set=...).",
            ) from err
        store = open_store(settings, record.project)
        return _make(settings, store, entities, record, progress=progress), record


def _make(
    settings: Settings,
    store: Store,
    entities: pd.DataFrame | Path,
    recipe: Recipe,
    *,
    progress: bool,
) -> TrainingSet:
    parent = settings.home / "training_sets"
    parent.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix="set-", dir=parent))
    try:
        _keep_entities(entities, folder / "entities.parquet")
        record = join_rows(store, recipe, folder, progress=progress)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    return TrainingSet(record=record, folder=folder)


def _keep_entities(entities: pd.DataFrame | Path, target: Path) -> None:
    """Write the entity frame as it is now: neither the caller nor a file changes it any more."""
    if isinstance(entities, Path):
        shutil.copyfile(entities, target)
        return
    try:
        schema = pa.Schema.from_pandas(entities, preserve_index=False)
        with pq.ParquetWriter(target, schema) as writer:
            for start in range(0, len(entities), CHUNK):
                part = entities.iloc[start : start + CHUNK]
                writer.write_table(pa.Table.from_pandas(part, schema, preserve_index=False))
    except (pa.ArrowInvalid, pa.ArrowTypeError, ValueError) as err:
        raise BadSetting(f"The entity frame cannot be stored: {err}.") from err


def _frame(own: pa.Table, features: pa.Table) -> pd.DataFrame:
    """Return both as one frame, with a plain index; the tables are used up on the way."""
    sparing = {"self_destruct": True, "split_blocks": True}
    left: pd.DataFrame = own.to_pandas(**sparing).reset_index(drop=True)
    right: pd.DataFrame = features.to_pandas(
        **sparing, ignore_metadata=True, types_mapper=_NULLABLE.get
    )
    # Not by concat, which would copy every column into one block a dtype.
    series = {name: part[name] for part in (left, right) for name in part}
    return pd.DataFrame(series, copy=False)
