"""Simulated experiments, many at once: what has been counted by each look."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from routing.statistics.bernoulli import log_e_value
from routing.statistics.evidence import Counts, Floats, log_e_apart, log_e_at, pooled


class Streams(NamedTuple):
    """Counts so far, float64[experiments, looks]."""

    stable: Counts
    canary: Counts


def rates(
    rng: np.random.Generator,
    experiments: int,
    batches: NDArray[np.int64],
    share: float,
    p_s: Floats | float,
    p_c: Floats | float,
) -> Streams:
    """A look after each of ``batches`` requests of both arms, of which each goes to the canary with ``share``.

    ``p_s``, ``p_c``: the rates, or one for each batch.
    """
    to_canary = rng.binomial(batches, share, (experiments, len(batches)))
    to_stable = batches - to_canary
    hits_s, hits_c = rng.binomial(to_stable, p_s), rng.binomial(to_canary, p_c)
    s, c = ((np.cumsum(a, axis=1), np.cumsum(b, axis=1)) for a, b in ((hits_s, to_stable), (hits_c, to_canary)))
    return Streams(Counts.of(*s), Counts.of(*c))


def apart(seen: Streams, alpha: float, margin: float = 0.0) -> NDArray[np.bool_]:
    """Where the evidence that the canary's rate is higher reaches ``alpha``; bool[experiments, looks].

    Most looks are settled by one point of the null, which bounds the evidence from above; the others get all of it.
    """
    limit, shape = -np.log(alpha), seen.canary.trials.shape
    stable, canary = (Counts(arm.hits.ravel(), arm.trials.ravel()) for arm in seen)
    found = np.zeros(shape, dtype=bool).ravel()
    for part in np.array_split(np.arange(found.size), max(1, found.size // 20_000)):
        s, c = (Counts(arm.hits[part], arm.trials[part]) for arm in (stable, canary))
        bound = log_e_at(s, c, pooled(s, c, margin), np.asarray(margin, dtype=np.float64))
        open_ = part[bound >= limit]
        for few in np.array_split(open_, -(-len(open_) // 500)) if len(open_) else ():
            s, c = (Counts(arm.hits[few], arm.trials[few]) for arm in (stable, canary))
            found[few] = log_e_apart(s, c, margin) >= limit
    return found.reshape(shape)


def first_apart(seen: Streams, alpha: float, margin: float = 0.0) -> NDArray[np.int64]:
    """The first look at which :func:`apart` holds, int64[experiments]; looks when never."""
    looks = seen.canary.trials.shape[1]
    when = np.full(len(seen.canary.trials), looks)
    for look in range(looks):
        left = np.flatnonzero(when == looks)
        if not len(left):
            break
        now = Streams(*(Counts(arm.hits[left, look, None], arm.trials[left, look, None]) for arm in seen))
        when[left[apart(now, alpha, margin)[:, 0]]] = look
    return when


def mirrored(seen: Streams) -> Streams:
    """Misses instead of hits."""
    return Streams(*(Counts(arm.trials - arm.hits, arm.trials) for arm in seen))


def universal(seen: Streams) -> Floats:
    """Universal inference for margin 0, as a measure: log evidence, float64[experiments, looks]."""
    stable, canary = seen
    together = (stable.hits + canary.hits) / np.maximum(stable.trials + canary.trials, 1)
    evidence = log_e_value(together, *stable) + log_e_value(together, *canary)
    return np.where(canary.rate > stable.rate, evidence, -np.inf)


def first(found: NDArray[np.bool_]) -> NDArray[np.int64]:
    """The number of the first look at which something was found, int64[experiments]; looks when never."""
    return np.asarray(np.where(found.any(axis=1), found.argmax(axis=1), found.shape[1]))


def z_values(seen: Streams) -> Floats:
    """The usual pooled z of two proportions; 0 where it cannot be computed."""
    stable, canary = seen
    together = (stable.hits + canary.hits) / np.maximum(stable.trials + canary.trials, 1)
    spread = together * (1 - together) * (1 / np.maximum(stable.trials, 1) + 1 / np.maximum(canary.trials, 1))
    with np.errstate(divide="ignore", invalid="ignore"):
        z = (canary.rate - stable.rate) / np.sqrt(spread)
    return np.asarray(np.nan_to_num(z, posinf=0.0, neginf=0.0))
