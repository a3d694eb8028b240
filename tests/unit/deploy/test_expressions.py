"""A name that does not exist is found in an expression: otherwise no test of rules means anything."""

from __future__ import annotations

import pytest

from unit.deploy.expressions import faults, metrics_of


def test_what_exists_is_fine() -> None:
    """Of Trivet's metrics, HAProxy's and Prometheus's own."""
    assert faults('sum by (model) (rate(trivet_requests_total{status=~"5.."}[5m])) > 0') == []
    assert faults('sum by (proxy) (haproxy_server_status{state="DOWN"}) > 0') == []
    assert faults('up{job="trivet"} == 0 unless on (instance) trivet_live_version') == []


@pytest.mark.parametrize(
    ("expression", "fault"),
    [
        ("trivet_request_total", "no metric trivet_request_total"),
        ("trivet_request_seconds", "no metric trivet_request_seconds"),
        ("haproxy_server_state", "no metric haproxy_server_state"),
        ('trivet_live_version{status="200"}', "trivet_live_version has no label status"),
        ("sum by (replica) (trivet_live_version)", "no label replica"),
        ("1 - haproxy_server_weight{model='a'}", "haproxy_server_weight has no label model"),
    ],
)
def test_what_does_not_exist_is_named(expression: str, fault: str) -> None:
    """A histogram has no series of its bare name."""
    assert fault in faults(expression)


def test_a_function_that_is_not_known_is_refused() -> None:
    """It may be misspelt."""
    with pytest.raises(ValueError, match="rates"):
        metrics_of("rates(trivet_live_version[5m])")
