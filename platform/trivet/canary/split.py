"""Who goes to which side: by a hash of the entity's key, the same in every process for ever."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b
from typing import Any

_WHOLE = 2**64


def place(model: str, salt: str, key: Sequence[Any]) -> float:
    """Return where a key stands between 0 and 100; the same for the same key, wherever it is asked.

    Args:
        model: name of the registered model.
        salt: of the canary: another one draws another share.
        key: values of an entity's join keys, or of whatever stands for it.
    """
    text = repr((model, salt, *key)).encode("utf-8", "surrogatepass")
    return 100 * int.from_bytes(blake2b(text, digest_size=8).digest()) / _WHOLE


def takes(percent: float, model: str, salt: str, key: Sequence[Any]) -> bool:
    """Say whether a key belongs to the share; it still does when the percentage grows."""
    return place(model, salt, key) < percent
