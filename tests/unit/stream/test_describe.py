"""The AsyncAPI document says what travels on the streams."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from trivet import cli
from trivet.stream.address import parse_address
from trivet.stream.describe import describe
from trivet.stream.messages import Names

NAMES = Names(prefix="trivet", model="late", project="flights")
BOTH = frozenset({"features", "predictions"})
ADDRESSES = ("redis://ann:secret@cache:6379/0", "kafka://a:9092,b:9092")


@pytest.fixture(params=ADDRESSES, ids=["redis", "kafka"])
def document(request: pytest.FixtureRequest) -> dict[str, Any]:
    """Return the document of both roles, for each kind of broker."""
    return describe(NAMES, parse_address(request.param), BOTH, "1.2.3")


def test_it_is_asyncapi_of_this_program(document: dict[str, Any]) -> None:
    """With the servers, and without a password."""
    assert document["asyncapi"] == "3.0.0"
    assert document["info"]["title"] == "Streams of late"
    assert document["info"]["version"] == "1.2.3"
    hosts = [server["host"] for server in document["servers"].values()]
    assert hosts in (["cache:6379"], ["a:9092", "b:9092"])
    assert "secret" not in json.dumps(document)


def test_it_has_every_stream(document: dict[str, Any]) -> None:
    """Each with what is done there: sent or received."""
    addresses = {channel["address"] for channel in document["channels"].values()}
    assert addresses == {
        NAMES.requests,
        NAMES.predictions,
        NAMES.features,
        NAMES.dead_requests,
        NAMES.dead_features,
    }
    done: dict[str, set[str]] = {"receive": set(), "send": set()}
    for operation in document["operations"].values():
        channel = operation["channel"]["$ref"].rpartition("/")[2]
        done[operation["action"]].add(document["channels"][channel]["address"])
    assert done["receive"] == {NAMES.requests, NAMES.features}
    assert done["send"] == {NAMES.predictions, NAMES.dead_requests, NAMES.dead_features}


def test_it_has_the_types_of_the_messages(document: dict[str, Any]) -> None:
    """With their required fields."""
    schemas = document["components"]["schemas"]
    required = {name: set(schema.get("required", ())) for name, schema in schemas.items()}
    assert {"id", "instance"} in required.values()
    assert {"id", "source", "row"} in required.values()
    answer = {"id", "prediction", "model", "missing", "asked_at", "answered_at"}
    assert answer in required.values()
    assert {"id", "reason", "message", "deliveries"} in required.values()


def test_a_role_alone_has_its_own_streams() -> None:
    """Nothing of the other's."""
    made = describe(NAMES, parse_address(ADDRESSES[0]), frozenset({"predictions"}), "1")
    addresses = {channel["address"] for channel in made["channels"].values()}
    assert addresses == {NAMES.requests, NAMES.predictions, NAMES.dead_requests}


def test_the_command_prints_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And starts nothing."""
    (tmp_path / "pyproject.toml").write_text("[tool.trivet]\nstream_prefix = 'ours'\n")
    monkeypatch.chdir(tmp_path)
    line = ["stream", "late", "--role", "predictions", "--describe"]
    done = CliRunner().invoke(cli.trivet, line, catch_exceptions=False)
    addresses = {c["address"] for c in json.loads(done.stdout)["channels"].values()}
    assert "ours.late.requests" in addresses
