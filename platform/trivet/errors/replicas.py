"""Why replicas do not come up, or a command finds none that it could ask something of."""

from __future__ import annotations

from trivet.errors.base import TrivetError


class NothingUp(TrivetError):
    """A command is for a gateway that runs, and none does."""

    exit_code = 3
    title = "Nothing is up"

    def __init__(self, model: str | None = None) -> None:
        """`model`: the one that was asked for; None: any."""
        super().__init__(
            "No gateway of this project runs."
            if model is None
            else f"The gateway of this project does not serve {model}.",
            hint=f"Start it: trivet up {model or 'MODEL'}.",
        )


class AlreadyUp(TrivetError):
    """A gateway runs already, and cannot be changed as it is asked to."""

    exit_code = 2
    title = "Already up"

    def __init__(self, what: str, url: str) -> None:
        """`what`: the option that differs; `url`: where the gateway is."""
        super().__init__(
            f"The gateway runs at {url} already, and {what} cannot be changed while it does.",
            hint="End it first: trivet down.",
        )


class BentoMissing(TrivetError):
    """There is no bento of a model's name."""

    exit_code = 2
    title = "No such bento"

    def __init__(self, model: str, known: tuple[str, ...]) -> None:
        """`known`: the project's bentos."""
        super().__init__(
            f"There is no bentos/{model}/service.py.",
            hint=f"There are: {', '.join(known)}." if known else "bentos/ holds none.",
        )


class ReplicaFailed(TrivetError):
    """A replica has died again and again since its start."""

    title = "A replica does not start"

    def __init__(self, model: str, name: str, why: str, log: str, tail: str) -> None:
        """`tail`: the last lines of its log."""
        super().__init__(f"{model} {name}: {why}.\n{tail}", hint=f"Its log is {log}.")


class NotAllReady(TrivetError):
    """A gateway runs, and a replica behind it will not be ready by itself."""

    title = "Not all are ready"

    def __init__(self, what: str, url: str, log: str, tail: str) -> None:
        """`what`: which replica, and why; `url`: the gateway's; `tail`: the last lines of its log."""
        super().__init__(
            f"{what}.\n{tail}",
            hint=f"The gateway runs at {url} all the same; trivet restart tries anew, trivet down ends "
            f"it. The log is {log}.",
        )


class UpdateFailed(TrivetError):
    """A rolling update was given up; what ran before goes on."""

    title = "Update given up"

    def __init__(self, why: str, log: str | None = None, tail: str = "") -> None:
        """`log` and `tail`: of the replica that did not start, and its last lines."""
        super().__init__(
            f"{why}\n{tail}" if tail else why,
            hint="The replicas that ran before go on." + (f" The log is {log}." if log else ""),
        )


class SupervisorGone(TrivetError):
    """The process that supervises replicas ended before it answered."""

    exit_code = 3
    title = "Supervisor gone"

    def __init__(self, log: str, tail: str = "") -> None:
        """`tail`: the last lines of its log."""
        said = f"\n{tail}" if tail else ""
        super().__init__(f"The supervisor has ended.{said}", hint=f"Its log is {log}.")
