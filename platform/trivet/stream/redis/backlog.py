"""How far a group is behind, and the removal of what all groups of a stream are done with.

Redis keeps the entries of a stream until somebody removes them. What every group has acknowledged is
removed, so that a stream holds what is still to be done, whatever number of groups reads it.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from trivet.stream.metrics import Backlog
from trivet.stream.redis.entries import after, time_of


async def look(client: Any, stream: str, group: str, now: datetime) -> Backlog:
    """Remove what is done with, and return what is left of it for a group."""
    groups = await client.xinfo_groups(stream)
    firsts = {one["name"].decode(): await _first(client, stream, one) for one in groups}
    if firsts:
        # `min` would compare texts.
        await client.xtrim(stream, minid=min(firsts.values(), key=_order), approximate=False)
    own = next(one for one in groups if one["name"].decode() == group)
    lag = own.get("lag")
    # Before Redis 7 there is none. What the stream holds is exact where this is the only group, since
    # the rest was removed.
    waiting = int(await client.xlen(stream) if lag is None else lag + own["pending"])
    oldest = await client.xrange(stream, firsts[group], "+", count=1) if waiting else []
    seconds = (now - time_of(oldest[0][0])).total_seconds() if oldest else 0.0
    return Backlog(waiting=waiting, pending=own["pending"], oldest_seconds=max(0.0, seconds))


async def _first(client: Any, stream: str, group: Any) -> bytes:
    """Return the id of the first entry that a group is not done with."""
    last: bytes = group["last-delivered-id"]
    if not group["pending"]:
        return after(last)
    summary = await client.xpending(stream, group["name"])
    return after(last) if summary["min"] is None else bytes(summary["min"])


def _order(place: bytes) -> tuple[int, int]:
    milliseconds, _, number = place.partition(b"-")
    return int(milliseconds), int(number or 0)
