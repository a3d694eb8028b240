"""One lock for what writes features on this host: definitions and materialization.

Feast's file registry is read, changed and written as a whole, without a lock of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from feast import FeatureStore
from filelock import FileLock, Timeout

from trivet.features.registry_file import replace_whole
from trivet.settings import Settings


@contextmanager
def writing_features(
    store: FeatureStore, settings: Settings, waiting: Callable[[], None] = lambda: None
) -> Iterator[None]:
    """Hold the lock; the system releases it however the process ends.

    Args:
        store: of the project; what it has cached of the registry is read anew.
        settings: name the folder of the lock.
        waiting: called once if another process holds it.
    """
    settings.home.mkdir(parents=True, exist_ok=True)
    lock = FileLock(settings.home / "materialize.lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        waiting()
        lock.acquire()
    try:
        replace_whole(store)
        store.refresh_registry()  # type: ignore[no-untyped-call]
        yield
    finally:
        lock.release()
