"""What a canary and a shadow are: the tags that say so on a registered model, and in the live state."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from trivet.errors import BadTrial

Kind = Literal["canary", "shadow"]

TAGS: dict[Kind, str] = {"canary": "trivet.canary", "shadow": "trivet.shadow"}
"""The tag of a registered model that holds the state of each."""


class Limits(BaseModel):
    """What a canary has to keep; broken, it is set back."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    error_rate: float = Field(default=0.01, ge=0, lt=1)
    """Share of its requests that it may fail: raised, refused, not finite or too late."""
    p99_ms: float | None = Field(default=None, gt=0)
    """Of its answers, from features in place, waiting included."""
    p99_ratio: float | None = Field(default=None, gt=0)
    """The same, as a multiple of the champion's."""
    divergence: float | None = Field(default=None, ge=0, lt=1)
    """Share of the rows that may be answered unlike the champion's."""
    difference: float | None = Field(default=None, gt=0)
    """Mean absolute difference from the champion, of probabilities or in the unit of a regression."""
    tolerance: float | None = Field(default=None, gt=0)
    """How far a regression's value may be off, in its unit, before the row counts as unlike;
    None: a tenth of the champion's value."""
    timeout_ms: float = Field(default=100.0, gt=0)
    """After this the champion's answer is given in place of the canary's."""
    min_requests: int = Field(default=20, ge=1)
    """Requests of the canary before anything is judged."""
    window_seconds: float = Field(default=10.0, gt=0)
    """What happened within it is judged by itself, beside all since the canary began."""


class Canary(BaseModel):
    """A version that answers a share of the champion's requests."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    version: int = Field(ge=1)
    percent: float = Field(gt=0, le=100)
    salt: str = ""
    """Who goes to it depends on it; kept while the percentage grows, so that they stay."""
    limits: Limits = Limits()
    promote_after_seconds: float | None = Field(default=None, gt=0)
    """Promoted by itself when its limits have held for so long; None: never."""
    promote_requests: int = Field(default=300, ge=1)
    """Requests that it must have answered by then."""
    entry: str | None = None
    """Run id of the ledger's entry that began it; None in a tag that somebody wrote by hand."""
    since: datetime | None = None


class Shadow(BaseModel):
    """A version that computes beside the champion and answers nothing."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    version: int = Field(ge=1)
    percent: float = Field(default=100.0, gt=0, le=100)
    salt: str = ""
    tolerance: float | None = Field(default=None, gt=0)
    entry: str | None = None
    since: datetime | None = None


State: TypeAlias = Canary | Shadow

_MODELS: dict[Kind, type[Canary | Shadow]] = {"canary": Canary, "shadow": Shadow}


def kind_of(state: State) -> Kind:
    """Return which of the two it is."""
    return "canary" if isinstance(state, Canary) else "shadow"


def parse_state(kind: Kind, text: str) -> State:
    """Read a tag.

    Raises:
        BadTrial: it is not the JSON of such a state; the sentence says what is wrong with it.
    """
    try:
        return _MODELS[kind].model_validate_json(text)
    except ValidationError as err:
        first = err.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "it"
        raise BadTrial(
            f"The tag {TAGS[kind]} cannot be used: {where}: {first['msg']}.",
            hint=f"Mend it in MLflow, or end it: trivet {kind} MODEL --stop.",
        ) from err


def to_tag(state: State) -> str:
    """Return a state as its tag has it, without what is at its default."""
    shown = state.model_dump(mode="json", exclude_defaults=True)
    return json.dumps(shown, sort_keys=True)
