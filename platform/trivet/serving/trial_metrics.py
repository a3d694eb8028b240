"""Counts of a canary and a shadow on `/metrics`, beside the service's own."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trivet.canary.state import Kind
from trivet.serving.metrics import SECONDS

if TYPE_CHECKING:
    from trivet.serving.likeness import Likeness


class TrialMetrics:
    """One a worker; the exporter adds the workers up."""

    def __init__(self, model: str) -> None:
        """Register the metrics; once a worker, after BentoML has set its metrics folder."""
        import prometheus_client as prometheus

        from trivet.serving.bulk import Histogram

        self._model = model
        self._percent = prometheus.Gauge(
            name="trivet_canary_percent",
            documentation="Share of the champion's requests that go to a canary.",
            labelnames=["model"],
            multiprocess_mode="mostrecent",
        )
        self._requests = prometheus.Counter(
            name="trivet_beside_requests_total",
            documentation="Requests that a canary or a shadow was to compute, by what came of it.",
            labelnames=["model", "kind", "outcome"],
        )
        self._rows = prometheus.Counter(
            name="trivet_beside_rows_total",
            documentation="Rows of a canary or a shadow compared with the champion's.",
            labelnames=["model", "kind", "like"],
        )
        self._difference = prometheus.Counter(
            name="trivet_beside_difference_total",
            documentation="Sum over compared rows of the absolute difference from the champion.",
            labelnames=["model", "kind"],
        )
        self._seconds = Histogram(
            name="trivet_beside_seconds",
            documentation="Duration of a canary's or a shadow's part of a request, and the champion's.",
            labelnames=["model", "side"],
            buckets=SECONDS,
        )

    def percent(self, share: float) -> None:
        """Say how much of the traffic goes to a canary; 0: none runs, or it was set back."""
        self._percent.labels(self._model).set(share)

    def computed(self, kind: Kind, seconds: float, outcome: str, alike: Likeness | None) -> None:
        """Count one request of a canary or a shadow."""
        self._requests.labels(self._model, kind, outcome).inc()
        self._seconds.labels(self._model, kind).observe_times(seconds, 1)
        if alike is not None:
            self._rows.labels(self._model, kind, "yes").inc(alike.rows - alike.unlike)
            self._rows.labels(self._model, kind, "no").inc(alike.unlike)
            self._difference.labels(self._model, kind).inc(alike.difference)

    def dropped(self) -> None:
        """Count one request that the shadow had no time for."""
        self._requests.labels(self._model, "shadow", "dropped").inc()

    def champion(self, seconds: float, times: int) -> None:
        """Count requests of the champion while a canary runs."""
        self._seconds.labels(self._model, "champion").observe_times(seconds, times)
