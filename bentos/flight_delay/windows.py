"""Sums over the time that led up to a moment: all that the sources' windows are made of."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
import pandas as pd

_START: Final = pd.Timestamp("2012-01-01", tz="UTC")
_STRIDE: Final = 2**22
"""Minutes between two keys on the common axis: eight years, more than any window reaches back."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Windows:
    """Windows that end at the same moments for every key.

    ``keys`` holds every key once, under the names of the events' columns; ``ends`` are whole
    minutes, UTC.
    """

    keys: pd.MultiIndex
    ends: pd.DatetimeIndex

    def rows(self) -> pd.DataFrame:
        """Return every key at every moment: the key's columns and ``event_timestamp``."""
        rows = self.keys.repeat(len(self.ends)).to_frame(index=False)
        ends = np.tile(self.ends.to_numpy(), len(self.keys))
        return rows.assign(event_timestamp=pd.DatetimeIndex(ends, tz="UTC"))

    def sums(
        self, events: pd.DataFrame, columns: tuple[str, ...] = (), *, at: str, width: pd.Timedelta
    ) -> pd.DataFrame:
        """Count and sum the events of each key in ``(end - width, end]``, for every end.

        An event at ``end`` itself counts: what happens at a moment is known at that moment. All
        keys lie one after the other on a single axis of whole minutes, so that one sort and two
        binary searches answer for all of them. Sums are differences of running totals, which is
        exact for whole minutes.

        Args:
            events: The keys' columns, ``at`` and ``columns``; a row without ``at`` never happened.
            columns: What to sum, without missing values.
            at: The column with the moment at which an event was known.
            width: How far a window reaches back.

        Returns:
            Float64 columns ``count`` and ``columns``, in the order of ``rows()``.
        """
        happened = events[events[at].notna()]
        key = self.keys.get_indexer(pd.MultiIndex.from_frame(happened[list(self.keys.names)]))
        place = key * _STRIDE + _minutes(pd.DatetimeIndex(happened[at]))
        order = np.argsort(place, kind="stable")
        totals = _running(happened[list(columns)].to_numpy(dtype=np.float64)[order])
        place = place[order]
        until = (np.arange(len(self.keys))[:, np.newaxis] * _STRIDE + _minutes(self.ends)).ravel()
        since = until - width // pd.Timedelta(minutes=1)
        inside = totals[np.searchsorted(place, until, side="right")]
        inside -= totals[np.searchsorted(place, since, side="right")]
        return pd.DataFrame(inside, columns=["count", *columns])


def _running(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return running totals of shape (n + 1, k + 1): from zero on, the first column counting."""
    totals = np.zeros((len(values) + 1, values.shape[1] + 1))
    totals[:, 0] = np.arange(len(totals))
    np.cumsum(values, axis=0, out=totals[1:, 1:])
    return totals


def _minutes(times: pd.DatetimeIndex) -> npt.NDArray[np.int64]:
    """Return whole minutes since the axis begins."""
    return np.asarray((times - _START) // pd.Timedelta(minutes=1), dtype=np.int64)
