"""Join an entity frame with its features in the memory of one chunk, and say what came out."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from trivet.errors import BadSetting
from trivet.features.asof import Store, open_join
from trivet.features.computed import with_computed
from trivet.features.on_demand import open_transform
from trivet.features.question import ARROW, span_of
from trivet.training.digest import TableDigest
from trivet.training.record import Recipe, Record

CHUNK = 2**19
"""Entity rows joined at a time: some 200 MB with 40 columns. The sources are sorted for each."""


def join_rows(store: Store, recipe: Recipe, folder: Path, *, progress: bool) -> Record:
    """Write `rows.parquet` beside `entities.parquet`, chunk by chunk, and return the record of it.

    Raises:
        BadSetting: the entity frame lacks a column, or has one of the feature service.
        FeaturesUnavailable: a source could not be read.
        PredictionFailed: an on-demand view's own code failed.
    """
    question, entity_digest, digest = recipe.question, TableDigest(), TableDigest()
    about = f"a training set of {recipe.service}"
    transforms = [open_transform(store, view, about) for view in recipe.on_demand]
    with pq.ParquetFile(folder / "entities.parquet") as file:
        schema = _joined_schema(file.schema_arrow, recipe)
        with (
            open_join(store, question, span_of(file, question.timestamp), folder) as join,
            # Not compressed: it is written once, read once or twice, and then gone.
            pq.ParquetWriter(folder / "rows.parquet", schema, compression="none") as writer,
        ):
            for entities in _chunks(file, progress=progress):
                features = join.features(entities)
                joined = with_computed(
                    recipe.columns, recipe.inputs, transforms, entities, features
                )
                entity_digest.update(entities)
                digest.update(joined)
                arrays = [*entities.columns, *joined.columns]
                writer.write_table(pa.Table.from_arrays(arrays, schema=schema))
            return Record(
                **{name: getattr(recipe, name) for name in Recipe.model_fields},
                project=store.project,
                sources=join.sources,
                rows=file.metadata.num_rows,
                entity_digest=entity_digest.hexdigest(),
                digest=digest.hexdigest(),
            )


def _joined_schema(own: pa.Schema, recipe: Recipe) -> pa.Schema:
    if both := sorted(set(own.names) & {column.name for column in recipe.columns}):
        raise BadSetting(
            f"The entity frame has {', '.join(both)}, and so has the feature service.",
            hint="Rename the frame's own column, or leave the feature out of columns.",
        )
    for column in recipe.columns:
        own = own.append(pa.field(column.name, ARROW[column.dtype]))
    return own


def _chunks(file: pq.ParquetFile, *, progress: bool) -> Iterator[pa.Table]:
    """Yield the entity frame in parts, and count on the bar what has been worked on."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    console = Console(stderr=True)
    with Progress(*columns, TimeElapsedColumn(), console=console, disable=not progress) as bar:
        task = bar.add_task("Joining features", total=file.metadata.num_rows)
        for batch in file.iter_batches(batch_size=CHUNK):
            yield pa.Table.from_batches([batch])
            bar.update(task, advance=batch.num_rows)
