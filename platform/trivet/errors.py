"""Every error that Trivet raises on purpose, in the order of a request's and then a release's way.

Each class belongs to one broken step and names two numbers: the HTTP status that a service answers
with and the exit code of the command line (1 refused by a check, 2 wrong usage, 3 something needed is
down). Constructors take facts and compose the sentence; `hint` says what to do next.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
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
    held: ClassVar[str] = "contract"
    """What is held against Feast."""

    def __init__(self, model: str, version: int | None, differences: Sequence[Difference]) -> None:
        """`version`: None while a version is only about to be registered."""
        which = model if version is None else f"{model} version {version}"
        super().__init__(
            f"The contract of {which} does not fit what Feast has now: "
            f"{len(differences)} difference(s).",
            hint="Restore the features, or train and register a version on the present ones.",
        )
        self.differences = tuple(differences)


class SignatureMismatch(ContractMismatch):
    """The signature of a version to be adopted and the features do not fit each other."""

    title = "Signature mismatch"
    held = "signature"

    def __init__(self, model: str, version: int, differences: Sequence[Difference]) -> None:
        """`differences`: of the signature, as `contract`, and Feast."""
        TrivetError.__init__(
            self,
            f"The signature of {model} version {version} does not fit the features: "
            f"{len(differences)} difference(s). Nothing was changed.",
            hint="Name columns that the caller sends with --request, and those that may be null with "
            "--null; or choose another feature service.",
        )
        self.differences = tuple(differences)


class AdoptionRefused(TrivetError):
    """A version cannot get a contract as it is."""

    title = "Adoption refused"


class ContractUnreadable(TrivetError):
    """A version has no contract, or one that this Trivet cannot read."""

    title = "Contract unreadable"


class VersionCorrupt(TrivetError):
    """The files of a version are not the ones that its contract names, or do not do what it says."""

    title = "Version corrupt"


class CodeNotCarried(TrivetError):
    """A version would run code that the service's own folder does not hold, and may not."""

    title = "Code not carried"

    def __init__(self, what: str, folder: Path) -> None:
        """`what` would run; `folder`: of the service."""
        super().__init__(
            f"It would run {what}, which {folder} does not hold.",
            hint="Put the file into the service's folder, or unset TRIVET_OWN_CODE_ONLY.",
        )


class VersionTooLarge(TrivetError):
    """A version does not fit into the memory that a worker may give to the loaded ones."""

    title = "Version too large"

    def __init__(self, version: int, takes: int, left: int, most: int) -> None:
        """All in bytes: what it takes, what is left for it, and the setting."""
        super().__init__(
            f"Version {version} takes {_mib(takes)} of memory, and of the {_mib(most)} for loaded "
            f"versions {_mib(left)} are left.",
            hint="TRIVET_VERSIONS_BYTES is that limit; it holds for each worker.",
        )


class BentoNotBuilt(TrivetError):
    """BentoML, or what a bento is made of, would not have it."""

    title = "Bento not built"


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


class GatesRefused(ReleaseRefused):
    """A gate refused a release; alias, ledger and services are as they were."""

    def __init__(
        self,
        model: str,
        version: int,
        refused: Mapping[str, Sequence[str]],
        differences: Sequence[Difference] = (),
        *,
        final: Sequence[str] = (),
    ) -> None:
        """`refused`: sentences by gate; `final`: the gates of these that nobody may force."""
        said = "; ".join(f"{gate}: {' '.join(sentences)}" for gate, sentences in refused.items())
        hint = "--force --reason WHY releases it all the same; the ledger keeps both."
        if final:
            hint = f"What {', '.join(final)} found cannot be forced: release another version."
        super().__init__(f"{model} version {version} is not released. {said}", hint=hint)
        self.summary = (
            f"{model} version {version} is not released: refused by {', '.join(refused)}. "
            "Nothing was changed."
        )
        """The sentence without what each gate said."""
        self.refused = tuple(refused)
        self.differences = tuple(differences)


