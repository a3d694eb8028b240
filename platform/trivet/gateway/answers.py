"""What the gateway answers itself: problems (RFC 9457) in HAProxy's words, like the service's own."""

from __future__ import annotations

import json
from dataclasses import dataclass

REQUEST_ID = "txn.request_id"
"""HAProxy's variable with the request's id: the caller's, or one made here."""

MEDIA_TYPE = "application/problem+json"
_ID = f"%[var({REQUEST_ID}),json(utf8s)]"
_HERE = "@"
"""Stands for the id while JSON is written: the escaping of JSON must not meet HAProxy's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """A refusal of the gateway's own; `detail` may hold HAProxy's expressions, written `%[...]`."""

    status: int
    title: str
    detail: str
    hint: str | None = None
    again_in_seconds: int | None = None
    """The Retry-After header, where coming again helps."""

    def render(self) -> str:
        """Return what follows `http-request return` or `http-error` in a configuration."""
        document = {
            "type": "about:blank",
            "title": self.title,
            "status": self.status,
            "detail": self.detail,
            "request_id": _HERE,
        }
        if self.hint is not None:
            document["hint"] = self.hint
        body = json.dumps(document, ensure_ascii=False).replace(_HERE, _ID)
        again = self.again_in_seconds
        retry = "" if again is None else f" hdr Retry-After {again}"
        return (
            f"status {self.status} content-type {MEDIA_TYPE} lf-string {quoted(body)}"
            f" hdr X-Request-Id '%[var({REQUEST_ID})]'{retry}"
        )


def quoted(text: str) -> str:
    """Return a text as one word of HAProxy's configuration, taken as it stands."""
    return "'" + text.replace("'", "'\\''") + "'"


MALFORMED = Problem(
    status=400, title="Malformed request", detail="The request is not HTTP that can be read."
)
UNKNOWN_PATH = Problem(
    status=404,
    title="Unknown path",
    detail="No model is served under this path.",
    hint="/MODEL/predict goes to the model of that name; paths without one go to the first model.",
)
TOO_SLOW = Problem(
    status=408, title="Request timeout", detail="The request did not come in time as a whole."
)
BROKEN = Problem(
    status=502,
    title="Replica failed",
    detail="The replica broke off, and so did those that were asked in its place.",
    hint="It may be asked again.",
    again_in_seconds=1,
)
NOT_IN_TIME = Problem(
    status=504,
    title="Replica timeout",
    detail="The replica did not answer in time. It may be at it still: nobody else was asked.",
)


def too_large(most: int) -> Problem:
    """Return the answer to a body with more bytes than may be."""
    return Problem(
        status=413,
        title="Request too large",
        detail=f"The request has %[req.body_size] bytes; at most {most:,} are accepted.",
        hint="Send it in parts, or raise TRIVET_MAX_BODY_BYTES.",
    )


def too_often(most: int) -> Problem:
    """Return the answer to a client that has had its share of this second."""
    return Problem(
        status=429,
        title="Too many requests",
        detail=f"At most {most:,} requests a second are accepted of one address.",
        again_in_seconds=1,
    )


def not_now(model: str, name: str) -> Problem:
    """Return the answer for a model none of whose replicas can take the request now."""
    return Problem(
        status=503,
        title="Overloaded",
        detail=f"No replica of {model.replace('%', '%%')} was free in time; "
        f"%[nbsrv({name})] are ready. The request was not begun.",
        hint="Send it again in a second, or start more replicas.",
        again_in_seconds=1,
    )
