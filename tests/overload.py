"""Twice of what replicas can bear is offered: how much is answered, how fast, how soon all is well."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

from trivet.gateway.traffic import Offer, Reply, quantile


@dataclass(frozen=True, slots=True, kw_only=True)
class Overload:
    """What was found."""

    peak: float
    """Answers a second by as many callers as there are places: what the replicas can bear."""
    offered: float
    """Requests a second that were really sent."""
    goodput: float
    """Answers of 200 a second while twice the peak was offered."""
    p99_ms: float
    """Of the answers of 200."""
    refused: Sequence[Reply]
    recovered_seconds: float
    """From the last request of the overload to the last one that was refused or took over 100 ms."""

    @property
    def figures(self) -> str:
        """What is worth noting, as a line."""
        return (
            f"peak {self.peak:.0f}/s, offered {self.offered:.0f}/s, goodput {self.goodput:.0f}/s "
            f"({self.goodput / self.peak:.0%}), p99 of accepted {self.p99_ms:.0f} ms, "
            f"recovered in {self.recovered_seconds:.2f} s"
        )


def overload(offer: Offer, *, places: int, seconds: float) -> Overload:
    """Measure the peak, offer twice as much, then half of it.

    Args:
        offer: what is sent, and where.
        places: requests that the replicas compute at once.
        seconds: how long it is too much.
    """
    began = time.monotonic()
    calm = offer.in_turn(int(200 * places), callers=places)
    peak = len(calm) / (time.monotonic() - began)
    crowd = offer.at_rate(2 * peak, int(2 * peak * seconds))
    after = offer.at_rate(peak / 2, int(peak / 2 * 6), seed=2)
    end = crowd[-1].due
    good = [reply for reply in crowd if reply.status == 200]
    bad = [reply.due - end for reply in after if reply.status != 200 or reply.milliseconds > 100]
    return Overload(
        peak=peak,
        offered=len(crowd) / (end - crowd[0].due),
        goodput=len(good) / (end - crowd[0].due),
        p99_ms=quantile([reply.milliseconds for reply in good], 0.99),
        refused=[reply for reply in crowd if reply.status != 200],
        recovered_seconds=max(bad, default=0.0),
    )
