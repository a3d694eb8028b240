"""How a stored contract of an older schema becomes one of the present schema."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from trivet.errors import ContractUnreadable

SCHEMA_VERSION = 1

Fields = dict[str, Any]
"""A stored contract as JSON has it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Older:
    """How a contract of an older schema is read."""

    digest: Callable[[Fields], str]
    """Its digest by the rules of its time: the tag of versions that were registered then."""
    upgrade: Callable[[Fields], Fields]
    """Makes it one of the next schema, its `schema_version` included."""


OLDER: Mapping[int, Older] = {}
"""The older schemas that are read, by `schema_version`. The first is still the present one."""


def upgraded(fields: Fields, found: int) -> tuple[Fields, str | None]:
    """Return a contract of any schema in the present one, and its digest if it had an older one.

    Args:
        fields: the stored contract.
        found: its `schema_version`.

    Raises:
        ContractUnreadable: it is newer than this Trivet, or older than what is read.
    """
    if found == SCHEMA_VERSION:
        return fields, None
    if found > SCHEMA_VERSION:
        raise ContractUnreadable(
            f"The contract has schema_version {found}; this Trivet reads up to {SCHEMA_VERSION}.",
            hint="Upgrade Trivet.",
        )
    if found not in OLDER:
        oldest = min(OLDER, default=SCHEMA_VERSION)
        raise ContractUnreadable(
            f"The contract has schema_version {found}; the oldest that is read is {oldest}."
        )
    digest = OLDER[found].digest(fields)
    while fields["schema_version"] < SCHEMA_VERSION:
        fields = OLDER[fields["schema_version"]].upgrade(fields)
    return fields, digest
