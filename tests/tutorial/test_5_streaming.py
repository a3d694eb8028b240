"""Learning objective 5, streaming: the tutorial's users are predicted from a stream, by their ids."""

from __future__ import annotations

from pathlib import Path

from contract.servers import RedisServer
from journey import Service
from streaming import Consumer, Requests
from waiting import wait_for

MODEL = "tutorial_users"
USERS = ("u001", "u002", "u003")


def test_a_stream_answers_what_the_service_answers(users_service: Service, tmp_path: Path) -> None:
    """Every request once; the features come from Feast, as for the service."""
    body = {"instances": [{"user_id": user} for user in USERS]}
    served = users_service.post("/predict", body).json()["predictions"]
    with RedisServer(tmp_path) as broker:
        load = Requests(
            broker=broker, model=MODEL, rate=100.0, make=lambda n: {"user_id": USERS[n % 3]}
        )
        with Consumer(users_service.project, broker, MODEL, "one") as consumer:
            with load:
                wait_for(lambda: load.sent >= 30, 10, consumer.tail)
            load.all_answered_once()
        for answer in load.predictions():
            assert answer["prediction"] == served[int(answer["id"]) % 3]
            assert answer["missing"] == []
