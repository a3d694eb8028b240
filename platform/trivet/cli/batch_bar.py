"""A batch job's bar on standard error; apart from the others, which bring Feast with them."""

from __future__ import annotations

from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from trivet.cli.drawn import Drawn
from trivet.cli.output import err


class BatchBar(Drawn):
    """A batch job's bar: rows, rate and remaining time; see `batch.run.Watcher`."""

    def __init__(self) -> None:
        """Nothing is drawn before the block is entered."""
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=None),
            MofNCompleteColumn(),
            _Rate(),
            TimeRemainingColumn(),
            console=err,
            transient=True,
            disable=not err.is_terminal,
        )
        self._task: TaskID = self._progress.add_task("Looking at the entity file", total=None)

    def begins(self, rows: int, done: int) -> None:
        """Begin with what there is to do."""
        self._progress.reset(self._task, description="Predicting", total=rows, completed=done)

    def worked(self, rows: int) -> None:
        """Go on."""
        self._progress.advance(self._task, rows)

    def note(self, sentence: str) -> None:
        """Say something above the bar."""
        err.print(sentence, style="yellow", highlight=False, markup=False, soft_wrap=True)


class _Rate(ProgressColumn):
    """Rows a second, over the last while."""

    def render(self, task: Task) -> Text:
        return Text("" if task.speed is None else f"{task.speed:,.0f} rows/s")
