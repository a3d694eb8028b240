"""What the follower does about a canary and a shadow: follow their tags, end and promote by itself."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from trivet.canary.limits import broken
from trivet.canary.state import TAGS, Canary, Kind, Shadow, State, parse_state
from trivet.canary.tally import Figures, quantile
from trivet.clock import Clock
from trivet.errors import BadTrial, RegistryUnavailable, ReleaseConflict, TrivetError
from trivet.live import Shelf
from trivet.registry import canary as canaries
from trivet.registry import ledger, release
from trivet.registry.gate import Gates
from trivet.registry.ledger import Action, Release
from trivet.registry.plan import plan_promotion
from trivet.registry.verdicts import Judge
from trivet.settings import Settings

if TYPE_CHECKING:
    from mlflow import MlflowClient

_TRY_AGAIN = timedelta(seconds=30)
"""How long after a refused promotion it is tried again."""
_SOMEBODY = "somebody in MLflow"

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class ByHand:
    """A tag that says something which the ledger does not."""

    kind: Kind
    state: State | None
    """What is asked for; None: the tag is gone, or what it says was ended by a release."""
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Beside:
    """What is to run beside the champion."""

    canary: Canary | None = None
    shadow: Shadow | None = None
    fault: str | None = None
    """Why a tag is not followed."""
    by_hand: ByHand | None = None
    """What is to be written to the ledger, if the next look finds the same."""


class Trials:
    """Follows one model's canary and shadow on one host."""

    def __init__(
        self,
        settings: Settings,
        model: str,
        judge: Judge,
        gates_factory: Callable[[Action], Gates],
        clock: Clock,
    ) -> None:
        """As for the follower, whose part this is."""
        self._settings = settings
        self._model = model
        self._judge = judge
        self._gates_factory = gates_factory
        self._clock = clock
        self._shelf = Shelf(settings.home, model)
        self._refused: dict[str, str] = {}
        self._try_from: datetime | None = None

    def act(self, client: MlflowClient) -> None:
        """End the canary that was set back on this host, or promote the one whose time has come.

        What somebody else was faster with, the next look sees.

        Raises:
            RegistryUnavailable: MLflow does not answer.
        """
        try:
            self._act(client)
        except RegistryUnavailable:
            raise
        except TrivetError as err:
            log.warning("%s: its canary is left as it is for now: %s", self._model, err)

    def _act(self, client: MlflowClient) -> None:
        live = self._shelf.read_live()
        on = None if live is None else live.canary
        if on is None or on.entry is None:
            return
        if (verdict := self._judge.verdict(on)) is not None:
            report = verdict.figures.model_dump(mode="json")
            self._end(client, "canary", canaries.BY_ITSELF, f"{verdict.sentence}.", report)
        elif self._is_due(on):
            self._promote(client, on, self._judge.figures(on.entry))

    def beside(self, chain: Sequence[Release], tags: Mapping[str, str]) -> Beside:
        """Return what ledger and tags together say is to run; writes nothing."""
        states: dict[Kind, State | None] = {}
        faults, by_hand = [], []
        live = self._shelf.read_live()
        for kind, tag in TAGS.items():
            running = ledger.running(chain, kind)
            try:
                state = parse_state(kind, tags[tag]) if tag in tags else None
            except BadTrial as err:
                faults.append(str(err))
                states[kind] = _kept(getattr(live, kind, None), running)
                continue
            states[kind], found = self._of(kind, state, running, chain)
            if found is not None and (fault := self._refused.get(_key(found))) is not None:
                faults.append(fault)
            elif found is not None:
                by_hand.append(found)
        canary, shadow = states["canary"], states["shadow"]
        return Beside(
            canary=canary if isinstance(canary, Canary) else None,
            shadow=shadow if isinstance(shadow, Shadow) else None,
            fault=" ".join(faults) or None,
            by_hand=by_hand[0] if by_hand else None,
        )

    def record(self, client: MlflowClient, found: ByHand) -> None:
        """Write to the ledger what somebody did by a tag; what cannot be is remembered as refused.

        Raises:
            RegistryUnavailable, ReleaseConflict: it is tried again.
        """
        if found.state is None:
            self._end(client, found.kind, _SOMEBODY, found.why)
            return
        try:
            canaries.begin(
                client,
                self._settings,
                self._model,
                found.state,
                self._gates_factory(found.kind),
                _SOMEBODY,
                found.why,
                self._clock,
            )
        except (RegistryUnavailable, ReleaseConflict):
            raise
        except TrivetError as err:
            self._refused = {_key(found): f"The tag {TAGS[found.kind]}: {err}"}

    def _of(
        self, kind: Kind, state: State | None, running: Release | None, chain: Sequence[Release]
    ) -> tuple[State | None, ByHand | None]:
        if state is None:
            why = f"The tag {TAGS[kind]} was removed in MLflow."
            return None, None if running is None else ByHand(kind=kind, state=None, why=why)
        if running is not None and (state.entry, state.version) == (running.run_id, running.tried):
            return state, None
        begun = any(one.run_id == state.entry and one.action == kind for one in chain)
        if begun and running is None and not _ended(chain, kind, state.entry):
            return None, ByHand(kind=kind, state=None, why="Another version was released.")
        why = f"The tag {TAGS[kind]} was set in MLflow."
        fresh = state.model_copy(update={"entry": None, "since": None})
        return None, ByHand(kind=kind, state=fresh, why=why)

    def _end(
        self,
        client: MlflowClient,
        kind: Kind,
        who: str,
        why: str,
        figures: Mapping[str, object] | None = None,
    ) -> None:
        done = canaries.end(
            client, self._settings, self._model, kind, who, why, figures, self._clock
        )
        if done is not None:
            log.warning("%s: its %s has ended: %s", self._model, kind, why)

    def _is_due(self, on: Canary) -> bool:
        now = self._clock()
        if on.promote_after_seconds is None or on.since is None or on.entry is None:
            return False
        if (now - on.since).total_seconds() < on.promote_after_seconds:
            return False
        if self._try_from is not None and now < self._try_from:
            return False
        total = self._judge.figures(on.entry)
        return total.requests >= on.promote_requests and broken(on.limits, total) is None

    def _promote(self, client: MlflowClient, on: Canary, figures: Figures) -> None:
        self._try_from = self._clock() + _TRY_AGAIN
        plan = plan_promotion(client, self._model, on.version)
        why = f"Canary at {on.percent:g} %: limits held for {on.promote_after_seconds:g} s, "
        why += summary(figures)
        try:
            release.apply(
                client,
                self._settings,
                plan,
                self._gates_factory("promote"),
                canaries.BY_ITSELF,
                why,
                self._clock,
            )
        except (RegistryUnavailable, ReleaseConflict):
            raise
        except TrivetError as err:
            log.warning("%s: its canary cannot be promoted: %s", self._model, err)
            return
        self._try_from = None
        log.info("%s: canary %d was promoted: %s", self._model, on.version, why)


def summary(figures: Figures) -> str:
    """Return the figures of a canary or shadow in one line."""
    p99 = quantile(figures.took, 0.99)
    return (
        f"{figures.requests} requests, {figures.failed} failed, "
        f"p99 {'-' if p99 is None else f'{1000 * p99:.1f} ms'}, "
        f"{figures.unlike} of {figures.rows} rows unlike, "
        f"mean difference {figures.mean_difference:.3g}"
    )


def _kept(state: State | None, running: Release | None) -> State | None:
    """Return what runs now, if it still does by the ledger."""
    if state is None or running is None or state.entry != running.run_id:
        return None
    return state


def _ended(chain: Sequence[Release], kind: Kind, entry: str | None) -> bool:
    """Say whether an entry has an end of its own behind it."""
    behind = False
    for one in chain:
        if behind and one.action == f"{kind}_end":
            return True
        behind = behind or one.run_id == entry
    return False


def _key(found: ByHand) -> str:
    return f"{found.kind} {found.state!r}"
