"""Whether a canary keeps its limits, by figures and not by bad luck."""

from __future__ import annotations

import math

from trivet.canary.state import Limits
from trivet.canary.tally import Figures, quantile, slower

_UNLIKELY = math.log(1000)
_ONE_IN = 0.01


def broken(limits: Limits, figures: Figures) -> str | None:
    """Return a sentence with limit and figures for the first limit that is broken, else None.

    A share counts as broken when one that is just within the limit would come to it less than once in
    a thousand times: one error in thirty requests is no proof of more than one in a hundred.
    """
    if figures.requests < limits.min_requests:
        return None
    return _errors(limits, figures) or _latency(limits, figures) or _divergence(limits, figures)


def exceeds(count: int, of: int, limit: float) -> bool:
    """Say whether so many of so many prove a share above the limit, by Chernoff's bound.

    https://en.wikipedia.org/wiki/Chernoff_bound#Additive_form_(absolute_error)

    >>> exceeds(1, 30, 0.01), exceeds(5, 30, 0.01)
    (False, True)
    """
    if not of or count / of <= limit:
        return False
    if limit == 0:
        return True
    share = count / of
    distance = share * math.log(share / limit)
    if share < 1:
        distance += (1 - share) * math.log((1 - share) / (1 - limit))
    return of * distance > _UNLIKELY


def _errors(limits: Limits, figures: Figures) -> str | None:
    if not exceeds(figures.failed, figures.requests, limits.error_rate):
        return None
    kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(figures.errors.items()))
    return (
        f"error rate {figures.error_rate:.2%} over the limit of {limits.error_rate:.2%} "
        f"({kinds} of {figures.requests} requests)"
    )


def _latency(limits: Limits, figures: Figures) -> str | None:
    champion = quantile(figures.champion_took, 0.99)
    allowed = []
    if limits.p99_ms is not None:
        allowed.append((limits.p99_ms / 1000, f"{limits.p99_ms:g} ms"))
    if limits.p99_ratio is not None and champion is not None:
        shown = f"{limits.p99_ratio:g} times the champion's {1000 * champion:.2f} ms"
        allowed.append((limits.p99_ratio * champion, shown))
    of = sum(figures.took.values())
    for seconds, shown in allowed:
        late = slower(figures.took, seconds)
        if exceeds(late, of, _ONE_IN):
            found = quantile(figures.took, 0.99) or 0.0
            return (
                f"p99 {1000 * found:.1f} ms over the limit of {shown} "
                f"({late} of {of} requests were slower)"
            )
    return None


def _divergence(limits: Limits, figures: Figures) -> str | None:
    if limits.divergence is not None and exceeds(figures.unlike, figures.rows, limits.divergence):
        return (
            f"divergence {figures.divergence:.2%} over the limit of {limits.divergence:.2%} "
            f"({figures.unlike} of {figures.rows} rows answered unlike the champion)"
        )
    if limits.difference is not None and figures.mean_difference > limits.difference:
        return (
            f"mean difference {figures.mean_difference:.4g} over the limit of "
            f"{limits.difference:g} ({figures.rows} rows)"
        )
    return None
