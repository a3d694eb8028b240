"""The follower's process: `python -m trivet.follow MODEL`, started by a service.

It keeps this host's live state at what the registry's ledger says, and ends when its standard input
does.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
from functools import partial

from trivet.gates import release_gates
from trivet.gates.bench import Bench
from trivet.gates.features import feature_differences
from trivet.priority import give_way
from trivet.registry.follower import Follower
from trivet.settings import load_settings
from trivet.watch import FeatureWatch


def main() -> None:
    """Follow one model's releases until the service that started this process is gone."""
    give_way()
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s [follower] %(message)s")
    logging.getLogger("trivet").setLevel(logging.INFO)
    settings = load_settings()
    stop = threading.Event()
    threading.Thread(target=_wait_for_end_of_input, args=(stop,), daemon=True).start()
    model = sys.argv[1]
    # An alias that was moved by hand is judged again and again for as long as it is refused.
    gates = partial(release_gates, settings, model, bench=Bench())
    watch = FeatureWatch(settings, model, partial(feature_differences, settings))
    Follower(settings, model, gates_factory=gates, look_beside=watch.look).run(stop)


def _wait_for_end_of_input(stop: threading.Event) -> None:
    while os.read(0, 1024):
        pass
    stop.set()


if __name__ == "__main__":
    main()
