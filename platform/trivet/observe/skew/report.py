"""What a replay found, as a document and as a picture of training beside serving."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from trivet.contract import Column
from trivet.observe.skew.causes import EXCUSED
from trivet.observe.skew.distribution import Distribution, compare_spread
from trivet.observe.skew.figure import draw
from trivet.observe.skew.find import Replay, Skew

PICTURE, DOCUMENT = "skew.png", "skew.json"

_NOTE = (
    "Rows by value, each side adding up to 100 % with its absent rows. apart: the share of rows that "
    "would have to be elsewhere to be alike. absent: training → serving."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Training:
    """The training set of a version, as it comes out now."""

    version: int
    path: Path | None
    """A Parquet file with its columns; None where it cannot be made."""
    note: str | None = None
    """Why there is none, or why it is another one than was trained on."""


def main_version(skew: Skew) -> int:
    """Return the version that answered most of the rows."""
    return max(skew.versions, key=lambda version: skew.versions[version])


def write_picture(
    skew: Skew, replays: Sequence[Replay], training: Training, folder: Path
) -> Path | None:
    """Draw the columns of one version in training and in serving.

    Args:
        skew: what was found.
        replays: whose rows of that version are drawn: what the model got.
        training: that version's.
        folder: gets `skew.png`; made where it does not exist.

    Returns:
        The picture's path; None where the version has no column that can be drawn.
    """
    found = distributions(replays, training)
    if not found:
        return None
    folder.mkdir(parents=True, exist_ok=True)
    skewed = {column.column: column.share for column in skew.columns if column.skewed}
    title = f"{skew.model} version {training.version}: trained on and served"
    asked = f"Asked {_moment(skew.first)} to {_moment(skew.last)} UTC."
    note = "\n".join([f"{asked} {_NOTE}", *([training.note] if training.note else [])])
    picture = folder / PICTURE
    draw(title, found, skewed, note).savefig(picture, dpi=150)
    return picture


def distributions(replays: Sequence[Replay], training: Training) -> list[Distribution]:
    """Return the distributions of a version's columns, the most different first.

    Times are left out: no two are alike.
    """
    replay = next((one for one in replays if one.version == training.version), None)
    if replay is None:
        return []
    known = [] if training.path is None else pq.read_schema(training.path).names
    found = []
    for column in replay.rows.contract.columns:
        if column.dtype == "timestamp":
            continue
        trained = None
        if training.path is not None and column.name in known:
            trained = pq.read_table(training.path, columns=[column.name])[column.name]
        found.append(compare_spread(column, _got(replay, column), trained))
    return sorted(found, key=lambda one: -one.distance)


def document(skew: Skew, threshold: float, picture: Path | None = None) -> dict[str, Any]:
    """Return everything as JSON has it."""
    return {
        **asdict(skew),
        "compared": skew.compared,
        "skewed": skew.skewed,
        "threshold": threshold,
        "over": [column.column for column in skew.over(threshold)],
        "excused": sorted(EXCUSED),
        "columns": [
            {**asdict(column), "skewed": column.skewed, "share": column.share}
            for column in skew.columns
        ],
        "picture": picture,
    }


def write_document(found: dict[str, Any], folder: Path) -> None:
    """Write `skew.json` beside the picture."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / DOCUMENT).write_text(json.dumps(found, indent=2, default=_plain) + "\n")


def _got(replay: Replay, column: Column) -> pa.Array:
    replayed = replay.columns.get(column.name)
    return replay.rows.sent(column) if replayed is None else replayed.served.got


def _moment(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%d %H:%M")


def _plain(value: object) -> str:
    return value.isoformat() if isinstance(value, datetime) else str(value)
