"""Section 4: features online by user id, offline as a table, and a user whom nobody knows."""

from __future__ import annotations

from datetime import UTC, datetime

import pandas as pd
import pytest
from feast import FeatureStore

from journey import Project, Service
from trivet.contract import parse_contract
from trivet.features.reader import OnlineReader

from .notebook import USERS

FEATURES = ["age", "income", "purchases"]


@pytest.fixture
def store(users: Project) -> FeatureStore:
    """Open the project's store with Feast itself."""
    return FeatureStore(repo_path=str(users.root / "feature_repo"))


def test_the_online_features_of_a_user_are_the_profile(
    store: FeatureStore, users_service: Service
) -> None:
    """The reader of the live version gives age, income and purchases of u001, and none is absent."""
    contract = parse_contract(users_service.get("/contract").content)
    features = OnlineReader(store, contract).read({"user_id": ["u001"]}, datetime.now(UTC))
    assert features.values == {name: [value] for name, value in USERS["u001"].items()}
    assert features.absent == ()


def test_feast_itself_gives_the_same_features_online(store: FeatureStore) -> None:
    """What Trivet serves from is Feast's own online store, open to Feast's own calls."""
    service = store.get_feature_service("tutorial_users_v1")
    online = store.get_online_features(service, [{"user_id": user} for user in USERS]).to_dict()
    found = {
        user: {name: online[name][row] for name in FEATURES}
        for row, user in enumerate(online["user_id"])
    }
    assert found == USERS


def test_the_offline_features_are_the_profiles_as_of_a_moment(store: FeatureStore) -> None:
    """Historical retrieval gives all three users now, and nothing of them a week ago."""
    service = store.get_feature_service("tutorial_users_v1")
    now = pd.Timestamp.now(tz="UTC")
    asked = pd.DataFrame(
        [
            {"user_id": user, "event_timestamp": moment}
            for user in USERS
            for moment in (now, now - pd.Timedelta(days=7))
        ]
    )
    table = store.get_historical_features(asked, service).to_df()
    recent = table["event_timestamp"] > now - pd.Timedelta(days=1)
    assert table[recent].set_index("user_id")[FEATURES].to_dict("index") == USERS
    assert table.loc[~recent, FEATURES].isna().all(axis=None)


def test_an_unknown_user_is_refused_by_row_and_field(users_service: Service) -> None:
    """Nothing stands in for the features of an unknown user; the next request is answered."""
    body = {"instances": [{"user_id": "u001"}, {"user_id": "u999"}]}
    refused = users_service.post("/predict", body)
    assert refused.status_code == 422
    assert refused.headers["Content-Type"] == "application/problem+json"
    errors = refused.json()["errors"]
    assert [(error["row"], error["field"]) for error in errors] == [(1, name) for name in FEATURES]
    assert all("u999" in error["detail"] for error in errors)
    assert users_service.post("/predict", {"instances": [{"user_id": "u001"}]}).status_code == 200
