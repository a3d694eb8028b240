"""Feature definitions of the tutorial's users u001, u002 and u003."""

from datetime import timedelta
from pathlib import Path

from feast import Entity, FeatureService, FeatureView, Field, FileSource, ValueType
from feast.types import Float64, Int64, String

# DuckDB resolves relative paths against the working directory, so this is absolute.
SOURCE = Path(__file__).resolve().parent.parent / "data" / "users" / "users.parquet"

user = Entity(
    name="user",
    join_keys=["user_id"],
    value_type=ValueType.STRING,
    description="A user, by id: u001.",
)

# Known from the day on which it was written, and true until it is written again: no TTL.
user_profile = FeatureView(
    name="user_profile",
    entities=[user],
    ttl=timedelta(0),
    schema=[
        Field(name="user_id", dtype=String),
        Field(name="age", dtype=Float64),
        Field(name="income", dtype=Float64),
        Field(name="purchases", dtype=Int64),
    ],
    source=FileSource(
        name="user_profile_source",
        path=str(SOURCE),
        timestamp_field="event_timestamp",
        description="One row a user and change of the profile, stamped when it was written.",
    ),
    description="What is known about a user: age in years, yearly income, number of purchases.",
)

tutorial_users_v1 = FeatureService(
    name="tutorial_users_v1",
    features=[user_profile[["age", "income", "purchases"]]],
    description="What version 1 of the tutorial's user model reads.",
)
