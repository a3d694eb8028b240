"""One HAProxy: started, reloaded, asked and told, and stopped without losing what is in flight."""

from __future__ import annotations

import errno
import os
import re
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from trivet.errors import GatewayFailed, PortInUse
from trivet.gateway.admin import ProxyStats, ask, kept, proxy_stats, rows
from trivet.gateway.binary import find_haproxy
from trivet.gateway.configuration import (
    ADMIN_SOCKET,
    MASTER_SOCKET,
    STATE_FILE,
    Backend,
    Gateway,
    render,
)
from trivet.gateway.launch import bound

_START_SECONDS = 15.0
_LOOK_EVERY = 0.02
_END_SECONDS = 2.0
_ALERT = re.compile(r"\[ALERT\]\s+\(\d+\) : (.*)")


class Proxy:
    """HAProxy in a folder of its own: its configuration, its sockets, its log.

    The servers' figures begin anew at each reload.
    """

    def __init__(self, folder: Path, binary: Path | None = None) -> None:
        """`binary`: the HAProxy to run; None: what `find_haproxy` finds."""
        self.folder = folder.resolve()
        self.log = self.folder / "haproxy.log"
        self._binary = binary
        self._process: subprocess.Popen[bytes] | None = None
        self._gateway: Gateway | None = None

    @property
    def running(self) -> bool:
        """Whether the process is there."""
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int | None:
        """HAProxy's master, which leads a process group of its own; None: it was never started."""
        return None if self._process is None else self._process.pid

    def start(self, gateway: Gateway) -> None:
        """Check the configuration, start HAProxy, and wait until it listens.

        Raises:
            GatewayBinaryMissing: there is no HAProxy.
            PortInUse: somebody else listens there.
            GatewayFailed: it may not listen there, does not take the configuration, or does not start.
        """
        if self.running:
            raise GatewayFailed("is started already", f"as process {self.pid}")
        binary = find_haproxy(self._binary)
        for host, port in _addresses(gateway):
            _require_free(host, port)
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        # Of an earlier life: servers that were drained then would be so now.
        (self.folder / STATE_FILE).write_text("")
        (self.folder / ADMIN_SOCKET).unlink(missing_ok=True)
        config = self._write(gateway, binary)
        # What an earlier one said last is why this one is started.
        with suppress(FileNotFoundError):
            self.log.replace(self.log.with_suffix(".before.log"))
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(  # noqa: S603 - HAProxy on a file written here
                bound(
                    [str(binary), "-W", "-S", f"unix@{MASTER_SOCKET},mode,600", "-f", config.name]
                ),
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self._gateway = gateway
        try:
            self._wait_for(self._answers, "does not start")
        except GatewayFailed:
            self._kill()
            raise

    def reload(self, gateway: Gateway) -> None:
        """Let a new HAProxy take over; what is in flight is answered by the old one.

        A server that stands where it stood keeps its state: drained, in maintenance, found down.
        One that is new, or has another address, begins as the configuration says.

        Raises:
            GatewayFailed: it does not take the configuration; the old one goes on.
        """
        worker = self._worker()
        gateway = self._keep_states(gateway)
        self._write(gateway, find_haproxy(self._binary))
        said = ask(self.folder / MASTER_SOCKET, "reload", seconds=_START_SECONDS)
        if "Success=0" in said:
            raise GatewayFailed("does not reload", said, self.log)
        self._wait_for(lambda: self._answers(instead_of=worker), "does not reload")
        self._gateway = gateway

    def stop(self) -> None:
        """Accept nothing new, wait for what is in flight, then end; harder if that takes too long."""
        if self._process is None or self._gateway is None:
            return
        # One that does not say which worker it has is not waited for, but ended.
        with suppress(GatewayFailed):
            worker = self._worker()
            self._process.send_signal(signal.SIGUSR1)
            self._wait_until_idle(worker, self._gateway.drain_seconds)
        self._kill()

    def drain(self, model: str, server: str) -> None:
        """Give a server nothing new; what it has it may finish."""
        self._tell(model, server, "state drain")

    def ready(self, model: str, server: str) -> None:
        """Give a server requests again, as long as its checks find it ready."""
        self._tell(model, server, "state ready")

    def maintain(self, model: str, server: str) -> None:
        """Give a server nothing, and do not look after it."""
        self._tell(model, server, "state maint")

    def address(self, model: str, server: str, port: int, host: str = "127.0.0.1") -> None:
        """Say where a server's replica listens from now on."""
        self._tell(model, server, f"addr {host} port {port}")

    def stats(self) -> ProxyStats:
        """Return what HAProxy has counted, and what waits in it."""
        models = {backend.name: backend.model for backend in self._backends()}
        return proxy_stats(self._ask("show stat"), models)

    def _tell(self, model: str, server: str, what: str) -> None:
        said = self._ask(f"set server {self._backend(model).name}/{server} {what}").strip()
        if said and not said.startswith(("IP changed", "port changed", "no need to change")):
            raise GatewayFailed(f"does not set {server} of {model} to {what}", said)

    def _backends(self) -> tuple[Backend, ...]:
        if self._gateway is None:
            raise GatewayFailed("cannot be asked", "it was never started")
        return self._gateway.backends

    def _backend(self, model: str) -> Backend:
        for backend in self._backends():
            if backend.model == model:
                return backend
        raise GatewayFailed(f"has no model {model}", "its configuration names others")

    def _write(self, gateway: Gateway, binary: Path) -> Path:
        """Write the configuration if HAProxy finds no fault in it."""
        config, tried = self.folder / "haproxy.cfg", self.folder / "haproxy.cfg.tried"
        tried.write_text(render(gateway, self.folder))
        done = subprocess.run(  # noqa: S603 - as above
            [binary, "-c", "-f", tried.name],
            cwd=self.folder,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise GatewayFailed("refuses its configuration", _alerts(done.stderr), tried)
        tried.replace(config)
        return config

    def _keep_states(self, gateway: Gateway) -> Gateway:
        """Write down the states that are to stay; return the gateway with those in maintenance."""
        head, found = kept(self._ask("show servers state"))
        known = {(one.backend, one.server, one.address): one for one in found}
        lines, backends = [head], []
        for backend in gateway.backends:
            servers = []
            for server in backend.servers:
                one = known.get((backend.name, server.name, (server.host, server.port)))
                if one is None:
                    servers.append(server)
                    continue
                servers.append(replace(server, enabled=not one.maintained))
                if not one.maintained:
                    lines.append(f"{one.line}\n")
            backends.append(replace(backend, servers=tuple(servers)))
        (self.folder / STATE_FILE).write_text("".join(lines))
        return replace(gateway, backends=tuple(backends))

    def _ask(self, command: str) -> str:
        return ask(self.folder / ADMIN_SOCKET, command)

    def _worker(self) -> int:
        """Return the process that answers at the admin socket."""
        found = re.search(r"^Pid: (\d+)$", self._ask("show info"), re.MULTILINE)
        return 0 if found is None else int(found[1])

    def _answers(self, instead_of: int = 0) -> bool:
        """Say whether a worker, another than one before, and its master can be asked.

        A master starts itself once more when its worker is there, and nobody listens meanwhile:
        who has asked only the worker may find it deaf to a reload.
        """
        if self._worker() in {0, instead_of}:
            return False
        said = ask(self.folder / MASTER_SOCKET, "show proc")
        return re.search(r"^\d+\s+master\b", said, re.MULTILINE) is not None

    def _wait_for(self, there: Callable[[], bool], what: str) -> None:
        end = time.monotonic() + _START_SECONDS
        while time.monotonic() < end:
            if not self.running:
                break
            with suppress(GatewayFailed):
                if there():
                    return
            time.sleep(_LOOK_EVERY)
        raise GatewayFailed(what, _alerts(self.log.read_text(errors="replace")), self.log)

    def _wait_until_idle(self, worker: int, seconds: float) -> None:
        """Wait for what is in flight at a worker that accepts nothing new.

        Its own socket is closed by then; the master still passes commands on.
        """
        end = time.monotonic() + seconds
        while self.running and time.monotonic() < end:
            with suppress(GatewayFailed):
                statistics = ask(self.folder / MASTER_SOCKET, f"@!{worker} show stat")
                if statistics.startswith("# pxname") and not _under_way(statistics):
                    return
            time.sleep(_LOOK_EVERY)

    def _kill(self) -> None:
        """End the process group that was started here, and nobody else."""
        assert self._process is not None  # noqa: S101 - for the type checker
        for sign in (signal.SIGTERM, signal.SIGKILL):
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, sign)
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(_END_SECONDS)
                break
        # Workers may outlive their master; they are nobody's children, and hold the ports for a moment.
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._wait_for_ports()
        (self.folder / ADMIN_SOCKET).unlink(missing_ok=True)
        (self.folder / MASTER_SOCKET).unlink(missing_ok=True)

    def _wait_for_ports(self) -> None:
        end = time.monotonic() + _END_SECONDS
        while self._gateway is not None and time.monotonic() < end:
            try:
                for host, port in _addresses(self._gateway):
                    _require_free(host, port)
            except PortInUse:
                time.sleep(_LOOK_EVERY)
            else:
                return


def _under_way(statistics: str) -> int:
    """Count what is at servers, and what waits for one."""
    behind = [row for row in rows(statistics) if row["svname"] != "FRONTEND"]
    return sum(int(row["scur"] or 0) + int(row["qcur"] or 0) for row in behind)


def _addresses(gateway: Gateway) -> tuple[tuple[str, int], ...]:
    return (gateway.host, gateway.port), (gateway.stats_host, gateway.stats_port)


def _require_free(host: str, port: int) -> None:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as err:
            if err.errno == errno.EADDRINUSE:
                raise PortInUse(host, port) from err
            raise GatewayFailed(f"cannot listen on {host}:{port}", str(err)) from err


def _alerts(said: str) -> str:
    """Return the reasons among what HAProxy says, each once."""
    return "; ".join(dict.fromkeys(_ALERT.findall(said))) or said[-500:]
