"""The Parquet file of a feature view's source, where it is one of this machine."""

from __future__ import annotations

from pathlib import Path

from feast import FeatureStore, FeatureView, FileSource
from feast.data_format import ParquetFormat
from feast.data_source import DataSource


def local_parquet(source: DataSource | None) -> FileSource | None:
    """Return a source that is Parquet on this machine: a file, a folder or a pattern; else None."""
    if not isinstance(source, FileSource) or "://" in source.path:
        return None
    parquet = isinstance(source.file_format, ParquetFormat) or source.file_format is None
    return source if parquet else None


def offline_file(store: FeatureStore, view: FeatureView) -> Path | None:
    """Return a view's file; of a push source, its batch source's. None: it is anything else.

    Feast's DuckDB reads a relative path from wherever it is called; its writes start at the repository.
    """
    source = local_parquet(view.batch_source)
    if source is None:
        return None
    path = Path(FileSource.get_uri_for_file_path(store.repo_path, source.path))
    return path if path.is_file() else None
