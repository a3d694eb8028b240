"""Remove segments of the log that are past their retention."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path


def remove_expired(folder: Path, before: datetime) -> int:
    """Remove the Parquet segments that were finished before a moment; return how many.

    All rows of a segment are older than its file. Several workers may do it at once.
    """
    oldest = before.timestamp()
    removed = 0
    for path in folder.glob("*.parquet"):
        try:
            if path.stat().st_mtime < oldest:
                path.unlink()
                removed += 1
        except FileNotFoundError:
            continue
    return removed
