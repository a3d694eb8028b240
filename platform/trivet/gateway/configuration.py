"""A gateway as data, and the haproxy.cfg that it comes to.

Nothing here starts anything: `render` is a function of its arguments, and `trivet.gateway.proxy` runs
what it writes. Paths in the file are relative to the folder that HAProxy is started in, because a
socket's path may have no more than 107 characters.
"""

from __future__ import annotations

import resource
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal
from urllib.parse import quote

from trivet.errors import BadSetting
from trivet.gateway import answers
from trivet.gateway.answers import REQUEST_ID, quoted

Balance = Literal["round_robin", "least_connections", "random"]

ADMIN_SOCKET = "admin.sock"
MASTER_SOCKET = "master.sock"
STATE_FILE = "servers.state"
FRONTEND = "gateway"
STATISTICS = "statistics"

_ALGORITHMS: dict[Balance, str] = {
    "round_robin": "roundrobin",
    "least_connections": "leastconn",
    # HAProxy's own default draws two and takes the less busy one, which is not what the word says.
    "random": "random(1)",
}
_PATHS = ("/predict", "/contract", "/status", "/docs.json", "/v2", "/")
_BELOW = ("/v2/", "/versions/", "/aliases/", "/static_content/")
_HEALTH = ("/livez", "/readyz", "/healthz", "/metrics")
_RESERVED = frozenset(path.strip("/") for path in (*_PATHS, *_BELOW, *_HEALTH))


def _connections() -> int:
    """Return how many connections the limit on open files leaves room for: two files each."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    return 10_000 if most == resource.RLIM_INFINITY else max(100, min(10_000, most // 2 - 200))


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """One replica's place: its name and where it listens."""

    name: str
    host: str = "127.0.0.1"
    port: int
    enabled: bool = True
    """False: it starts in maintenance, and gets nothing until `Proxy.ready`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Backend:
    """The replicas of one model, and how requests are spread over them."""

    model: str
    servers: tuple[Server, ...]
    balance: Balance = "round_robin"
    most_in_flight: int = 64
    """Requests that one replica gets at once; the rest wait in the gateway for a place."""
    queue_seconds: float = 1.0
    """Longest wait for a place; then 503 with Retry-After."""
    most_queued: int | None = None
    """Requests that may wait; further ones get the 503 at once. None: `queue_seconds` alone limits."""
    readiness: str = "/readyz"
    """The path that a replica answers with 200 while it may get requests."""

    @property
    def name(self) -> str:
        """The backend's name in HAProxy, whose names have no spaces and no percent signs."""
        return self.segment.replace("%", ":")

    @property
    def segment(self) -> str:
        """The model's name as the first part of a path."""
        return quote(self.model, safe="")


@dataclass(frozen=True, slots=True, kw_only=True)
class Gateway:
    """One address for several models; the first also answers paths without a model's name."""

    host: str = "127.0.0.1"
    port: int
    stats_host: str = "127.0.0.1"
    stats_port: int
    backends: tuple[Backend, ...]
    tls: Path | None = None
    """A PEM file with certificate and key; None: plain HTTP."""
    rate_per_second: int | None = None
    """Requests a second that are taken of one client's address; None: any number."""
    most_body_bytes: int = 8 * 2**20
    answer_seconds: float = 60.0
    """Longest wait for a replica's answer; then 504, and nobody else is asked."""
    drain_seconds: float = 30.0
    """Longest wait for requests in flight when the gateway stops or is replaced."""
    check_seconds: float = 0.25
    """How often each replica is asked whether it is ready."""
    check_timeout_seconds: float = 1.0
    retries: int = 2
    """Other tries of a request whose replica gave no answer at all."""
    buffer_bytes: int = 64 * 2**10
    """A request is kept for another try if it is not larger; each connection takes two of these."""
    most_connections: int = field(default_factory=_connections)
    log_one_in: int | None = None
    """Write every how manyth request to the access log; None: none."""
    tells_server: bool = False
    """Whether answers name the server in X-Trivet-Server."""
    delay_seconds: float = 0.0
    """Hold each request so long before it is passed on: what makes a replica slow for a trial."""
    threads: int | None = None
    """HAProxy's threads; None: as many as there are cores."""

    def __post_init__(self) -> None:
        """Refuse what could not be routed.

        Raises:
            BadSetting: no model, one twice, or one that is named like a route.
        """
        names = [backend.segment for backend in self.backends]
        if not names:
            raise BadSetting("A gateway needs at least one model.")
        if len(set(names)) < len(names):
            raise BadSetting("A gateway serves each model once; one is named twice.")
        if taken := _RESERVED & set(names):
            raise BadSetting(
                f"A model that is named {min(taken)} cannot stand behind a gateway: "
                f"/{min(taken)} is a route of the first model."
            )


