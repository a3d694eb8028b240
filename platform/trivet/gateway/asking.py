"""What other processes do to a supervisor that runs: have it renew its replicas, and end it."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from contextlib import suppress

from trivet.errors import NothingUp, SupervisorGone, TrivetError, UpdateFailed
from trivet.gateway.leftovers import sweep
from trivet.gateway.processes import end_group, gone
from trivet.gateway.requests import Ask, Inbox, Reply, Wish
from trivet.gateway.running import tail
from trivet.gateway.state import Home, State, read_state
from trivet.settings import Settings

_LOOK_SECONDS = 0.1
_FORCE_SECONDS = 25.0


def renew(
    settings: Settings, wishes: tuple[Wish, ...], look: Callable[[State], None] = lambda _: None
) -> None:
    """Have the replicas of some models renewed as is wished, one at a time, and wait until they are.

    `look`: takes how things are meanwhile, again and again.

    Raises:
        UpdateFailed: the new ones do not come up; those before go on.
        SupervisorGone: it ended meanwhile.
    """
    home = Home(settings)
    inbox, ask = Inbox(home.requests), Ask(wishes=wishes)
    inbox.put(ask)
    try:
        reply = _reply(settings, home, inbox, ask.id, look)
    finally:
        inbox.forget(ask.id)
    if reply.state == "failed":
        raise _failure(home, reply)


def end(settings: Settings) -> State:
    """End a gateway and its replicas, after what is in flight, and whatever is left of a dead one.

    Returns:
        What ran before.

    Raises:
        NothingUp: nothing does.
    """
    home = Home(settings)
    state = home.read_state()
    if state is None:
        raise NothingUp
    if state.running:
        with suppress(ProcessLookupError):
            os.kill(state.supervisor_pid, signal.SIGTERM)
        pid, born = state.supervisor_pid, state.supervisor_born
        if not gone(pid, born, settings.drain_seconds + _FORCE_SECONDS):
            end_group(pid, born, _FORCE_SECONDS)
    sweep(home)
    return state


def _reply(
    settings: Settings, home: Home, inbox: Inbox, ask: str, look: Callable[[State], None]
) -> Reply:
    while True:
        running = read_state(settings)
        reply = inbox.reply(ask)
        if reply is not None and reply.state != "under way":
            return reply
        if running is None:
            log = home.supervisor_log
            raise SupervisorGone(str(log), tail(log))
        look(running)
        time.sleep(_LOOK_SECONDS)


def _failure(home: Home, reply: Reply) -> TrivetError:
    state = home.read_state()
    for model in () if state is None else state.models:
        for replica in model.replicas:
            if (model.name, replica.name) == (reply.model, reply.why):
                often = ", again and again" if replica.restarts else ""
                why = f"{model.name} {replica.name} {replica.why or 'does not start'}{often}."
                return UpdateFailed(why, str(replica.log), tail(replica.log))
    return UpdateFailed(reply.why or "No reason was given.")
