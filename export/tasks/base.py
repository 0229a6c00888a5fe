"""What the gates ask of a task's answers, whichever task it is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from export.metrics.base import Metric
from handlers.fields import Record

#: What truth.json says of one image.
Truth = Mapping[str, Any]


@dataclass(frozen=True)
class Agreement:
    """``share``: how much of the trained model's answers the export gives too, 0..1, NaN where there are none.
    ``details``: JSON-ready numbers of how they were compared; ``cause``: what explains a difference."""

    share: float
    details: Mapping[str, Any]
    cause: str | None = None


class Judge(Protocol):
    """The judgement of one task. Records are those of handlers.task.Result."""

    metric_name: str

    def metric(self, truth: Sequence[Truth], records: Sequence[Record]) -> Metric:
        """The task's metric; one entry per image in both. Raises SamplesInvalid for a truth that is none."""

    def agreement(self, trained: Sequence[Record], exported: Sequence[Record]) -> Agreement:
        """How far two models give the same answers to the same images."""

    def certainty(self, record: Record) -> float:
        """How far an answer is from being another one by rounding; the golden image is the one with the most."""
