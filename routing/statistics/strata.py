"""Two rates over segments of time, in each of which the canary's share stayed the same.

While the share changes, any change of the base rate in time goes with it: counts that are added up over segments call
equal versions different, and hide a worse one (Simpson's paradox). So every segment k has its own stable rate and its
own difference d_k, and its own evidence E_k(d_k) of routing.statistics.evidence. Conditional on the segments before, it
is a supermartingale at the true rates, so the product over segments is one too, and with probability 1 - alpha the true
differences lie at every look among those whose product is below 1/alpha. "The mean difference is ``margin`` at most" is
refuted when all differences with that mean are. The mean is weighted by n_s n_c / (n_s + n_c), Mantel and Haenszel's
weights; since the differences are bounded simultaneously, weights may follow the data.

The smallest product under a given mean is bounded from below by its Lagrangian dual, which needs no convexity and gives
the limits of the mean in closed form. Differences that one segment alone refutes, whatever the others hold, are left
out of it. One segment alone is what routing.statistics.difference says.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from routing.observations import Rate
from routing.statistics import difference
from routing.statistics.evidence import Counts, Floats, log_e_apart

#: Differences at which a segment's evidence is known, in standard deviations from its estimate. Above the estimate
#: there is next to none; the evidence of a decision, 3 to 10, lies between -5 and 0.
_AROUND = np.concatenate([[-40, -20, -14, -11, -9, -7.5, -6.5, -5.75], np.linspace(-5, 0, 21), [1, 2, 3, 6]])
#: Where a rate has only few hits the deviation says little.
_EVERYWHERE = np.array([-1 + 1e-9, -0.5, -0.2, -0.05, 0.05, 0.2, 0.5, 1 - 1e-9])
#: Slopes of the dual, by the deviation of the mean; any of them gives a bound, so their distance costs power only.
_SLOPES = np.geomspace(0.05, 60.0, 48)


class Pair(NamedTuple):
    """What one segment saw of both versions."""

    canary: Rate
    stable: Rate


class Profile(NamedTuple):
    """A segment's log evidence against "the difference is ``at`` or less", each float64[..., D], ``at`` ascending.

    ``weight``, ``variance``: float64[...], of the segment in the mean (0 where an arm is missing), and of its estimate.
    """

    at: Floats
    log_e: Floats
    weight: Floats
    variance: Floats


def log_e_higher(pairs: Sequence[Pair], margin: float, limit: float) -> float:
    """Evidence against "the canary's rate is on average at most the stable one's plus ``margin``" (log), to be held
    against ``limit`` and no larger one."""
    told = told_pairs(pairs)
    if len(told) < 2:
        return difference.log_e_higher(*told[0], margin) if told else 0.0
    return float(log_e_of(_stacked(told), margin, limit))


def log_e_lower(pairs: Sequence[Pair], margin: float, limit: float) -> float:
    """Evidence against "the canary's rate is on average at least the stable one's plus ``margin``"."""
    return log_e_higher([misses(pair) for pair in pairs], -margin, limit)


def confidence_sequence(pairs: Sequence[Pair], alpha: float) -> tuple[float, float]:
    """(lower, upper) for the mean of the canary's rate minus the stable one's, each at ``alpha``; (-1, 1) without."""
    told = told_pairs(pairs)
    if len(told) < 2:
        return difference.confidence_sequence(*told[0], alpha) if told else (-1.0, 1.0)
    lower, mirrored = (_lower(_stacked(of), alpha) for of in (told, [misses(pair) for pair in told]))
    return lower, -mirrored


def estimate(pairs: Sequence[Pair]) -> float | None:
    """The weighted mean of the segments' differences; None without a segment that has both arms."""
    told = told_pairs(pairs)
    if not told:
        return None
    weights = [c.trials * s.trials / (c.trials + s.trials) for c, s in told]
    apart = [c.hits / c.trials - s.hits / s.trials for c, s in told]
    return math.fsum(w * d for w, d in zip(weights, apart, strict=True)) / math.fsum(weights)


