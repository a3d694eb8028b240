"""Why a request is not answered."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from trivet.errors.base import TrivetError


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """What is wrong with one field of one row of a request; `row` counts from 0."""

    detail: str
    row: int | None = None
    field: str | None = None


class MalformedRequest(TrivetError):
    """The body is not the JSON object that the route takes."""

    status = 400
    title = "Malformed request"


class RequestTooLarge(TrivetError):
    """More rows or bytes than the service accepts in one request."""

    status = 413
    title = "Request too large"

    def __init__(self, *, what: str, got: int, most: int, setting: str) -> None:
        """`what`: the unit that was counted; `setting`: the variable that raises the limit."""
        super().__init__(
            f"The request has {got:,} {what}; at most {most:,} are accepted.",
            hint=f"Send it in parts, or raise {setting}.",
        )


class InvalidInstances(TrivetError):
    """Rows that do not fit the contract: every fault of every row, not just the first."""

    status = 422
    title = "Invalid instances"

    def __init__(self, faults: Sequence[Fault]) -> None:
        """`faults`: at least one."""
        more = f" (and {len(faults) - 1} more)" if len(faults) > 1 else ""
        first = faults[0]
        where = "" if first.row is None else f"Row {first.row}: "
        super().__init__(f"{where}{first.detail}{more}")
        self.faults = tuple(faults)


class VersionNotLoaded(TrivetError):
    """A route names a version or an alias that this service does not hold."""

    status = 404
    title = "Version not loaded"

    def __init__(self, model: str, wanted: str, loaded: Sequence[int]) -> None:
        """`wanted`: such as 'version 7' or 'alias challenger'."""
        have = ", ".join(str(v) for v in loaded) or "none"
        super().__init__(
            f"{model} has no {wanted} loaded here; loaded versions: {have}.",
            hint="The champion, the one before it and every aliased version are loaded.",
        )


class NoChampion(TrivetError):
    """No version of the model has been released yet."""

    status = 503
    exit_code = 3
    title = "No champion yet"

    def __init__(self, model: str) -> None:
        """`model`: the registered model's name."""
        super().__init__(
            f"{model} has no champion yet.", hint=f"Release one: trivet promote {model} VERSION."
        )


class Overloaded(TrivetError):
    """The worker has as many unanswered requests as it may have; this one was not begun."""

    status = 503
    exit_code = 3
    title = "Overloaded"

    def __init__(self, most: int) -> None:
        """`most`: requests that a worker may have accepted and not answered."""
        super().__init__(
            f"This worker has {most:,} requests to answer already; this one was not begun.",
            hint="Send it again in a second; TRIVET_MOST_IN_FLIGHT is the limit.",
        )


class FeaturesUnavailable(TrivetError):
    """The feature store did not answer, or not in time."""

    status = 503
    exit_code = 3
    title = "Features unavailable"


class PredictionFailed(TrivetError):
    """The version's own code or its runtime failed on rows that fit the contract."""

    status = 500
    title = "Prediction failed"

    def __init__(self, step: str, cause: Exception) -> None:
        """`step`: preprocess, predict or postprocess."""
        super().__init__(f"{step} failed: {type(cause).__name__}: {cause}")
        self.step = step
