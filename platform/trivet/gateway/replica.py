"""One place for a replica: its process is started, watched, drained, ended, and started again."""

from __future__ import annotations

import signal
from datetime import datetime
from pathlib import Path

from trivet.gateway.around import Around, Process
from trivet.gateway.health import Health
from trivet.gateway.state import Condition

_LEAST_DRAIN_SECONDS = 0.5
"""As long a request may be on its way to a replica after the proxy was told to send no more."""
_RESPAWN_SECONDS = 10.0
"""How often BentoML's parent looks whether its workers are there: its `check_delay`."""
_BACKOFF_SECONDS, _MOST_BACKOFF_SECONDS = 0.5, 30.0


class Replica:
    """A place, and what is in it."""

    def __init__(self, model: str, name: str, log: Path, drain_file: Path, around: Around) -> None:
        """Nothing is started yet; the proxy has the place in maintenance."""
        self.model, self.name, self.log, self.drain_file = model, name, log, drain_file
        self._around = around
        self.state: Condition = "off"
        self.since: datetime = around.clock()
        self.why: str | None = None
        self.generation = 0
        self.port: int | None = None
        self.process: Process | None = None
        self.restarts = 0
        self._deaths = 0
        """In a row, each before it was ready for long."""
        self._moment = 0.0
        """When the state began, by the supervisor's clock."""
        self._retry_at = 0.0
        self._answered = 0.0
        """When the proxy last saw it answer something."""
        self._took = 0.0
        """Seconds from its start until it was ready."""
        self._given_up = False

    @property
    def serves(self) -> bool:
        """Whether the proxy may give it requests; its own checks decide further."""
        return self.state in {"ready", "not ready"}

    @property
    def health(self) -> Health:
        """What was last heard of it."""
        return Health() if self.process is None else self._around.probes.health(self._port)

    def late(self, now: float) -> bool:
        """Say whether it has answered for as long as a start may take, and is not ready."""
        return (
            self.state in {"starting", "not ready"}
            and self.health.answered is not None
            and now - self._moment >= self._around.patience.start
        )

    def start(self, now: float, generation: int) -> None:
        """Start a process; `generation`: of the code that it will run."""
        self.generation = generation
        self.port = self._around.free_port()
        self.drain_file.unlink(missing_ok=True)
        try:
            self.process = self._around.start(self)
        except OSError as err:  # no memory, or no room for a log: nothing that its code has done
            self.port = None
            self.why, self._retry_at = f"cannot be started: {err}", now + _MOST_BACKOFF_SECONDS
            self._become("waiting", now)
            self._tell(self.why)
            return
        self._around.probes.watch(self.port)
        self._become("starting", now)

    def begin(self, now: float, generation: int) -> None:
        """Start at a place that was free: nothing is held against it from before."""
        self.restarts = self._deaths = 0
        self.why, self._given_up = None, False
        self.start(now, generation)

    def give_up(self, now: float) -> None:
        """Have it end, and do not start it again: another start would show nothing new."""
        self._given_up = True
        self.why = f"answers, and was not ready for {now - self._moment:.0f} s"
        self.kill()

    def drain(self, now: float) -> None:
        """Send it nothing new, have it say that it is not ready, and end it once it is idle."""
        if self.process is None:
            self._become("off", now)
            return
        if not self.serves:
            self.end(now)
            return
        self._around.balancer.drain(self.model, self.name)
        self.drain_file.parent.mkdir(parents=True, exist_ok=True)
        self.drain_file.touch()
        self._become("draining", now)
        self._tell("drained: it ends after what it has in flight")

    def end(self, now: float) -> None:
        """Have it end now, after the requests that it has."""
        if self.process is None:
            self._become("off", now)
        elif self.state != "ending":
            self._around.balancer.maintain(self.model, self.name)
            self.process.send(signal.SIGTERM)
            self._become("ending", now)

    def kill(self) -> None:
        """End it by force, if it is there."""
        if self.process is not None:
            self.process.send(signal.SIGKILL)

    def step(self, now: float, busy: int, tries: int) -> None:
        """Do what is due.

        Args:
            now: by the supervisor's clock, the one of `Health.answered`.
            busy: requests in flight at it.
            tries: quick deaths in a row after which it is not started again.
        """
        if self.process is not None and (code := self.process.ended()) is not None:
            self._has_ended(now, code, tries)
        elif self._given_up:
            self.kill()
        elif self.state == "starting":
            self._starting(now)
        elif self.serves:
            self._serving(now)
        elif self.state == "draining":
            idle = busy == 0 and now - self._moment >= _LEAST_DRAIN_SECONDS
            if idle or now - self._moment >= self._around.patience.drain:
                self.end(now)
        elif self.state == "ending" and now - self._moment >= self._around.patience.end:
            self.kill()
        elif self.state == "waiting" and now >= self._retry_at:
            self.start(now, self.generation)

    def answers(self, now: float) -> None:
        """Note that the proxy has seen it answer; where much waits in it, probes wait too."""
        self._answered = now

    def again(self) -> None:
        """Tell a proxy that was started or reloaded what it has to know of this place."""
        balancer = self._around.balancer
        if not self.serves and self.state != "draining":
            balancer.maintain(self.model, self.name)
            return
        balancer.address(self.model, self.name, self._port)
        tell = balancer.drain if self.state == "draining" else balancer.ready
        tell(self.model, self.name)

    def _starting(self, now: float) -> None:
        health = self.health
        if health.ready:
            self._around.balancer.address(self.model, self.name, self._port)
            self._around.balancer.ready(self.model, self.name)
            self.why, self._took = None, now - self._moment
            self._become("ready", now)
            self._tell(f"ready, version {health.version or '?'} at port {self.port}")
        elif health.answered is None and now - self._moment >= self._around.patience.start:
            self._tell(f"has not answered for {now - self._moment:.0f} s since its start: killed")
            self.kill()
        elif health.answered and not self.why and now - self._moment >= self._around.patience.quick:
            self.why = "answers, and is not ready"
            self._tell(f"{self.why}: is a version released? {self.log} says more")

    def _serving(self, now: float) -> None:
        health, patience = self.health, self._around.patience
        silent = now - max(health.answered or now, self._answered)
        renewed = 0.0 if self.process is None else self.process.renewed
        # One that has lost a worker starts another, which has libraries to import: on this machine in
        # about the time that the first one took; but not for ever.
        importing = now - renewed < max(patience.silent, _RESPAWN_SECONDS + 2 * self._took)
        if (silent >= patience.silent and not importing) or silent >= patience.start:
            self._tell(f"has not answered for {silent:.0f} s: killed")
            self.why = f"did not answer for {silent:.0f} s"
            self.kill()
        elif health.ready != (self.state == "ready"):
            self._become("ready" if health.ready else "not ready", now)
            self._tell("ready again" if health.ready else "says that it is not ready")
        elif self.state == "ready" and now - self._moment >= patience.quick:
            self._deaths, self.why = 0, None

    def _has_ended(self, now: float, code: int, tries: int) -> None:
        meant = self.state in {"draining", "ending"}
        self._around.balancer.maintain(self.model, self.name)
        self._around.probes.forget(self._port)
        self.process = self.port = None
        if meant:
            self.drain_file.unlink(missing_ok=True)
            self._become("off", now)
            return
        self._deaths += 1
        self.why = self.why if self.why and code < 0 else _ended(code)
        if self._given_up or self._deaths >= tries:
            self._become("failed", now)
            often = "" if self._given_up else f", {self._deaths} times in a row"
            self._tell(f"{self.why}{often}; it is not started again")
            return
        self.restarts += 1
        wait = min(_MOST_BACKOFF_SECONDS, _BACKOFF_SECONDS * 2 ** (self._deaths - 1))
        self._retry_at = now + wait
        self._become("waiting", now)
        self._tell(f"{self.why}; it is started again in {wait:g} s")

    @property
    def _port(self) -> int:
        assert self.port is not None  # noqa: S101 - a process has one; for the type checker
        return self.port

    def _become(self, state: Condition, now: float) -> None:
        self.state, self._moment, self.since = state, now, self._around.clock()

    def _tell(self, what: str) -> None:
        self._around.tell(f"{self.model} {self.name}: {what}")


def _ended(code: int) -> str:
    """Return how a process has ended, in words."""
    if code >= 0:
        return f"ended with code {code}"
    try:
        return f"ended by {signal.Signals(-code).name}"
    except ValueError:
        return f"ended by signal {-code}"
