"""Each failure of MLflow, and of what lies below it, becomes the error that says what to do."""

from __future__ import annotations

import pytest
import requests
from botocore.exceptions import ClientError, EndpointConnectionError, NoCredentialsError
from mlflow.exceptions import MlflowException
from mlflow.protos import databricks_pb2 as codes
from sqlalchemy.exc import OperationalError

from trivet.errors import (
    ArtifactsUnavailable,
    PackageMissing,
    RegistryBusy,
    RegistryDenied,
    RegistryUnavailable,
    TrivetError,
    UnknownModel,
)
from trivet.registry.failures import from_below, from_mlflow

URI = "http://mlflow.example"
DOWNLOAD = "The following failures occurred while downloading one or more artifacts from s3://b/a:"


@pytest.mark.parametrize(
    ("code", "text", "kind"),
    [
        (codes.RESOURCE_DOES_NOT_EXIST, "no such run", UnknownModel),
        (codes.UNAUTHENTICATED, "You are not authenticated.", RegistryDenied),
        (codes.PERMISSION_DENIED, "API request to endpoint /api/2.0/mlflow/x", RegistryDenied),
        (codes.TEMPORARILY_UNAVAILABLE, "(sqlite3) database is locked", RegistryBusy),
        (codes.TEMPORARILY_UNAVAILABLE, "connection refused", RegistryUnavailable),
        (codes.INTERNAL_ERROR, f"{DOWNLOAD} Access Denied", ArtifactsUnavailable),
        (codes.INTERNAL_ERROR, f"{DOWNLOAD} No module named 'boto3'", PackageMissing),
        (codes.INTERNAL_ERROR, f"{DOWNLOAD} An error occurred (404) when calling", UnknownModel),
        (codes.INTERNAL_ERROR, f"{DOWNLOAD} 404 Client Error: Not Found for url", UnknownModel),
        (codes.INTERNAL_ERROR, "oh", RegistryUnavailable),
    ],
)
def test_an_error_of_mlflow_is_told_by_its_code_and_text(
    code: int, text: str, kind: type[TrivetError]
) -> None:
    """Nothing is called down that has answered."""
    assert type(from_mlflow(URI, MlflowException(text, code), None)) is kind


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (401, RegistryDenied),
        (403, RegistryDenied),
        (404, UnknownModel),
        (502, RegistryUnavailable),
    ],
)
def test_an_answer_of_http_is_told_by_its_status(status: int, kind: type[TrivetError]) -> None:
    """As the transfer of artifacts raises it."""
    answer = requests.Response()
    answer.status_code = status
    assert type(from_below(URI, requests.HTTPError("oh", response=answer), None)) is kind


def test_an_object_that_s3_does_not_have_is_unknown() -> None:
    """The store has answered."""
    err = ClientError({"Error": {"Code": "NoSuchKey"}}, "GetObject")
    assert type(from_below(URI, err, None)) is UnknownModel


@pytest.mark.parametrize(
    "err",
    [
        EndpointConnectionError(endpoint_url="http://s3.example"),
        NoCredentialsError(),
        ClientError({"Error": {"Code": "AccessDenied"}}, "PutObject"),
    ],
    ids=lambda err: type(err).__name__,
)
def test_an_error_of_s3_is_one_of_the_artifacts(err: Exception) -> None:
    """The hint names the variables that reach it."""
    told = from_below(URI, err, None)
    assert type(told) is ArtifactsUnavailable
    assert "MLFLOW_S3_ENDPOINT_URL" in (told.hint or "")


def test_a_locked_database_is_busy_and_another_error_of_it_is_not() -> None:
    """SQLAlchemy raises both as one kind."""
    locked = OperationalError("UPDATE x", {}, Exception("database is locked"))
    broken = OperationalError("UPDATE x", {}, Exception("disk I/O error"))
    assert type(from_below(URI, locked, None)) is RegistryBusy
    assert type(from_below(URI, broken, None)) is RegistryUnavailable


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ('FATAL:  password authentication failed for user "ann"', "its password"),
        ("(1045, \"Access denied for user 'ann'@'db' (using password: YES)\")", "its password"),
        ("permission denied for table runs", "may write to MLflow's tables"),
    ],
)
def test_a_database_that_refuses_an_account_is_not_down(text: str, hint: str) -> None:
    """Whether MLflow wraps its words or lets them through."""
    raised = OperationalError("INSERT x", {}, Exception(text))
    uri = "postgresql+psycopg://ann:hidden@db/mlflow"
    for told in (
        from_below(uri, raised, None),
        from_mlflow(uri, MlflowException(raised, codes.BAD_REQUEST), None),
    ):
        assert type(told) is RegistryDenied
        assert hint in (told.hint or "")
        assert "hidden" not in str(told)


def test_a_denial_says_what_was_denied_and_to_whom(monkeypatch: pytest.MonkeyPatch) -> None:
    """The name of an account is no secret; its password is not asked for."""
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "ann")
    text = "API request to endpoint /api/2.0/mlflow/runs/create failed with error code 403"
    told = from_mlflow(URI, MlflowException(text, codes.PERMISSION_DENIED), None)
    assert "does not permit the account ann to do this: runs/create." in str(told)
