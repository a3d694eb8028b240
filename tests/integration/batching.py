"""A shop whose model is a graph over all that is known, served and asked in batches alike."""

from __future__ import annotations

import asyncio
import hashlib
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import onnx
import pyarrow as pa
import pyarrow.parquet as pq
from onnx import TensorProto, helper

from integration.skewed import HOUR, MINUTE, MODEL, NOON, Shop, product, user
from trivet.batch.job import Options
from trivet.batch.run import Outcome, Request, run_batch
from trivet.contract import Contract, Regression, Runtime
from trivet.features.on_demand import open_transforms
from trivet.features.reader import OnlineReader
from trivet.live import CONTRACT, Live, LoadedVersion, Shelf
from trivet.runtime.pipeline import POSTPROCESS, PREPROCESS
from trivet.serving.dataplane import DataPlane
from trivet.serving.loaded import FeatureSource, load_version
from unit.fakes import FakeRecorder, filled_slot

# Each value moves the answer, and each null differently: a difference anywhere shows.
PREPROCESS_CODE = """
import numpy as np


def preprocess(columns):
    total = np.zeros(len(next(iter(columns.values()))))
    for n, name in enumerate(sorted(columns)):
        values = columns[name]
        if values.dtype.kind == "M":
            values = values.astype("datetime64[us]").astype(np.int64) % 1_000_003
        elif values.dtype == object:
            values = np.array([-7.0 if v is None else float(len(v) + ord(v[0])) for v in values])
        numbers = values.astype(np.float64)
        if (numbers > 1e17).any():
            raise ValueError("that is too much")
        total += (n + 1) * np.where(np.isnan(numbers), -3.25, np.mod(numbers, 10_007))
    return {"amount": total}
"""
POSTPROCESS_CODE = """
import numpy as np


def postprocess(output):
    value = output["value"]
    odd = (np.abs(value) % 2).astype(np.int64)
    return {
        "value": value,
        "kind": np.array(["even", "odd"], dtype=object)[odd],
        "parts": {"whole": np.trunc(value), "rest": np.where(odd == 1, np.nan, value % 1)},
    }
"""
FIELDS = ("value", "kind", "parts.whole", "parts.rest")


@dataclass
class Notes:
    """A watcher that remembers."""

    sentences: list[str] = field(default_factory=list)
    rows: int = 0
    done: int = 0

    def begins(self, rows: int, done: int) -> None:
        """Remember what was done before."""
        self.done = done

    def worked(self, rows: int) -> None:
        """Count."""
        self.rows += rows

    def note(self, sentence: str) -> None:
        """Remember it."""
        self.sentences.append(sentence)


