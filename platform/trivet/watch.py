"""Whether Feast still offers what the live version relies on, looked at from the follower's process.

Somebody can change Feast's definitions without asking Trivet. The service goes on with what it has;
what no longer fits is written where workers and commands find it.

A look costs 9 ms once Feast is imported, which takes 4 s and 56 MB where MLflow is imported already. A
process of its own for each look would save that memory, and cost 4 s of a core every time. So it is a
thread of the follower's process: releases are followed while it imports.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence

from trivet.clock import Clock, system_clock
from trivet.contract import Contract, parse_contract
from trivet.errors import Difference, TrivetError
from trivet.live import CONTRACT, FeatureCheck, LoadedVersion, Shelf
from trivet.priority import give_way_in_this_thread
from trivet.settings import Settings

Compare = Callable[[Contract], Sequence[Difference]]
"""Returns in what Feast differs now from what a contract relies on."""

_log = logging.getLogger(__name__)

_SETTLE_SECONDS = 5.0
"""How long the first look waits at most: a service that starts has better use for the processor."""


class FeatureWatch:
    """Compares the champion's contract with Feast every now and then."""

    def __init__(
        self,
        settings: Settings,
        model: str,
        compare: Compare,
        clock: Clock = system_clock,
    ) -> None:
        """Nothing is read before the first look that is due."""
        self._shelf = Shelf(settings.home, model)
        self._every = settings.feature_check_seconds
        self._compare_with_feast = compare
        self._clock = clock
        self._due = time.monotonic() + min(_SETTLE_SECONDS, self._every)

    def look(self) -> None:
        """Compare if it is due, and write down what differs; never raises."""
        if time.monotonic() < self._due:
            return
        give_way_in_this_thread()
        try:
            self._compare()
        except Exception:  # noqa: BLE001 - what follows releases must outlive anything
            _log.exception("%s: the features could not be compared", self._shelf.model)
        self._due = time.monotonic() + self._every

    def _compare(self) -> None:
        live = self._shelf.read_live()
        if live is None:
            return
        champion = next(one for one in live.versions if one.version == live.champion)
        contract = parse_contract((self._shelf.path(champion.digest) / CONTRACT).read_bytes())
        if contract.feature_service is None:
            return
        found = self._find(champion, contract)
        before = self._shelf.read_check()
        self._shelf.write_check(found)
        if before is None or before.differences != found.differences:
            self._say(found)

    def _find(self, champion: LoadedVersion, contract: Contract) -> FeatureCheck:
        differences: Sequence[Difference] = ()
        unchecked = None
        try:
            differences = self._compare_with_feast(contract)
        except TrivetError as err:
            unchecked = str(err)
        return FeatureCheck(
            version=champion.version,
            digest=champion.digest,
            at=self._clock(),
            differences=tuple(differences),
            unchecked=unchecked,
        )

    def _say(self, found: FeatureCheck) -> None:
        if not found.differences:
            return
        shown = "; ".join(
            f"{each.column} {each.aspect}: {each.contract} -> {each.feast}"
            for each in found.differences
        )
        _log.error(
            "%s: version %d stays live, but Feast no longer offers what it relies on: %s",
            self._shelf.model,
            found.version,
            shown,
        )
