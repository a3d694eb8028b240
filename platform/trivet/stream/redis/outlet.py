"""Publish and acknowledge in one step, so that a message is answered once whoever holds it.

A script runs as a whole or not at all, and between no two others. For each message it acknowledges
first: only who finds it pending still goes on to publish. Two consumers that both came to hold one
message (the second took it over) thus publish one prediction, whoever is faster; so does one that asks
again because a reply was lost.

That leaves a request that was sent twice, under one id: two messages. Ids that were answered stand in
two sets, of the present window of time and of the one before it, and a set ends with its window.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from trivet.stream.messages import DATA_FIELD
from trivet.stream.taken import Settled

SETTLE = f"""
local window, answered_again = tonumber(ARGV[3]), 0
local bucket = window > 0 and math.floor(redis.call('TIME')[1] / window) or 0
local now, before = KEYS[4] .. ':' .. bucket, KEYS[4] .. ':' .. (bucket - 1)
local function publish(stream, message)
  redis.call('XADD', stream, 'MAXLEN', '~', ARGV[2], '*', '{DATA_FIELD}', message)
end
for i = 4, #ARGV, 4 do
  local place, outcome, id, message = ARGV[i], ARGV[i + 1], ARGV[i + 2], ARGV[i + 3]
  if redis.call('XACK', KEYS[1], ARGV[1], place) == 0 then
    answered_again = answered_again + 1
  elseif outcome == 'dead' then
    publish(KEYS[3], message)
  elseif outcome == 'answered' then
    if window > 0 and (redis.call('SISMEMBER', before, id) == 1
        or redis.call('SADD', now, id) == 0) then
      answered_again = answered_again + 1
    else
      publish(KEYS[2], message)
    end
  end
end
if window > 0 and redis.call('EXISTS', now) == 1 then
  redis.call('EXPIRE', now, 2 * window)
end
return answered_again
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """Where messages of one stream end."""

    stream: str
    group: str
    out: str
    """Of predictions; events have none, and it stays empty."""
    dead: str

    @property
    def answered(self) -> str:
        """The key, but for its window, of the ids that were answered."""
        return f"{self.stream}.answered"


class RedisOutlet:
    """Settles messages of one stream."""

    def __init__(self, client: Any, target: Target, most: int, window: int) -> None:
        """Nothing is sent yet.

        Args:
            client: redis-py's, asynchronous.
            target: where they end.
            most: messages that a stream of predictions or dead letters keeps, about.
            window: seconds for which an answered id is remembered at least; 0: not at all.
        """
        self._settle = client.register_script(SETTLE)
        self._keys = [target.stream, target.out, target.dead, target.answered]
        self._arguments = [target.group, most, window]

    async def settle(self, done: Sequence[Settled]) -> int:
        """Publish and acknowledge; see `Outlet.settle`."""
        arguments = list(self._arguments)
        for one in done:
            arguments += (one.taken.place, one.outcome, one.id or "", one.out or b"")
        return int(await self._settle(keys=self._keys, args=arguments))
