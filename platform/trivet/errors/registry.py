"""Why MLflow, or what is below it, does not do what it is asked."""

from __future__ import annotations

import re

from trivet.errors.base import TrivetError


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


_IN_ADDRESS = re.compile(r"(?<=://)[^\s/?#]*@|(?<=://)[^\s/]+:[^\s]*@")
_IN_QUERY = re.compile(r"(?i)\b((?:ssl)?pass(?:word|wd|phrase)?|pwd|token)=[^&\s'\"]+")


def without_secrets(text: str) -> str:
    """Return a text without the accounts and passwords of addresses in it.

    >>> without_secrets("postgresql://ann:secret@db/mlflow?sslpassword=hidden")
    'postgresql://…@db/mlflow?sslpassword=…'
    """
    return _IN_QUERY.sub(r"\1=…", _IN_ADDRESS.sub("…@", text))
