"""A thread that does not keep its process from ending, for code that may hang."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable
from concurrent.futures import Executor, Future
from queue import SimpleQueue
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


_Queue = SimpleQueue[tuple[Future[Any], Callable[[], Any]] | None]


class Apart(Executor):
    """Runs one thing after the other; Python's own pool is waited for when a process ends."""

    def __init__(self, name: str) -> None:
        """`name`: of the thread, which starts with the first thing to run and ends with this object."""
        self._name = name
        self._queue: _Queue = SimpleQueue()
        self._thread: threading.Thread | None = None
        self._starting = threading.Lock()
        weakref.finalize(self, self._queue.put, None).atexit = False

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Have a function called behind those that wait already."""
        future: Future[T] = Future()
        self._queue.put((future, lambda: fn(*args, **kwargs)))
        with self._starting:
            if self._thread is None:
                self._thread = threading.Thread(
                    target=_run, args=[self._queue], name=self._name, daemon=True
                )
                self._thread.start()
        return future


def _run(queue: _Queue) -> None:
    while (asked := queue.get()) is not None:
        _call(*asked)
        del asked  # else what was asked for and its result would live until the next comes


def _call(future: Future[Any], call: Callable[[], Any]) -> None:
    if not future.set_running_or_notify_cancel():
        return
    try:
        future.set_result(call())
    except BaseException as err:  # noqa: BLE001 - it is the caller's
        future.set_exception(err)
        del future, call  # the error has this frame: they would live until the garbage is collected
