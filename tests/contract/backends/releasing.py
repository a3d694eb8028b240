"""One process of several that release at once, as a test starts it and tells it what to do.

Each line on standard input is a JSON object, and is answered by a line on standard output:

    {"do": "plan", "root", "environment", "people": [[who, version, early], ...]}   -> {"planned": n}
    {"do": "apply"}                                              -> {"said": [[who, sentence], ...]}

Each person is a thread with a client of its own. Who is early has planned before the word to apply;
the others plan after it. With `"dies": true` in the first line the process kills itself, by SIGKILL, as
soon as one of its releases has claimed its place in the ledger.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trivet.errors import TrivetError
from trivet.registry.client import connect
from trivet.registry.plan import plan_promotion
from trivet.registry.release import apply
from trivet.settings import Settings

if TYPE_CHECKING:
    from mlflow import MlflowClient

    from trivet.registry.plan import Plan

MODEL = "toy"


class Person:
    """Somebody who releases one version."""

    def __init__(self, settings: Settings, who: str, version: int, *, early: bool) -> None:
        """Connect."""
        self.who = who
        self.said = ""
        self._settings = settings
        self._version = version
        self._client: MlflowClient = connect(settings)
        self._plan: Plan | None = None
        if early:
            self._plan = self._look()

    def die_when_claimed(self) -> None:
        """End this process where the alias would be moved."""
        self._client.set_registered_model_alias = lambda *_: os.kill(os.getpid(), signal.SIGKILL)

    def release(self, barrier: threading.Barrier) -> None:
        """Wait for the others, release, and note what came of it."""
        barrier.wait()
        try:
            plan = self._plan or self._look()
            done = apply(self._client, self._settings, plan, {}, self.who, "a test")
            self.said = f"released {done.to_version} as {done.sequence}"
        except TrivetError as err:
            self.said = f"{type(err).__name__}: {err}"
        except Exception as err:  # noqa: BLE001 - the test reads it
            self.said = f"UNTRANSLATED {type(err).__name__}: {err}"

    def _look(self) -> Plan:
        return plan_promotion(self._client, MODEL, self._version)


def gather(order: Mapping[str, Any]) -> list[Person]:
    """Return the people of an order, connected, those who are early with their plan."""
    for name in [name for name in os.environ if name.startswith(("MLFLOW_", "AWS_"))]:
        del os.environ[name]
    os.environ.update(order["environment"])
    settings = Settings(root=Path(order["root"]), home=Path(order["root"]) / ".trivet")
    people = [Person(settings, who, version, early=e) for who, version, e in order["people"]]
    if order.get("dies"):
        for person in people:
            person.die_when_claimed()
    return people


def release(people: list[Person]) -> list[tuple[str, str]]:
    """Have all release at one moment, and return what each was told."""
    barrier = threading.Barrier(len(people))
    threads = [threading.Thread(target=one.release, args=(barrier,)) for one in people]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return [(one.who, one.said) for one in people]


def main() -> None:
    """Follow orders until there are no more."""
    people: list[Person] = []
    for line in sys.stdin:
        order = json.loads(line)
        if order["do"] == "plan":
            people = gather(order)
            answer: dict[str, object] = {"planned": len(people)}
        else:
            answer = {"said": release(people)}
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
