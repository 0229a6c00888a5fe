"""What a paired comparison of an export with its trained model found, and the three verdicts that it can give."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

#: ``non-inferior``: with the declared confidence the export loses no more than the margin. ``worse``: what was seen to
#: be lost exceeds the margin. ``undecided``: too few images to say either.
Verdict = Literal["non-inferior", "undecided", "worse"]

#: Sample sizes beyond this are not searched for: nobody labels that many images to publish a model.
MOST_IMAGES = 1_000_000
#: Absorbs the rounding of float subtraction; one image of ``MOST_IMAGES`` is far more.
ROUNDING = 1e-9


@dataclass(frozen=True)
class Comparison:
    """One metric of both models on the same images. ``trained``, ``exported``: its values; ``drop``: what the export
    loses, negative where it gains, whichever way the metric is better; ``upper``: one-sided upper confidence bound of
    the drop. ``needed``: images that would decide it were their disagreements of the same kind, None where no number
    of them would (or none is needed). ``details``: further JSON-ready numbers of the method."""

    images: int
    trained: float
    exported: float
    drop: float
    upper: float
    margin: float
    confidence: float
    verdict: Verdict
    needed: int | None = None
    details: dict[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready, the details among the other numbers."""
        values = asdict(self)
        values.update(values.pop("details"))
        return values


def decide(drop: float, upper: float, margin: float) -> Verdict:
    """The verdict of an observed drop and the upper bound of the true one."""
    if upper <= margin + ROUNDING:
        return "non-inferior"
    return "worse" if drop > margin + ROUNDING else "undecided"


def smallest(decides: Callable[[int], bool], start: int) -> int | None:
    """The smallest number from ``start`` on that ``decides``, by doubling and halving; None beyond ``MOST_IMAGES``.

    Decisions on whole numbers are not quite monotone, so it may be a few images off."""
    low, high = start, start
    while not decides(high):
        if high >= MOST_IMAGES:
            return None
        low, high = high + 1, min(2 * high, MOST_IMAGES)
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if decides(middle) else (middle + 1, high)
    return high
