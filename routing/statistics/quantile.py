"""A quantile of latencies, watched continuously: limits that hold at every look, whatever the distribution.

How many of the values lie at or below the true q-quantile is a sum of Bernoulli(q) trials, so the Beta mixture of
routing.statistics.bernoulli bounds that count at all times, and the ordered values at the bounds enclose the quantile
(Howard, Ramdas 2022, Sequential estimation of quantiles with applications to A/B testing, for a fixed quantile).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from routing.statistics.bernoulli import log_e_value

#: How sharply the mixture's prior gathers around q, which is known: in trials.
_CONCENTRATION = 10.0


def limits(ascending: NDArray[np.float64], q: float, alpha: float) -> tuple[float, float]:
    """(lower, upper) of the q-quantile of ``ascending`` (float64[n], sorted), in its unit; (0, inf) for small n."""
    low, high = count_limits(len(ascending), q, alpha)
    lower = float(ascending[low - 1]) if low > 0 else 0.0
    upper = float(ascending[high]) if high < len(ascending) else float("inf")
    return lower, upper


def count_limits(trials: int, q: float, alpha: float) -> tuple[int, int]:
    """The smallest and largest number of ``trials`` at or below the quantile that are not rejected."""
    if trials == 0:
        return 0, 0
    prior = (_CONCENTRATION * q, _CONCENTRATION * (1 - q))

    def rejected(hits: int) -> bool:
        return bool(log_e_value(q, hits, trials, prior) >= -np.log(alpha))

    centre = min(trials, max(0, round(q * trials)))
    return _first(0, centre, lambda hits: not rejected(hits)), _first(centre, trials + 1, rejected) - 1


def _first(low: int, high: int, holds: Any) -> int:
    """The first whole number of low..high-1 at which ``holds`` turns true, ``high`` when none; it turns once."""
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if holds(middle) else (middle + 1, high)
    return low
