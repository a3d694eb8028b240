"""What a run found: the JSON document of the gateway's benchmark."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict

from benchmarks.serving.results import Machine, Spread


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Row(_Part):
    """One arrangement: an app, so many replicas of so many workers, behind a gateway or not."""

    name: str
    app: Literal["bare", "trivet"]
    replicas: int
    workers: int
    """Of each replica."""
    through: bool
    """Whether by the gateway."""
    per_second: Spread
    """Requests a second, closed loop."""
    p50_ms: Spread
    p99_ms: Spread
    of_direct: Spread | None
    """Ratio to the rate without the gateway, of the same round."""
    calm_rate: float
    """Requests a second of the open loop, the same with the gateway and without."""
    calm_p50_ms: Spread
    calm_p99_ms: Spread
    server_cores: Spread
    """Cores that the replicas took in the closed loop."""
    proxy_cores: Spread
    generator_cores: Spread

    @property
    def proxy_us(self) -> float:
        """Processor time of the proxy for one request, in microseconds."""
        return 1e6 * self.proxy_cores.median / self.per_second.median

    @property
    def server_us(self) -> float:
        """Processor time of the replicas for one request, in microseconds."""
        return 1e6 * self.server_cores.median / self.per_second.median


class Found(_Part):
    """One run."""

    schema_version: Literal[1] = 1
    made_at: AwareDatetime
    quick: bool
    seconds: float
    """Of each measurement."""
    rounds: int
    connections: int
    machine: Machine
    versions: dict[str, str]
    rows: tuple[Row, ...]


def read(path: Path) -> Found:
    """Read a run's document."""
    return Found.model_validate_json(path.read_text())


def write(path: Path, found: Found) -> None:
    """Write a run's document."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(found.model_dump_json(indent=2) + "\n")
