"""Progress bars on standard error: of a materialization, and of a replay."""

from __future__ import annotations

from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
)

from trivet.cli.drawn import Drawn
from trivet.cli.output import err
from trivet.features.materialize import Watcher


class Bars(Drawn):
    """A materialization's bars, for as long as the block lasts."""

    def __init__(self) -> None:
        """Nothing is drawn before the block is entered."""
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=None),
            MofNCompleteColumn(),
            TextColumn("{task.fields[unit]}"),
            TimeElapsedColumn(),
            console=err,
            transient=True,
            disable=not err.is_terminal,
        )
        self.watcher = _Watcher(self._progress)


class _Watcher(Watcher):
    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._views: TaskID = progress.add_task("Materializing", total=None, unit="views")
        self._rows: TaskID | None = None

    def waiting(self) -> None:
        self._progress.print("Waiting: another process materializes or applies features.")

    def begins(self, view: str, number: int, of: int) -> None:
        self._progress.update(self._views, total=of, completed=number - 1)
        if self._rows is not None:
            self._progress.remove_task(self._rows)
        self._rows = self._progress.add_task(view, total=None, unit="rows")

    def wrote(self, view: str, rows: int, of: int) -> None:
        del view
        if self._rows is not None:
            self._progress.update(self._rows, total=of, completed=rows)


class ReplayBar(Drawn):
    """A replay's bar: the rows of the view that is being asked for; see `observe.skew.find.Watcher`."""

    def __init__(self) -> None:
        """Nothing is drawn before the block is entered."""
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=None),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=err,
            transient=True,
            disable=not err.is_terminal,
        )
        self._task: TaskID = self._progress.add_task("Reading the log", total=None)

    def begins(self, view: str, rows: int) -> None:
        """Begin anew with a view."""
        self._progress.reset(self._task, description=f"Replaying {view}", total=rows)

    def asked(self, rows: int) -> None:
        """Go on."""
        self._progress.advance(self._task, rows)
