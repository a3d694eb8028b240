"""Where BentoML's own app answers, and Trivet's routes do not, its API method behaves as they do."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import httpx
import pytest

from trivet.serving.loaded import Version
from unit.client import Client, Served
from unit.fakes import FakeReader, ask, version

# BentoML 1.4 reads its own models so, at every request.
pytestmark = pytest.mark.filterwarnings("ignore:Accessing the 'model_fields':DeprecationWarning")


def post(folder: Path, instances: list[Any], champion: Version | None = None) -> httpx.Response:
    """Ask BentoML's app of a service; its champion is version 1 if nothing else is said."""
    import bentoml

    from trivet.serving.service import PredictionService

    @bentoml.service(name="shop", metrics={"enabled": False})
    class Shop(PredictionService):
        model = "shop"

        def __init__(self) -> None:
            self.worker: Any = Served(folder, champion or version(1))

        @bentoml.on_startup
        def settle_memory(self) -> None:
            pass

        @bentoml.on_shutdown
        def stop_worker(self) -> None:
            pass

    async def send() -> httpx.Response:
        app = Shop.to_asgi()
        async with (
            app.router.lifespan_context(app),
            httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://here") as client,
        ):
            return await client.post("/predict", json={"instances": instances})

    return asyncio.run(send())


def test_the_api_method_predicts(tmp_path: Path) -> None:
    """With the document of the route in front."""
    answer = post(tmp_path, [ask()])
    assert answer.status_code == 200, answer.text
    assert answer.json()["predictions"] == [{"value": 20.0}]
    assert answer.json()["model"] == {"name": "shop", "version": 1}


def test_the_api_method_and_the_route_in_front_answer_alike(tmp_path: Path) -> None:
    """Whoever reaches the one or the other: all but the request's own id is the same."""
    users = {
        "u001": {"income": 1000, "age": None, "segment": "gold"},
        "u002": {"income": 7, "age": 30.5, "segment": None},
    }
    champion = version(3, reader=FakeReader(users=users))
    instances = [ask(amount=0.1 + 0.2), ask(user_id="u002", age=41, quantity=2, when=None)]
    behind = post(tmp_path / "behind", instances, champion)
    front = Client(Served(tmp_path / "front", champion)).post(
        "/predict", json={"instances": instances}
    )
    documents = [answer.json() for answer in (behind, front)]
    ids = {document.pop("request_id") for document in documents}
    assert len(ids) == 2
    assert documents[0] == documents[1]
    assert {absent["column"] for absent in documents[0]["missing"]} == {"age", "segment"}


@pytest.mark.parametrize(
    ("instances", "status", "says"),
    [
        ([ask(amount="x")], 422, "amount: a number is expected"),
        ([], 400, '"instances" must be a list of at least one object'),
        ([ask()] * 6, 413, "6 rows; at most 5"),
    ],
)
def test_what_a_caller_does_wrong_is_no_fault_of_the_server(
    tmp_path: Path, instances: list[Any], status: int, says: str
) -> None:
    """BentoML answers with the sentence, in a form of its own."""
    answer = post(tmp_path, instances)
    assert answer.status_code == status
    assert says.replace('"', '\\"') in answer.text
