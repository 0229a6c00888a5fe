"""Evidence of two arms' counts, at any number of looks, against "the canary's rate exceeds the stable one's by
``margin`` at most".

The null is composite: every stable rate q is possible. For each q on its own the evidence E(q) is an average of three
products of likelihood ratios, each a supermartingale when the stable rate is q and the canary's is q + margin or less:

* *directed*: both rates move apart from (q, q + margin) by ``distance``, the larger arm less, so that their mean by
  traffic stays. To first order such a ratio does not depend on q, so nothing is paid for not knowing it: the idea of
  the e-variables of Turner, Ly and Gruenwald 2024 ("Generic E-variables for exact sequential k-sample tests that allow
  for optional stopping", Journal of Statistical Planning and Inference 230) without their blocks of fixed size;
* *product*: the two arms' own Beta mixtures, as in universal inference (Wasserman, Ramdas and Balakrishnan 2020, PNAS
  117), for effects that the directed ones do not hold;
* *stable*: the stable arm's mixture alone, which refutes every q that the stable arm itself refutes.

The evidence against the null is the smallest E(q): at most that of the true q, so Ville's inequality holds for it,
whatever the order of the arms' requests and their shares. Both rates are taken to be constant: over changes of the
shares routing.statistics.strata joins what is counted between them. Plain universal inference needs about
twice the traffic (docs/routing-statistics.md).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

from routing.statistics.bernoulli import EDGE, log_e_above, log_e_value

Floats = NDArray[np.float64]

DIRECTED, PRODUCT, STABLE = 0.7, 0.2, 0.1
#: The canary's shares of traffic for which the directed ratios are best; others cost power only.
SHARES = np.array([0.02, 0.1, 0.5])
#: Distances as parts of the largest possible one, equally far apart by factor.
DISTANCES = 10.0 ** (-2.0 * (np.arange(16) + 0.5) / 16.0)
#: The stable arm's rate is looked for within this many standard deviations on the arcsine scale.
REACH = 12.0
COARSE, FINE, ZOOMS = 33, 9, 3


class Counts(NamedTuple):
    """``hits`` of ``trials``, of one experiment or of many: float64[...], 0 <= hits <= trials."""

    hits: Floats
    trials: Floats

    @classmethod
    def of(cls, hits: ArrayLike, trials: ArrayLike) -> Counts:
        """From whole numbers or arrays of them."""
        return cls(np.asarray(hits, dtype=np.float64), np.asarray(trials, dtype=np.float64))

    @property
    def rate(self) -> Floats:
        """Hits per trial; 0 without trials."""
        return np.asarray(self.hits / np.maximum(self.trials, 1.0))


def log_e_apart(stable: Counts, canary: Counts, margin: ArrayLike = 0.0) -> Floats:
    """The logarithm of the evidence against "the canary's rate <= the stable rate + ``margin``", element by element.

    Arrays broadcast. Costs 60 times what :func:`log_e_at` does. For the other direction count misses instead of hits.
    """
    shape = np.broadcast_shapes(*map(np.shape, (*stable, *canary, margin)))
    arms = [Counts(*(np.broadcast_to(part, shape)[..., None] for part in arm)) for arm in (stable, canary)]
    margins = np.broadcast_to(np.asarray(margin, dtype=np.float64), shape)[..., None]
    return _smallest(arms[0], arms[1], margins)


def log_e_at(stable: Counts, canary: Counts, rate: Floats, margin: Floats) -> Floats:
    """log E(q) of the module's text for q = ``rate``; an upper bound of `log_e_apart` for any q of the null."""
    alone = log_e_value(rate, *stable)
    product = alone + log_e_above(rate + margin, *canary)
    parts = [
        np.log(DIRECTED) + _directed(stable, canary, rate, margin),
        np.log(PRODUCT) + product,
        np.log(STABLE) + alone,
    ]
    return np.asarray(np.logaddexp.reduce(np.broadcast_arrays(*parts)))


def pooled(stable: Counts, canary: Counts, margin: ArrayLike) -> Floats:
    """A stable rate near the one that fits the null best: cheap, for `log_e_at` to show that there is little."""
    hits = stable.hits + canary.hits - canary.trials * np.asarray(margin)
    return np.asarray(np.clip(hits / np.maximum(stable.trials + canary.trials, 1.0), *_domain(np.asarray(margin))))


