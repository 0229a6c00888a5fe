"""``input``, ``normalise``, ``labels`` and ``postprocess``: what happens to an image around its network."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from slipway.contract import Preprocess
from slipway.spec.base import Section

Triple = tuple[float, float, float]


class InputSpec(Section):
    """How an image becomes the network's input; see slipway.contract.Preprocess."""

    height: int = Field(ge=1, le=8192)
    width: int = Field(ge=1, le=8192)
    resize: Literal["shorter_side", "letterbox", "stretch"] = "shorter_side"
    resize_to: int | None = Field(default=None, ge=1, description="shorter side before the crop; the height unless set")
    interpolation: Literal["bilinear", "bicubic", "nearest"] = "bilinear"
    antialias: bool = True
    colour: Literal["rgb", "bgr", "grey"] = "rgb"
    fill: int = Field(default=114, ge=0, le=255)
    reduced_decode: bool = False
    max_pixels: int = Field(default=50_000_000, ge=1)
    max_bytes: int = Field(default=20_000_000, ge=1)

    @model_validator(mode="after")
    def _crop_fits(self) -> InputSpec:
        if self.resize_to is not None and self.resize_to < max(self.height, self.width):
            raise ValueError("resize_to is smaller than the crop: height and width must fit into it")
        return self

    def preprocess(self) -> Preprocess:
        """The same values as the contract's plain dataclass."""
        values = self.model_dump()
        values["resize_to"] = self.resize_to or max(self.height, self.width)
        return Preprocess(**values)


class NormaliseSpec(Section):
    """``(pixels / scale - mean) / std`` per channel, baked into the exported graph."""

    scale: float = Field(default=255.0, gt=0)
    mean: Triple = (0.0, 0.0, 0.0)
    std: tuple[Annotated[float, Field(gt=0)], Annotated[float, Field(gt=0)], Annotated[float, Field(gt=0)]] = (
        1.0,
        1.0,
        1.0,
    )


class LabelsSpec(Section):
    """Labels from a file, one per line, or ``count`` numbered ones (``class_0000`` ...)."""

    file: str | None = None
    count: int | None = Field(default=None, ge=1, le=1_000_000)

    @model_validator(mode="after")
    def _one_way(self) -> LabelsSpec:
        if (self.file is None) == (self.count is None):
            raise ValueError("give exactly one of file and count")
        return self


class PostprocessSpec(Section):
    """From logits to labels; see slipway.contract.Postprocess."""

    activation: Literal["softmax", "sigmoid", "none"] = "softmax"
    temperature: float = Field(default=1.0, gt=0)
    top_k: int = Field(default=5, ge=1)
    score_threshold: float = Field(default=0.0, ge=0, le=1, description="labels below it are not named; 0: all are")

    @model_validator(mode="after")
    def _scores_are_probabilities(self) -> PostprocessSpec:
        if self.score_threshold and self.activation == "none":
            raise ValueError("score_threshold: without an activation scores are no probabilities")
        return self
