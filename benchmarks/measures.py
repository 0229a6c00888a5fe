"""From recorded requests to figures: one round of one arm, all rounds of an arm, and an arm against the ceiling."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

QUANTILES = (50, 90, 95, 99)


def percentile(values: Sequence[float], percent: float) -> float:
    """The value at ``percent`` of the sorted values, interpolated between neighbours (numpy's default, type 7 of
    Hyndman and Fan 1996); NaN when there are none."""
    if not values:
        return math.nan
    ordered = sorted(values)
    place = (len(ordered) - 1) * percent / 100
    below = math.floor(place)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (ordered[above] - ordered[below]) * (place - below)


@dataclass(frozen=True)
class Round:
    """One arm for one stretch of time.

    ``requests``: good and failed, those in flight at its end too; ``images``: answered rightly, those of a request that
    reached over its edges in part; ``latencies``: milliseconds of the good ones; ``cpu_seconds``: by component;
    ``errors``: how often each text was seen.
    """

    arm: str
    number: int
    seconds: float
    requests: int
    images: float
    images_per_second: float
    latencies: Sequence[float]
    cpu_seconds: Mapping[str, float]
    errors: Mapping[str, int] = field(default_factory=dict)

    @property
    def failures(self) -> int:
        """Requests that failed or were answered wrongly."""
        return sum(self.errors.values())

    def cpu_ms_per_image(self, *components: str) -> float:
        """CPU milliseconds per image of some components, of all when none is named; NaN when no image was answered."""
        names = components or tuple(self.cpu_seconds)
        return 1000 * sum(self.cpu_seconds.get(name, 0.0) for name in names) / self.images if self.images else math.nan


@dataclass(frozen=True)
class Arm:
    """All rounds of one way to get answers, summed."""

    name: str
    rounds: Sequence[Round]

    @property
    def seconds(self) -> float:
        """Measured seconds."""
        return sum(item.seconds for item in self.rounds)

    @property
    def images(self) -> float:
        """Images answered rightly, in parts where requests reached over the edges of a round."""
        return sum(item.images for item in self.rounds)

    @property
    def images_per_second(self) -> float:
        """Over all rounds, each weighted by its time."""
        return sum(item.images_per_second * item.seconds for item in self.rounds) / self.seconds

    @property
    def latencies(self) -> list[float]:
        """Milliseconds of every good request."""
        return [value for item in self.rounds for value in item.latencies]

    @property
    def requests(self) -> int:
        """Requests, good and failed."""
        return sum(item.requests for item in self.rounds)

    @property
    def failures(self) -> int:
        """Requests that failed or were answered wrongly."""
        return sum(item.failures for item in self.rounds)

    @property
    def errors(self) -> dict[str, int]:
        """How often each error was seen."""
        total: Counter[str] = Counter()
        for item in self.rounds:
            total.update(item.errors)
        return dict(total)

    def cpu_ms_per_image(self, *components: str) -> float:
        """As of a round, over all rounds."""
        names = components or tuple({name for item in self.rounds for name in item.cpu_seconds})
        used = sum(item.cpu_seconds.get(name, 0.0) for item in self.rounds for name in names)
        return 1000 * used / self.images if self.images else math.nan

    def percentiles(self) -> dict[str, float]:
        """``p50`` ... ``p99`` in milliseconds."""
        latencies = self.latencies
        return {f"p{percent}": percentile(latencies, percent) for percent in QUANTILES}


def share_within(ended: float, milliseconds: float, seconds: float) -> float:
    """The share (0 to 1) of a request's time that lay in a window of ``seconds``; ``ended``: seconds after it opened.

    Counted whole at their ends, a few long requests would make throughput jump by their size.
    """
    begun = ended - milliseconds / 1000
    overlap = min(ended, seconds) - max(begun, 0.0)
    return max(0.0, overlap / (ended - begun)) if ended > begun else float(0 <= ended <= seconds)


@dataclass(frozen=True)
class Ratio:
    """Throughput against the ceiling: over all rounds, and the lowest and highest of single rounds. Rounds of one
    number ran next to each other, so that what disturbed the machine disturbed both."""

    total: float
    lowest: float
    highest: float


def ratio(arm: Arm, ceiling: Arm) -> Ratio:
    """``arm`` against ``ceiling``, which has as many rounds."""
    single = [a.images_per_second / b.images_per_second for a, b in zip(arm.rounds, ceiling.rounds, strict=True)]
    return Ratio(arm.images_per_second / ceiling.images_per_second, min(single), max(single))
