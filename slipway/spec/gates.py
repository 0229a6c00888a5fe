"""``gates``: what an export must hold to be published."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from slipway.spec.base import Section


class ParityGate(Section):
    """Numeric agreement with the eager model, relative to the scale of its outputs."""

    max_relative_difference: float = Field(default=1e-4, gt=0)
    images: int = Field(default=16, ge=1)
    batch_sizes: tuple[Annotated[int, Field(ge=1)], ...] = (1, 2, 8)


class AccuracyGate(Section):
    """Accuracy on labelled images, through the whole pipeline, against the trained model."""

    minimum: float | None = Field(default=None, ge=0, le=1, description="of the trained model and of every export")
    max_drop: float = Field(default=0.005, ge=0, le=1, description="how much an export may lose, as a fraction")
    accept_unlabelled: bool = Field(default=False, description="publish without labels; agreement is reported")


class GatesSpec(Section):
    """What an export must hold to be published."""

    parity: ParityGate = Field(default_factory=ParityGate)
    accuracy: AccuracyGate = Field(default_factory=AccuracyGate)
