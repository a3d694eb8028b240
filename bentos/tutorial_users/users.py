"""The data step of the tutorial's users: three profiles as a Parquet source for Feast.

Run it with ``python bentos/tutorial_users/users.py``.
"""

from __future__ import annotations

import argparse
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

DATA = Path(__file__).resolve().parents[2] / "data"

SCHEMA = pa.schema(
    [
        ("user_id", pa.string()),
        ("age", pa.float64()),
        ("income", pa.float64()),
        ("purchases", pa.int64()),
        ("event_timestamp", pa.timestamp("us", tz="UTC")),
    ]
)


def prepare(data: Path, *, now: datetime) -> Path:
    """Write ``users/users.parquet`` under ``data`` unless it is there, and return its path.

    The three profiles are stamped with the start of the day (UTC) of ``now``: from then on they
    are known. A file that exists is left alone, as profiles may have been pushed to it since.

    Raises:
        ValueError: ``now`` carries no time zone.
    """
    if now.tzinfo is None:
        message = "now must carry a time zone"
        raise ValueError(message)
    path = data / "users" / "users.parquet"
    if not path.exists():
        known = now.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
        path.parent.mkdir(parents=True, exist_ok=True)
        unfinished = path.with_name(path.name + ".part")
        pq.write_table(_profiles(known), unfinished)
        unfinished.replace(path)
    return path


def _profiles(known: datetime) -> pa.Table:
    """Return the tutorial's three users."""
    return pa.table(
        {
            "user_id": ["u001", "u002", "u003"],
            "age": [25.0, 35.0, 45.0],
            "income": [50_000.0, 80_000.0, 120_000.0],
            "purchases": [10, 25, 50],
            "event_timestamp": [known] * 3,
        },
        schema=SCHEMA,
    )


def main() -> None:
    """Run the data step from the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--data", type=Path, default=DATA, help="folder for generated data")
    arguments = parser.parse_args()
    print(prepare(arguments.data, now=datetime.now(UTC)))


if __name__ == "__main__":
    main()
