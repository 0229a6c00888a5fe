"""Non-inferiority of one share of right answers to another on the same images, exactly: top-1, exact match, recall.

Of ``n`` images ``lost`` are answered rightly by the trained model alone and ``gained`` by the export alone. Tables are
ordered by the score statistic of Tango (1998), which unlike a bootstrap has something to say where nothing was lost;
its normal approximation refuses too little there (6.7 % instead of 5 % of the exports that lose half a point pass with
540 images), so the tail is computed exactly: the trinomial probability, at the margin, of every table that speaks at
least as much for the export, maximised over the unknown share of gained images (Hsueh, Liu and Chen 2001, who show
that the maximum lies on the margin). No more than ``1 - confidence`` of the exports that lose the margin ever pass.

Neither scipy 1.17 nor statsmodels 0.15 has a test or an interval for a difference of paired proportions.

T. Tango, Equivalence test and confidence interval for the difference in proportions for the paired-sample design,
Statistics in Medicine 17 (1998) 891-908, equations 24 to 26. H. Hsueh, J. Liu, J. J. Chen, Unconditional exact tests
for equivalence or noninferiority for paired binary endpoints, Biometrics 57 (2001) 478-483.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
from scipy.optimize import brentq
from scipy.special import bdtr, gammaln, ndtr, xlogy

from export.statistics.verdict import Comparison, decide, smallest

Floats = npt.NDArray[np.float64]
Counts = npt.NDArray[np.int64]

#: Above so many images the normal approximation is used: it is then within 1e-3 of the exact p-value.
_EXACT_IMAGES = 100_000
#: Shares of gained images that are tried, and refined once around the worst.
_NUISANCES, _REFINED = 60, 20
#: How far from its mean a binomial variable is followed, in standard deviations and then some.
_REACH = 8
#: Of the upper bound.
_PRECISION = 1e-6
#: Score statistics that differ by less are the same: computed for other tables they round differently.
_SAME_SCORE = 1e-9


def compare_answers(
    trained: npt.NDArray[np.bool_], exported: npt.NDArray[np.bool_], margin: float, confidence: float
) -> Comparison:
    """``trained``, ``exported``: bool[n], whether each answered image i rightly. ``margin``: of the share, 0 to 1.

    ``details``: ``lost``, ``gained``, ``p_worse`` (of a loss of at least the margin) and ``p_mcnemar`` (two-sided and
    exact, of no difference at all). Raises ValueError for arrays of different or no length.
    """
    if trained.shape != exported.shape or trained.ndim != 1 or not len(trained):
        raise ValueError(f"two arrays of one length are needed, not {trained.shape} and {exported.shape}")
    n = len(trained)
    lost, gained = int(np.sum(trained & ~exported)), int(np.sum(exported & ~trained))
    drop, upper = (lost - gained) / n, upper_bound(lost, gained, n, confidence)
    verdict = decide(drop, upper, margin)
    details = {
        "lost": lost,
        "gained": gained,
        "p_margin": p_value(lost, gained, n, margin),
        "p_mcnemar": mcnemar(lost, gained),
    }
    needed = images_needed(lost, gained, n, margin, confidence) if verdict == "undecided" else None
    right = float(np.mean(trained)), float(np.mean(exported))
    return Comparison(n, *right, drop, upper, margin, confidence, verdict, needed, details)


def score(lost: npt.ArrayLike, gained: npt.ArrayLike, n: float, margin: float) -> Floats:
    """Tango's statistic of the hypothesis that the margin is lost: standard normal under it, large against it.

    ``lost``, ``gained``: counts of any shape, fractions allowed; ``margin``: above 0, below 1."""
    worse, better = np.asarray(lost, np.float64), np.asarray(gained, np.float64)
    linear = -better - worse - (2 * n - better + worse) * margin
    constant = worse * margin * (margin + 1)
    # q: the likeliest share of lost images, less the margin, among those that the hypothesis allows
    q = (np.sqrt(np.maximum(linear**2 - 8 * n * constant, 0)) - linear) / (4 * n)
    variance = n * np.maximum(2 * q - margin * (margin + 1), np.finfo(float).tiny)
    statistic: Floats = (better - worse + n * margin) / np.sqrt(variance)
    return statistic


def p_value(lost: int, gained: int, n: int, margin: float) -> float:
    """Largest probability of a table that speaks as much for the export, where it really loses ``margin`` or more."""
    if n > _EXACT_IMAGES:
        return float(ndtr(-score(lost, gained, n, margin)))
    most_lost = _region(float(score(lost, gained, n, margin)), n, margin)
    largest = (1 - margin) / 2
    tried = np.concatenate([[0.0], np.geomspace(1e-3 / n, largest, _NUISANCES)])
    tails = [_tail(most_lost, share, n, margin) for share in tried]
    worst = int(np.argmax(tails))
    around = np.linspace(tried[max(worst - 1, 0)], tried[min(worst + 1, len(tried) - 1)], _REFINED)
    return float(max(*tails, *(_tail(most_lost, share, n, margin) for share in around)))


def _region(least: float, n: int, margin: float) -> Counts:
    """int64[n + 1]: for each number of gained images the most lost ones with a score of at least ``least``, or -1."""
    gained = np.arange(n + 1)
    low, high = np.full(n + 1, -1), n - gained
    while np.any(low < high):
        middle = (low + high + 1) // 2
        inside = score(middle, gained, n, margin) >= least - _SAME_SCORE
        low, high = np.where(inside, middle, low), np.where(inside, high, middle - 1)
    return low


def _tail(most_lost: Counts, share: float, n: int, margin: float) -> float:
    """Probability of the region where ``share`` of the images are gained and ``share + margin`` lost."""
    # Bernstein's inequality: outside of this lie fewer than 1e-12 of the binomial distribution
    reach = _REACH * (np.sqrt(n * share * (1 - share)) + _REACH)
    gained = np.arange(max(int(n * share - reach), 0), min(int(n * share + reach), n) + 1)
    gained = gained[most_lost[gained] >= 0]
    ways = gammaln(n + 1) - gammaln(gained + 1) - gammaln(n - gained + 1)
    here = np.exp(ways + xlogy(gained, share) + xlogy(n - gained, 1 - share))
    others = bdtr(most_lost[gained], n - gained, min((share + margin) / (1 - share), 1.0))
    return float(np.sum(here * others))


def upper_bound(lost: int, gained: int, n: int, confidence: float) -> float:
    """One-sided upper confidence bound of the share that is lost, net: the smallest margin that is not refused."""

    def refused(margin: float) -> float:
        return math.log(max(p_value(lost, gained, n, margin), 1e-300) / (1 - confidence))

    low, high = max((lost - gained) / n, 0.0) + _PRECISION, 1 - _PRECISION
    if low >= high or refused(high) > 0:
        return 1.0
    if refused(low) <= 0:
        return low
    return float(brentq(refused, low, high, xtol=_PRECISION) + _PRECISION)


def images_needed(lost: int, gained: int, n: int, margin: float, confidence: float) -> int | None:
    """Images that decide for the export when the same shares of them are lost and gained; None when that is not to be.

    Never fewer than show it without a single disagreement: ``log(1 - confidence) / log(1 - margin)``."""
    if (lost - gained) / n >= margin:
        return None

    def decides(images: int) -> bool:
        shares = round(lost * images / n), round(gained * images / n)
        return p_value(*shares, images, margin) <= 1 - confidence

    return smallest(decides, n)


def mcnemar(lost: int, gained: int) -> float:
    """Two-sided exact p-value of no difference (Q. McNemar, Psychometrika 12 (1947) 153-157): a binomial test of the
    images that only one of both answers rightly."""
    return float(min(1.0, 2 * bdtr(min(lost, gained), lost + gained, 0.5))) if lost + gained else 1.0