class Scored:
    """A live version, and the two ways of asking it."""

    def __init__(self, shop: Shop, contract: Contract | None = None) -> None:
        """Put the version on the host's shelf, and have it live; there is no MLflow."""
        self.shop = shop
        self.root = shop.root
        self.settings = shop.settings
        self.contract = put_on_shelf(self.settings.home, contract or shop.contract())
        self.entities = self.root / "rows.parquet"
        self.out = self.root / "out"
        self.notes = Notes()

    def run(self, rows: pa.Table | None = None, at: datetime = NOON, **more: Any) -> Outcome:
        """Run a job on rows; those of before where none are given."""
        if rows is not None:
            pq.write_table(rows, self.entities)
        names = Options.model_fields
        options = Options(**{name: more.pop(name) for name in list(more) if name in names})
        request = Request(
            model=MODEL, entities=self.entities, options=options, **{"out": self.out, **more}
        )
        self.notes = Notes()
        return run_batch(self.settings, request, self.notes, lambda: at)

    def predictions(self, out: Path | None = None) -> pa.Table:
        """Return the output, in the order of the rows."""
        return read(out or self.out)

    def rejects(self) -> list[dict[str, Any]]:
        """Return what was rejected."""
        folder = self.out / "rejects"
        return pq.read_table(folder).sort_by("row").to_pylist() if folder.exists() else []

    def ask(self, at: datetime, instances: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """Ask the service for all instances in one request at a moment."""
        store = self.shop.open()
        folder = Shelf(self.settings.home, MODEL).path(self.contract.digest)

        def open_source(contract: Contract) -> FeatureSource:
            return FeatureSource(
                reader=OnlineReader(store, contract), transforms=open_transforms(store, contract)
            )

        version = load_version(1, folder, open_source)
        slot = filled_slot(self.root / "slot", version)
        settings = self.settings.model_copy(update={"max_rows": 100_000})
        plane = DataPlane(slot, settings, lambda: at, FakeRecorder())
        answer = asyncio.run(plane.predict(list(instances), lambda s: s.champion(), "r"))
        return answer.document


def put_on_shelf(home: Path, contract: Contract) -> Contract:
    """Make a version of the contract live on this host, and return it as it is now."""
    parts = {
        "model.onnx": _doubling().SerializeToString(),
        str(PREPROCESS): PREPROCESS_CODE.encode(),
        str(POSTPROCESS): POSTPROCESS_CODE.encode(),
    }
    contract = contract.model_copy(
        update={
            "runtime": Runtime(kind="onnx"),
            "output": Regression(unit="EUR"),
            "files": {name: hashlib.sha256(code).hexdigest() for name, code in parts.items()},
        }
    )
    shelf = Shelf(home, contract.model)
    folder = shelf.path(contract.digest)
    (folder / "trivet").mkdir(parents=True, exist_ok=True)
    for name, code in parts.items():
        (folder / name).write_bytes(code)
    (folder / CONTRACT).write_text(contract.to_json())
    entry = LoadedVersion(version=1, digest=contract.digest)
    shelf.write_live(
        Live(model=contract.model, champion=1, versions=(entry,), release="r", since=NOON)
    )
    return contract


def read(out: Path) -> pa.Table:
    """Return a job's output, in the order of the rows."""
    return pq.read_table(out / "predictions").sort_by("row")


def filled_shop(root: Path, users: int = 60) -> Shop:
    """Return a shop that knows users and products at several moments, and some of them not."""
    chance = random.Random(5)  # noqa: S311 - not for secrets
    shop = Shop(root)
    rows = []
    for number in range(users):
        for hours in sorted(chance.sample(range(1, 9), chance.randint(0, 3)), reverse=True):
            at = NOON - hours * HOUR / 2
            values = {
                "income": chance.choice([None, 1000.5 + number, float("nan")]),
                "visits": chance.choice([None, number, 2**53 + 1]),
                "segment": chance.choice([None, "gold", "blue"]),
                "loyal": chance.choice([None, True, False]),
            }
            rows.append(user(f"u{number}", at, **values))
    shop.know("users", rows)
    shop.know(
        "products",
        [
            product(n, NOON - age * HOUR, parts=chance.choice([None, n]), weight=n + age / 7)
            for n in range(10)
            for age in (30, 3)
        ],
    )
    return shop


def questions(rows: int, users: int = 60, at: datetime | None = None) -> pa.Table:
    """Return rows to ask about, at moments of the last hours, or all at one."""
    chance = random.Random(rows)  # noqa: S311 - as above
    moments = [at or NOON - chance.randrange(0, 240) * MINUTE for _ in range(rows)]
    return pa.table(
        {
            "user_id": [f"u{chance.randrange(users + 5)}" for _ in range(rows)],
            "product_id": [chance.randrange(12) for _ in range(rows)],
            "amount": [chance.random() * 100 for _ in range(rows)],
            "event_timestamp": pa.array(moments, pa.timestamp("us", "UTC")),
        }
    )


def compare(table: pa.Table, document: Mapping[str, Any]) -> None:
    """See that a job's rows are what a service answered to the same ones, to the last bit."""
    assert len(table) == len(document["predictions"])
    for row, answer in zip(table.to_pylist(), document["predictions"], strict=True):
        flat = {**answer, **{f"parts.{name}": part for name, part in answer["parts"].items()}}
        assert {name: row[name] for name in FIELDS} == {name: flat[name] for name in FIELDS}
    missing: dict[int, list[str]] = {}
    for entry in document["missing"]:
        missing.setdefault(entry["row"], []).append(entry["column"])
    assert table["missing"].to_pylist() == [missing.get(n, []) for n in range(len(table))]


def instances(table: pa.Table) -> list[dict[str, Any]]:
    """Return rows as a caller would send them."""
    return table.select(["user_id", "product_id", "amount"]).to_pylist()


def later(moment: datetime, minutes: int) -> datetime:
    """Return a moment so many minutes later."""
    return moment + timedelta(minutes=minutes)


def _doubling() -> onnx.ModelProto:
    column = helper.make_tensor_value_info("amount", TensorProto.DOUBLE, [None, 1])
    value = helper.make_tensor_value_info("value", TensorProto.DOUBLE, [None, 1])
    node = helper.make_node("Add", ["amount", "amount"], ["value"])
    graph = helper.make_graph([node], "doubling", [column], [value])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 14)], ir_version=9)
