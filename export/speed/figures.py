"""From turns to figures: the median with its spread, and how many times as fast one is as another, with its limits.

Limits are those of the median by order statistics (the sign test; scipy.stats.quantile_test): they assume no
distribution, which times on a shared machine do not have. Rounds count as independent.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from export.speed.turns import LEAST_ROUNDS, Turn


@dataclass(frozen=True)
class Speed:
    """Milliseconds per image over rounds: median, 10th and 90th percentile; CPU milliseconds: median."""

    rounds: int
    ms_per_image: float
    p10: float
    p90: float
    cpu_ms_per_image: float

    @property
    def spread(self) -> float:
        """p90 minus p10, milliseconds."""
        return self.p90 - self.p10


@dataclass(frozen=True)
class Limits:
    """A median; ``low`` and ``high``: its one-sided confidence limits, NaN where there were too few rounds."""

    median: float
    low: float
    high: float


def speed(turns: Sequence[Turn]) -> Speed:
    """The figures of one contestant."""
    times = [turn.ms_per_image for turn in turns]
    p10, median, p90 = (float(value) for value in np.percentile(times, (10, 50, 90)))
    cpu = float(np.median([turn.cpu_ms_per_image for turn in turns]))
    return Speed(len(turns), median, p10, p90, cpu)


def time_limits(turns: Sequence[Turn], confidence: float) -> Limits:
    """Milliseconds per image."""
    return _limits([turn.ms_per_image for turn in turns], confidence)


def speedup(reference: Sequence[Turn], candidate: Sequence[Turn], confidence: float) -> Limits:
    """How many times as fast ``candidate`` is: the ratio of the two turns of each round."""
    pairs = zip(reference, candidate, strict=True)
    return _limits([a.ms_per_image / b.ms_per_image for a, b in pairs], confidence)


def rounds_for(confidence: float) -> int:
    """Rounds from which on a one-sided limit of a median exists: ``0.5 ** rounds <= 1 - confidence``."""
    return max(LEAST_ROUNDS, math.ceil(math.log(1 - confidence, 0.5)))


def _limits(values: Sequence[float], confidence: float) -> Limits:
    from scipy.stats import quantile_test

    median = float(np.median(values))
    low, high = (
        quantile_test(values, q=median, p=0.5, alternative=side).confidence_interval(confidence)
        for side in ("greater", "less")
    )
    return Limits(median, float(low.low), float(high.high))
