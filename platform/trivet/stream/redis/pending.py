"""What consumers were handed and have not settled: taken over from those that are gone.

XPENDING says of every such entry how long ago it was handed out, and how often. XAUTOCLAIM would take
entries over in one command, but not say how often before it has. It matters: an entry that ends
whoever takes it (a crash, no memory) would take those beside it along, until all of them are given up.
So what was handed out once is taken over together, and what twice or more one by one.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from trivet.stream.redis.entries import Fields, taken
from trivet.stream.taken import Batch, Taken

log = logging.getLogger("trivet.stream")

LAST = b"+"
"""In place of an id: the last entry that there is."""

_DISMISS = """
local gone = 0
for _, fields in ipairs(redis.call('XINFO', 'CONSUMERS', KEYS[1], ARGV[1])) do
  local one = {}
  for i = 1, #fields, 2 do one[fields[i]] = fields[i + 1] end
  if one.pending == 0 and (one.name == ARGV[2] or one.idle > tonumber(ARGV[3])) then
    redis.call('XGROUP', 'DELCONSUMER', KEYS[1], ARGV[1], one.name)
    gone = gone + 1
  end
end
return gone
"""
"""A consumer that holds nothing is taken off the list; by a script, as one may be handed something
between the look and that, and would lose it."""

_LET_GO = """
local gone = 0
for i = 2, #ARGV do
  if #redis.call('XRANGE', KEYS[1], ARGV[i], ARGV[i]) == 0 then
    gone = gone + redis.call('XACK', KEYS[1], ARGV[1], ARGV[i])
  end
end
return gone
"""
"""Entries that are pending and no longer in the stream were lost. In one step: what was settled between
two is no longer there either. Before XCLAIM, which from Redis 7 on lets them go and says nothing."""

_FORGET_MILLISECONDS = 3_600_000


class Pending:
    """The entries of one stream that consumers of the group hold."""

    def __init__(  # noqa: PLR0917 - its parts, wired once
        self,
        client: Any,
        stream: str,
        group: str,
        consumer: str,
        most: int,
        idle_milliseconds: int,
    ) -> None:
        """`idle_milliseconds`: after these without a sign of life an entry is taken over."""
        self._client = client
        self._stream = stream
        self._group = group
        self._consumer = consumer
        self._most = most
        self._idle = idle_milliseconds
        self._dismiss = client.register_script(_DISMISS)
        self._let_go = client.register_script(_LET_GO)
        self.here: set[bytes] = set()
        """What this process works on."""
        self._held: dict[bytes, int] = {}

    def hold(self, messages: Sequence[Taken]) -> None:
        """Remember entries that a handler returned because the process is to end."""
        self._held |= {one.place: one.deliveries for one in messages}

    async def give_back(self) -> None:
        """Have what was held count as not handed out: nobody has failed on it.

        Entries that were settled meanwhile are not pending, and stay so.
        """
        for deliveries in set(self._held.values()):
            places = [place for place, count in self._held.items() if count == deliveries]
            await self._client.xclaim(
                self._stream,
                self._group,
                self._consumer,
                0,
                places,
                retrycount=deliveries - 1,
                justid=True,
            )

    async def keep(self) -> None:
        """Give a sign of life for what this process works on; it does not count as a delivery."""
        if here := list(self.here):
            await self._client.xclaim(
                self._stream, self._group, self._consumer, 0, here, justid=True
            )

    async def take_over(self, handle: Callable[[Batch], Awaitable[None]]) -> tuple[int, int]:
        """Handle what has been left; return how many entries that were, and how many are gone."""
        return await self._take(handle, idle=self._idle)

    async def finish_own(
        self, handle: Callable[[Batch], Awaitable[None]], last: bytes
    ) -> tuple[int, int]:
        """Handle what this consumer was handed, here or in a process before that had its name.

        But for what it is to give back, and what comes after the entry `last`.
        """
        return await self._take(handle, last, consumername=self._consumer)

    async def dismiss(self) -> None:
        """Take this consumer off the group's list, if it holds nothing, and long-gone ones too."""
        arguments = [self._group, self._consumer, _FORGET_MILLISECONDS]
        await self._dismiss(keys=[self._stream], args=arguments)

    async def _take(
        self, handle: Callable[[Batch], Awaitable[None]], last: bytes = LAST, **which: Any
    ) -> tuple[int, int]:
        found = await self._client.xpending_range(
            self._stream, self._group, "-", last, self._most, **which
        )
        known = self.here | self._held.keys()
        left = [one for one in found if one["message_id"] not in known]
        once = [one for one in left if one["times_delivered"] <= 1]
        parts = [once] if once else []
        parts += [[one] for one in left if one["times_delivered"] > 1]
        gone = handled = 0
        for part in parts:
            messages, lost = await self._claim(part, which.get("idle", 0))
            gone += lost
            if messages and await self._handled(messages, handle):
                handled += len(messages)
        return handled, gone

    async def _handled(
        self, messages: Sequence[Taken], handle: Callable[[Batch], Awaitable[None]]
    ) -> bool:
        """Handle entries; False where that failed: they stay pending, and those behind them go on."""
        try:
            await handle(Batch(messages=messages))
        except Exception:
            log.exception("%s: %d entries could not be handled", self._stream, len(messages))
            return False
        return True

    async def _claim(self, part: Sequence[Any], idle: int) -> tuple[list[Taken], int]:
        wanted = {one["message_id"]: one["times_delivered"] for one in part}
        gone = int(await self._let_go(keys=[self._stream], args=[self._group, *wanted]))
        if gone:
            log.error("%s: %d pending messages were trimmed away", self._stream, gone)
        # What is not claimed was settled meanwhile, or another consumer was faster.
        claimed: list[tuple[bytes | None, Fields | None]] = await self._client.xclaim(
            self._stream, self._group, self._consumer, idle, list(wanted)
        )
        messages = [
            taken(place, fields, wanted[place] + 1)
            for place, fields in claimed
            if place is not None and fields is not None
        ]
        return messages, gone
