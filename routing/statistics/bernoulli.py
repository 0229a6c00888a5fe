"""One rate, watched continuously: the Beta mixture martingale and the confidence sequence that it gives.

For whole numbers ``hits`` of ``trials`` and any p, the ratio of the likelihood mixed over a Beta prior to the
likelihood at p is a nonnegative martingale with mean 1 when p is true; by Ville's inequality it ever exceeds 1/alpha
with probability alpha at most. The p at which it does not are a confidence sequence: all of them hold at once.
Robbins 1970; Howard, Ramdas, McAuliffe, Sekhon 2021, Time-uniform, nonparametric, nonasymptotic confidence sequences.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from scipy.optimize import brentq
from scipy.special import betaincc, betaln, xlog1py, xlogy

from routing.observations import Rate

#: The prior of Krichevsky and Trofimov: at most half a logarithm of the trials is lost against the best rate.
PRIOR = (0.5, 0.5)
#: Rates are kept this far from 0 and 1 where a likelihood of 0 would leave no number.
EDGE = 1e-12


def log_mixture(hits: Any, trials: Any, prior: tuple[float, float] = PRIOR) -> Any:
    """Logarithm of the likelihood mixed over Beta(``prior``); arrays are taken element by element."""
    a, b = prior
    return betaln(a + hits, b + np.subtract(trials, hits)) - betaln(a, b)


def log_likelihood(rate: Any, hits: Any, trials: Any) -> Any:
    """Logarithm of rate^hits (1 - rate)^(trials - hits); minus infinity where that is 0."""
    return xlogy(hits, rate) + xlog1py(np.subtract(trials, hits), np.negative(rate))


def log_e_value(rate: Any, hits: Any, trials: Any, prior: tuple[float, float] = PRIOR) -> Any:
    """Logarithm of the evidence against ``rate``; reject where it reaches log(1/alpha)."""
    return log_mixture(hits, trials, prior) - log_likelihood(rate, hits, trials)


def log_e_above(rate: Any, hits: Any, trials: Any, prior: tuple[float, float] = PRIOR) -> Any:
    """Logarithm of the evidence against "the rate is ``rate`` or less", for arrays too.

    The prior is cut off below ``rate``: each alternative's ratio is a supermartingale under every smaller rate. About
    log 2 more than :func:`log_e_value` where it speaks. Against a rate of 1 there is no alternative: 0.
    """
    a, b = prior
    inside = np.clip(rate, EDGE, 1 - EDGE)
    with np.errstate(divide="ignore"):
        above = np.log(betaincc(a + hits, b + np.subtract(trials, hits), inside))
    cut = above - np.log(betaincc(a, b, inside))
    return np.where(np.asarray(rate) >= 1 - EDGE, 0.0, log_e_value(inside, hits, trials, prior) + cut)


def confidence_sequence(seen: Rate, alpha: float) -> tuple[float, float]:
    """(lower, upper) for the rate, valid at every look together with probability 1 - alpha; (0, 1) without trials."""
    if seen.trials == 0:
        return 0.0, 1.0
    estimate, limit = seen.hits / seen.trials, -np.log(alpha)

    def excess(rate: float) -> float:
        return float(log_e_value(rate, seen.hits, seen.trials) - limit)

    return _end(excess, 0.0, estimate), _end(excess, 1.0, estimate)


def _end(excess: Callable[[float], float], edge: float, estimate: float) -> float:
    """Where the evidence reaches its limit between ``estimate`` and ``edge``; the edge where it does not."""
    inside = abs(edge - 1e-12)
    if estimate == edge or excess(inside) <= 0:
        return edge
    return float(brentq(excess, min(inside, estimate), max(inside, estimate)))
