"""Something on standard error that is drawn for as long as a block lasts."""

from __future__ import annotations

from typing import Self

from rich.progress import Progress


class Drawn:
    """Bars that are drawn for as long as a block lasts."""

    _progress: Progress

    def __enter__(self) -> Self:
        """Draw."""
        self._progress.start()
        return self

    def __exit__(self, *raised: object) -> None:
        """Leave the terminal as it was."""
        self._progress.stop()
