"""The configuration that HAProxy gets, and that HAProxy takes it."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from trivet.errors import BadSetting
from trivet.gateway.answers import Problem
from trivet.gateway.binary import find_haproxy
from trivet.gateway.configuration import STATE_FILE, Backend, Gateway, Server, render

SERVERS = (
    Server(name="a", port=3001),
    Server(name="b", port=3002),
    Server(name="spare", port=3003, enabled=False),
)
PLAIN = Gateway(port=8080, stats_port=8081, backends=(Backend(model="m", servers=SERVERS),))
EVERYTHING = replace(
    PLAIN,
    rate_per_second=100,
    log_one_in=10,
    tells_server=True,
    delay_seconds=0.1,
    threads=2,
    backends=(
        replace(PLAIN.backends[0], balance="least_connections", most_queued=10),
        Backend(model="it's 100% mine.v2", servers=SERVERS, balance="random"),
        Backend(model="modèle", servers=()),
    ),
)


@pytest.mark.parametrize("gateway", [PLAIN, EVERYTHING], ids=["plain", "everything"])
def test_haproxy_takes_it_without_a_warning(tmp_path: Path, gateway: Gateway) -> None:
    """Names with an apostrophe, a blank, a percent sign or an accent included."""
    (tmp_path / STATE_FILE).write_text("")
    (tmp_path / "haproxy.cfg").write_text(render(gateway, tmp_path))
    done = subprocess.run(
        [find_haproxy(), "-c", "-f", "haproxy.cfg"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "[WARNING]" not in done.stderr


def lines(gateway: Gateway, section: str) -> list[str]:
    """Return the lines of one section of the configuration."""
    _, _, rest = render(gateway, Path("folder")).partition(f"\n{section}\n")
    return [line.strip() for line in rest.partition("\n\n")[0].splitlines()]


def test_a_backend_is_as_decided() -> None:
    """Retries, checks, caps and places: the whole section, but for the texts of answers."""
    found = [line for line in lines(PLAIN, "backend m") if not line.startswith("http-error")]
    assert found == [
        "balance roundrobin",
        "timeout queue 1000ms",
        "option abortonclose",
        "retries 2",
        "option redispatch 1",
        "retry-on conn-failure empty-response junk-response 0rtt-rejected",
        "http-request replace-path '^/m$' / if { path '/m' }",
        "http-request replace-path '^/m(/.*)$' '\\1'",
        "option httpchk",
        "http-check send meth GET uri '/readyz' ver HTTP/1.1 hdr Host gateway",
        "http-check expect status 200",
        (
            "default-server check inter 250ms fastinter 100ms fall 2 rise 2 observe layer4 "
            "error-limit 3 on-error mark-down maxconn 64"
        ),
        "server a 127.0.0.1:3001",
        "server b 127.0.0.1:3002",
        "server spare 127.0.0.1:3003 disabled",
    ]


@pytest.mark.parametrize(
    "never", ["all-retryable-errors", "shutdown-sessions", "layer7", "response-timeout", " *:"]
)
def test_what_ran_requests_twice_is_in_no_configuration(never: str) -> None:
    """Nor what an application's errors could switch off, nor an address that was not asked for."""
    assert never not in render(EVERYTHING, Path("folder"))


@pytest.mark.parametrize(
    ("balance", "line"),
    [
        ("round_robin", "balance roundrobin"),
        ("least_connections", "balance leastconn"),
        ("random", "balance random(1)"),
    ],
)
def test_each_strategy_has_its_algorithm(balance: str, line: str) -> None:
    """Random draws one, not two of which the less busy one is taken."""
    backend = replace(PLAIN.backends[0], balance=balance)  # type: ignore[arg-type]
    assert line in lines(replace(PLAIN, backends=(backend,)), "backend m")


def test_limits_stand_only_where_they_are_asked_for() -> None:
    """A rate, an access log, a delay; by default there is none of them."""
    plain, everything = render(PLAIN, Path("folder")), render(EVERYTHING, Path("folder"))
    for word in ("stick-table", "log stdout", "inspect-delay", "ssl crt", "X-Trivet-Server"):
        assert word not in plain
    for word in ("sc0_gpc0_rate ge 100", "sample 1:10", "inspect-delay 100ms", "nbthread 2"):
        assert word in everything


@pytest.mark.parametrize("names", [(), ("m", "m"), ("predict",), ("m", "v2"), ("metrics",)])
def test_what_cannot_be_routed_is_refused(names: tuple[str, ...]) -> None:
    """No model, one twice, or one that is named like a route."""
    backends = tuple(Backend(model=name, servers=SERVERS) for name in names)
    with pytest.raises(BadSetting):
        Gateway(port=1, stats_port=2, backends=backends)


def test_a_problem_is_one_word_of_the_configuration() -> None:
    """Its apostrophes and its JSON's quotation marks end no word."""
    problem = Problem(status=503, title="It's busy", detail="x", again_in_seconds=2)
    assert "It'\\''s busy" in problem.render()
    assert problem.render().endswith("hdr Retry-After 2")
