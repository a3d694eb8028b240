"""What `trivet doctor` says of a registry: which it is, and whether artifacts can be written."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import boto3
import pytest

from contract.servers import free_port
from trivet.errors import ArtifactsUnavailable
from trivet.registry.probe import describe, try_artifacts

from .conftest import Registry, Servers
from .servers import ADMIN, AWS

WHERE = {
    "sqlite": ("sqlite:///", "written to file:///"),
    "server with accounts, artifacts through it": (
        f", as {ADMIN}",
        "can be written and read at mlflow-a",
    ),
    "server on postgresql, artifacts in s3": (
        "http://127.0.0.1:",
        "can be written and read at s3://shared",
    ),
    "postgresql, artifacts in s3": (
        "postgresql+psycopg://…@",
        "can be written and read at s3://direct",
    ),
}


def kept(servers: Servers) -> Mapping[str, int]:
    """Return how many objects S3 holds in each bucket."""
    client = boto3.client(
        "s3",
        endpoint_url=servers.s3.url,
        aws_access_key_id=AWS["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=AWS["AWS_SECRET_ACCESS_KEY"],
        region_name=AWS["AWS_DEFAULT_REGION"],
    )

    def keys(bucket: str) -> Iterator[str]:
        for page in client.get_paginator("list_objects_v2").paginate(Bucket=bucket):
            yield from (one["Key"] for one in page.get("Contents", []))

    return {bucket: len(list(keys(bucket))) for bucket in ("proxied", "shared", "direct")}


def test_it_says_which_registry_it_is_and_that_artifacts_can_be_written(
    registry: Registry, backend: str, servers: Servers
) -> None:
    """And leaves nothing behind."""
    registry.promote(1)
    before = kept(servers)
    which, artifacts = WHERE[backend]
    assert which in describe(registry.settings)
    assert artifacts in try_artifacts(registry.client, registry.settings)
    assert kept(servers) == before


@pytest.mark.parametrize("backend", ["postgresql, artifacts in s3"])
def test_a_store_of_artifacts_that_is_down_is_said(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With what to look at."""
    registry.promote(1)
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    monkeypatch.setenv("MLFLOW_S3_ENDPOINT_URL", f"http://127.0.0.1:{free_port()}")
    with pytest.raises(ArtifactsUnavailable, match="MLFLOW_S3_ENDPOINT_URL"):
        try_artifacts(registry.client, registry.settings)
