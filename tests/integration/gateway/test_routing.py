"""Which model a path goes to, and what the gateway answers itself."""

from __future__ import annotations

import datetime as dt
import ipaddress
import json
import ssl
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from replica import Replica
from trivet.gateway.configuration import Gateway
from trivet.gateway.proxy import Proxy
from trivet.gateway.traffic import Offer

from .conftest import Replicas, gateway_of


@pytest.fixture(scope="module")
def two_models(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """Start a gateway to the models `first` and `my model`, which tests ask and do not change."""
    folder = tmp_path_factory.mktemp("two_models")
    proxy = Proxy(folder / "gateway")
    with Replica(name="r0", folder=folder) as one, Replica(name="r1", folder=folder) as other:
        gateway = gateway_of(one, model="first", most_body_bytes=100_000)
        second = gateway_of(other, model="my model").backends[0]
        gateway = replace(gateway, backends=(*gateway.backends, second))
        proxy.start(gateway)
        yield gateway
        proxy.stop()


@pytest.mark.parametrize(
    ("path", "replica", "then"),
    [
        ("/predict", "r0", "/predict"),
        ("/first/predict", "r0", "/predict"),
        ("/my%20model/predict", "r1", "/predict"),
        ("/my%20model/versions/3/predict?a=1", "r1", "/versions/3/predict?a=1"),
        ("/my%20model", "r1", "/"),
        ("/versions/3/predict", "r0", "/versions/3/predict"),
        ("/aliases/challenger/predict", "r0", "/aliases/challenger/predict"),
        ("/v2/models/first/infer", "r0", "/v2/models/first/infer"),
        ("/v2/models/my%20model/infer", "r1", "/v2/models/my%20model/infer"),
        ("/v2/health/ready", "r0", "/v2/health/ready"),
        ("/static_content/index.css", "r0", "/static_content/index.css"),
        ("/my%20model/static_content/index.css", "r1", "/static_content/index.css"),
    ],
)
def test_a_path_goes_to_its_model(two_models: Gateway, path: str, replica: str, then: str) -> None:
    """Without its name, which the model's service does not know; stock clients need no name."""
    answer = post(two_models, path)
    assert (answer.status_code, answer.json()) == (200, {"replica": replica, "path": then})


@pytest.mark.parametrize("path", ["/nothing", "/firstly/predict", "/my", "/predict/more"])
def test_an_unknown_path_is_a_problem(two_models: Gateway, path: str) -> None:
    """404, in the form that the service's own errors have."""
    answer = post(two_models, path, headers={"X-Request-Id": 'a"b'})
    assert is_problem(answer, 404)
    assert answer.json()["request_id"] == answer.headers["x-request-id"] == 'a"b'


def test_a_request_keeps_its_id_or_gets_one(two_models: Gateway) -> None:
    """The replica hears it, and says it in its answer."""
    kept = post(two_models, "/predict", headers={"X-Request-Id": "mine"})
    made = {post(two_models, "/predict").headers["x-request-id"] for _ in range(3)}
    assert kept.headers["x-request-id"] == "mine"
    assert len(made - {"-"}) == 3


def test_a_body_that_is_too_large_is_refused(two_models: Gateway) -> None:
    """Before a replica has it; one of the most bytes that may be goes through."""
    assert post(two_models, "/predict", content=b"x" * 100_000).status_code == 200
    refused = post(two_models, "/predict", content=b"x" * 100_001)
    assert is_problem(refused, 413)
    assert "100001 bytes; at most 100,000" in refused.json()["detail"]


def test_one_address_gets_its_rate_and_no_more(proxy: Proxy, replicas: Replicas) -> None:
    """What is refused does not count: who asks on gets the rate all the same."""
    gateway = gateway_of(*replicas(0.0), rate_per_second=50)
    proxy.start(gateway)
    replies = Offer(port=gateway.port).at_rate(200, 800)
    good = [reply for reply in replies if reply.status == 200]
    refused = next(reply for reply in replies if reply.status != 200)
    assert 120 <= len(good) <= 300
    assert refused.status == 429
    assert refused.headers["retry-after"] == "1"
    assert json.loads(refused.body)["title"] == "Too many requests"


def test_without_a_ready_replica_the_answer_is_a_503(proxy: Proxy, replicas: Replicas) -> None:
    """It says when to come again, and for which model."""
    (one,) = replicas(0.0)
    gateway = gateway_of(one, queue_seconds=0.2)
    proxy.start(gateway)
    one.kill()
    deadline = time.monotonic() + 10
    while (answer := post(gateway, "/predict")).status_code != 503:
        assert time.monotonic() < deadline
    assert is_problem(answer, 503)
    assert answer.headers["retry-after"] == "1"
    assert "No replica of m " in answer.json()["detail"]


def test_who_waits_too_long_for_a_place_gets_a_503(proxy: Proxy, replicas: Replicas) -> None:
    """And who finds the queue full gets it at once."""
    gateway = gateway_of(*replicas(3.0), most_in_flight=1, queue_seconds=1.0, most_queued=3)
    proxy.start(gateway)
    replies: list[httpx.Response] = []
    callers = [
        threading.Thread(target=lambda: replies.append(post(gateway, "/predict"))) for _ in range(8)
    ]
    for caller in callers:
        caller.start()
        time.sleep(0.01)
    for caller in callers:
        caller.join()
    refused = [answer for answer in replies if answer.status_code == 503]
    waits = sorted(answer.elapsed.total_seconds() for answer in refused)
    assert len(refused) == 7
    assert all(is_problem(answer, 503) for answer in refused)
    assert len([wait for wait in waits if wait < 0.5]) == 4
    assert max(waits) < 2.5


def test_tls_by_one_file(proxy: Proxy, replicas: Replicas, tmp_path: Path) -> None:
    """A client that trusts the certificate gets its answer; plain HTTP gets none."""
    pem = tmp_path / "gateway.pem"
    write_certificate(pem)
    gateway = gateway_of(*replicas(0.0), tls=pem)
    proxy.start(gateway)
    trusts = ssl.create_default_context(cafile=str(pem))
    answer = httpx.post(f"https://127.0.0.1:{gateway.port}/predict", verify=trusts)
    assert answer.status_code == 200
    with pytest.raises(httpx.TransportError):
        post(gateway, "/predict")


def test_statistics_and_metrics_stand_on_a_port_of_their_own(two_models: Gateway) -> None:
    """A page for people, and Prometheus' text; neither at the address that callers know."""
    page = httpx.get(f"http://127.0.0.1:{two_models.stats_port}/")
    metrics = httpx.get(f"http://127.0.0.1:{two_models.stats_port}/metrics")
    assert "Statistics Report" in page.text
    assert 'haproxy_server_status{proxy="first",server="r0",state="UP"} 1' in metrics.text
    assert post(two_models, "/stats").status_code == 404


def post(gateway: Gateway, path: str, **more: object) -> httpx.Response:
    """Send a POST to a gateway."""
    return httpx.post(f"http://127.0.0.1:{gateway.port}{path}", timeout=10, **more)  # type: ignore[arg-type]


def is_problem(answer: httpx.Response, status: int) -> bool:
    """Say whether an answer is a problem, in the form and with the id that Trivet's have."""
    document = answer.json()
    assert answer.headers["content-type"] == "application/problem+json"
    assert set(document) >= {"type", "title", "status", "detail", "request_id"}
    return bool(answer.status_code == document["status"] == status)


def write_certificate(pem: Path) -> None:
    """Write a certificate of one's own for 127.0.0.1, and its key, into one file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "gateway")])
    now = dt.datetime.now(dt.UTC)
    address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(hours=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([address]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    pem.write_bytes(certificate.public_bytes(serialization.Encoding.PEM) + private)
