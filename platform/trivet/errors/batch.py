"""Why a batch job does not begin, or stops."""

from __future__ import annotations

from collections.abc import Sequence

from trivet.errors.base import TrivetError


class JobDiffers(TrivetError):
    """An output folder holds a job other than the one that was asked for."""

    exit_code = 2
    title = "Another job"

    def __init__(self, folder: str, differences: Sequence[str]) -> None:
        """`differences`: at least one, such as `rows per chunk: 1000, not 500`."""
        super().__init__(
            f"{folder} holds a job with {'; '.join(differences)}. Nothing in it was touched.",
            hint="Ask as before to go on with it, or name another folder with --out.",
        )


class JobBusy(TrivetError):
    """Another process writes to the output folder."""

    title = "Job is running"

    def __init__(self, folder: str) -> None:
        """`folder`: of the output."""
        super().__init__(f"Another process is working on the job in {folder}.")


class TooManyRejects(TrivetError):
    """More rows were rejected than the job may lose."""

    title = "Too many rejects"

    def __init__(self, *, rejected: int, most: int, rows: int, folder: str) -> None:
        """`rows`: how many the job had come to, of whatever fate."""
        super().__init__(
            f"{rejected:,} of the first {rows:,} rows were rejected, and at most {most:,} may be.",
            hint=f"{folder}/rejects says why. What is done stays: --most-rejects with more goes on.",
        )


class OutputFailed(TrivetError):
    """What came out could not be written, or is not there any more."""

    exit_code = 3
    title = "Output failed"


class ChunkFailed(TrivetError):
    """A chunk failed in a process of its own; what was said there is passed on."""

    title = "Chunk failed"

    def __init__(self, title: str, sentence: str, hint: str | None, exit_code: int) -> None:
        """As the error that was raised there had it."""
        super().__init__(sentence, hint=hint)
        self.title = title  # type: ignore[misc]
        self.exit_code = exit_code  # type: ignore[misc]
