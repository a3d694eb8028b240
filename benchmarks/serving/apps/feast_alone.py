"""Feast's own online read without any server: rows a second of `get_online_features` in a process.

    python feast_alone.py ROWS        # in the folder of feature_store.yaml

Reads `measure SECONDS` lines from standard input, and answers each by a line of JSON.
"""

import json
import sys
import time

import numpy as np
from feast import FeatureStore

ENTITIES = 10_000


def say(**facts: float) -> None:
    """Write a line of JSON."""
    sys.stdout.write(json.dumps(facts) + "\n")
    sys.stdout.flush()


def main() -> None:
    """Serve the lines."""
    rows = int(sys.argv[1])
    store = FeatureStore(repo_path=".")
    service = store.get_feature_service("forest_v1")
    order = np.random.default_rng(3).permutation(ENTITIES)
    asked = [
        {"user_id": [f"u{n:07}" for n in part], "item_id": [int(n) for n in part]}
        for part in order[: ENTITIES - ENTITIES % rows].reshape(-1, rows)
    ]
    store.get_online_features(service, asked[0]).to_dict()
    say(ready=True)
    for line in sys.stdin:
        seconds = float(line.split()[1])
        calls, began = 0, time.perf_counter()
        while time.perf_counter() - began < seconds:
            store.get_online_features(service, asked[calls % len(asked)]).to_dict()
            calls += 1
        spent = time.perf_counter() - began
        say(requests=calls, seconds=spent)


if __name__ == "__main__":
    main()
