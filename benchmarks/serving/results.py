"""What a run found: the JSON document, and the arithmetic of medians, spreads and ratios."""

from __future__ import annotations

import os
import platform
import statistics
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Literal, Self

from pydantic import AwareDatetime, BaseModel, ConfigDict

LIBRARIES = (
    "mlflow", "feast", "bentoml", "onnxruntime", "scikit-learn", "numpy", "uvicorn", "uvloop",
    "httptools", "orjson", "redis",
)  # fmt: skip


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Spread(_Part):
    """A figure over the rounds of a run."""

    median: float
    least: float
    most: float
    rounds: int

    @classmethod
    def of(cls, values: Sequence[float]) -> Self:
        """Summarize the figures of all rounds.

        >>> Spread.of([3.0, 1.0, 2.0])
        Spread(median=2.0, least=1.0, most=3.0, rounds=3)
        """
        return cls(
            median=statistics.median(values),
            least=min(values),
            most=max(values),
            rounds=len(values),
        )


def ratios(ours: Sequence[float], others: Sequence[float]) -> Spread:
    """Compare figures taken in the same rounds: a ratio a round, then their median.

    >>> ratios([10.0, 30.0, 40.0], [10.0, 10.0, 20.0]).median
    2.0

    Raises:
        ValueError: the rounds are not the same.
    """
    return Spread.of([one / other for one, other in zip(ours, others, strict=True)])


class Throughput(_Part):
    """Closed loop: so many requests a second while so many callers wait for their answers."""

    name: str
    title: str
    workers: int
    pinned: bool
    rows: int
    rates: tuple[float, ...]
    """Requests a second, by round."""
    per_second: Spread
    p50_ms: Spread
    p99_ms: Spread
    of_limit: Spread | None
    """Ratio to the bare app's rate of the same round."""


class OpenLoop(_Part):
    """Latencies at a rate of arrivals, from the moments at which requests were due."""

    name: str
    title: str
    workers: int
    pinned: bool
    rate: float
    p50_ms: Spread
    p99_ms: Spread
    max_ms: Spread
    generator_late_p99_ms: Spread
    generator_cpu_share: Spread


class ManyRows(_Part):
    """Rows a second with a thousand rows a request."""

    name: str
    title: str
    store: str
    rows_per_second: Spread
    of_feast: Spread | None
    """Ratio to `get_online_features` alone, of the same round on the same store."""


class Memory(_Part):
    """Memory of one worker after it has answered requests."""

    name: str
    title: str
    pss_mib: float
    rss_mib: float


class Start(_Part):
    """From exec to the first 200 of the readiness route, everything prepared."""

    name: str
    title: str
    workers: int
    seconds: Spread


class Point(_Part):
    """One point of a curve."""

    x: float
    per_second: Spread
    p50_ms: Spread
    memory_mib: float | None = None
    """Resident memory of a worker, where that is what grows."""


class Curve(_Part):
    """How the cost of a request grows."""

    name: str
    axis: str
    unit: str
    points: tuple[Point, ...]


class Target(_Part):
    """What the project has set itself, and what this run found."""

    what: str
    wanted: str
    found: str
    reached: bool


class Machine(_Part):
    """Where it ran."""

    processor: str
    cores: int
    memory_gib: float
    system: str
    python: str
    load_before: float
    """The machine's load average when the run began: what else ran."""


class Results(_Part):
    """One run."""

    schema_version: Literal[1] = 1
    made_at: AwareDatetime
    quick: bool
    seconds: float
    """Of each measurement."""
    connections: int
    machine: Machine
    versions: dict[str, str]
    throughput: tuple[Throughput, ...] = ()
    open_loop: tuple[OpenLoop, ...] = ()
    many_rows: tuple[ManyRows, ...] = ()
    memory: tuple[Memory, ...] = ()
    start: tuple[Start, ...] = ()
    curves: tuple[Curve, ...] = ()
    targets: tuple[Target, ...] = ()


def this_machine(load: float) -> Machine:
    """Describe this machine."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return Machine(
        processor=_processor(),
        cores=os.cpu_count() or 1,
        memory_gib=round(memory, 1),
        system=platform.platform(terse=True),
        python=platform.python_version(),
        load_before=round(load, 2),
    )


def these_versions() -> dict[str, str]:
    """Return the versions of what was measured, Trivet's own first."""
    found = {}
    for name in ("trivet", *LIBRARIES):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    return found


def read(path: Path) -> Results:
    """Read a run's document."""
    return Results.model_validate_json(path.read_text())


def write(path: Path, results: Results) -> None:
    """Write a run's document."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(results.model_dump_json(indent=2) + "\n")


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((x.partition(":")[2].strip() for x in lines if x.startswith("model name")), "")
