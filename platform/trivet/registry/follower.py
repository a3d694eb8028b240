"""Make this host serve what the ledger says: the one process a host and model that asks MLflow.

It polls the aliases, brings the versions they mean to the shelf, verified, and only then names them
in the live state. Whatever goes wrong, the last good state stays and keeps serving.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from filelock import FileLock, Timeout

from trivet.clock import Clock, system_clock
from trivet.errors import RegistryUnavailable, ReleaseConflict, TrivetError
from trivet.live import Contact, Shelf
from trivet.registry import claim, ledger, release, shelve
from trivet.registry.client import connect, require_database
from trivet.registry.gate import Gates, no_gates
from trivet.registry.ledger import Action, Release
from trivet.registry.stamp import Stamp, read_stamp
from trivet.registry.trials import Trials
from trivet.registry.verdicts import Judge
from trivet.registry.versions import Pointers, read_pointers
from trivet.settings import Settings

if TYPE_CHECKING:
    from mlflow import MlflowClient

_LOOK_AGAIN = timedelta(seconds=30)
"""How often the ledger is read though no alias has changed, and a refused version tried anew."""

_PATIENCE = timedelta(seconds=5)
"""How long a release may be under way before it counts as interrupted."""

_SILENCE_SECONDS = 10
"""How long a server may say nothing: asked twice, it counts as away after 20 s. Only small documents
are asked for and files streamed, so nothing that works is cut off."""

_log = logging.getLogger(__name__)


def _connect(settings: Settings) -> MlflowClient:
    return connect(settings, silence_seconds=_SILENCE_SECONDS)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Seen:
    """What one look at the registry found."""

    pointers: Pointers
    newest: str | None
    at: datetime
    stamp: Stamp | None
    """The registry's, from before the look."""

    @property
    def aliases(self) -> Mapping[str, int]:
        """The model's aliases."""
        return self.pointers.aliases


