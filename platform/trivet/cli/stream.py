"""`trivet stream`: feature events and prediction requests from a broker."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import sys
from contextlib import nullcontext
from dataclasses import dataclass
from importlib.metadata import version
from typing import TYPE_CHECKING

import click

from trivet.cli.output import print_json
from trivet.clock import Clock, system_clock
from trivet.errors import BadSetting
from trivet.settings import Settings, load_settings

if TYPE_CHECKING:
    from trivet.features.push import To
    from trivet.stream.address import Address
    from trivet.stream.line import Reading
    from trivet.stream.messages import Names
    from trivet.stream.running import StreamProcess

_ROLES = {
    "features": frozenset({"features"}),
    "predictions": frozenset({"predictions"}),
    "both": frozenset({"features", "predictions"}),
}


@click.command()
@click.argument("model")
@click.option("--broker", help="redis://host:port/db or kafka://host:port; TRIVET_STREAM_BROKER.")
@click.option("--role", type=click.Choice(list(_ROLES)), default="both", show_default=True)
@click.option("--group", default="trivet", show_default=True, help="Shares the work.")
@click.option("--consumer", help="Name within the group; default: host and process id.")
@click.option("--batch", type=click.IntRange(1), default=500, show_default=True, help="At most.")
@click.option(
    "--linger-ms",
    type=click.FloatRange(0),
    default=10.0,
    show_default=True,
    help="Pause after a batch that was not full, in which the next one gathers.",
)
@click.option(
    "--to",
    type=click.Choice(["online", "online_and_offline"]),
    default="online_and_offline",
    show_default=True,
    help="Where feature events go.",
)
@click.option("--host", default="127.0.0.1", show_default=True, help="Of /health and /metrics.")
@click.option("--port", type=click.IntRange(1, 65535), help="Of /health and /metrics.")
@click.option("--replay", is_flag=True, help="The clock is the latest asked_at of a request.")
@click.option("--describe", is_flag=True, help="Print the AsyncAPI document, and do nothing else.")
def stream(
    model: str,
    *,
    broker: str | None,
    role: str,
    group: str,
    consumer: str | None,
    batch: int,
    linger_ms: float,
    to: str,
    host: str,
    port: int | None,
    replay: bool,
    describe: bool,
) -> None:
    """Push feature events and answer prediction requests of MODEL, from Redis Streams or Kafka.

    Ends on SIGTERM or Ctrl-C, after what it has taken. Start as many as the work needs.
    """
    _require_faststream()
    from trivet.stream.address import parse_address
    from trivet.stream.line import Reading

    settings = load_settings()
    roles = _ROLES[role]
    wanted = _Wanted(
        settings=settings,
        address=parse_address(broker or settings.stream_broker),
        reading=Reading(
            group=group,
            consumer=consumer or f"{socket.gethostname()}-{os.getpid()}",
            batch=batch,
            linger_seconds=linger_ms / 1000,
            idle_seconds=settings.stream_idle_seconds,
            most_kept=settings.stream_keep,
            remember_seconds=settings.stream_remember_seconds,
        ),
        names=_names(settings, model, roles),
        roles=roles,
        to="online" if to == "online" else "online_and_offline",
        page=None if port is None else (host, port),
        replay=replay,
    )
    if describe:
        from trivet.stream.describe import describe as document

        print_json(document(wanted.names, wanted.address, roles, version("trivet")))
        return
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s [stream] %(message)s")
    asyncio.run(_run(wanted))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Wanted:
    """What the command line says."""

    settings: Settings
    address: Address
    reading: Reading
    names: Names
    roles: frozenset[str]
    to: To
    page: tuple[str, int] | None
    replay: bool


async def _run(wanted: _Wanted) -> None:
    from trivet.stream.page import page
    from trivet.stream.replaying import ReplayClock
    from trivet.stream.running import StreamProcess

    clock = ReplayClock() if wanted.replay else system_clock
    process = StreamProcess(wanted.settings, wanted.address, wanted.reading, clock)
    with nullcontext() if wanted.page is None else page(*wanted.page, process.health):
        if "features" in wanted.roles:
            process.push(wanted.names, wanted.to)
        if "predictions" in wanted.roles:
            await _predict(process, wanted, clock)
        else:
            await process.run()


async def _predict(process: StreamProcess, wanted: _Wanted, clock: Clock) -> None:
    from trivet.serving.following import start_follower
    from trivet.serving.worker import Worker

    start_follower(wanted.names.model)
    # Nobody is refused here: what waits is bounded by the batches that are taken.
    settings = wanted.settings.model_copy(update={"most_in_flight": sys.maxsize})
    worker = Worker(wanted.names.model, settings, clock)
    worker.settle_memory()
    try:
        process.predict(wanted.names, worker)
        await process.run()
    finally:
        await asyncio.to_thread(worker.stop)


def _names(settings: Settings, model: str, roles: frozenset[str]) -> Names:
    from trivet.stream.messages import Names

    project = ""
    if "features" in roles:
        from trivet.features.store import open_store

        project = open_store(settings).project
    return Names(prefix=settings.stream_prefix, model=model, project=project)


def _require_faststream() -> None:
    """See that what the streams need is installed.

    Raises:
        BadSetting: it is not.
    """
    try:
        import faststream  # noqa: F401
    except ImportError as err:
        raise BadSetting(
            "trivet stream needs FastStream, which is not installed.",
            hint="pip install 'trivet[stream]'",
        ) from err


COMMANDS = (stream,)
