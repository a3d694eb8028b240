"""How many rows a job may lose, and how much memory its joins may take."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from trivet.errors import BadSetting

_JOIN_MEBIBYTES = 1_536
"""For DuckDB's tables and sorts over all processes of a machine, which go to disk beyond it."""
_LEAST_MEBIBYTES = 256
"""For those of one process: a machine of many processors has the memory for it, and a join that gets
a few MiB fails."""


def memory_for_joins(processes: int) -> str:
    """Return what each of so many processes of a machine may take, as DuckDB reads it."""
    return f"{max(_LEAST_MEBIBYTES, _JOIN_MEBIBYTES // processes)}MiB"


@dataclass(frozen=True, slots=True, kw_only=True)
class MostRejects:
    """A number of rows, or a share of all."""

    count: int | None = None
    share: float = 0.01

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `100` as a number of rows, and `1%` as a share.

        Raises:
            BadSetting: it is neither.
        """
        try:
            if text.endswith("%") and 0 <= (share := float(text[:-1]) / 100) <= 1:
                return cls(share=share)
            if (count := int(text)) >= 0:
                return cls(count=count)
        except ValueError:
            pass
        raise BadSetting(f"{text} is neither a number of rows, like 100, nor a share, like 1%.")

    def of(self, rows: int) -> int:
        """Return how many of so many rows it is."""
        return int(self.share * rows) if self.count is None else self.count
