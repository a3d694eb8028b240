"""A worker's log in a process of its own, which may be killed: requests without a model.

    python logging_process.py FOLDER NAME REQUESTS [setting=value ...]

Beside settings of the log: `rate` requests a second (else as fast as it goes), `rows` a request,
`wait=1` for room in the queue, `full=yes` for a disk that is full in the second third, `feast=yes`
for a contract of two feature views, `more=yes` for another request column, `apart=yes` to write in a
process of its own as a worker does.
"""

from __future__ import annotations

import logging
import resource
import signal
import sys
import threading
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from trivet.contract import Column, Contract, JoinKey, Regression, Runtime, View
from trivet.features.values import AbsentValue, Features, to_microseconds
from trivet.serving.asking import Asked
from trivet.serving.log.entry import Answered, Entry
from trivet.serving.log.sender import LogSender
from trivet.serving.log.writer import PredictionLog
from trivet.settings import Settings

KEPT = 20_000
"""Bytes that a file may have while the disk is full: less than any batch."""


class Counts:
    """Counts what was logged and what was lost."""

    def __init__(self) -> None:
        """Nothing yet."""
        self.written = 0
        self.lost = 0

    def logged(self, rows: int) -> None:
        """Count written rows."""
        self.written += rows

    def unlogged(self, rows: int, reason: str) -> None:
        """Count lost rows."""
        del reason
        self.lost += rows


class Said(logging.Handler):
    """Counts how often the log says that it cannot be written."""

    count = 0

    def emit(self, record: logging.LogRecord) -> None:
        """Count it."""
        self.count += "cannot be written" in record.getMessage()


def plain(**changes: Any) -> Contract:
    """Return a contract of one request column."""
    parts: dict[str, Any] = {
        "model": "shop",
        "project": None,
        "feature_service": None,
        "join_keys": (),
        "views": (),
        "columns": (Column(name="amount", source="request", dtype="float64"),),
        "lead_seconds": 0,
        "output": Regression(unit="EUR"),
        "runtime": Runtime(kind="onnx"),
        "files": {},
        "libraries": {},
        "golden": (),
    }
    return Contract(**{**parts, **changes})


def of_two_views() -> Contract:
    """Return a contract of features alone."""
    """Return the contract of a version on that feature service."""
    columns = [
        *(
            ("users", "income", "int64"),
            ("users", "age", "float64"),
            ("users", "segment", "string"),
        ),
        *(("habits", "loyal", "bool"), ("habits", "since", "timestamp")),
    ]
    return plain(
        project="shop",
        feature_service="shop_v1",
        join_keys=(JoinKey(name="user_id", dtype="string"),),
        views=tuple(View(name=name, join_keys=("user_id",)) for name in ("users", "habits")),
        columns=tuple(
            Column.model_validate(
                {"name": name, "source": f"{view}:{name}", "dtype": dtype, "absent": "null"}
            )
            for view, name, dtype in columns
        ),
    )


def features(contract: Contract, rows: int) -> Features:
    """Return what a store has: an age that has expired, the rest a minute old."""
    values = {"income": 1000, "age": None, "segment": "gold", "loyal": True}
    known = datetime.now(UTC)
    absent = tuple(
        AbsentValue(row=row, column=column, why="expired", age_seconds=9.0)
        for column in contract.columns
        if column.name == "age"
        for row in range(rows)
    )
    moments = {view.name: [to_microseconds(known)] * rows for view in contract.views}
    return Features(
        values={
            c.name: [known if c.name == "since" else values.get(c.name)] * rows
            for c in contract.columns
            if c.view is not None
        },
        absent=absent,
        known=moments,
        read=moments,
    )


def entry(contract: Contract, digest: str, request_id: str, number: int, rows: int) -> Entry:
    """Return the entry of one request."""
    read = features(contract, rows)
    request = Answered(
        request_id=request_id,
        route="champion",
        rows=rows,
        validate_seconds=0.0001,
        features_seconds=0.0005,
        total_seconds=0.002,
    )
    sent = contract.request_columns
    return Entry(
        requests=[request],
        asked_at=datetime.now(UTC),
        contract=contract,
        digest=digest,
        version=1,
        asked=Asked(
            rows=rows,
            keys={key.name: [f"u{number}"] * rows for key in contract.join_keys},
            sent=[(float(number),) * len(sent)] * rows,
            names=tuple(column.name for column in sent),
        ),
        features=read,
        absent=read.absent,
        columns={},
        predictions=[{"value": float(number)}] * rows,
        seconds={"predict": 0.001},
    )


def fill_disk(full: bool) -> None:
    """Let no file of this process grow, or again as far as it will.

    A limit of the size of files refuses as a full disk does: a part of a write, then an error.
    """
    _, most = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (KEPT if full else most, most))


def contract_of(options: dict[str, str]) -> Contract:
    """Return the contract that was asked for."""
    found = of_two_views() if options.pop("feast", "") == "yes" else plain()
    if options.pop("more", "") == "yes":
        extra = Column(name="more", source="request", dtype="float64")
        return found.model_copy(update={"columns": (*found.columns, extra)})
    return found


def main() -> None:
    """Log so many requests, and print what was counted."""
    folder, name, requests, *rest = sys.argv[1:]
    options = dict(option.split("=") for option in rest)
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    contract = contract_of(options)
    rate, rows = float(options.pop("rate", "inf")), int(options.pop("rows", "1"))
    apart = options.pop("apart", "") == "yes"
    full, patient = options.pop("full", "") == "yes", options.pop("wait", "") == "1"
    settings = Settings(root=Path(folder), home=Path(folder), **options)
    counts, said, digest = Counts(), Said(), contract.digest
    logging.getLogger("trivet.serving").addHandler(said)
    made = LogSender if apart else PredictionLog
    log = made(settings, "shop", counts)
    log.start()
    print("started 0", flush=True)  # noqa: T201
    total = int(requests)
    began = time.monotonic()
    for number in range(total):
        if full and number * 3 in (total, 2 * total):
            time.sleep(2.5)  # for what was asked before to be written, or refused
            fill_disk(full=number * 3 == total)
            time.sleep(2.5 * (number * 3 != total))
        if stop.is_set():
            break
        log.record(entry(contract, digest, f"{name}-{number}", number, rows))
        while patient and number * rows - counts.written > settings.log_queue_rows / 2:
            time.sleep(0.001)
        if rate < float("inf"):
            time.sleep(max(0.0, began + number / rate - time.monotonic()))
        elif full and number % 100 == 0:
            time.sleep(0.1)
    log.close()
    print(f"written {counts.written}\nlost {counts.lost}")  # noqa: T201
    if full:
        print(f"answered {total}\nsaid {said.count}")  # noqa: T201


if __name__ == "__main__":
    main()