def _domain(margin: Floats) -> tuple[Floats, Floats]:
    """Below -margin the canary's rate would be negative: no such null. Above 1 - margin the stable arm alone speaks."""
    return np.maximum(EDGE, -margin + EDGE), np.full(np.shape(margin), 1.0 - EDGE)


def _directed(stable: Counts, canary: Counts, rate: Floats, margin: Floats) -> Floats:
    """The average over SHARES and DISTANCES of both arms' ratios against (rate, rate + margin)."""
    null = np.clip(rate + margin, EDGE, 1.0)
    share = SHARES[:, None]
    room = np.minimum((1.0 - null[..., None, None]) / (1.0 - share), rate[..., None, None] / share)
    distance = room * DISTANCES
    ratio = _ratio(stable, rate, rate[..., None, None] - distance * share)
    # Nothing exceeds a rate of 1: there the canary says nothing, and the distance is 0 for both.
    inside = np.minimum(null, 1.0 - EDGE)
    moved = np.minimum(inside[..., None, None] + distance * (1.0 - share), 1.0 - EDGE / 2.0)
    ratio = ratio + _ratio(canary, inside, moved)
    return np.asarray(special.logsumexp(ratio, axis=(-2, -1)) - np.log(len(SHARES) * len(DISTANCES)))


def _ratio(counts: Counts, null: Floats, alternative: Floats) -> Floats:
    """log likelihood(alternative) - log likelihood(null), by two logarithms; alternative: null's shape + (S, D)."""
    hits, misses = counts.hits[..., None, None], (counts.trials - counts.hits)[..., None, None]
    base = null[..., None, None]
    return np.asarray(hits * np.log(alternative / base) + misses * np.log((1.0 - alternative) / (1.0 - base)))


def _smallest(stable: Counts, canary: Counts, margin: Floats) -> Floats:
    """min over q of log E(q): a grid around both arms' estimates, made finer around its smallest value."""
    low, high = _domain(margin)
    bottom, top = _reach(stable, low, high)
    grid = np.sort(_grid(stable, canary, margin, bottom, top), axis=-1)
    values = log_e_at(stable, canary, grid, margin)
    best = np.min(values, axis=-1)
    for _ in range(ZOOMS):
        at = np.argmin(values, axis=-1)[..., None]
        left = np.take_along_axis(grid, np.maximum(at - 1, 0), axis=-1)
        right = np.take_along_axis(grid, np.minimum(at + 1, grid.shape[-1] - 1), axis=-1)
        grid = left + (right - left) * np.linspace(0.0, 1.0, FINE)
        values = log_e_at(stable, canary, grid, margin)
        best = np.minimum(best, np.min(values, axis=-1))
    return np.asarray(np.minimum(best, _beyond(stable, bottom, top, low, high)))


def _reach(stable: Counts, low: Floats, high: Floats) -> tuple[Floats, Floats]:
    """The stable rates worth looking at: REACH standard deviations on the scale where they do not depend on q."""
    middle = np.arcsin(np.sqrt(stable.rate))
    wide = REACH / (2.0 * np.sqrt(np.maximum(stable.trials, 1.0)))
    bottom = np.sin(np.maximum(middle - wide, 0.0)) ** 2
    top = np.sin(np.minimum(middle + wide, np.pi / 2.0)) ** 2
    return np.clip(bottom, low, high), np.clip(top, low, high)


def _grid(stable: Counts, canary: Counts, margin: Floats, bottom: Floats, top: Floats) -> Floats:
    """Rates between bottom and top, even on the arcsine scale, and some around what the canary says."""
    left, right = np.arcsin(np.sqrt(bottom)), np.arcsin(np.sqrt(top))
    even = np.sin(left + (right - left) * np.linspace(0.0, 1.0, COARSE)) ** 2
    trials = np.maximum(canary.trials, 1.0)
    deviation = np.sqrt((canary.rate * (1.0 - canary.rate) + 1.0 / trials) / trials)
    near = canary.rate - margin + deviation * np.array([-2.0, -1.0, 0.0, 1.0, 2.0])
    return np.asarray(np.clip(np.concatenate([even, near], axis=-1), bottom, top))


def _beyond(stable: Counts, bottom: Floats, top: Floats, low: Floats, high: Floats) -> Floats:
    """What E(q) is at least outside of bottom..top: the stable arm's part grows away from its estimate."""
    alone = np.log(STABLE) + log_e_value(np.concatenate([bottom, top], axis=-1), *stable)
    ends = np.concatenate([bottom <= low, top >= high], axis=-1)
    return np.asarray(np.min(np.where(ends, np.inf, alone), axis=-1))
