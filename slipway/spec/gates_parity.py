"""``gates.executes`` and ``gates.parity``: that an export runs, and that it agrees with the trained model."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from slipway.spec.base import Section

BatchSizes = tuple[Annotated[int, Field(ge=1)], ...]


class ExecutesGate(Section):
    """What must run at all. The network's input has one size, so image sizes are those of the encoded images."""

    batch_sizes: BatchSizes = Field(default=(2,), description="besides 1 and serving.max_batch_size")
    image_sizes: int = Field(default=2, ge=2, le=16, description="different sizes of encoded images")


class ReducedParity(Section):
    """What a format that computes in fewer bits than fp32 must hold."""

    min_sqnr_db: float = Field(ge=0, description="signal over noise of the logits, dB")
    min_agreement: float = Field(ge=0, le=1, description="part of the images whose best label is the trained model's")


class Fp16Parity(ReducedParity):
    """fp16 keeps 11 bits: measured 50 dB (ResNet-18 of random weights) to 68 dB (trained)."""

    min_sqnr_db: float = Field(default=40.0, ge=0, description="signal over noise of the logits, dB")
    min_agreement: float = Field(default=0.99, ge=0, le=1, description="part of the images with the same best label")


class Bf16Parity(ReducedParity):
    """bfloat16 keeps 8 bits: measured 31 dB (ResNet-18 of random weights) to 60 dB (trained)."""

    min_sqnr_db: float = Field(default=25.0, ge=0, description="signal over noise of the logits, dB")
    min_agreement: float = Field(default=0.98, ge=0, le=1, description="part of the images with the same best label")


class Int8Parity(ReducedParity):
    """INT8: good exports of trained networks keep 10 dB (MobileNetV3) to 41 dB (ResNet-18) and 97.6 % of the labels, so
    the labels decide and the noise catches what they miss."""

    min_sqnr_db: float = Field(default=9.0, ge=0, description="signal over noise of the logits, dB")
    min_agreement: float = Field(default=0.97, ge=0, le=1, description="part of the images with the same best label")
    max_clipped: float = Field(
        default=0.05, ge=0, le=1, description="part of any activation that may lie outside of its calibrated range"
    )


class ParityGate(Section):
    """Numeric agreement with the eager model: fp32 relative to the scale of its outputs, the others by noise and
    labels."""

    max_relative_difference: float = Field(default=1e-4, gt=0, description="of fp32 formats")
    images: int = Field(default=16, ge=1)
    batch_sizes: BatchSizes = (1, 2, 8)
    fp16: Fp16Parity = Field(default_factory=Fp16Parity)
    bf16: Bf16Parity = Field(default_factory=Bf16Parity)
    int8: Int8Parity = Field(default_factory=Int8Parity)

    def reduced(self, precision: Literal["fp16", "bf16", "int8"]) -> ReducedParity:
        """The limits of a precision below fp32."""
        limits: dict[str, ReducedParity] = {"fp16": self.fp16, "bf16": self.bf16, "int8": self.int8}
        return limits[precision]
