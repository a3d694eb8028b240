"""One releasing process, as a test starts it: `releasing.py ROOT VERSION WHO [died-before]`.

It plans, says `planned` on stdout, waits for a line on stdin, applies, and says what became of it.
With a fourth argument it dies before that step without any clean-up: `alias` or `finish`.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from trivet.errors import TrivetError
from trivet.registry.client import connect
from trivet.registry.plan import plan_promotion
from trivet.registry.release import apply
from trivet.settings import Settings


def main(root: str, version: str, who: str, dies_before: str = "") -> None:
    """Release one version."""
    settings = Settings(root=Path(root), home=Path(root) / ".trivet")
    client = connect(settings)
    if dies_before == "alias":
        client.set_registered_model_alias = lambda *_: os._exit(9)
    if dies_before == "finish":
        client.set_terminated = lambda run_id, *_: (
            os._exit(9) if client.get_run(run_id).data.params["action"] == "promote" else None
        )
    plan = plan_promotion(client, "toy", int(version))
    sys.stdout.write("planned\n")
    sys.stdout.flush()
    sys.stdin.readline()
    try:
        release = apply(client, settings, plan, {}, who, "a test")
        sys.stdout.write(f"released {release.to_version}\n")
    except TrivetError as err:
        sys.stdout.write(f"{type(err).__name__}: {err}\n")


main(*sys.argv[1:])