class BadPolicy(TrivetError):
    """The release policy cannot be used as it stands."""

    exit_code = 2
    title = "Bad release policy"

    def __init__(self, file: str, key: str, what: str, todo: str) -> None:
        """`key`: where in the file, such as `models.churn.metrics.auc.min`."""
        place = f"{file}, {key}" if key else file
        super().__init__(f"{place}: {what}.", hint=todo)


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
        """`uri`: the tracking URI that was tried; passwords in it or the cause are not shown."""
        super().__init__(
            f"MLflow at {without_secrets(uri)} does not answer: "
            f"{type(cause).__name__}: {without_secrets(str(cause))}",
            hint="Start it, or set MLFLOW_TRACKING_URI.",
        )


class RegistryBusy(RegistryUnavailable):
    """The database below MLflow was locked by others for longer than MLflow waits."""

    title = "Registry busy"

    def __init__(self, uri: str) -> None:
        """`uri`: the tracking URI."""
        TrivetError.__init__(
            self,
            f"The database of MLflow at {without_secrets(uri)} is busy: others are writing.",
            hint="Try again; a release that had its place in the ledger is finished by then.",
        )


class ArtifactsUnavailable(RegistryUnavailable):
    """MLflow answered, and the store of its artifacts did not, or refused."""

    title = "Artifacts unavailable"

    def __init__(self, uri: str, cause: Exception) -> None:
        """`uri`: the tracking URI."""
        TrivetError.__init__(
            self,
            f"The artifacts of MLflow at {without_secrets(uri)} cannot be reached: "
            f"{without_secrets(' '.join(str(cause).split()))}",
            hint="For S3 see MLFLOW_S3_ENDPOINT_URL and AWS's variables; trivet doctor tries it.",
        )


class RegistryDenied(TrivetError):
    """MLflow answered that it does not know who asks, or that they may not do this."""

    status = 403
    title = "Registry denied"

    def __init__(self, uri: str, who: str | None, what: str | None = None) -> None:
        """Say which of both it is.

        Args:
            uri: the tracking URI.
            who: the account that asked, where it is known.
            what: that it may not do; None: the account itself is not accepted.
        """
        server = uri.startswith(("http:", "https:"))
        shown = f"MLflow at {without_secrets(uri)}"
        account = f"the account {who}" if who else "this account"
        if what is None:
            asked = "anybody without an account" if server and not who else account
            super().__init__(
                f"{shown} does not let {asked} in.",
                hint="Set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or "
                "MLFLOW_TRACKING_TOKEN, to an account of that server."
                if server
                else "Put a user of that database and its password into MLFLOW_TRACKING_URI.",
            )
        else:
            super().__init__(
                f"{shown} does not permit {account} to do this: {what}.",
                hint="A release needs EDIT on the registered model and on the experiments "
                "trivet/releases and trivet/releases/MODEL; who has MANAGE on them grants it."
                if server
                else "It needs a user of that database that may write to MLflow's tables.",
            )


class PackageMissing(TrivetError):
    """What a registry's address needs is not installed."""

    exit_code = 2
    title = "Package missing"

    def __init__(self, uri: str, package: str, todo: str) -> None:
        """`todo`: how to get it."""
        super().__init__(
            f"MLflow at {without_secrets(uri)} needs the package {package}, which is not installed.",
            hint=todo,
        )


_IN_ADDRESS = re.compile(r"(?<=://)[^\s/?#]*@|(?<=://)[^\s/]+:[^\s]*@")
_IN_QUERY = re.compile(r"(?i)\b((?:ssl)?pass(?:word|wd|phrase)?|pwd|token)=[^&\s'\"]+")


def without_secrets(text: str) -> str:
    """Return a text without the accounts and passwords of addresses in it.

    >>> without_secrets("postgresql://ann:secret@db/mlflow?sslpassword=hidden")
    'postgresql://…@db/mlflow?sslpassword=…'
    """
    return _IN_QUERY.sub(r"\1=…", _IN_ADDRESS.sub("…@", text))


def _mib(size: int) -> str:
    return f"{size / 2**20:,.1f} MiB"
