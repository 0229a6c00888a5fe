"""Two rates, watched continuously: evidence against a composite null, and the confidence sequence of the difference.

The evidence is that of routing.statistics.evidence; whatever point of the null is true, it ever reaches 1/alpha with
probability alpha at most. How requests of the arms interleave does not matter. Both rates have to stay the same, or the
arms' shares: where shares change, so may the rates in time, and routing.statistics.strata is for that.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache

import numpy as np
from scipy.optimize import brentq

from routing.observations import Rate
from routing.statistics.evidence import Counts, log_e_apart

#: Deviations from the estimate at which a limit is looked for first: for an alpha of 1 to 10 % it lies a little beyond.
_FIRST_STEP = 2.5
#: How exact a limit is: as a part of that first step, since rare events have limits that are smaller still, and at most
#: so much of the difference itself.
_PRECISION, _COARSEST = 1 / 200, 1e-5
#: A controller looks every second, mostly at counts that it has seen before; each costs milliseconds.
_remembered = lru_cache(maxsize=1024)


@_remembered
def log_e_higher(canary: Rate, stable: Rate, margin: float = 0.0) -> float:
    """Evidence against "the canary's rate is at most the stable one's plus ``margin``" (log; 0 without trials)."""
    if canary.trials == 0 or stable.trials == 0:
        return 0.0
    return float(log_e_apart(_counts(stable), _counts(canary), margin))


def log_e_lower(canary: Rate, stable: Rate, margin: float = 0.0) -> float:
    """Evidence against "the canary's rate is at least the stable one's plus ``margin``"."""
    return log_e_higher(_misses(canary), _misses(stable), -margin)


@_remembered
def confidence_sequence(canary: Rate, stable: Rate, alpha: float) -> tuple[float, float]:
    """(lower, upper) for the canary's rate minus the stable one's; (-1, 1) without trials.

    Each is wrong at any look with probability ``alpha`` at most, both together with twice that: the limits agree with
    the tests at ``alpha``.
    """
    if canary.trials == 0 or stable.trials == 0:
        return -1.0, 1.0
    estimate, limit = canary.hits / canary.trials - stable.hits / stable.trials, -np.log(alpha)
    step = _FIRST_STEP * _deviation(canary, stable)
    lower = _end(lambda margin: log_e_higher(canary, stable, margin) - limit, -1.0, estimate, step)
    return lower, _end(lambda margin: log_e_lower(canary, stable, margin) - limit, 1.0, estimate, step)


def _deviation(canary: Rate, stable: Rate) -> float:
    """About the standard deviation of the estimate; never 0."""
    rates = [((arm.hits + 1) / (arm.trials + 2), arm.trials) for arm in (canary, stable)]
    return math.sqrt(math.fsum(rate * (1 - rate) / trials for rate, trials in rates))


def _end(excess: Callable[[float], float], edge: float, estimate: float, step: float) -> float:
    """Where the evidence, which only grows on the way, reaches its limit between ``estimate`` and ``edge``; the edge
    where it does not. ``step``: how far from the estimate to look first, then twice as far each time."""
    inside = edge * (1 - 1e-9)
    if abs(estimate - edge) < 1e-9:
        return edge
    near, way = estimate, math.copysign(step, edge)
    while True:
        far = estimate + way
        if abs(far) >= abs(inside) and far * edge > 0:
            far = inside
        if excess(far) > 0:
            return float(brentq(excess, min(near, far), max(near, far), xtol=min(_COARSEST, _PRECISION * step)))
        if far == inside:
            return edge
        near, way = far, 2 * way


def _counts(seen: Rate) -> Counts:
    return Counts.of(seen.hits, seen.trials)


def _misses(seen: Rate) -> Rate:
    return Rate(seen.trials, seen.trials - seen.hits)
