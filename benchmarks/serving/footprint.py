"""What a service takes before any load: seconds from exec to ready, and memory of a pyfunc worker."""

from __future__ import annotations

from benchmarks.serving.compare import Setting, Stage, worker_memory
from benchmarks.serving.contenders import Contender, Place, trivet_by_key, trivet_by_value
from benchmarks.serving.results import Memory, Spread, Start
from benchmarks.serving.rounds import turn
from benchmarks.serving.servers import running


def measure_starts(stage: Stage, setting: Setting) -> list[Start]:
    """Start services some times over, each alone on the machine, all that they need prepared."""
    found: dict[str, list[float]] = {}
    titles: dict[str, str] = {}
    for number in range(stage.effort.rounds):
        stage.say(f"start to ready, {number + 1} of {stage.effort.rounds}")
        for contender in _services(stage.place(setting)):
            with running(list(contender.servers), settled=False):
                found.setdefault(contender.name, []).append(contender.servers[0].started_in)
                titles[contender.name] = contender.title
    return [
        Start(name=name, title=titles[name], workers=setting.workers, seconds=Spread.of(seconds))
        for name, seconds in found.items()
    ]


def measure_pyfunc(stage: Stage, setting: Setting) -> list[Memory]:
    """Release a model that ONNX cannot hold, and return the memory of a worker that serves it."""
    stage.say("memory of a worker with a pyfunc model")
    project = stage.sqlite
    project.release("forest_pyfunc")
    contender = trivet_by_value(stage.place(setting), model="forest_pyfunc")
    with running(list(contender.servers)):
        turns = stage.turns([contender])
        with turn(contender):
            setting.generator.closed(contender, turns.requests(contender), 1)
        return worker_memory(contender)


def _services(place: Place) -> list[Contender]:
    return [trivet_by_value(place), trivet_by_key(place, "redis", warm=True)]
