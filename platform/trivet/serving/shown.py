"""What the follower has found, as `/status` shows it."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from trivet.live import Contact, FeatureCheck


def told(contact: Contact | None) -> dict[str, Any] | None:
    """Return whether the registry is reached; None: not known yet."""
    if contact is None:
        return None
    return {"ok": contact.ok, "since": contact.since.isoformat(), "why": contact.why}


def shown(check: FeatureCheck | None) -> dict[str, Any] | None:
    """Return how Feast differs from what the champion relies on; None: not looked at yet."""
    if check is None:
        return None
    return {
        "ok": None if check.unchecked else not check.differences,
        "checked_at": check.at.isoformat(),
        "differences": [asdict(difference) for difference in check.differences],
        "unchecked": check.unchecked,
    }
