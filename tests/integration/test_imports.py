"""What a service and a worker import, and what they do without."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import onnx
from onnx import TensorProto, helper

from trivet.live import CONTRACT, LoadedVersion, Shelf
from trivet.runtime.pipeline import PREPROCESS
from unit.fakes import AMOUNT, golden, live, shop

SCRIPT = """
import asyncio, json, sys
from pathlib import Path

heavy = {"mlflow", "feast", "sklearn", "pandas", "pyarrow", "onnx", "skl2onnx", "matplotlib"}
heavy |= {"numpy", "onnxruntime"}
loaded = lambda: sorted(heavy & set(sys.modules))

import trivet.serving.service
parent = loaded()

from trivet.serving.worker import Worker
from trivet.settings import load_settings
worker = Worker("shop", load_settings())
answer = asyncio.run(
    worker.dataplane.predict([{"amount": 4}], lambda slot: slot.champion(), "id")
)
ready = asyncio.run(worker.is_ready())
worker.slot.stop()
print(json.dumps([parent, loaded(), answer.document["predictions"], ready]))
"""


def write_project(root: Path) -> None:
    """Write a project whose live version is a graph that doubles `amount`."""
    (root / "pyproject.toml").write_text("[tool.trivet]\n")
    contract = shop(
        project=None,
        feature_service=None,
        join_keys=(),
        views=(),
        columns=(AMOUNT,),
        golden=(golden(features={"amount": 20.0}, prediction={"value": 42.0}),),
    )
    shelf = Shelf(root / ".trivet", "shop")
    folder = shelf.path(contract.digest)
    (folder / "trivet").mkdir(parents=True)
    (folder / CONTRACT).write_text(contract.to_json())
    (folder / PREPROCESS).write_text(
        "def preprocess(columns): return {'amount': columns['amount'] + 1}\n"
    )
    onnx.save(doubling(), folder / "model.onnx")
    entry = LoadedVersion(version=1, digest=contract.digest)
    shelf.write_live(live(1, versions=(entry,)))


def doubling() -> onnx.ModelProto:
    """Return a graph that adds `amount` to itself."""
    column = helper.make_tensor_value_info("amount", TensorProto.DOUBLE, [None, 1])
    value = helper.make_tensor_value_info("value", TensorProto.DOUBLE, [None, 1])
    node = helper.make_node("Add", ["amount", "amount"], ["value"])
    graph = helper.make_graph([node], "doubling", [column], [value])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 14)], ir_version=9)


def test_a_worker_on_onnx_answers_without_mlflow_and_feast(tmp_path: Path) -> None:
    """And the parent process, which only starts workers, without numpy: it holds no model."""
    write_project(tmp_path)
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        cwd=tmp_path,
        # The prediction log brings pyarrow, and that pandas.
        env=os.environ | {"TRIVET_LOG_SAMPLE": "0"},
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    parent, worker, predictions, ready = json.loads(done.stdout)
    assert parent == []
    assert worker == ["numpy", "onnxruntime"]
    assert predictions == [{"value": 10.0}]
    assert ready is True
