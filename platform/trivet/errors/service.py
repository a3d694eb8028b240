"""Why a command gets nothing from a service, or from what it has written."""

from __future__ import annotations

from collections.abc import Sequence

from trivet.errors.base import TrivetError


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
