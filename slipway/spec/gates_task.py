"""``gates.task`` and ``gates.preprocessing``: what an export may lose of the task, and what images must look like."""

from __future__ import annotations

from typing import Any

from pydantic import Field, model_validator

from slipway.spec.base import Section

_CALLABLE = r"^[\w.]+:\w+$"


class TaskGate(Section):
    """The task on the held-out images, through the whole pipeline, against the trained model on the same images."""

    minimum: float | None = Field(default=None, ge=0, le=1, description="of the trained model and of every export")
    margin: float = Field(default=0.005, gt=0, lt=1, description="how much an export may lose, as a fraction")
    confidence: float = Field(default=0.95, gt=0.5, lt=1, description="with which it loses no more than the margin")
    accept_undecided: bool = Field(
        default=False, description="publish with too few labels to decide; what was seen to be lost must still fit"
    )
    accept_unlabelled: bool = Field(default=False, description="publish without labels; agreement is judged instead")
    min_agreement: float | None = Field(
        default=None, gt=0, le=1, description="of the best labels of unlabelled images; 1 - margin unless set"
    )


class PreprocessingGate(Section):
    """The contract's preprocessing against the one that the training used."""

    transform: str | None = Field(
        default=None,
        pattern=_CALLABLE,
        description="package.module:function of the training: takes a PIL image in RGB and gives float[3, H, W], "
        "normalised; or, without required arguments, makes such a callable",
    )
    arguments: dict[str, Any] = Field(default_factory=dict, description="keyword arguments of the one that makes it")
    images: str | None = Field(
        default=None, description="directory of odd photographs; var/samples/photos/images where it is, else samples"
    )
    max_difference: float = Field(default=3.0, gt=0, le=255, description="of any pixel of any picture, grey levels")
    mean_difference: float = Field(default=0.5, gt=0, le=255, description="of any picture, grey levels")
    max_task_change: float = Field(
        default=0.005, ge=0, le=1, description="of the trained model's task metric on the held-out images"
    )
    labels: str | None = Field(
        default=None,
        description="the training's labels: a file, one per line, or package.module:NAME, a sequence or a function",
    )
    labels_sha256: str | None = Field(
        default=None, pattern=r"^[0-9a-f]{64}$", description="of those labels joined by line feeds, if they are pinned"
    )

    @model_validator(mode="after")
    def _complete(self) -> PreprocessingGate:
        if self.arguments and self.transform is None:
            raise ValueError("arguments are those of a transform, and there is none")
        if self.labels_sha256 is not None and self.labels is None:
            raise ValueError("labels_sha256 pins labels, and there are none")
        return self
