"""The replicas of one model: as many as are wanted, of the code that is wanted."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from trivet.gateway.admin import ServerStats
from trivet.gateway.around import Around
from trivet.gateway.autoscale import Limits, Look, decide
from trivet.gateway.configuration import Backend, Balance, Server
from trivet.gateway.replica import Replica
from trivet.gateway.requests import Wish
from trivet.gateway.rolling import Drain, Seat, next_step
from trivet.gateway.state import Home, ModelState, ReplicaState, Scaled

_TRIES, _TRIES_PROVEN = 3, 5
"""Quick deaths in a row until a replica is given up: of code that was never ready, and that was."""
_DECISIONS = 10
_PER_WORKER = 4.0
"""Requests in flight a worker that autoscaling aims at: some wait while others are predicted."""
_NOWHERE = 9
"""A port for places without a replica, which are in maintenance: the discard service's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Spec:
    """How a model is to be served."""

    replicas: int = 2
    workers: int = 1
    balance: Balance = "round_robin"
    least: int | None = None
    most: int | None = None
    target: float | None = None

    def changed(self, wish: Wish) -> Spec:
        """Return it as somebody wishes."""
        least = self.least if wish.least is None else wish.least
        most = self.most if wish.most is None else wish.most
        if most is not None or least is not None:
            least = min(1 if least is None else least, most or least or 1)
            most = max(least, most or least)
        replicas = wish.replicas or self.replicas
        if least is not None and most is not None:
            begins = self.least is None and wish.replicas is None
            replicas = least if begins else min(max(replicas, least), most)
        return replace(
            self,
            replicas=replicas,
            workers=wish.workers or self.workers,
            balance=wish.balance or self.balance,
            least=least,
            most=most,
            target=wish.target or self.target,
        )

    @property
    def places(self) -> int:
        """As many as there may ever be, and one more to renew them one at a time."""
        return max(self.replicas, self.most or 0) + 1


