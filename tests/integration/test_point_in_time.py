"""Feast's retrieval of a training set sees what was known when a flight was asked about.

Values are planted in the sources before and after that moment: the ones after it must not show in
any training row, and the ones before it must, or the test could not fail.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from feast import FeatureStore

import templates

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parents[2]

# Feast's DuckDB reader calls a method of DuckDB that has a newer name.
pytestmark = pytest.mark.filterwarnings("ignore:fetch_arrow_table:DeprecationWarning")

TTLS = {
    "airport_weather": timedelta(hours=3),
    "airport_recent": timedelta(hours=1),
    "aircraft_last_leg": timedelta(hours=24),
    "carrier_recent": timedelta(hours=6),
    "route_history": timedelta(days=3),
}
JOIN_KEYS = {
    "airport_weather": ["origin"],
    "airport_recent": ["origin"],
    "aircraft_last_leg": ["tailnum"],
    "carrier_recent": ["carrier"],
    "route_history": ["origin", "dest"],
    "plane": ["tailnum"],
}
PLANTED_NUMBER = -999
PLANTED_STRING = "planted"

# Five busy hours of the months held out for the test, New York afternoons, as hours of 2013.
HOURS = [f"2013-{day}T21:00Z" for day in ("09-05", "09-17", "10-02", "10-14", "10-31")]


@dataclass(frozen=True, slots=True, kw_only=True)
class Repository:
    """A copy of the feature repository whose sources can be changed and put back."""

    root: Path

    @property
    def sources(self) -> Path:
        """Return the folder of the Parquet sources."""
        return self.root / "data" / "flights"

    def store(self) -> FeatureStore:
        """Open the feature store."""
        return FeatureStore(str(self.root / "feature_repo"))

    def features(self, view: str) -> list[str]:
        """Return the names of a view's features."""
        return [feature.name for feature in self.store().get_feature_view(view).features]

    def training_rows(self, asked: pd.DataFrame) -> pd.DataFrame:
        """Retrieve the training rows of the entity rows, in their order."""
        store = self.store()
        service = store.get_feature_service("flight_delay_v1")
        rows = store.get_historical_features(entity_df=asked, features=service).to_df()
        return rows.sort_values("row", ignore_index=True)

    def plant(self, view: str, stamps: pd.DataFrame) -> None:
        """Put unmistakable values into a source at the given keys and moments.

        Where the source has a row for that key and moment it is replaced.
        """
        path = self.sources / f"{view}.parquet"
        table = pq.read_table(path)
        keys = [*JOIN_KEYS[view], "event_timestamp"]
        planted = stamps[keys].drop_duplicates()
        for field in table.schema:
            if field.name not in keys:
                text = pa.types.is_string(field.type)
                planted[field.name] = PLANTED_STRING if text else PLANTED_NUMBER
        rows = pd.concat([table.to_pandas(), planted[table.column_names]])
        rows = rows.drop_duplicates(keys, keep="last")
        changed = pa.Table.from_pandas(rows, schema=table.schema, preserve_index=False)
        pq.write_table(changed, path, coerce_timestamps="us")

    def empty(self, view: str) -> None:
        """Take all rows out of a source."""
        path = self.sources / f"{view}.parquet"
        pq.write_table(pq.read_schema(path).empty_table(), path)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Copy the definitions and the data step elsewhere, and run what a user would type there.

    The step finds its data, where it would write it itself.
    """
    root = tmp_path_factory.mktemp("elsewhere")
    shutil.copytree(templates.flights(tmp_path_factory)[0], root / "data")
    for folder in ("feature_repo", "bentos/flight_delay"):
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / folder, root / folder, ignore=ignored)
    step = root / "bentos" / "flight_delay" / "flights.py"
    command = [sys.executable, step, "--now", templates.FLIGHTS_NOW.isoformat()]
    said = subprocess.run(command, check=True, capture_output=True, text=True).stderr
    assert "Flights are there for project flights" in said
    feast = Path(sys.executable).parent / "feast"
    subprocess.run([feast, "apply"], cwd=root / "feature_repo", check=True)
    _keep_the_days_before(root / "data" / "flights")
    shutil.copytree(root / "data" / "flights", root / "originals")
    return root


def _keep_the_days_before(sources: Path) -> None:
    """Keep of each source what bears on the hours: each planting writes a whole file anew.

    The aircraft register stays as it is. It was stamped at the start of the year.
    """
    ends = [_moved(hour) + timedelta(days=1) for hour in HOURS]
    spans = [(end - max(TTLS.values()) - timedelta(days=2), end) for end in ends]
    for name, stamp in [
        *dict.fromkeys(TTLS, "event_timestamp").items(),
        ("departures", "asked_at"),
    ]:
        path = sources / f"{name}.parquet"
        rows = pq.read_table(path, filters=[[(stamp, ">=", a), (stamp, "<=", b)] for a, b in spans])
        assert 0 < len(rows) < pq.read_metadata(path).num_rows
        pq.write_table(rows, path, coerce_timestamps="us")


def _moved(hour: str) -> pd.Timestamp:
    """Return when an hour of 2013 is in the data, which is moved by whole weeks."""
    return pd.Timestamp(hour) + timedelta(weeks=681)


@pytest.fixture
def repository(built: Path) -> Iterator[Repository]:
    """Hand out the copy, and put its sources back afterwards."""
    repository = Repository(root=built)
    yield repository
    shutil.copytree(built / "originals", repository.sources, dirs_exist_ok=True)


def _asked(repository: Repository, hour: str) -> pd.DataFrame:
    """Return the departures of an hour as entity rows at the moments of asking.

    As the lead is an hour, all of them are asked about before the first of them leaves.
    """
    departures = pd.read_parquet(repository.sources / "departures.parquet")
    starts = _moved(hour)
    planned = departures["scheduled_departure"]
    departures = departures[(planned >= starts) & (planned < starts + timedelta(hours=1))]
    departures = departures.sort_values(["asked_at", "carrier", "flight"], ignore_index=True)
    sent = ["origin", "dest", "carrier", "tailnum", "scheduled_departure", "scheduled_arrival"]
    asked = departures[[*sent, "asked_at"]].rename(columns={"asked_at": "event_timestamp"})
    return asked.assign(row=range(len(asked)))


def _is_planted(rows: pd.DataFrame) -> pd.DataFrame:
    """Tell which cells hold a planted value."""
    return (rows == PLANTED_NUMBER) | (rows == PLANTED_STRING)


@pytest.mark.parametrize("hour", HOURS)
def test_a_value_known_after_the_question_never_changes_a_training_row(
    repository: Repository, hour: str
) -> None:
    """Neither one between the question and the departure, nor one after the departure, shows."""
    asked = _asked(repository, hour)
    before = repository.training_rows(asked)
    last_question = asked["event_timestamp"].max()
    first_departure = asked["event_timestamp"].min() + timedelta(hours=1)
    moments = [
        last_question + timedelta(microseconds=1),
        last_question + (first_departure - last_question) / 2,
        last_question + timedelta(hours=2),
    ]
    assert moments[1] < first_departure
    for view in JOIN_KEYS:
        for moment in moments:
            repository.plant(view, asked.assign(event_timestamp=moment))
    after = repository.training_rows(asked)
    assert len(asked) > 50
    pd.testing.assert_frame_equal(before, after)


@pytest.mark.parametrize("hour", HOURS)
def test_a_value_known_at_the_question_shows_in_every_training_row(
    repository: Repository, hour: str
) -> None:
    """The very moment of asking still counts: this is what makes the test above able to fail."""
    asked = _asked(repository, hour)
    for view in JOIN_KEYS:
        repository.plant(view, asked)
    rows = repository.training_rows(asked)
    assert len(rows) == len(asked)
    features = [name for view in JOIN_KEYS for name in repository.features(view)]
    assert len(features) == 32
    assert _is_planted(rows[features]).all(axis=None)


@pytest.mark.parametrize("view", JOIN_KEYS)
def test_a_value_known_shortly_before_the_question_shows_in_its_own_columns_only(
    repository: Repository, view: str
) -> None:
    """Planting in one source changes that view's features and no others."""
    asked = _asked(repository, HOURS[0])
    before = repository.training_rows(asked)
    shortly_before = asked["event_timestamp"].max() - timedelta(microseconds=1)
    repository.plant(view, asked.assign(event_timestamp=shortly_before))
    after = repository.training_rows(asked)
    own = repository.features(view)
    assert _is_planted(after.loc[[len(after) - 1], own]).all(axis=None)
    pd.testing.assert_frame_equal(before.drop(columns=own), after.drop(columns=own))


@pytest.mark.parametrize("view", TTLS)
def test_a_value_as_old_as_its_ttl_still_counts_and_an_older_one_is_absent(
    repository: Repository, view: str
) -> None:
    """The limit is inclusive, and every entity row is kept with nulls for what has expired."""
    asked = _asked(repository, HOURS[0])
    asked["event_timestamp"] = asked["event_timestamp"].max()
    own = repository.features(view)
    repository.empty(view)
    just_expired = asked["event_timestamp"] - TTLS[view] - timedelta(microseconds=1)
    repository.plant(view, asked.assign(event_timestamp=just_expired))
    expired = repository.training_rows(asked)
    assert len(expired) == len(asked)
    assert expired[own].isna().all(axis=None)
    just_valid = asked["event_timestamp"] - TTLS[view]
    repository.plant(view, asked.assign(event_timestamp=just_valid))
    valid = repository.training_rows(asked)
    assert _is_planted(valid[own]).all(axis=None)


def test_the_aircraft_register_does_not_expire(repository: Repository) -> None:
    """It was stamped at the start of the year and still counts ten months later."""
    rows = repository.training_rows(_asked(repository, HOURS[-1]))
    assert rows["plane_seats"].notna().mean() > 0.5