def render(gateway: Gateway, folder: Path) -> str:
    """Return the configuration of a gateway that is run in `folder`."""
    sections = [
        _section("global", _global(gateway, folder)),
        _section("defaults", _defaults(gateway)),
        _section(f"frontend {FRONTEND}", _frontend(gateway)),
        _section(f"frontend {STATISTICS}", _statistics(gateway)),
        *(_section(f"backend {one.name}", _backend(gateway, one)) for one in gateway.backends),
    ]
    return "# Written by trivet; changes are overwritten.\n" + "\n".join(sections)


def _section(head: str, lines: Iterator[str]) -> str:
    return "\n".join([head, *(f"    {line}" for line in lines), ""])


def _global(gateway: Gateway, folder: Path) -> Iterator[str]:
    yield f"maxconn {gateway.most_connections}"
    if gateway.threads is not None:
        yield f"nbthread {gateway.threads}"
    # Else two gateways of one user could share a port, each with half of the requests.
    yield "noreuseport"
    yield f"stats socket unix@{ADMIN_SOCKET} mode 600 level admin"
    yield f"server-state-file {quoted(str(folder / STATE_FILE))}"
    yield f"hard-stop-after {_ms(gateway.drain_seconds)}"
    yield f"tune.bufsize {gateway.buffer_bytes}"
    yield "ssl-default-bind-options ssl-min-ver TLSv1.2"
    # What befalls servers HAProxy says on standard error; only requests go this way.
    if gateway.log_one_in is not None:
        yield f"log stdout format raw sample 1:{gateway.log_one_in} local0 info info"


def _defaults(gateway: Gateway) -> Iterator[str]:
    yield "mode http"
    yield "log global"
    yield "option dontlognull"
    yield "timeout connect 1s"
    yield "timeout http-request 10s"
    yield "timeout http-keep-alive 60s"
    yield "timeout client 60s"
    yield f"timeout server {_ms(gateway.answer_seconds)}"
    yield f"timeout check {_ms(gateway.check_timeout_seconds)}"
    yield "load-server-state-from-file global"
    for problem in (answers.MALFORMED, answers.TOO_SLOW, answers.BROKEN, answers.NOT_IN_TIME):
        yield f"http-error {problem.render()}"


def _frontend(gateway: Gateway) -> Iterator[str]:
    tls = "" if gateway.tls is None else f" ssl crt {quoted(str(gateway.tls))} alpn h2,http/1.1"
    yield f"bind {gateway.host}:{gateway.port}{tls}"
    # Without it a reload breaks connections that were just about to be used again.
    yield "option idle-close-on-response"
    # A slow sender holds no place at a replica, and what has come as a whole can be sent again.
    yield "option http-buffer-request"
    yield "option forwardfor"
    if gateway.delay_seconds:
        yield f"tcp-request inspect-delay {_ms(gateway.delay_seconds)}"
        yield "tcp-request content accept if WAIT_END"
    yield from _logged(gateway)
    yield "http-request set-header X-Request-Id %[uuid()] unless { req.hdr(X-Request-Id) -m found }"
    yield f"http-request set-var({REQUEST_ID}) req.hdr(X-Request-Id)"
    if gateway.rate_per_second is not None:
        yield "stick-table type ipv6 size 100k expire 10s store gpc0,gpc0_rate(1s)"
        yield "http-request track-sc0 src"
        often = answers.too_often(gateway.rate_per_second).render()
        yield f"http-request return {often} if {{ sc0_gpc0_rate ge {gateway.rate_per_second} }}"
        # Counted here, what is refused does not count: who asks on gets the share all the same.
        yield "http-request sc-inc-gpc0(0)"
    if gateway.tells_server:
        yield "http-response set-header X-Trivet-Server %s"
    large = answers.too_large(gateway.most_body_bytes).render()
    yield f"http-request return {large} if {{ req.body_size gt {gateway.most_body_bytes} }}"
    yield from _routes(gateway)


