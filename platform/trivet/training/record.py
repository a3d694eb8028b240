"""What a training set is made of, and the record by which it can be made again."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from trivet.contract import REQUEST, Column, JoinKey, OnDemandView, View
from trivet.errors import BadSetting, VersionCorrupt
from trivet.features.question import Question, SourceState, base_columns
from trivet.offer import Offer

ENTITIES = "trivet/entities.parquet"
RECORD = "trivet/training_set.json"
"""The artifacts of a run by which its training set can be made again."""


class Recipe(BaseModel):
    """What is to be joined with an entity frame."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    service: str
    timestamp: str
    columns: tuple[Column, ...]
    """What comes out beside the entity frame's own columns: of views, and computed on demand."""
    inputs: tuple[Column, ...]
    """What only on-demand views take: features, and fields of a request."""
    views: tuple[View, ...]
    join_keys: tuple[JoinKey, ...]
    on_demand: tuple[OnDemandView, ...]

    @property
    def question(self) -> Question:
        """What is asked of the feature views."""
        return Question(
            columns=base_columns((*self.columns, *self.inputs)),
            views=self.views,
            join_keys=self.join_keys,
            timestamp=self.timestamp,
        )


class Record(Recipe):
    """What a training set was made of, as it is stored with the run."""

    schema_version: Literal[1] = 1
    project: str
    sources: tuple[SourceState, ...]
    rows: int
    entity_digest: str
    """Over the values of the entity frame."""
    digest: str
    """Over the values of the columns that were joined with it."""


def choose(offer: Offer, columns: Sequence[Column], timestamp: str) -> Recipe:
    """Return what it takes to have the columns, those of on-demand views included.

    Raises:
        BadSetting: a column is not offered, or none is asked for.
    """
    chosen = tuple(column for column in columns if column.source != REQUEST)
    offered = {column.source: column.dtype for column in (*offer.columns, *offer.inputs)}
    for column in chosen:
        if offered.get(column.source) != column.dtype:
            raise BadSetting(
                f"Feature service {offer.feature_service} has no {column.source} "
                f"of dtype {column.dtype}."
            )
    if not chosen:
        raise BadSetting(f"None of the columns is of feature service {offer.feature_service}.")
    on_demand, others = offer.relied_on(columns)
    taken = {name for view in on_demand for name in view.inputs}
    sent = tuple(c for c in columns if c.source == REQUEST and c.name in taken)
    used = {column.view for column in (*chosen, *others)}
    return Recipe(
        service=offer.feature_service,
        timestamp=timestamp,
        columns=chosen,
        inputs=(*sent, *others),
        views=tuple(view for view in offer.views if view.name in used),
        join_keys=offer.join_keys,
        on_demand=on_demand,
    )


def read_record(path: Path) -> Record:
    """Read a stored record.

    Raises:
        VersionCorrupt: it is not one, or of a later Trivet.
    """
    try:
        return Record.model_validate_json(path.read_bytes())
    except ValidationError as err:
        raise VersionCorrupt(f"{RECORD} cannot be read: {err.errors()[0]['msg']}.") from err


def check_same(again: Record, record: Record, name: str) -> None:
    """Check that a set that was made again is the one of the record, of the version of this name.

    Raises:
        VersionCorrupt: the sentence says what has changed.
    """
    if again.entity_digest != record.entity_digest:
        raise VersionCorrupt(f"{ENTITIES} of {name} is not the one that was trained on.")
    if again.digest != record.digest:
        then = {source.view: source.digest for source in record.sources}
        changed = [source.view for source in again.sources if source.digest != then[source.view]]
        raise VersionCorrupt(
            f"The training set of {name} comes out different: its sources have changed "
            f"({', '.join(changed) or 'none that is a file'}).",
            hint="Bring the sources back as they were, or train anew.",
        )