def profile(stable: Counts, canary: Counts) -> Profile:
    """Of one segment or of many, element by element. Costs 41 times what `log_e_apart` does."""
    both = (stable.trials > 0) & (canary.trials > 0)
    n_s, n_c = np.maximum(stable.trials, 1.0), np.maximum(canary.trials, 1.0)
    smooth = [(arm.hits + 1.0) / (arm.trials + 2.0) for arm in (stable, canary)]
    variance = smooth[0] * (1 - smooth[0]) / n_s + smooth[1] * (1 - smooth[1]) / n_c
    near = (canary.rate - stable.rate)[..., None] + np.sqrt(variance)[..., None] * _AROUND
    far = np.broadcast_to(_EVERYWHERE, (*near.shape[:-1], len(_EVERYWHERE)))
    at = np.clip(np.sort(np.concatenate([near, far], axis=-1), axis=-1), _EVERYWHERE[0], _EVERYWHERE[-1])
    wide_s, wide_c = (Counts(arm.hits[..., None], arm.trials[..., None]) for arm in (stable, canary))
    log_e = np.where(both[..., None], log_e_apart(wide_s, wide_c, at), 0.0)
    return Profile(at, log_e, np.where(both, n_s * n_c / (n_s + n_c), 0.0), np.asarray(variance))


def log_e_of(segments: Profile, margin: float, limit: float) -> Floats:
    """`log_e_higher` of profiles float64[..., K, D] of K segments: float64[...]."""
    slopes, dual = _dual(segments, limit)
    return np.asarray(np.max(dual - slopes * margin, axis=-1))


def _lower(segments: Profile, alpha: float) -> float:
    slopes, dual = _dual(segments, -math.log(alpha))
    return float(max(-1.0, np.max((dual + math.log(alpha)) / slopes)))


def _dual(segments: Profile, limit: float) -> tuple[Floats, Floats]:
    """(slopes, the smallest of log evidence + slope x mean over all differences), float64[..., L] each."""
    weight = segments.weight / np.maximum(segments.weight.sum(axis=-1, keepdims=True), 1e-300)
    deviation = np.sqrt(np.sum(weight**2 * segments.variance, axis=-1, keepdims=True))
    slopes = _SLOPES / np.maximum(deviation, 1e-12)
    tilt = slopes[..., None, :, None] * (weight[..., None] * segments.at)[..., None, :]
    return slopes, np.asarray(np.min(_possible(segments.log_e, limit)[..., None, :] + tilt, axis=-1).sum(axis=-2))


def _possible(log_e: Floats, limit: float) -> Floats:
    """Infinity where a segment's evidence exceeds ``limit`` even with the least that all others can have; the point
    next to such ones stays, for what lies between."""
    least = np.min(log_e, axis=-1, keepdims=True)
    beyond = log_e > limit - (np.sum(least, axis=-2, keepdims=True) - least)
    beyond[..., :-1] &= beyond[..., 1:]
    return np.where(beyond, np.inf, log_e)


@lru_cache(maxsize=256)
def _profile(pair: Pair) -> Profile:
    """Segments that are over are the same at every look."""
    return profile(*(Counts.of(seen.hits, seen.trials) for seen in (pair.stable, pair.canary)))


def _stacked(pairs: Sequence[Pair]) -> Profile:
    return Profile(*(np.stack(parts) for parts in zip(*map(_profile, pairs), strict=True)))


def told_pairs(pairs: Sequence[Pair]) -> list[Pair]:
    """Those that have both arms."""
    return [pair for pair in pairs if pair.canary.trials and pair.stable.trials]


def misses(pair: Pair) -> Pair:
    """Misses instead of hits: what is good becomes what is bad."""
    return Pair(*(Rate(seen.trials, seen.trials - seen.hits) for seen in pair))
