"""What keeps replicas and proxy as they are wanted: one step after the other, in one thread.

A step looks, and does what is due; it waits for nothing but the proxy's own answers. So whatever a
replica does, the others are seen to.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from trivet.errors import GatewayFailed, PortInUse, TrivetError
from trivet.gateway.admin import ProxyStats, ServerStats
from trivet.gateway.around import Around, Balancer
from trivet.gateway.configuration import Gateway
from trivet.gateway.fleet import Fleet, Spec
from trivet.gateway.requests import Ask, Inbox, Reply, Wish
from trivet.gateway.state import Home, ModelState
from trivet.gateway.written import Written, written

_STATS_SECONDS = 0.25
_WRITE_SECONDS = 0.5
_PROXY_AGAIN_SECONDS = 1.0

Stats = Mapping[tuple[str, str], ServerStats]


class Proxying(Balancer, Protocol):
    """HAProxy, as far as a supervisor needs it; `trivet.gateway.proxy.Proxy` is one."""

    @property
    def running(self) -> bool:
        """Whether the process is there."""
        ...

    def start(self, gateway: Gateway) -> None:
        """Start it."""
        ...

    def reload(self, gateway: Gateway) -> None:
        """Let it take another configuration."""
        ...

    def stop(self) -> None:
        """End it, after what is in flight."""
        ...

    def stats(self) -> ProxyStats:
        """Return what it has counted, and what waits in it."""
        ...


class Told:
    """The proxy as replicas tell it of themselves: what it did not take is told again later."""

    def __init__(self, proxy: Balancer) -> None:
        """`proxy`: may be gone at any time."""
        self._proxy = proxy
        self.missed = False

    def drain(self, model: str, server: str) -> None:
        """See `Balancer`."""
        self._try(lambda: self._proxy.drain(model, server))

    def ready(self, model: str, server: str) -> None:
        """See `Balancer`."""
        self._try(lambda: self._proxy.ready(model, server))

    def maintain(self, model: str, server: str) -> None:
        """See `Balancer`."""
        self._try(lambda: self._proxy.maintain(model, server))

    def address(self, model: str, server: str, port: int) -> None:
        """See `Balancer`."""
        self._try(lambda: self._proxy.address(model, server, port))

    def _try(self, tell: Callable[[], None]) -> None:
        try:
            tell()
        except GatewayFailed:
            self.missed = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Scaling:
    """How eagerly the number of replicas follows the work, in seconds."""

    up: float
    down: float


class Supervisor:
    """Keeps the fleets of all models behind one proxy."""

    def __init__(
        self,
        *,
        home: Home,
        proxy: Proxying,
        told: Told,
        around: Around,
        gateway: Callable[[tuple[Fleet, ...]], Gateway],
        scaling: Scaling,
        write: Callable[[tuple[ModelState, ...]], None],
    ) -> None:
        """Nothing is started before `open`.

        Args:
            home: where requests come in.
            proxy: in front of all replicas.
            told: the same, as replicas tell it of themselves.
            around: what replicas live in; its balancer is `told`.
            gateway: makes the proxy's configuration of the fleets as they are.
            scaling: how eagerly.
            write: takes the state for other commands.
        """
        self._home, self._proxy, self._told, self._around = home, proxy, told, around
        self._gateway, self._scaling, self._write = gateway, scaling, write
        self._inbox = Inbox(home.requests)
        self._asked: dict[str, tuple[str, ...]] = {}
        self.fleets: tuple[Fleet, ...] = ()
        self._taken: Written | None = None
        """The configuration that the proxy has."""
        self._stats: Stats = {}
        self._stats_from = self._write_from = self._proxy_from = 0.0

    def open(self, wishes: tuple[Wish, ...], now: float) -> None:
        """Start the proxy, and the replicas behind it.

        Raises:
            GatewayBinaryMissing, PortInUse, GatewayFailed: the proxy does not start.
        """
        self.fleets = tuple(self._fleet(wish) for wish in wishes)
        self._start_proxy()
        self._told.missed = False
        self.step(now)

    def step(self, now: float) -> None:
        """Look, and do what is due."""
        self._see_to_proxy(now)
        self._look(now)
        for ask in self._inbox.take():
            self._take(ask)
        for fleet in self.fleets:
            fleet.step(now, self._stats)
        self._reply(now)
        if now >= self._write_from:
            self._write_from = now + _WRITE_SECONDS
            self.write()

    def write(self) -> None:
        """Say to other commands how things are."""
        self._write(tuple(fleet.describe(self._stats) for fleet in self.fleets))

    @property
    def settled(self) -> bool:
        """Whether all is as it is wanted."""
        return all(fleet.settled for fleet in self.fleets)

    @property
    def at_rest(self) -> bool:
        """Whether all is as it is wanted, but for replicas that were given up."""
        return all(fleet.settled or fleet.short for fleet in self.fleets)

    def close(self) -> None:
        """Accept nothing more, and wait for what is in flight; replicas go on."""
        self._proxy.stop()

    def end_replicas(self, now: float) -> bool:
        """Have all replicas end, and see to that; return whether none is left."""
        self._stats = {}
        replicas = [replica for fleet in self.fleets for replica in fleet.replicas]
        for replica in replicas:
            if replica.state != "ending":
                replica.end(now)
            replica.step(now, 0, 1)
        return all(replica.process is None for replica in replicas)

    def kill(self) -> None:
        """End all replicas by force."""
        for fleet in self.fleets:
            for replica in fleet.replicas:
                replica.kill()

    def _fleet(self, wish: Wish) -> Fleet:
        spec = Spec().changed(wish)
        scaling = (self._scaling.up, self._scaling.down)
        return Fleet(wish.model, spec, self._home, self._around, scaling)

    def _look(self, now: float) -> None:
        """Read what the proxy has counted, now and then."""
        if now < self._stats_from:
            return
        self._stats_from = now + _STATS_SECONDS
        try:
            found = self._proxy.stats()
        except GatewayFailed:
            self._told.missed = True
            return
        self._stats = {(one.model, one.server): one for one in found.servers}
        for fleet in self.fleets:
            fleet.scale(now, self._stats, found.queued.get(fleet.model, 0))

    def _see_to_proxy(self, now: float) -> None:
        """Start the proxy where it has ended, and tell it again what it did not take."""
        if now < self._proxy_from:
            return
        if not self._proxy.running:
            self._proxy_from = now + _PROXY_AGAIN_SECONDS
            self._around.tell("HAProxy has ended: it is started again")
            try:
                self._start_proxy()
            except (GatewayFailed, PortInUse) as err:
                self._around.tell(str(err))
                return
            self._told.missed = True
        if self._told.missed:
            self._told.missed = False
            self._tell_again()

    def _start_proxy(self) -> None:
        gateway = self._gateway(self.fleets)
        self._proxy.start(gateway)
        self._taken = written(gateway)

    def _reload(self) -> None:
        """Have the proxy take the configuration, unless it has the very same.

        What is in flight at a reload stays with the old process, whose counts nobody sees: a replica
        that is drained would seem idle.
        """
        gateway = self._gateway(self.fleets)
        if (now := written(gateway)) == self._taken:
            return
        self._proxy.reload(gateway)
        self._taken = now
        self._tell_again()

    def _tell_again(self) -> None:
        for fleet in self.fleets:
            for replica in fleet.replicas:
                replica.again()

    def _take(self, ask: Ask) -> None:
        """Begin what was asked for."""
        before, known = self.fleets, {fleet.model: fleet for fleet in self.fleets}
        undo = []
        models = tuple(wish.model for wish in ask.wishes)
        self._around.tell(f"asked to renew {', '.join(models)}")
        for wish in ask.wishes:
            if wish.model in known:
                undo.append(known[wish.model].update(wish))
            else:
                self.fleets = (*self.fleets, self._fleet(wish))
        try:
            self._reload()
        except TrivetError as err:
            self.fleets = before
            for take_back in reversed(undo):
                take_back()
            self._inbox.answer(ask.id, Reply(state="failed", why=str(err)))
            return
        self._asked[ask.id] = models
        self._inbox.answer(ask.id, Reply(state="under way"))

    def _reply(self, now: float) -> None:
        """Answer what has come to its end, or will not by itself."""
        for ask, models in list(self._asked.items()):
            fleets = [fleet for fleet in self.fleets if fleet.model in models]
            faults = (fleet.broken or fleet.late(now) for fleet in fleets)
            broken = next((one for one in faults if one is not None), None)
            if broken is not None:
                self._finish(ask, Reply(state="failed", model=broken.model, why=broken.name))
            elif all(fleet.settled for fleet in fleets):
                self._finish(ask, Reply(state="done"))

    def _finish(self, ask: str, reply: Reply) -> None:
        del self._asked[ask]
        self.write()
        self._inbox.answer(ask, reply)