class Fleet:
    """The replicas of one model."""

    def __init__(
        self, model: str, spec: Spec, home: Home, around: Around, scaling: tuple[float, float]
    ) -> None:
        """`scaling`: seconds before it scales up, and down."""
        self.model, self.spec, self.wanted = model, spec, spec.replicas
        self._home, self._around, self._scaling = home, around, scaling
        self.generation = 1
        self._before: int | None = None
        self._proven: set[int] = set()
        self.broken: Replica | None = None
        """The replica whose death ended the last update, or the first start."""
        self.replicas: list[Replica] = []
        self._history: deque[Look] = deque()
        self._decisions: deque[Scaled] = deque(maxlen=_DECISIONS)
        self._load = ""
        self._counts: dict[str, _Count] = {}
        self._make_places()

    def update(self, wish: Wish) -> Callable[[], None]:
        """Serve it as somebody wishes, and with the code as it is now, from the next step on.

        Returns:
            What takes that back, to be called before that step.
        """
        was = self.spec, self.wanted, self._before, self.generation, self.broken, self.replicas[:]
        self.spec = self.spec.changed(wish)
        if self.spec.replicas != was[0].replicas:
            self.wanted = self.spec.replicas
        # One that overtakes another, which is not ready yet, falls back to where that one would.
        if self.generation in self._proven:
            self._before = self.generation
        # A generation that was given up is not taken anew.
        self.generation = 1 + max(self.generation, *(r.generation for r in self.replicas))
        self.broken = None
        self._make_places()

        def take_back() -> None:
            self.spec, self.wanted, self._before = was[:3]
            self.generation, self.broken, self.replicas = was[3:]

        return take_back

    @property
    def backend(self) -> Backend:
        """The model's part of the gateway, as things are."""
        return Backend(
            model=self.model,
            balance=self.spec.balance,
            servers=tuple(
                Server(name=r.name, port=r.port or _NOWHERE, enabled=r.serves)
                for r in self.replicas
            ),
        )

    @property
    def settled(self) -> bool:
        """Whether all that are wanted are ready, of the code that is wanted, and nobody else is."""
        there = [r for r in self.replicas if r.state != "off"]
        return len(there) == self.wanted and all(
            r.state == "ready" and r.generation == self.generation for r in there
        )

    @property
    def short(self) -> bool:
        """Whether some serve, others were given up, and nothing is under way that would change it."""
        states = {r.state for r in self.replicas} - {"off"}
        return states == {"ready", "failed"}

    def late(self, now: float) -> Replica | None:
        """Return one of the code that is wanted that answers, and does not become ready."""
        current = (r for r in self.replicas if r.generation == self.generation)
        return next((r for r in current if r.late(now)), None)

    def step(self, now: float, stats: Mapping[tuple[str, str], ServerStats]) -> None:
        """Do what is due."""
        for replica in self.replicas:
            self._step(replica, now, stats.get((self.model, replica.name)))
        while (step := next_step(self._seats(), self.wanted)) is not None:
            replica = next(r for r in self.replicas if r.name == step.name)
            if isinstance(step, Drain):
                replica.drain(now)
            else:
                self._counts[replica.name] = _Count()
                replica.begin(now, self.generation)

    def scale(self, now: float, stats: Mapping[tuple[str, str], ServerStats], queued: int) -> None:
        """Note what is in flight, and decide how many replicas are wanted."""
        if self.spec.least is None or self.spec.most is None:
            return
        own = [one for (model, _), one in stats.items() if model == self.model]
        busy = queued + sum(one.in_flight + one.queued for one in own)
        ready = sum(r.state == "ready" for r in self.replicas)
        failed = sum(r.state == "failed" for r in self.replicas)
        look = Look(at=now, wanted=self.wanted, ready=ready, busy=busy, failed=failed)
        self._history.append(look)
        up, down = self._scaling
        while self._history[0].at < now - 2 * (up + down):
            self._history.popleft()
        limits = Limits(
            least=self.spec.least,
            most=self.spec.most,
            target=self.spec.target or _PER_WORKER * self.spec.workers,
            up_seconds=up,
            down_seconds=down,
        )
        made = decide(self._history, limits, now)
        self._load = made.why
        if made.wanted != self.wanted:
            self._around.tell(f"{self.model}: {self.wanted} -> {made.wanted} replicas: {made.why}")
            self._decisions.append(
                Scaled(
                    at=self._around.clock(), before=self.wanted, wanted=made.wanted, why=made.why
                )
            )
            self.wanted = made.wanted

    def describe(self, stats: Mapping[tuple[str, str], ServerStats]) -> ModelState:
        """Return what other commands may know of it."""
        return ModelState(
            name=self.model,
            balance=self.spec.balance,
            workers=self.spec.workers,
            wanted=self.wanted,
            least=self.spec.least,
            most=self.spec.most,
            load=self._load,
            decisions=tuple(self._decisions),
            replicas=tuple(
                self._describe(r, stats.get((self.model, r.name))) for r in self.replicas
            ),
        )

    def _step(self, replica: Replica, now: float, stats: ServerStats | None) -> None:
        tries = _TRIES_PROVEN if replica.generation in self._proven else _TRIES
        if stats is not None and self._counts.setdefault(replica.name, _Count()).see(stats):
            replica.answers(now)
        replica.step(now, 0 if stats is None else stats.in_flight, tries)
        if replica.state == "ready":
            self._proven.add(replica.generation)
        elif replica.generation == self.generation:
            if replica.state == "failed":
                self._give_up(replica)
            elif self._may_fall_back and replica.late(now):
                replica.give_up(now)

    def _give_up(self, replica: Replica) -> None:
        """End an update that does not come up: what ran before is wanted again, where nothing did."""
        if self.broken is not None:
            return
        self.broken = replica
        if self._before is not None and self._may_fall_back:
            self.generation = self._before
            self._around.tell(f"{self.model}: the update is given up; the replicas before it stay")

    @property
    def _may_fall_back(self) -> bool:
        """Whether this is an update of which no replica was ready yet, and those before it were."""
        return self._before is not None and self.generation not in self._proven

    def _seats(self) -> list[Seat]:
        return [
            Seat(name=r.name, state=r.state, current=r.generation == self.generation)
            for r in self.replicas
        ]

    def _make_places(self) -> None:
        for number in range(len(self.replicas) + 1, self.spec.places + 1):
            self.replicas.append(self._place(f"r{number}"))

    def _place(self, name: str) -> Replica:
        own = f"{self.model}-{name}"
        log: Path = self._home.logs / f"{own}.log"
        return Replica(self.model, name, log, self._home.drain / own, self._around)

    def _describe(self, replica: Replica, stats: ServerStats | None) -> ReplicaState:
        process, count = replica.process, self._counts.get(replica.name, _Count())
        return ReplicaState(
            name=replica.name,
            state=replica.state,
            since=replica.since,
            why=replica.why,
            pid=None if process is None else process.pid,
            born=None if process is None else process.born,
            port=replica.port,
            version=replica.health.version,
            restarts=replica.restarts,
            requests=count.requests,
            failed=count.failed,
            in_flight=0 if stats is None else stats.in_flight,
            queued=0 if stats is None else stats.queued,
            log=replica.log,
        )


@dataclass(slots=True)
class _Count:
    """What HAProxy has counted of a replica, over HAProxy's reloads, at which it begins anew."""

    requests: int = 0
    failed: int = 0
    _last: tuple[int, int] | None = None
    _done: int = 0

    def see(self, stats: ServerStats) -> bool:
        """Take what it has counted by now; return whether the replica has answered more of it."""
        seen = stats.requests, stats.failed
        # What it says first of a place may be an earlier replica's.
        last = seen if self._last is None else self._last
        self.requests += seen[0] - last[0] if seen[0] >= last[0] else seen[0]
        self.failed += seen[1] - last[1] if seen[1] >= last[1] else seen[1]
        self._last = seen
        before, self._done = self._done, stats.requests - stats.failed - stats.in_flight
        return self._done > before
