"""Why a served value is another one than the offline store's: one cause a value, in a fixed order.

The offline store is asked as Feast is now: its sources, types, times to live and on-demand code. The
first rule that fits names the cause. Those up to `changed since` do not depend on what the online
store should have had; `cache`, `late data` and `lag` ask why it had an older event than there was, and
excuse nothing that the source no longer says of the event that was served.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

Mask: TypeAlias = npt.NDArray[np.bool_]
Micros: TypeAlias = npt.NDArray[np.int64]
"""Moments as microseconds since 1970, `NEVER` where there is none."""
Codes: TypeAlias = npt.NDArray[np.int8]
"""Positions in `CAUSES`; `SAME` where the values do not differ."""

NEVER = np.iinfo(np.int64).min
SECOND = 1_000_000


class Cause(StrEnum):
    """What a difference comes from."""

    OVERRIDE = "override"
    DEFAULT = "default filled"
    EXPIRED = "expired"
    DTYPE = "dtype"
    CHANGED = "changed since"
    CACHE = "cache"
    LATE = "late data"
    LAG = "lag"
    CODE = "on-demand code"
    UNEXPLAINED = "unexplained"


CAUSES = tuple(Cause)
EXCUSED = frozenset({Cause.OVERRIDE, Cause.CACHE, Cause.LAG})
"""Differences that are meant to be: they are shown, and are no skew."""
SAME = -1


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """What is known of n values of one column that a feature view has; each an array of n truths."""

    equal: Mask
    """The model got what it would get of the offline store's value."""
    overridden: Mask
    defaulted: Mask
    """A default stood in for what the online store did not give."""
    logged_expired: Mask
    offline_present: Mask
    """The offline store has a value, and it has not outlived the TTL of now."""
    offline_expired: Mask
    same_event: Mask
    """The newest event that the offline store has is the one that was served."""
    newer_event: Mask
    """It is a later one, or there was none online."""
    held: Mask
    """The source still has the served event with the value that was served; also where none was."""
    converted: Mask
    """It has that event, and its value is the served one but for its type."""
    cached: Mask
    """At the moment when the row was read, the served event was the newest."""
    late: Mask
    """The view had been materialized past the newer event before the row was read."""


def judge(known: Evidence) -> Codes:
    """Name the cause of each of n differences."""
    rules = {
        Cause.OVERRIDE: known.overridden,
        Cause.DEFAULT: known.defaulted & known.offline_present,
        Cause.EXPIRED: (known.logged_expired & known.offline_present)
        | (known.offline_expired & known.same_event),
        Cause.DTYPE: ~known.held & known.converted,
        Cause.CHANGED: ~known.held,
        Cause.CACHE: known.newer_event & known.cached,
        Cause.LATE: known.newer_event & known.late,
        Cause.LAG: known.newer_event,
    }
    return _first(list(rules.items()), known.equal)


def judge_computed(equal: Mask, overridden: Mask, code_differs: Mask, inputs: list[Codes]) -> Codes:
    """Name the cause of each of n differences of a column that an on-demand view computes.

    Args:
        equal: what was served is what comes of the offline store's inputs.
        overridden: the caller gave it.
        code_differs: today's code makes something else of the inputs that were served.
        inputs: the causes of the differences of its inputs; of several, one that counts is passed on.
    """
    rules = [(Cause.OVERRIDE, overridden), (Cause.CODE, code_differs)]
    for cause in sorted(CAUSES, key=EXCUSED.__contains__):
        passed_on = [codes == CAUSES.index(cause) for codes in inputs]
        rules.append((cause, np.logical_or.reduce([np.zeros_like(equal), *passed_on])))
    return _first(rules, equal)


def same_event(found: Micros, served: Micros) -> Mask:
    """Say where two moments are those of one event.

    SQLite keeps whole seconds of an event timestamp: a served moment without a part of a second may
    stand for any within it.
    """
    whole = found - found % SECOND
    same: Mask = (served != NEVER) & (found != NEVER) & ((found == served) | (whole == served))
    return same


def newer_event(found: Micros, served: Micros) -> Mask:
    """Say where an event is later than the one that was served, or none was."""
    return (found > served) & ~same_event(found, served)


def end_of(served: Micros) -> Micros:
    """Return the last moments that served moments may stand for; see `same_event`."""
    return np.where((served != NEVER) & (served % SECOND == 0), served + SECOND - 1, served)


def _first(rules: list[tuple[Cause, Mask]], equal: Mask) -> Codes:
    """Return the first rule that fits each value, in the order of the rules."""
    conditions = [equal, *(fits for _, fits in rules)]
    codes = [SAME, *(CAUSES.index(cause) for cause, _ in rules)]
    named = np.select(conditions, codes, default=CAUSES.index(Cause.UNEXPLAINED))
    return named.astype(np.int8)
