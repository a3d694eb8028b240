"""Remove local copies that nobody needs any more."""

from __future__ import annotations

import os
import shutil
from datetime import datetime, timedelta

from trivet.live import Live, Shelf

_KEEP = timedelta(hours=1)
"""How long a copy stays after the live state last named it: a worker may still be reading it."""


def sweep(shelf: Shelf, before: Live | None, now: Live, at: datetime) -> None:
    """Delete the folders that no live state has named for an hour, and downloads left half done.

    Args:
        shelf: of the model.
        before: the live state that was replaced; what it named counts as named until now.
        now: the live state that stands.
        at: the present moment.
    """
    current = {version.digest for version in now.versions}
    former = {version.digest for version in before.versions} if before is not None else set()
    for digest in current | former:
        if (folder := shelf.path(digest)).is_dir():
            os.utime(folder, (at.timestamp(), at.timestamp()))
    if not shelf.versions.is_dir():
        return
    for folder in shelf.versions.iterdir():
        age = at.timestamp() - folder.stat().st_mtime
        if folder.name not in current and age > _KEEP.total_seconds():
            shutil.rmtree(folder, ignore_errors=True)
