"""The service's own metrics, beside BentoML's on `/metrics`, right over any number of workers."""

from __future__ import annotations

import math
import threading
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from trivet.contract import View
from trivet.errors import Overloaded
from trivet.serving.log.entry import Answered, Entry

if TYPE_CHECKING:
    from trivet.serving.bulk import Histogram

_SEE_EVERY_SECONDS = 1.0
"""How often event times of answered requests are looked at: a maximum over rows is not free."""

SECONDS = (
    *(0.00001, 0.00002, 0.00005, 0.0001, 0.0002, 0.0003, 0.0005, 0.0007),
    *(0.001, 0.0015, 0.002, 0.003, 0.005, 0.007),
    *(0.01, 0.015, 0.02, 0.03, 0.05, 0.07, 0.1, 0.15, 0.25, 0.5, 1.0, 2.5, 5.0),
)
"""Upper bounds of the duration buckets: close together where a target of milliseconds lies."""


@dataclass(slots=True)
class _Answered:
    """What has been answered since the last `flush`."""

    requests: Counter[int] = field(default_factory=Counter)
    """By version, as are the rows."""
    rows: Counter[int] = field(default_factory=Counter)
    seconds: dict[str, list[float]] = field(default_factory=dict)
    """Of requests, by step."""
    total: list[float] = field(default_factory=list)
    absent: Counter[tuple[str, str]] = field(default_factory=Counter)

    def add(self, entry: Entry, requests: Sequence[Answered]) -> None:
        """Add those of a batch's requests that count."""
        count, seconds = len(requests), self.seconds
        self.requests[entry.version] += count
        self.rows[entry.version] += sum([request.rows for request in requests])
        seconds.setdefault("validate", []).extend([r.validate_seconds for r in requests])
        seconds.setdefault("features", []).extend([r.features_seconds for r in requests])
        for step, duration in entry.seconds.items():
            seconds.setdefault(step, []).extend([duration] * count)
        self.total.extend([request.total_seconds for request in requests])
        if entry.absent:
            self.absent.update([(value.column.name, value.why) for value in entry.absent])


