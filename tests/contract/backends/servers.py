"""MLflow's own server and an S3, as real processes on loopback; each ends by its id."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Self

import boto3
import httpx
import psutil

from contract.servers import free_port
from waiting import wait_or_kill

_SECONDS = 90
_NOT_INHERITED = ("TRIVET_", "MLFLOW_", "AWS_", "COVERAGE_")

AWS = {
    "AWS_ACCESS_KEY_ID": "key-of-the-tests",
    "AWS_SECRET_ACCESS_KEY": "secret-of-the-tests",
    "AWS_DEFAULT_REGION": "us-east-1",
}
ADMIN, ADMIN_PASSWORD = "boss", "pass-of-the-boss-1"

_ACCOUNTS = """\
[mlflow]
default_permission = READ
database_uri = sqlite:///{folder}/accounts.db
admin_username = {admin}
authorization_function = mlflow.server.auth:authenticate_request_basic_auth
auth_cache_ttl_seconds = 60
"""


class Server:
    """A process that answers over HTTP. It is started at once, and waited for later."""

    def __init__(
        self,
        folder: Path,
        name: str,
        command: Sequence[str],
        env: Mapping[str, str],
        path: str = "/",
    ) -> None:
        """Start it.

        Args:
            folder: for its log, and its working directory.
            name: of the log's file.
            command: arguments of this Python; `{port}` in them becomes the server's.
            env: variables beside those of this process, which are free of the machine's settings.
            path: that answers as soon as it is ready.
        """
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._ready = f"{self.url}{path}"
        self._log = folder / f"{name}.log"
        kept = {k: v for k, v in os.environ.items() if not k.startswith(_NOT_INHERITED)}
        with self._log.open("wb") as log:
            self._process = psutil.Popen(
                [sys.executable, *(part.format(port=self.port) for part in command)],
                cwd=folder,
                env=kept | dict(env),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    def wait(self) -> Self:
        """Return when it answers; fail with its log if it does not come to."""
        deadline = time.monotonic() + _SECONDS
        while True:
            try:
                if httpx.get(self._ready, timeout=5).status_code < httpx.codes.BAD_REQUEST:
                    return self
            except httpx.TransportError:
                time.sleep(0.1)
            assert self._process.poll() is None, f"it has ended\n{self.log()}"
            assert time.monotonic() < deadline, f"it does not answer\n{self.log()}"

    def log(self) -> str:
        """Return what it has written."""
        return self._log.read_text(errors="replace")

    def __enter__(self) -> Self:
        """Do nothing: it runs already."""
        return self

    def __exit__(self, *raised: object) -> None:
        """End it, and what it has started."""
        try:
            started = [self._process, *self._process.children(recursive=True)]
        except psutil.NoSuchProcess:
            return
        for process in started:
            process.terminate()
        wait_or_kill(started, within=10)


def start_s3(folder: Path) -> Server:
    """Start an S3 of its own, in memory."""
    command = ["-m", "moto.server", "-H", "127.0.0.1", "-p", "{port}"]
    return Server(folder, "s3", command, {})


def s3_environment(server: Server) -> Mapping[str, str]:
    """Return the variables by which MLflow reaches this S3."""
    return AWS | {"MLFLOW_S3_ENDPOINT_URL": server.url}


def make_bucket(server: Server, name: str) -> str:
    """Make a bucket, and return its address."""
    client = boto3.client(
        "s3",
        endpoint_url=server.url,
        aws_access_key_id=AWS["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=AWS["AWS_SECRET_ACCESS_KEY"],
        region_name=AWS["AWS_DEFAULT_REGION"],
    )
    client.create_bucket(Bucket=name)
    return f"s3://{name}"


def start_mlflow(
    folder: Path,
    name: str,
    options: Sequence[str],
    env: Mapping[str, str],
    *,
    accounts: bool = False,
) -> Server:
    """Start `mlflow server`.

    Args:
        folder: for its files.
        name: of this server's files.
        options: of the command.
        env: variables beside the machine's.
        accounts: whether it asks who calls; whoever has an account may then read.
    """
    command = ["-m", "mlflow", "server", "--host", "127.0.0.1", "--port", "{port}"]
    command += ["--workers", "1", *options]
    variables = {
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "DO_NOT_TRACK": "true",
    }
    if accounts:
        config = folder / f"{name}.ini"
        config.write_text(_ACCOUNTS.format(folder=folder, admin=ADMIN))
        command += ["--app-name", "basic-auth"]
        variables |= {
            "MLFLOW_AUTH_CONFIG_PATH": str(config),
            "MLFLOW_AUTH_ADMIN_PASSWORD": ADMIN_PASSWORD,
            "MLFLOW_FLASK_SERVER_SECRET_KEY": "of-the-tests",
        }
    return Server(folder, name, command, variables | dict(env), "/health")