def _routes(gateway: Gateway) -> Iterator[str]:
    for number, backend in enumerate(gateway.backends):
        for start in (f"/{backend.segment}", f"/v2/models/{backend.segment}"):
            yield f"acl model_{number} path {quoted(start)}"
            yield f"acl model_{number} path_beg {quoted(start + '/')}"
    yield f"acl first path {' '.join((*_PATHS, *_HEALTH))}"
    yield f"acl first path_beg {' '.join(_BELOW)}"
    known = [f"model_{number}" for number, _ in enumerate(gateway.backends)]
    nowhere = " ".join(f"!{acl}" for acl in (*known, "first"))
    yield f"http-request return {answers.UNKNOWN_PATH.render()} if {nowhere}"
    for acl, backend in zip(known, gateway.backends, strict=True):
        yield f"use_backend {backend.name} if {acl}"
    yield f"default_backend {gateway.backends[0].name}"


def _logged(gateway: Gateway) -> Iterator[str]:
    if gateway.log_one_in is not None:
        log = "%ci %b/%s %ST %TR/%Tw/%Tc/%Tr/%Ta ms %ts %rc %{+Q}r"
        yield f"log-format {quoted(f'{log} %[var({REQUEST_ID})]')}"


def _statistics(gateway: Gateway) -> Iterator[str]:
    yield f"bind {gateway.stats_host}:{gateway.stats_port}"
    yield "http-request use-service prometheus-exporter if { path /metrics }"
    yield "stats enable"
    yield "stats uri /"
    yield "stats refresh 5s"
    yield "stats show-legends"


def _backend(gateway: Gateway, backend: Backend) -> Iterator[str]:
    yield f"balance {_ALGORITHMS[backend.balance]}"
    yield f"timeout queue {_ms(backend.queue_seconds)}"
    # Who has given up waiting for a place is not computed for.
    yield "option abortonclose"
    yield f"retries {gateway.retries}"
    # Another replica at the first try, not the same one thrice.
    yield "option redispatch 1"
    # Only where no byte of an answer came; see docs/decisions/0018. An application's 500 is an answer.
    yield "retry-on conn-failure empty-response junk-response 0rtt-rejected"
    busy = answers.not_now(backend.model, backend.name).render()
    yield f"http-error {busy}"
    if backend.most_queued is not None:
        yield f"http-request return {busy} if {{ queue({backend.name}) ge {backend.most_queued} }}"
    # Regular expressions know a dot as any character; quote() leaves no other one of theirs.
    prefix = backend.segment.replace(".", r"\.")
    here = quoted(f"/{backend.segment}")
    yield f"http-request replace-path {quoted(f'^/{prefix}$')} / if {{ path {here} }}"
    yield f"http-request replace-path {quoted(f'^/{prefix}(/.*)$')} {quoted(chr(92) + '1')}"
    yield "option httpchk"
    yield f"http-check send meth GET uri {quoted(backend.readiness)} ver HTTP/1.1 hdr Host gateway"
    yield "http-check expect status 200"
    if backend.balance == "random":
        # A draw falls on a ring of 16 points a server and unit of weight. By the default of 1 the
        # arcs differ: of three servers one got 28 %.
        yield "default-server weight 256"
    every = _ms(gateway.check_seconds)
    # layer4 and not layer7: whoever sends what makes an application answer 500 would else take one
    # replica after the other out of service. on-marked-down shutdown-sessions is left out for the
    # same reason as all-retryable-errors: with it a request was executed twice.
    yield (
        f"default-server check inter {every} fastinter 100ms fall 2 rise 2 "
        f"observe layer4 error-limit 3 on-error mark-down maxconn {backend.most_in_flight}"
    )
    for server in backend.servers:
        off = "" if server.enabled else " disabled"
        yield f"server {server.name} {server.host}:{server.port}{off}"


def _ms(seconds: float) -> str:
    return f"{max(1, round(1000 * seconds))}ms"
