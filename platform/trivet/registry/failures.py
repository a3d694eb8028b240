"""MLflow's failures, and those of what lies below it, as Trivet's."""

from __future__ import annotations

import os
import re
from http import HTTPStatus
from typing import TYPE_CHECKING

from trivet.errors import (
    ArtifactsUnavailable,
    PackageMissing,
    RegistryBusy,
    RegistryDenied,
    RegistryUnavailable,
    TrivetError,
    UnknownModel,
)

if TYPE_CHECKING:
    from mlflow.exceptions import MlflowException

WRONG_NAME = ("INVALID_PARAMETER_VALUE", "NOT_FOUND", "RESOURCE_DOES_NOT_EXIST")
"""Error codes of MLflow for something that is not there, or a value that it does not take."""
EXISTS = ("ALREADY_EXISTS", "RESOURCE_ALREADY_EXISTS")
"""Error codes of MLflow for a name that is taken."""
_NOT_SIGNED_IN = ("UNAUTHENTICATED", "CUSTOMER_UNAUTHORIZED")
_NOT_PERMITTED = "PERMISSION_DENIED"
_CODES = {HTTPStatus.UNAUTHORIZED: _NOT_SIGNED_IN[0], HTTPStatus.FORBIDDEN: _NOT_PERMITTED}
_LOCKED = ("database is locked", "database table is locked")
_STORE = ("failures occurred while", "Unable to locate credentials", "the endpoint URL")
"""What the failures of a store of artifacts have in them; MLflow sums several up as a text."""
_GONE = ("An error occurred (404)", "(NoSuchKey)", "404 Client Error")
_PACKAGES = {
    "psycopg": "pip install 'trivet[postgres]'.",
    "psycopg2": "Begin the address with postgresql+psycopg:// and pip install 'trivet[postgres]', "
    "or pip install psycopg2-binary.",
    "boto3": "pip install 'trivet[s3]'.",
    "botocore": "pip install 'trivet[s3]'.",
}
_WRONG_PASSWORD = (
    "password authentication failed",
    "no password supplied",
    "Access denied for user",
)
_NO_PRIVILEGE = re.compile(r"permission denied for \w+ \w+|\w+ command denied to user")
"""As PostgreSQL and MySQL say it."""
_NO_MODULE = re.compile(r"No module named '(\w+)")


def from_mlflow(uri: str, err: MlflowException, missing: str | None) -> TrivetError:
    """Return what an error of MLflow says.

    Args:
        uri: the tracking URI that was asked.
        err: as it was raised.
        missing: the sentence for something that is not there; default: MLflow's own.
    """
    text = str(err.message)
    code = _code_of_database(text) or err.error_code
    if (known := _package(uri, text) or _denied(uri, code, text)) is not None:
        return known
    if err.error_code in WRONG_NAME or _is_gone(text):
        return UnknownModel(missing or text)
    if any(sign in text for sign in _STORE):
        return ArtifactsUnavailable(uri, err)
    return _down(uri, err)


def from_below(uri: str, err: Exception, missing: str | None) -> TrivetError:
    """Return what an error of HTTP, of a database or of S3 says that MLflow let through.

    Args:
        uri: the tracking URI that was asked.
        err: as it was raised.
        missing: as for `from_mlflow`.
    """
    status = getattr(getattr(err, "response", None), "status_code", None)
    code = _CODES.get(status) if status is not None else _code_of_database(str(err))
    if (known := _package(uri, str(err)) or _denied(uri, code, str(err))) is not None:
        return known
    if status == HTTPStatus.NOT_FOUND or _is_gone(str(err)):
        return UnknownModel(missing or str(err))
    if type(err).__module__.partition(".")[0] in {"botocore", "boto3", "s3transfer"}:
        return ArtifactsUnavailable(uri, err)
    return _down(uri, err)


def kinds_below() -> tuple[type[Exception], ...]:
    """Return the errors that MLflow lets through from what lies below it."""
    from requests import RequestException
    from sqlalchemy.exc import SQLAlchemyError

    kinds: tuple[type[Exception], ...] = (RequestException, SQLAlchemyError, ConnectionError)
    try:
        from botocore.exceptions import BotoCoreError, ClientError
    except ModuleNotFoundError:
        return (*kinds, ModuleNotFoundError)
    return (*kinds, ModuleNotFoundError, BotoCoreError, ClientError)


def _package(uri: str, text: str) -> PackageMissing | None:
    found = _NO_MODULE.search(text)
    name = found[1] if found else ""
    return PackageMissing(uri, name, _PACKAGES[name]) if name in _PACKAGES else None


def _denied(uri: str, code: str | None, text: str) -> RegistryDenied | None:
    who = os.environ.get("MLFLOW_TRACKING_USERNAME") if uri.startswith("http") else None
    if code in _NOT_SIGNED_IN:
        return RegistryDenied(uri, who)
    return RegistryDenied(uri, who, _action(text)) if code == _NOT_PERMITTED else None


def _down(uri: str, err: Exception) -> RegistryUnavailable:
    locked = any(sign in str(err) for sign in _LOCKED)
    return RegistryBusy(uri) if locked else RegistryUnavailable(uri, err)


def _is_gone(text: str) -> bool:
    # As S3 says it of an object, and a server of an artifact; of a bucket S3 says NoSuchBucket.
    return any(sign in text for sign in _GONE)


def _code_of_database(text: str) -> str | None:
    if any(sign in text for sign in _WRONG_PASSWORD):
        return _NOT_SIGNED_IN[0]
    return _NOT_PERMITTED if _NO_PRIVILEGE.search(text) else None


def _action(text: str) -> str:
    if (found := _NO_PRIVILEGE.search(text)) is not None:
        return found[0]
    found = re.search(r"endpoint /?(?:api/\d\.\d/mlflow/)?(\S+)", text)
    return found[1] if found else "artifacts"
