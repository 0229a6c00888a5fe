"""Two rates, watched continuously: evidence against a composite null, and the confidence sequence of the difference.

Numerator: both arms' Beta mixtures (routing.statistics.bernoulli); denominator: the largest likelihood that the null
allows. Whatever point of the null is true, the ratio is at most a nonnegative martingale, so by Ville's inequality it
ever reaches 1/alpha with probability alpha at most (universal inference: Wasserman, Ramdas, Balakrishnan 2020). How
requests of the arms interleave, and how the split changes on the way, does not matter.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.optimize import brentq, minimize_scalar

from routing.observations import Rate
from routing.statistics.bernoulli import log_likelihood, log_mixture


def log_e_higher(canary: Rate, stable: Rate, margin: float = 0.0) -> float:
    """Evidence against "the canary's rate is at most the stable one's plus ``margin``" (log; 0 is none)."""
    return _log_e(canary, stable, margin, _rate(canary) <= _rate(stable) + margin)


def log_e_lower(canary: Rate, stable: Rate, margin: float = 0.0) -> float:
    """Evidence against "the canary's rate is at least the stable one's plus ``margin``"."""
    return _log_e(canary, stable, margin, _rate(canary) >= _rate(stable) + margin)


def log_e_higher_many(canary_hits: Any, canary_trials: Any, stable_hits: Any, stable_trials: Any) -> Any:
    """:func:`log_e_higher` with margin 0 for arrays of one shape; at most 0 without trials."""
    mixtures = log_mixture(canary_hits, canary_trials) + log_mixture(stable_hits, stable_trials)
    with np.errstate(invalid="ignore", divide="ignore"):
        p_c, p_s = canary_hits / canary_trials, stable_hits / stable_trials
        pooled = (canary_hits + stable_hits) / (canary_trials + stable_trials)
    inside = ~(p_c > p_s)
    c, s = np.where(inside, np.nan_to_num(p_c), pooled), np.where(inside, np.nan_to_num(p_s), pooled)
    best = log_likelihood(c, canary_hits, canary_trials) + log_likelihood(s, stable_hits, stable_trials)
    return mixtures - best


def confidence_sequence(canary: Rate, stable: Rate, alpha: float) -> tuple[float, float]:
    """(lower, upper) for the canary's rate minus the stable one's, valid at every look; (-1, 1) without trials."""
    if canary.trials == 0 or stable.trials == 0:
        return -1.0, 1.0
    estimate, limit = _rate(canary) - _rate(stable), -np.log(alpha)

    def below(margin: float) -> float:
        return float(log_e_higher(canary, stable, margin) - limit)

    def above(margin: float) -> float:
        return float(log_e_lower(canary, stable, margin) - limit)

    edge = 1 - 1e-9
    lower = -1.0 if estimate <= -edge or below(-edge) <= 0 else float(brentq(below, -edge, estimate, xtol=1e-6))
    upper = 1.0 if estimate >= edge or above(edge) <= 0 else float(brentq(above, estimate, edge, xtol=1e-6))
    return lower, upper


def _rate(seen: Rate) -> float:
    return seen.hits / seen.trials if seen.trials else 0.0


def _log_e(canary: Rate, stable: Rate, margin: float, inside: bool) -> float:
    if canary.trials == 0 or stable.trials == 0:
        return 0.0
    mixtures = log_mixture(canary.hits, canary.trials) + log_mixture(stable.hits, stable.trials)
    best = _likelihood(_rate(canary), _rate(stable), canary, stable) if inside else _on_border(canary, stable, margin)
    return float(mixtures - best)


def _on_border(canary: Rate, stable: Rate, margin: float) -> float:
    """The largest likelihood where the rates differ by exactly ``margin``; concave in the stable one's rate."""
    if margin == 0:
        pooled = (canary.hits + stable.hits) / (canary.trials + stable.trials)
        return _likelihood(pooled, pooled, canary, stable)
    low, high = max(0.0, -margin), min(1.0, 1.0 - margin)
    found = minimize_scalar(
        lambda rate: -_likelihood(rate + margin, rate, canary, stable),
        bounds=(low, high),
        method="bounded",
        options={"xatol": 1e-10},
    )
    ends = (_likelihood(rate + margin, rate, canary, stable) for rate in (low, high))
    return max(-float(found.fun), *ends)


def _likelihood(p_c: float, p_s: float, canary: Rate, stable: Rate) -> float:
    p_c, p_s = min(max(p_c, 0.0), 1.0), min(max(p_s, 0.0), 1.0)
    return float(log_likelihood(p_c, canary.hits, canary.trials) + log_likelihood(p_s, stable.hits, stable.trials))
