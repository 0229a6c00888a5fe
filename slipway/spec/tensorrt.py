"""``tensorrt``: how plans are built; see export/tensorrt."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, model_validator

from slipway.spec.base import Section

Batch = Annotated[int, Field(ge=1, le=1024)]


class TensorrtProfile(Section):
    """The optimisation profile's batch sizes; height and width are the input's."""

    min: Batch = Field(default=1, description="smallest batch that a plan takes")
    opt: Batch | None = Field(default=None, description="tuned for; serving.max_batch_size unless set")
    max: Batch | None = Field(default=None, description="at least serving.max_batch_size, which it is unless set")

    @model_validator(mode="after")
    def _ascending(self) -> TensorrtProfile:
        sizes = [size for size in (self.min, self.opt, self.max) if size is not None]
        if sizes != sorted(sizes):
            raise ValueError(f"min <= opt <= max does not hold: {sizes}")
        return self


class TensorrtSpec(Section):
    """How plans are built. Compatible plans run on other GPUs or with newer runtimes, and are slower or larger."""

    profile: TensorrtProfile = Field(default_factory=TensorrtProfile)
    workspace_mb: int = Field(default=4096, ge=16, description="the builder's limit of scratch memory (2^20 bytes)")
    tf32: bool = Field(default=False, description="tensorrt: convolutions with 10 bits of mantissa, judged like fp16")
    hardware_compatible: bool = Field(default=False, description="one plan for Ampere and newer instead of one per GPU")
    version_compatible: bool = Field(default=False, description="plans that newer runtimes of TensorRT open")
    optimization_level: Annotated[int, Field(ge=0, le=5)] | None = Field(
        default=None, description="how long the builder searches; TensorRT's own unless set"
    )
