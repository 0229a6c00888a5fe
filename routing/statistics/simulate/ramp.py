"""Walks of 1, 5, 25 and 50 % in which the base rate changes in time: what is added up over them misleads (Simpson)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from routing.statistics import strata
from routing.statistics.evidence import Counts, log_e_at, pooled
from routing.statistics.simulate.streams import Streams

SHARES = (0.01, 0.05, 0.25, 0.5)
#: Looks in each step, and requests of both versions between two of them.
LOOKS, BATCH = 5, 2000


def looks(rng: np.random.Generator, experiments: int, rates: Sequence[float], worse: float) -> Iterator[Streams]:
    """Counts so far after every batch, float64[experiments, steps]; steps that have not begun are 0.

    ``rates``: of the stable version by step; the canary's is higher by ``worse``.
    """
    counts = np.zeros((4, experiments, len(rates)))
    for step, (share, rate) in enumerate(zip(SHARES, rates, strict=True)):
        for _ in range(LOOKS):
            canary = rng.binomial(BATCH, share, experiments)
            hits = rng.binomial(BATCH - canary, rate), rng.binomial(canary, rate + worse)
            counts[:, :, step] += np.stack([hits[0], BATCH - canary, hits[1], canary])
            yield Streams(Counts(*counts[:2].copy()), Counts(*counts[2:].copy()))


def added(seen: Streams) -> Streams:
    """Over all steps: float64[experiments, 1], what must not be compared."""
    return Streams(*(Counts(arm.hits.sum(axis=1)[:, None], arm.trials.sum(axis=1)[:, None]) for arm in seen))


def found(seen: Streams, alpha: float, margin: float = 0.0) -> np.ndarray:
    """Whether the canary is shown to be worse by more than ``margin`` on average, bool[experiments].

    The same difference in every step is one of those that have to be refuted: it settles most experiments cheaply.
    """
    limit = -np.log(alpha)
    both = (seen.stable.trials > 0) & (seen.canary.trials > 0)
    at = log_e_at(*seen, pooled(*seen, margin), np.asarray(margin, dtype=np.float64))
    left = np.flatnonzero(np.where(both, at, 0.0).sum(axis=1) >= limit)
    result = np.zeros(len(both), dtype=bool)
    for few in np.array_split(left, -(-len(left) // 50)) if len(left) else ():
        profile = strata.profile(*(Counts(arm.hits[few], arm.trials[few]) for arm in seen))
        result[few] = strata.log_e_of(profile, margin, limit) >= limit
    return result


def first(seen: Iterator[Streams], alpha: float, margin: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """(number of looks until :func:`found`, infinity when never; the canary's requests by then), by experiment."""
    when, requests = np.empty(0), np.empty(0)
    for look, now in enumerate(seen, start=1):
        if look == 1:
            when, requests = np.full(len(now.canary.trials), np.inf), np.full(len(now.canary.trials), np.inf)
        left = np.flatnonzero(np.isinf(when))
        if not len(left):
            break
        some = left[found(Streams(*(Counts(arm.hits[left], arm.trials[left]) for arm in now)), alpha, margin)]
        when[some], requests[some] = look, now.canary.trials.sum(axis=1)[some]
    return when, requests
