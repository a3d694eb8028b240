"""How many replicas are wanted, by the work that is in flight.

Up fast, down slow: too few replicas cost requests, one too many costs memory. What was seen and what
was decided before are both in the history, so the decision is a function of its arguments alone.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import fmean

_KEEP = 0.7
"""Share of the target that work must fit into with one replica fewer: between this and 1 nothing is
done, so that a steady load cannot make the number go up and down."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Between what numbers, and how eagerly."""

    least: int
    most: int
    target: float
    """Requests in flight or queued a replica that is ready."""
    up_seconds: float
    """Over how long the work is averaged; as long nothing more is added after a step up."""
    down_seconds: float
    """How long it has to have been low enough for one fewer, without any change."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """What was seen at a moment."""

    at: float
    """Seconds, by any clock that only goes forward."""
    wanted: int
    ready: int
    busy: int
    """Requests in flight and queued, over all replicas."""
    failed: int = 0
    """Of those that are wanted, how many were given up: nobody waits for them; they bear nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """How many are wanted from now on, and why."""

    wanted: int
    why: str


def decide(history: Sequence[Look], limits: Limits, now: float) -> Decision:
    """Decide how many replicas are wanted.

    Args:
        history: oldest first; the last one says how many are wanted now.
        limits: what is allowed.
        now: by the clock of the history.
    """
    wanted = history[-1].wanted if history else limits.least
    within = min(max(wanted, limits.least), limits.most)
    if within != wanted:
        return Decision(wanted=within, why=f"between {limits.least} and {limits.most}")
    return _more(history, limits, now) or _fewer(history, limits, now) or _stay(history, wanted)


def _more(history: Sequence[Look], limits: Limits, now: float) -> Decision | None:
    """Return as many more as the work needs, once those that were added before are there."""
    last = history[-1] if history else None
    recent = _since(history, now - limits.up_seconds)
    if last is None or not recent or last.wanted == limits.most:
        return None
    working = last.wanted - last.failed
    if working <= 0 or last.ready < working:
        return None
    if _changed(history) > now - limits.up_seconds or not _covers(history, limits.up_seconds, now):
        return None
    busy = fmean(look.busy for look in recent)
    if busy <= limits.target * working:
        return None
    needed = min(math.ceil(busy / limits.target) + last.failed, limits.most)
    return Decision(
        wanted=max(needed, last.wanted + 1),
        why=f"{busy:.1f} in flight, {busy / working:.1f} a replica: over {limits.target:g}",
    )


def _fewer(history: Sequence[Look], limits: Limits, now: float) -> Decision | None:
    """Return one fewer where the most that was in flight for a long while would fit."""
    recent = _since(history, now - limits.down_seconds)
    if not recent or recent[-1].wanted <= limits.least:
        return None
    if _changed(history) > now - limits.down_seconds:
        return None
    if not _covers(history, limits.down_seconds, now):
        return None
    fewer = recent[-1].wanted - 1
    # Single looks are noisy: a moment's burst is not the work of a second.
    busy = max(fmean(part) for part in _parts(recent, limits.up_seconds))
    # One that was given up goes first, and with it no capacity.
    left = min(fewer, recent[-1].wanted - recent[-1].failed)
    if busy > _KEEP * limits.target * left:
        return None
    return Decision(wanted=fewer, why=f"{busy:.1f} in flight at most for {limits.down_seconds:g} s")


def _stay(history: Sequence[Look], wanted: int) -> Decision:
    busy = history[-1].busy if history else 0
    return Decision(wanted=wanted, why=f"{busy} in flight")


def _since(history: Sequence[Look], start: float) -> Sequence[Look]:
    return [look for look in history if look.at > start]


def _covers(history: Sequence[Look], seconds: float, now: float) -> bool:
    """Say whether the history goes back so far."""
    return bool(history) and history[0].at <= now - seconds


def _changed(history: Sequence[Look]) -> float:
    """Return when the wanted number was last another one."""
    changes = (after.at for before, after in pairwise(history) if before.wanted != after.wanted)
    return max(changes, default=-math.inf)


def _parts(looks: Sequence[Look], seconds: float) -> list[list[int]]:
    """Return what was busy, in pieces of so many seconds."""
    parts: dict[int, list[int]] = {}
    for look in looks:
        parts.setdefault(int((look.at - looks[0].at) // seconds), []).append(look.busy)
    return list(parts.values())
