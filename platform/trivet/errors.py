"""Every error that Trivet raises on purpose, in the order of a request's and then a release's way.

Each class belongs to one broken step and names two numbers: the HTTP status that a service answers
with and the exit code of the command line (1 refused by a check, 2 wrong usage, 3 something needed is
down). Constructors take facts and compose the sentence; `hint` says what to do next.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar


class TrivetError(Exception):
    """The root of the family: a sentence, a hint, an HTTP status and an exit code."""

    status: ClassVar[int] = 500
    exit_code: ClassVar[int] = 1
    title: ClassVar[str] = "Internal error"

    def __init__(self, sentence: str, *, hint: str | None = None) -> None:
        """Keep the sentence and the hint apart, so that each surface can lay them out its way."""
        super().__init__(sentence if hint is None else f"{sentence} {hint}")
        self.sentence = sentence
        self.hint = hint


# --- the project ----------------------------------------------------------------------------------


class ProjectNotFound(TrivetError):
    """No folder above the working directory says that it is a Trivet project."""

    exit_code = 2
    title = "Project not found"

    def __init__(self, start: str) -> None:
        """`start`: the folder from which the search went upwards."""
        super().__init__(
            f"No pyproject.toml with a [tool.trivet] table in {start} or above it.",
            hint="Go to your project, set TRIVET_ROOT, or add the table to its pyproject.toml.",
        )


class BadSetting(TrivetError):
    """A setting has a value that cannot be used."""

    exit_code = 2
    title = "Bad setting"


# --- a request ------------------------------------------------------------------------------------


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


class ServiceUnreachable(TrivetError):
    """The command line found no service at the address."""

    exit_code = 3
    title = "Service unreachable"

    def __init__(self, url: str) -> None:
        """`url`: the address that was tried."""
        super().__init__(
            f"Nothing answers at {url}.", hint="Start it: make run, or bentoml serve in the bento."
        )


class ServiceRefused(TrivetError):
    """A service answered the command line with an error."""

    exit_code = 3
    title = "Service refused"

    def __init__(self, url: str, status: int, body: str) -> None:
        """`body`: as it came; its beginning is shown."""
        super().__init__(f"{url} answers {status}: {body[:300]}")


class WrongService(TrivetError):
    """The service at an address is another model's."""

    exit_code = 2
    title = "Wrong service"

    def __init__(self, url: str, served: str, wanted: str) -> None:
        """`served`: the model of the service that is there."""
        super().__init__(
            f"{url} serves {served}, not {wanted}.",
            hint="Name the other service's address with --url or TRIVET_SERVICE_URL.",
        )


# --- a report -------------------------------------------------------------------------------------


class MetricsUnreadable(TrivetError):
    """What was read as a service's metrics is something else."""

    exit_code = 3
    title = "Metrics unreadable"

    def __init__(self, why: str) -> None:
        """`why`: the first line or part that Prometheus' text format does not have."""
        super().__init__(
            f"What the service gives as its metrics is not Prometheus' text format: {why}.",
            hint="Is TRIVET_SERVICE_URL the address of a Trivet service?",
        )


class NoTraffic(TrivetError):
    """A service has not answered a request for the model yet."""

    title = "No traffic yet"

    def __init__(self, model: str, others: Sequence[str]) -> None:
        """`others`: the models whose requests the service has answered."""
        instead = f" It has for {', '.join(others)}." if others else ""
        super().__init__(
            f"The service has answered no request for {model} yet.{instead}",
            hint=f"Send some: trivet predict {model}.",
        )


class NothingLogged(TrivetError):
    """The prediction log has no row that could be replayed."""

    exit_code = 2
    title = "Nothing logged"

    def __init__(self, model: str, why: str | None = None) -> None:
        """`why`: the reasons for which the rows that fit were left out; None: none fits."""
        if why is None:
            super().__init__(
                f"No logged prediction of {model} fits.",
                hint="trivet log shows what there is; TRIVET_LOG_SAMPLE=0 switches the log off.",
            )
        else:
            super().__init__(f"No logged prediction of {model} can be replayed: {why}")


# --- a contract -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """One aspect of one column in which a contract and what Feast offers are not the same."""

    column: str
    aspect: str
    contract: str
    feast: str


class ContractMismatch(TrivetError):
    """A version's contract and the feature registry disagree."""

    title = "Contract mismatch"

    def __init__(self, model: str, version: int | None, differences: Sequence[Difference]) -> None:
        """`version`: None while a version is only about to be registered."""
        which = model if version is None else f"{model} version {version}"
        super().__init__(
            f"The contract of {which} does not fit what Feast has now: "
            f"{len(differences)} difference(s).",
            hint="Restore the features, or train and register a version on the present ones.",
        )
        self.differences = tuple(differences)


class ContractUnreadable(TrivetError):
    """A version has no contract, or one that this Trivet cannot read."""

    title = "Contract unreadable"


class VersionCorrupt(TrivetError):
    """The files of a version are not the ones that its contract names, or do not do what it says."""

    title = "Version corrupt"


# --- features -------------------------------------------------------------------------------------


class BadDefinitions(TrivetError):
    """The definitions in the feature repository cannot be applied."""

    title = "Bad definitions"


class ApplyRefused(TrivetError):
    """Applying the definitions would break a version that answers."""

    title = "Apply refused"

    def __init__(self, broken: Sequence[str]) -> None:
        """`broken`: such as 'flight_delay version 2'; at least one."""
        super().__init__(
            f"It would break what is live: {', '.join(broken)}. Nothing was changed.",
            hint="Keep what it relies on until another version is live, or say --force --reason WHY.",
        )


# --- a release ------------------------------------------------------------------------------------


class UnknownModel(TrivetError):
    """The registry has no such model or version."""

    status = 404
    exit_code = 2
    title = "Unknown model"


class ReleaseRefused(TrivetError):
    """The release would change nothing or has nothing to go back to."""

    title = "Release refused"


class ReleaseConflict(TrivetError):
    """Somebody else's release came first."""

    title = "Release conflict"


class BadTrial(TrivetError):
    """A canary or a shadow is asked for that cannot be: its tag, its version or its limits."""

    exit_code = 1
    title = "Canary refused"


class RegistryUnavailable(TrivetError):
    """MLflow did not answer."""

    status = 503
    exit_code = 3
    title = "Registry unavailable"

    def __init__(self, uri: str, cause: Exception) -> None:
        """`uri`: the tracking URI that was tried; passwords in it are not shown."""
        shown = (
            uri
            if "@" not in uri
            else uri.split("://", maxsplit=1)[0] + "://…@" + uri.rsplit("@", 1)[-1]
        )
        super().__init__(
            f"MLflow at {shown} does not answer: {type(cause).__name__}: {cause}",
            hint="Start it, or set MLFLOW_TRACKING_URI.",
        )
