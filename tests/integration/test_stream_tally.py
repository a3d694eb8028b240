"""What the stream demo counts: predictions against outcomes, and nothing that was not asked about."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import redis
from rich.console import Console

from contract.servers import RedisServer
from replayed import STEP
from trivet.stream.messages import Names

NINE = datetime(2026, 7, 29, 14, tzinfo=UTC)
"""Nine in the morning, by New York's standard time."""


@pytest.fixture(scope="module")
def modules() -> Iterator[Any]:
    """Import the demo's modules as its script does, beside these tests' own of the same names."""
    names = ("replay", "scoring", "stream_tally", "stream_project", "stream_wire")
    own = {file.stem for file in STEP.glob("*.py")}
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(STEP))
        with pytest.MonkeyPatch.context() as meanwhile:
            for name in own & sys.modules.keys():
                meanwhile.delitem(sys.modules, name)
            made = {name: importlib.import_module(name) for name in names}
            for name in own & sys.modules.keys():
                del sys.modules[name]
        yield made


@pytest.fixture
def client(tmp_path: Path) -> Iterator[redis.Redis]:
    """Return a Redis of its own."""
    with RedisServer(tmp_path) as server, redis.Redis(port=server.port) as made:
        yield made


@pytest.fixture
def tally(modules: Any) -> Any:
    """Return a tally of nothing."""
    return modules["stream_tally"].Tally(speed=720.0, at=NINE)


def answer(*probabilities: float, missing: bool = False) -> dict[str, Any]:
    """Return a prediction as the stream brings it."""
    names = ("on time", "late", "very late")
    return {
        "prediction": {"probabilities": dict(zip(names, probabilities, strict=True))},
        "model": {"name": "flight_delay", "version": 2},
        "missing": [{"column": "leg_dest"}] if missing else [],
    }


def outcomes(modules: Any, **labels: int | None) -> list[Any]:
    """Return what came of flights."""
    return [modules["replay"].Outcome(flight=f, label=label) for f, label in labels.items()]


def seen(renderable: Any, width: int) -> str:
    """Return what a terminal of so many columns shows."""
    console = Console(width=width, record=True, quiet=False, file=None)
    with console.capture() as shown:
        console.print(renderable)
    return shown.get()


def test_quality_is_that_of_the_training_s_own_measure(modules: Any, tally: Any) -> None:
    """Beside always answering with the class that was most frequent."""
    probabilities = [(0.8, 0.1, 0.100001), (0.2, 0.7, 0.1), (0.3, 0.3, 0.4), (0.6, 0.3, 0.1)]
    tally.answered({str(n): answer(*p) for n, p in enumerate(probabilities)})
    assert tally.quality() is None
    labels = [0, 1, 2, 0]
    tally.came_out(outcomes(modules, **{str(n): label for n, label in enumerate(labels)}))
    answers = np.array(probabilities)
    answers /= answers.sum(axis=1, keepdims=True)
    expected = modules["scoring"].score(np.array(labels), answers)
    assert tally.quality() == pytest.approx(expected)
    assert (expected["accuracy"], expected["baseline_accuracy"]) == (1.0, 0.5)


def test_what_was_called_off_or_never_asked_about_is_not_measured(modules: Any, tally: Any) -> None:
    """An outcome counts once, for a prediction that was made before it."""
    tally.answered({"a": answer(0.8, 0.1, 0.1), "b": answer(0.8, 0.1, 0.1, missing=True)})
    tally.came_out(outcomes(modules, a=None, b=0, c=1))
    tally.came_out(outcomes(modules, b=0))
    assert (tally.known, tally.called_off, tally.with_missing) == (1, 1, 1)


@pytest.mark.parametrize("width", [80, 120])
def test_what_is_shown_fits_the_terminal(modules: Any, tally: Any, width: int) -> None:
    """Time of day in New York, how much and how fast, the quality, and the version that answers."""
    tally.events.add(12_345, 0.025)
    tally.events.waiting = 67
    tally.answered({str(n): answer(0.8, 0.1, 0.1) for n in range(3)})
    tally.questions.add(3, 0.012)
    tally.came_out(outcomes(modules, **{"0": 0, "1": 1, "2": 2}))
    tally.behind = 3.2
    shown = seen(tally.picture(), width)
    assert max(map(len, shown.splitlines())) <= width
    for part in (
        "Wed 29 Jul 2026, 09:00",
        "720",
        "3 s behind",
        "12,345",
        "25.0",
        "67",
        "v2",
        "0.333",
    ):
        assert part in shown
    assert "ms, 67 waiting" in tally.line()
    assert "accuracy 0.333 (baseline 0.333), AUC 0.500" in tally.line()


def test_what_waits_is_what_the_consumers_have_not_acknowledged(
    modules: Any, client: redis.Redis
) -> None:
    """Before there are any, all of it."""
    names = Names(prefix="demo", model="late", project="flights")
    wire = modules["stream_wire"].Wire(client, names, "trivet")
    for number in range(5):
        client.xadd(names.features, {"n": number})
    assert wire._waiting(names.features) == 5
    client.xgroup_create(names.features, "trivet", id="0")
    ((_, taken),) = client.xreadgroup("trivet", "c", {names.features: ">"}, count=3)
    assert wire._waiting(names.features) == 5
    client.xack(names.features, "trivet", taken[0][0])
    client.xdel(names.features, taken[0][0])  # as consumers do
    assert wire._waiting(names.features) == 4


def test_a_replay_may_begin_on_29_february(
    modules: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Two years before there is no such day."""
    project, typed = modules["stream_project"], []
    monkeypatch.setattr(project.journey, "step", lambda _, *command, **__: typed.append(command))
    demo = project.Demo(root=tmp_path, port=1)
    project._bring_online(demo, datetime(2028, 2, 29, 11, tzinfo=UTC))
    assert typed[-1] == ("feast", "materialize", "2026-03-01T11:00:00", "2028-02-29T11:00:00")
