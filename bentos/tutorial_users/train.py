"""The tutorial's three users, trained on what Feast knows of them, registered as one version.

    python train.py

A toy, and honest about it: three rows are all that the tutorial has, so the rows that a version is
proven on are those that it was trained on, and no quality is claimed. The result on standard output
is JSON.
"""

import json
import sys
from datetime import UTC, datetime
from pathlib import Path

import pandas as pd
from rich.console import Console
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from trivet import (
    Candidate,
    Classification,
    load_settings,
    model_inputs,
    open_store,
    read_offer,
    register,
)
from users import prepare

BENTO = Path(__file__).resolve().parent
SERVICE = "tutorial_users_v1"
LABELS = {"u001": 0, "u002": 1, "u003": 1}


def main() -> None:
    """Join the users' features as of now, fit, register, and print what came of it."""
    settings = load_settings(BENTO)
    now = datetime.now(UTC)
    prepare(settings.root / "data", now=now)
    store = open_store(settings)
    offer = read_offer(store, SERVICE)  # without policies: an absent feature is rejected
    if offer is None:
        sys.exit(f"Feast has no feature service {SERVICE}: run feast apply in feature_repo/ first.")
    users = pd.DataFrame({"user_id": list(LABELS), "event_timestamp": now})
    frame = store.get_historical_features(users, store.get_feature_service(SERVICE)).to_df()
    # Scaled: an income is thousands of times an age.
    model = make_pipeline(StandardScaler(), LogisticRegression(random_state=42))
    model.fit(model_inputs(BENTO, offer.columns, frame), frame["user_id"].map(LABELS))
    version = register(
        settings,
        Candidate(
            model="tutorial_users",
            estimator=model,
            columns=offer.columns,
            output=Classification(classes=("0", "1")),  # the tutorial gives them no names
            held_out=frame,
            bento=BENTO,
            offer=offer,
            run_name="logistic regression",
        ),
    )
    Console(stderr=True).print(f"Version {version}: logistic regression on {len(frame)} users")
    json.dump({"version": version, "users": len(frame)}, sys.stdout, indent=2)
    sys.stdout.write("\n")


if __name__ == "__main__":
    main()
