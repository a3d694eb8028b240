"""A file that another process replaces as a whole, looked at again and again."""

from __future__ import annotations

from pathlib import Path


class Watched:
    """Remembers which file it saw last; a look is one call to the system."""

    def __init__(self, file: Path) -> None:
        """It may not be there yet."""
        self._file = file
        self._seen: tuple[int, int] | None = None

    def is_new(self) -> bool:
        """Say whether there is another file than at the last look."""
        try:
            stat = self._file.stat()
        except FileNotFoundError:
            return False
        before, self._seen = self._seen, (stat.st_mtime_ns, stat.st_ino)
        return self._seen != before
