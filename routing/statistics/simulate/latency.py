"""Simulated latencies of two arms: the order statistics that the limits need, kept as the tail only."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from routing.statistics.evidence import Floats
from routing.statistics.quantile import count_limits

QUANTILE = 0.99
#: The spread of the logarithm of a latency: a p99 of 3.2 times the median.
SIGMA = 0.5


def looks(
    rng: np.random.Generator, experiments: int, batch: int, count: int, alpha: float, slower: float = 1.0
) -> Iterator[tuple[int, Floats, Floats]]:
    """(values so far, lower limits, upper limits) of p99 in each of ``experiments`` after each batch; each at alpha.

    Values are lognormal with median ``slower``. Limits lie in the upper tail, so only the largest values are kept.
    """
    keep = int(batch * count * (1 - QUANTILE) * 2) + 100
    tail = np.empty((experiments, 0))
    for look in range(1, count + 1):
        fresh = np.log(slower) + SIGMA * rng.standard_normal((experiments, batch))
        tail = np.sort(np.concatenate([tail, fresh], axis=1), axis=1)[:, -keep:]
        seen = look * batch
        low, high = count_limits(seen, QUANTILE, alpha)
        lower = _ranked(tail, seen, low) if low > 0 else np.zeros(experiments)
        upper = _ranked(tail, seen, high + 1) if high < seen else np.full(experiments, math.inf)
        yield seen, lower, upper


def harm(
    rng: np.random.Generator,
    experiments: int,
    batches: tuple[int, int],
    count: int,
    alpha: float,
    slower: float = 1.0,
    margin: float = 0.0,
    stable: float = 1.0,
) -> NDArray[np.bool_]:
    """Whether each look shows the canary's p99 above (1 + margin) of the stable one's, bool[experiments, looks].

    ``batches``: values of the stable version and of the canary between two looks. ``stable``: its median.
    """
    kept = looks(rng, experiments, batches[0], count, alpha / 2, stable)
    canary = looks(rng, experiments, batches[1], count, alpha / 2, slower)
    return np.stack([c[1] > (1 + margin) * s[2] for s, c in zip(kept, canary, strict=True)], axis=1)


def fixed_sample(slower: float, share: float, alpha: float, power: float) -> float:
    """The canary's values that one planned look needs, by the normal limit of the sample quantile's logarithm."""
    density = stats.norm.pdf(stats.norm.ppf(QUANTILE)) / SIGMA
    variance = QUANTILE * (1 - QUANTILE) / density**2
    z = stats.norm.ppf(1 - alpha) + stats.norm.ppf(power)
    return float(variance * (1 + share / (1 - share)) * (z / np.log(slower)) ** 2)


def _ranked(tail: Floats, seen: int, rank: int) -> Floats:
    """The value of ``rank`` (1 is the smallest of all that were seen), as latency; 0 below the tail that was kept."""
    at = rank - 1 - (seen - tail.shape[1])
    return np.exp(tail[:, at]) if at >= 0 else np.zeros(len(tail))