class Metrics:
    """Counts and durations of one worker; the exporter adds the workers up.

    What is answered is gathered, and written ten times a second by whoever calls `flush`: to write
    down one request by itself takes 19 us, a tenth of what it takes in all.
    """

    def __init__(self, model: str) -> None:
        """Register the metrics; once a worker, after BentoML has set its metrics folder."""
        # At its import, and at none before, prometheus_client looks for that folder.
        import prometheus_client as prometheus

        from trivet.serving.bulk import Histogram

        self._model = model
        self._requests = prometheus.Counter(
            name="trivet_requests_total",
            documentation="Prediction requests by version that answered and HTTP status.",
            labelnames=["model", "version", "status"],
        )
        self._rows = prometheus.Counter(
            name="trivet_predictions_total",
            documentation="Rows predicted.",
            labelnames=["model", "version"],
        )
        self._absent = prometheus.Counter(
            name="trivet_absent_values_total",
            documentation="Feature values that were missing, expired or null.",
            labelnames=["model", "column", "why"],
        )
        self._steps = Histogram(
            name="trivet_step_seconds",
            documentation="Duration of each step of a request.",
            labelnames=["model", "step"],
            buckets=SECONDS,
        )
        self._total: Histogram = Histogram(
            name="trivet_request_seconds",
            documentation="Duration of answered requests, from the body's last byte to the answer.",
            labelnames=["model"],
            buckets=SECONDS,
        ).labels(model)
        self._logged = prometheus.Counter(
            name="trivet_log_rows_total",
            documentation="Predictions written to the prediction log.",
            labelnames=["model"],
        )
        self._unlogged = prometheus.Counter(
            name="trivet_log_lost_rows_total",
            documentation="Predictions that the prediction log has lost.",
            labelnames=["model", "reason"],
        )
        self._overloaded = prometheus.Counter(
            name="trivet_overloaded_total",
            documentation="Requests that were not begun, because too many were unanswered.",
            labelnames=["model"],
        )
        self._live = prometheus.Gauge(
            name="trivet_live_version",
            documentation="The version that answers as champion.",
            labelnames=["model"],
            multiprocess_mode="mostrecent",
        )

        self._refused = prometheus.Gauge(
            name="trivet_release_refused",
            documentation="1 while a release is asked for that does not answer here, else 0.",
            labelnames=["model"],
            multiprocess_mode="mostrecent",
        )
        self._left_out = prometheus.Gauge(
            name="trivet_versions_left_out",
            documentation="Versions that should be loaded and are not.",
            labelnames=["model"],
            multiprocess_mode="mostrecent",
        )
        self._held = prometheus.Gauge(
            name="trivet_loaded_versions_bytes",
            documentation="Memory that a worker's loaded versions take, as far as that is known.",
            labelnames=["model"],
            multiprocess_mode="mostrecent",
        )
        self._reachable = prometheus.Gauge(
            name="trivet_registry_reachable",
            documentation="1 while the follower reaches the registry, 0 while it does not.",
            labelnames=["model"],
            multiprocess_mode="mostrecent",
        )
        self._differences = prometheus.Gauge(
            name="trivet_feature_differences",
            documentation="Ways in which Feast no longer offers what the live version relies on.",
            labelnames=["model"],
            multiprocess_mode="mostrecent",
        )
        self._in_flight = prometheus.Gauge(
            name="trivet_requests_in_flight",
            documentation="Prediction requests that have come in and are not answered yet.",
            labelnames=["model"],
            multiprocess_mode="livesum",
        )
        self._newest = prometheus.Gauge(
            name="trivet_view_newest_timestamp_seconds",
            documentation="Newest event time of a feature view seen in answered requests.",
            labelnames=["model", "view"],
            multiprocess_mode="max",
        )
        self._ttl = prometheus.Gauge(
            name="trivet_view_ttl_seconds",
            documentation="Time to live of a feature view of the live version; NaN: it never expires.",
            labelnames=["model", "view"],
            multiprocess_mode="mostrecent",
        )
        self._newest_seen: dict[str, float] = {}
        self._see_from = 0.0
        self._waiting = _Answered()
        self._lock = threading.Lock()
        """Of what waits: one thread adds to it, another one takes it away."""

    def answered(self, entry: Entry) -> None:
        """Count a batch of answered requests, from the next `flush` on."""
        kept = [request for request in entry.requests if request.kept]
        if not kept:
            return
        with self._lock:
            self._waiting.add(entry, kept)
        self._seen(entry.features.known)

    def flush(self) -> None:
        """Write down what has been answered since the last time."""
        with self._lock:
            if not self._waiting.requests:
                return
            found, self._waiting = self._waiting, _Answered()
        for version, count in found.requests.items():
            self._requests.labels(self._model, str(version), "200").inc(count)
            self._rows.labels(self._model, str(version)).inc(found.rows[version])
        for step, seconds in found.seconds.items():
            self._steps.labels(self._model, step).observe_each(seconds)
        self._total.observe_each(found.total)
        for (column, why), count in found.absent.items():
            self._absent.labels(self._model, column, why).inc(count)

    def refused(self, version: int | None, status: int) -> None:
        """Count one request that was answered by a problem."""
        shown = "none" if version is None else str(version)
        self._requests.labels(self._model, shown, str(status)).inc()

    def overloaded(self) -> None:
        """Count one request that was not begun."""
        self._overloaded.labels(self._model).inc()
        self.refused(None, Overloaded.status)

    def logged(self, rows: int) -> None:
        """Count predictions that were written to the log."""
        self._logged.labels(self._model).inc(rows)

    def unlogged(self, rows: int, reason: str) -> None:
        """Count predictions that the log has lost."""
        self._unlogged.labels(self._model, reason).inc(rows)

    def in_flight(self, requests: int) -> None:
        """Say how many requests this worker has under way."""
        self._in_flight.labels(self._model).set(requests)

    def live(self, version: int) -> None:
        """Say which version is champion in this worker."""
        self._live.labels(self._model).set(version)

    def state(
        self,
        *,
        refused: bool,
        differences: int,
        left_out: int = 0,
        held_bytes: int = 0,
        reachable: bool | None = None,
    ) -> None:
        """Say what state this worker is in.

        Args:
            refused: whether something is asked for that does not answer here.
            differences: in which Feast no longer fits the champion.
            left_out: versions that should be loaded and are not.
            held_bytes: that the loaded ones take.
            reachable: whether the registry is; None: not known.
        """
        self._refused.labels(self._model).set(refused)
        self._differences.labels(self._model).set(differences)
        self._left_out.labels(self._model).set(left_out)
        self._held.labels(self._model).set(held_bytes)
        if reachable is not None:
            self._reachable.labels(self._model).set(reachable)

    def views(self, views: Sequence[View]) -> None:
        """Say which feature views the live version reads, and how long their values hold."""
        ttls = dict.fromkeys(self._newest_seen, math.nan)
        ttls |= {view.name: view.ttl_seconds or math.nan for view in views}
        for view, seconds in ttls.items():
            self._ttl.labels(self._model, view).set(seconds)
            self._newest_seen.setdefault(view, 0.0)

    def _seen(self, known: Mapping[str, Sequence[int | None]]) -> None:
        """Note the newest event time of each view that was read; once a second at most."""
        now = time.monotonic()
        if now < self._see_from:
            return
        self._see_from = now + _SEE_EVERY_SECONDS
        for view, moments in known.items():
            newest = max((moment for moment in moments if moment is not None), default=0) / 1e6
            if newest > self._newest_seen.get(view, 0.0):
                self._newest_seen[view] = newest
                self._newest.labels(self._model, view).set(newest)
