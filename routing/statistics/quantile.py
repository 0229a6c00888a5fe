"""A quantile of latencies, watched continuously: limits that hold at every look, whatever the distribution.

How many of the values lie at or below the true q-quantile is a sum of Bernoulli(q) trials, so the Beta mixture of
routing.statistics.bernoulli bounds that count at all times, and the ordered values at the bounds enclose the quantile
(Howard, Ramdas 2022, Sequential estimation of quantiles with applications to A/B testing, for a fixed quantile).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from routing.observations import Latencies
from routing.statistics.bernoulli import log_e_above

#: How many values on the rarer side of the quantile the mixture's prior, which gathers around it, is worth.
_WEIGHT = 0.25


def limits(seen: Latencies, q: float, alpha: float) -> tuple[float, float]:
    """(lower, upper) of the q-quantile of what was ``seen``, in its unit; (0, inf) for few values.

    Each is wrong at any look with probability ``alpha`` at most, both together with twice that.
    """
    low, high = count_limits(len(seen), q, alpha)
    lower = seen.ranked(low) if low > 0 else 0.0
    upper = seen.ranked(high + 1) if high < len(seen) else float("inf")
    return lower, upper


def count_limits(trials: int, q: float, alpha: float) -> tuple[int, int]:
    """The smallest and largest number of ``trials`` at or below the quantile that are not rejected, each at alpha."""
    above = fewest_rejected(trials, q, alpha)
    return trials - fewest_rejected(trials, 1 - q, alpha) + 1, above - 1


def fewest_rejected(trials: int, rate: float, alpha: float) -> int:
    """The smallest number of hits that rejects "the rate is ``rate`` or less"; trials + 1 when none does."""
    prior = (_WEIGHT * rate / min(rate, 1 - rate), _WEIGHT * (1 - rate) / min(rate, 1 - rate))
    limit = -np.log(alpha)
    return _first(0, trials + 1, lambda hits: bool(log_e_above(rate, hits, trials, prior) >= limit))


def fewest_values(q: float, alpha: float) -> int:
    """How many values an upper limit of the q-quantile needs at least."""
    most = 1
    while fewest_rejected(most, q, alpha) > most:
        most *= 2
    return _first(most // 2, most, lambda trials: fewest_rejected(trials, q, alpha) <= trials)


def _first(low: int, high: int, holds: Callable[[int], bool]) -> int:
    """The first whole number of low..high-1 at which ``holds`` turns true, ``high`` when none; it turns once."""
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if holds(middle) else (middle + 1, high)
    return low
