"""Non-inferiority in any metric over images by a paired bootstrap that is not vacuous where nothing differs.

Each draw gives every image a random weight, the same for both models (the Bayesian bootstrap: D. B. Rubin, Annals of
Statistics 9 (1981) 130-134), and the drop of the metric is taken; its quantile bounds the drop. Resampling cannot show
a failure that the sample does not hold, so one image more is drawn that the export left unanswered, more often one
that costs much. For a share of right answers that makes it the bound of Learned-Miller and Thomas (arXiv 1905.06208),
who conjecture coverage at every sample size; where images are only lost it is the exact limit of Clopper and Pearson:
about 600 images without any difference show, with 95 % confidence, a loss of less than half a point.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from export.metrics.base import Metric, once
from export.statistics.verdict import MOST_IMAGES, Comparison, decide

Floats = npt.NDArray[np.float64]

#: A draw is a weighting of all images; the 95 % quantile of so many is within a tenth of its distance from the median.
DRAWS = 4000
_SEED = 20_240
#: Weights that are held at once: 32 MB.
_CHUNK = 4_000_000
#: Images that are tried as the missed one, evenly spread.
_CANDIDATES = 500
#: Searches for the number of images needed stop when they know it to this part.
_NEEDED_PRECISION = 0.02


@dataclass(frozen=True)
class _Pair:
    """Both models' metric on the same images. ``sign``: +1 where higher is better. ``costs``: float64[images], summing
    to 1: how often each image is the one that the export is imagined to miss."""

    trained: Metric
    exported: Metric
    sign: float
    costs: Floats
    draws: int

    def quantile(self, level: float, *, copies: float = 1.0, added: float = 1.0) -> float:
        """Quantile of the drop. ``copies``: of every image, as if the sample were so many times larger. ``added``:
        weight of the missed image."""
        drops = []
        for weights, missed in self._drawn(copies, added):
            before = self.trained.values(weights + missed, np.zeros_like(missed))
            drops.append(self.sign * (before - self.exported.values(weights, missed)))
        return float(np.quantile(np.concatenate(drops), level))

    def _drawn(self, copies: float, added: float) -> Iterator[tuple[Floats, Floats]]:
        """Weights of the images and of the missed one, float64[b, images] each, until ``draws`` have been given.

        A sum of ``copies`` exponential weights has a gamma distribution, so copies of an image need one number."""
        random = np.random.default_rng(_SEED)
        images = self.trained.images
        for _, count in _parts(self.draws, images):
            shape = (count, images)
            weights = random.standard_exponential(shape) if copies == 1 else random.standard_gamma(copies, shape)
            missed = np.zeros(shape)
            chosen = random.choice(images, count, p=self.costs)
            missed[np.arange(count), chosen] = added * random.standard_exponential(count)
            yield weights, missed


def compare_metric(
    trained: Metric,
    exported: Metric,
    margin: float,
    confidence: float,
    draws: int = DRAWS,
    *,
    search: bool = True,
) -> Comparison:
    """``trained``, ``exported``: the metric of both models on the same images in the same order. ``margin``: in the
    metric's unit. The same numbers give the same verdict: the draws are seeded. ``search``: for the number of images
    that would decide, which takes far longer than the verdict.

    ``details``: ``draws``, ``lower`` (bound from below, without the added image) and ``better``. Raises ValueError for
    metrics of different images or direction.
    """
    if trained.images != exported.images or trained.better != exported.better:
        raise ValueError("the metric of both models must be that of the same images")
    sign = 1.0 if trained.better == "higher" else -1.0
    pair = _Pair(trained, exported, sign, _costs(trained, sign), draws)
    before, after = once(trained), once(exported)
    drop = sign * (before - after)
    # what is seen to be lost is lost: a bound below it would only be the metric's curvature
    upper = max(pair.quantile(confidence), drop)
    verdict = decide(drop, upper, margin)
    needed = _images_needed(pair, margin, confidence) if search and verdict == "undecided" else None
    details = {"draws": draws, "lower": pair.quantile(1 - confidence, added=0.0), "better": trained.better}
    return Comparison(trained.images, before, after, drop, upper, margin, confidence, verdict, needed, details)


def _costs(trained: Metric, sign: float) -> Floats:
    """What the metric loses where the trained model's answer to one image is missing, as shares of their sum."""
    images = trained.images
    candidates = np.linspace(0, images - 1, min(images, _CANDIDATES)).round().astype(int)
    lost = []
    for start, count in _parts(len(candidates), images):
        missing = np.zeros((count, images))
        missing[np.arange(count), candidates[start : start + count]] = 1.0
        lost.append(trained.values(1.0 - missing, missing))
    costs = np.zeros(images)
    costs[candidates] = np.maximum(sign * (once(trained) - np.concatenate(lost)), 0.0)
    return costs / costs.sum() if costs.sum() > 0 else np.full(images, 1 / images)


def _parts(rows: int, images: int) -> Iterator[tuple[int, int]]:
    """First row and number of rows of the parts that keep a float64[rows, images] small."""
    at_once = max(1, _CHUNK // images)
    return ((start, min(at_once, rows - start)) for start in range(0, rows, at_once))


def _images_needed(pair: _Pair, margin: float, confidence: float) -> int | None:
    """About how many images decide, when more of them are like those that there are."""
    images = pair.trained.images

    def decides(count: float) -> bool:
        return pair.quantile(confidence, copies=count / images) <= margin

    low, high = float(images), 2.0 * images
    while not decides(high):
        if high > MOST_IMAGES:
            return None
        low, high = high, 2 * high
    while high - low > _NEEDED_PRECISION * high:
        middle = (low + high) / 2
        low, high = (low, middle) if decides(middle) else (middle, high)
    return int(np.ceil(high))