class Follower:
    """Follows one model's releases on one host."""

    def __init__(
        self,
        settings: Settings,
        model: str,
        client_factory: Callable[[Settings], MlflowClient] = _connect,
        gates_factory: Callable[[Action], Gates] = no_gates,
        clock: Clock = system_clock,
        *,
        look_beside: Callable[[], None] = lambda: None,
    ) -> None:
        """Nothing is opened or read before the first step.

        Args:
            settings: of the project.
            model: the registered model's name.
            client_factory: called at the first step, and again until it has succeeded once.
            gates_factory: called for each release by hand, and each that a canary earned.
            clock: of the live state, and of waiting times.
            look_beside: called again and again in a thread of its own, while this follower is the
                host's; a release never waits for it. It must not raise.
        """
        self._settings = settings
        self._model = model
        self._client_factory = client_factory
        self._gates_factory = gates_factory
        self._clock = clock
        self._look_beside = look_beside
        self._shelf = Shelf(settings.home, model)
        self._judge = Judge(self._shelf, clock)
        self._trials = Trials(settings, model, self._judge, gates_factory, clock)
        self._client: MlflowClient | None = None
        self._settled: _Seen | None = None
        self._unsettled: _Seen | None = None
        self._complaint: str | None = None
        self._told: Contact | None = None

    def run(self, stop: threading.Event) -> None:
        """Poll until `stop` is set; wait first until no other follower of this host holds the lock.

        Never raises: what a step raises is logged, once for as long as it stays the same.
        """
        self._shelf.folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(self._shelf.lock_file)
        while not stop.is_set():
            try:
                with lock.acquire(timeout=self._settings.poll_seconds):
                    self._poll(stop)
            except Timeout:
                continue

    def step(self) -> None:
        """Look at the registry once, and make the live state say what it says.

        Raises:
            TrivetError: MLflow does not answer, or the model is unknown; nothing was changed.
        """
        require_database(self._settings)
        if self._client is None:
            self._client = self._client_factory(self._settings)
        self._trials.act(self._client)
        stamp = read_stamp(self._settings)
        settled = self._lately_settled()
        if settled is not None and settled.stamp is not None and settled.stamp == stamp:
            return
        pointers = read_pointers(self._client, self._model)
        if settled is not None and settled.pointers == pointers:
            self._settled = replace(settled, stamp=stamp)
            return
        chain = ledger.read_chain(self._client, self._model)
        newest = chain[-1].run_id if chain else None
        seen = _Seen(pointers=pointers, newest=newest, at=self._clock(), stamp=stamp)
        if self._act(self._client, chain, seen):
            self._settled, self._unsettled = seen, None

    def _poll(self, stop: threading.Event) -> None:
        self._settled = self._unsettled = self._told = None
        self._start_beside(stop, "trivet-beside", self._look_beside)
        self._start_beside(stop, "trivet-judge", self._judge.look)
        while True:
            try:
                self.step()
                self._complain(None)
            except TrivetError as err:
                self._complain(str(err))
            except Exception as err:  # noqa: BLE001 - must outlive anything
                self._complain(f"{type(err).__name__}: {err}", err)
            if stop.wait(self._settings.poll_seconds):
                return

    def _start_beside(self, stop: threading.Event, name: str, look: Callable[[], None]) -> None:
        def again() -> None:
            while not stop.wait(self._settings.poll_seconds):
                look()

        # Not waited for at the end: a look may just be importing Feast.
        threading.Thread(target=again, name=name, daemon=True).start()

    def _lately_settled(self) -> _Seen | None:
        settled = self._settled
        if settled is None or self._clock() - settled.at >= _LOOK_AGAIN:
            return None
        return settled

    def _act(self, client: MlflowClient, chain: Sequence[Release], seen: _Seen) -> bool:
        """Return whether nothing is left to do until something changes."""
        newest = ledger.last(chain)
        alias = seen.aliases.get(claim.CHAMPION)
        if (underway := ledger.unfinished(chain)) is not None:
            return self._await(client, underway, seen)
        if newest is not None and newest.to_version == alias:
            return self._follow(client, chain, seen, None)
        if alias is None:
            return newest is None or self._follow(
                client, chain, seen, f"The alias {claim.CHAMPION} was removed by hand."
            )
        if not self._seen_before(seen):
            return False
        return self._accept(client, chain, seen)

    def _await(self, client: MlflowClient, newest: Release, seen: _Seen) -> bool:
        before = self._unsettled
        if before is None or before.newest != newest.run_id:
            self._unsettled = seen
        elif seen.at - before.at >= _PATIENCE:
            _log.warning("%s: finishing an interrupted release", self._model)
            claim.finish(client, self._model, newest)
        return False

    def _seen_before(self, seen: _Seen) -> bool:
        # A releasing process that was outrun sets the alias back for a moment. Only what two looks
        # find alike was moved by hand.
        before = self._unsettled
        self._unsettled = seen
        return (
            before is not None and before.pointers == seen.pointers and before.newest == seen.newest
        )

    def _accept(self, client: MlflowClient, chain: Sequence[Release], seen: _Seen) -> bool:
        version = seen.aliases[claim.CHAMPION]
        try:
            gates = self._gates_factory("accept")
            release.accept(client, self._settings, self._model, gates, self._clock)
        except (RegistryUnavailable, ReleaseConflict):
            raise
        except TrivetError as err:
            why = f"Version {version}, to which {claim.CHAMPION} was moved by hand: {err}"
            return self._follow(client, chain, seen, why)
        return False

    def _follow(
        self,
        client: MlflowClient,
        chain: Sequence[Release],
        seen: _Seen,
        refused: str | None,
    ) -> bool:
        now = self._clock()
        try:
            if ledger.last(chain) is None:
                shelve.refuse(self._shelf, refused, now)
                return True
            beside = self._trials.beside(chain, seen.pointers.tags)
            if beside.by_hand is not None and self._seen_before(seen):
                self._trials.record(client, beside.by_hand)
                return False
            wanted = shelve.wanted_of(
                chain, seen.aliases, refused or beside.fault, beside.canary, beside.shadow
            )
            shelve.follow(client, self._shelf, wanted, now)
        except RegistryUnavailable:
            raise
        except TrivetError as err:
            shelve.refuse(self._shelf, f"The newest release cannot be served: {err}", now)
            return True
        return beside.by_hand is None

    def _complain(self, what: str | None, err: Exception | None = None) -> None:
        """Say once what stands in the way, or that nothing does any more, here and on the shelf."""
        self._tell(what)
        if what == self._complaint:
            return
        self._complaint = what
        if what is None:
            _log.info("%s: following the registry again", self._model)
        else:
            _log.warning("%s: the live state stays as it is: %s", self._model, what, exc_info=err)

    def _tell(self, what: str | None) -> None:
        before = self._told
        if before is not None and before.why == what:
            return
        ok = what is None
        # Another reason for the same state does not begin it anew.
        since = before.since if before is not None and before.ok == ok else self._clock()
        told = Contact(ok=ok, since=since, why=what)
        try:
            self._shelf.write_contact(told)
        except OSError as err:  # the disk is full; the next poll tries again
            _log.warning("%s: %s cannot be written: %s", self._model, self._shelf.contact_file, err)
        else:
            self._told = told
