"""The one clock: time to live, feature reads, materialization and replays all ask it.

Tests and replays hand in their own clock; nothing else in Trivet calls `datetime.now`.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

Clock = Callable[[], datetime]


def system_clock() -> datetime:
    """Return the present moment, aware, in UTC."""
    return datetime.now(UTC)
