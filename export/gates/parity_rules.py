"""What an export of each precision is held to by the parity gate."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from export.gates.measures import Agreement, Logits, relative_difference, signal_to_noise

if TYPE_CHECKING:
    from export.formats.base import Precision
    from export.gates.base import Reference

#: fp16 output alone leaves about 75 dB; exports that compute in fp32 leave 109 dB or more (measured on ResNet-18).
COMPUTED_IN_FP32_DB = 95.0


@dataclass(frozen=True)
class Problem:
    """What is wrong, in words. ``known``: the words name the cause, and none needs to be looked for."""

    text: str
    known: bool = False


class Rule(Protocol):
    """How one measure is taken, judged and told."""

    @property
    def name(self) -> str:
        """Of the measure, in evidence."""

    @property
    def nothing(self) -> float:
        """The value where there is no output."""

    @property
    def threshold(self) -> dict[str, Any]:
        """The limits by name."""

    @property
    def allowed(self) -> str:
        """The limits in a few words."""

    def measure(self, found: Logits, wanted: Logits, scale: float) -> float:
        """``scale``: largest absolute logit of the trained model."""

    def worst(self, values: Sequence[float]) -> float:
        """The one of several that decides."""

    def problems(self, value: float, where: str) -> Iterator[Problem]:
        """What is wrong with one value."""

    def label_problems(self, labels: Agreement, images: Sequence[str]) -> Iterator[Problem]:
        """What is wrong with the best labels; ``images``: names of some that disagree."""

    def found(self, measured: dict[str, Any]) -> str:
        """The measured values in a few words."""


def rule_for(reference: Reference, precision: Precision) -> Rule:
    """The rule of a precision, with the specification's limits."""
    limits = reference.gates.parity
    if precision == "fp32":
        return RelativeRule(limits.max_relative_difference)
    reduced = limits.reduced(precision)
    return NoiseRule(precision, reduced.min_sqnr_db, reduced.min_agreement)


@dataclass(frozen=True)
class RelativeRule:
    """fp32: the largest difference relative to the scale; the labels follow from it and are only reported."""

    limit: float
    name: str = "max_relative_difference"
    nothing: float = float("inf")

    @property
    def threshold(self) -> dict[str, Any]:
        """As :class:`Rule`."""
        return {self.name: self.limit}

    @property
    def allowed(self) -> str:
        """As :class:`Rule`."""
        return f"<= {self.limit:.1e} of scale"

    def measure(self, found: Logits, wanted: Logits, scale: float) -> float:
        """As :class:`Rule`."""
        return relative_difference(found, wanted, scale)

    def worst(self, values: Sequence[float]) -> float:
        """The largest."""
        return max(values)

    def problems(self, value: float, where: str) -> Iterator[Problem]:
        """As :class:`Rule`."""
        if value > self.limit:
            yield Problem(f"logits differ by {value:.3g} of their scale {where} (allowed {self.limit:.3g})")

    def label_problems(self, labels: Agreement, images: Sequence[str]) -> Iterator[Problem]:
        """None: gate 3 judges the labels of what agrees numerically."""
        yield from ()

    def found(self, measured: dict[str, Any]) -> str:
        """As :class:`Rule`."""
        return f"{measured[self.name]:.1e} of scale"


@dataclass(frozen=True)
class NoiseRule:
    """Fewer bits: signal over noise from below, and from above, and the best labels."""

    precision: Precision
    least_db: float
    least_agreement: float
    name: str = "sqnr_db"
    nothing: float = float("-inf")

    @property
    def threshold(self) -> dict[str, Any]:
        """As :class:`Rule`."""
        limits = {"min_sqnr_db": self.least_db, "min_agreement": self.least_agreement}
        return {**limits, "computed_in_fp32_db": COMPUTED_IN_FP32_DB}

    @property
    def allowed(self) -> str:
        """As :class:`Rule`."""
        return f">= {self.least_db:g} dB, agreement >= {self.least_agreement:g}"

    def measure(self, found: Logits, wanted: Logits, scale: float) -> float:
        """As :class:`Rule`; ``scale`` does not matter to a ratio."""
        return signal_to_noise(found, wanted)

    def worst(self, values: Sequence[float]) -> float:
        """The smallest."""
        return min(values)

    def problems(self, value: float, where: str) -> Iterator[Problem]:
        """As :class:`Rule`."""
        if value < self.least_db:
            yield Problem(f"the logits keep {value:.1f} dB of signal over noise {where} (at least {self.least_db:g})")
        if value > COMPUTED_IN_FP32_DB:
            text = (
                f"it agrees too well {where}: {value:.0f} dB is what fp32 arithmetic leaves, so this is not "
                f"{self.precision} and nothing was shown about it (the fp32 file under another name, or a runtime that "
                "computes in fp32 here)"
            )
            yield Problem(text, known=True)

    def label_problems(self, labels: Agreement, images: Sequence[str]) -> Iterator[Problem]:
        """As :class:`Rule`."""
        if labels.share < self.least_agreement - 1e-9:
            more = " ..." if len(images) < len(labels.disagreeing) else ""
            yield Problem(
                f"its best label agrees on {labels.share:.4f} of the held-out images (at least "
                f"{self.least_agreement:g}), not on {', '.join(images)}{more}"
            )

    def found(self, measured: dict[str, Any]) -> str:
        """As :class:`Rule`."""
        labels = f", agreement {measured['agreement']:.4f}" if "agreement" in measured else ""
        return f"{measured[self.name]:.1f} dB{labels}"
