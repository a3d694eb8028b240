"""`make run`: prepare, train, release and serve; then stay up and keep the features fresh."""

from __future__ import annotations

import json
import signal
import time
from datetime import UTC, datetime

import httpx
from rich.panel import Panel

import journey
import servers
from flights import read_redating
from journey import DATA, MODEL, console

SERVICE_PORT, MLFLOW_PORT = 3000, 5000
REFRESH_SECONDS = 300
"""The shortest TTL is an hour and the fastest source has a row every quarter of one."""


def main() -> None:
    """Walk the journey, then serve until Ctrl-C."""
    started = time.monotonic()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        journey.prepare()
        with servers.service(SERVICE_PORT) as url, servers.mlflow_ui(MLFLOW_PORT) as mlflow:
            show(url, mlflow, time.monotonic() - started)
            stay()
    except KeyboardInterrupt:
        console.print("Stopped. `make run` starts again from here, without training anew.")


def show(url: str, mlflow: str, took: float) -> None:
    """Show a first prediction, a request to copy, and where to look."""
    body = example()
    answer = httpx.post(f"{url}/predict", json=body, timeout=30)
    answer.raise_for_status()
    prediction = json.dumps(answer.json()["predictions"][0], indent=2)
    console.print(f"\n[bold]First prediction after {took:.0f} s[/]\n{prediction}\n")
    console.print("[bold]A request to copy[/]")
    request = json.dumps(body)
    console.print(
        f"curl -s {url}/predict -H 'Content-Type: application/json' -d '{request}'",
        soft_wrap=True,
        markup=False,
    )
    places = (
        f"[bold]Service[/]      {url}\n"
        f"[bold]Contract[/]     {url}/contract\n"
        f"[bold]Metrics[/]      {url}/metrics\n"
        f"[bold]MLflow[/]       {mlflow}   (models, versions, runs, releases)\n"
        f"[bold]Next[/]         trivet models {MODEL} · trivet rollback {MODEL} · "
        f"trivet report {MODEL}\n"
        f"[bold]Stop[/]         Ctrl-C"
    )
    console.print(Panel(places, title="Trivet is up", expand=False))


def example() -> dict[str, object]:
    """Return a request body that the live version answers."""
    done = journey.run_command("trivet", "predict", MODEL, "--example")
    body: dict[str, object] = json.loads(done.stdout)
    return body


def stay() -> None:
    """Keep the features fresh; when the data has run out, move the year and train anew."""
    while True:
        time.sleep(REFRESH_SECONDS)
        redating = read_redating(DATA)
        if redating is None or redating.exhausted(datetime.now(UTC)):
            journey.prepare()
        else:
            journey.refresh_features()


if __name__ == "__main__":
    main()
