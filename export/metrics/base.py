"""What a metric over images offers to the bootstrap, and the form that most metrics have: a function of sums."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


class Metric(Protocol):
    """One model's metric on n labelled images, as a function of how much each image counts."""

    @property
    def images(self) -> int:
        """n."""

    @property
    def better(self) -> Literal["higher", "lower"]:
        """Which values of it are the better ones."""

    def values(self, weights: Floats, unanswered: Floats) -> Floats:
        """float64[B]: the metric where image i of draw b counts ``weights[b, i]`` times as the model answered it and
        ``unanswered[b, i]`` times as if the model had found nothing there. Both: float64[B, n], not negative."""


@dataclass(frozen=True)
class SumMetric:
    """A metric that is a function of sums over the images: a mean, a ratio of sums, a mean of ratios.

    ``sums``: float64[n, k], what each image adds. ``nothing``: float64[n, k], what it adds where nothing was found.
    ``value``: float64[B, k] of sums -> float64[B].
    """

    sums: Floats
    nothing: Floats
    value: Callable[[Floats], Floats]
    better: Literal["higher", "lower"] = "higher"

    def __post_init__(self) -> None:
        if self.sums.ndim != 2 or self.sums.shape != self.nothing.shape or not len(self.sums):
            raise ValueError(f"two arrays [n, k] are needed, not {self.sums.shape} and {self.nothing.shape}")

    @property
    def images(self) -> int:
        """n."""
        return len(self.sums)

    def values(self, weights: Floats, unanswered: Floats) -> Floats:
        """As :meth:`Metric.values`."""
        return self.value(weights @ self.sums + unanswered @ self.nothing)


def once(metric: Metric) -> float:
    """The metric itself: every image counts once."""
    ones = np.ones((1, metric.images))
    return float(metric.values(ones, np.zeros_like(ones))[0])


def mean_score(scores: npt.ArrayLike) -> SumMetric:
    """The mean of a score per image. ``scores``: float[n] or bool[n] in 0..1, higher is better, 0 for no answer."""
    each = np.asarray(scores, np.float64)
    if each.ndim != 1 or not len(each) or not (each.min() >= 0 and each.max() <= 1):
        raise ValueError("scores: one number in 0..1 per image is needed")
    count = np.ones_like(each)
    return SumMetric(np.stack([each, count], 1), np.stack([0 * each, count], 1), ratio)


def ratio(sums: Floats) -> Floats:
    """The first sum over the second; 0 where the second is 0."""
    return np.divide(sums[:, 0], sums[:, 1], out=np.zeros(len(sums)), where=sums[:, 1] > 0)
