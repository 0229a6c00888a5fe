"""``gates.speed``: what an export must gain over what it replaces; asked for by name, as not every format is faster."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from slipway.spec.base import Section
from slipway.spec.formats import FormatName


class SpeedGate(Section):
    """Time and size of an export against the trained model, another format or the published version; at least one
    limit. Times hold at their confidence limits: noise never passes an export, it only asks for more ``seconds``."""

    against: Literal["eager", "published"] | FormatName = Field(
        default="eager", description="the trained model, the served network of the stable version, or a format"
    )
    formats: tuple[FormatName, ...] | None = Field(
        default=None, description="who is held to it; the served format unless set. All are measured"
    )
    min_speedup: float | None = Field(default=None, gt=0, description="times as fast, by the lower confidence limit")
    max_milliseconds: float | None = Field(default=None, gt=0, description="per image, by the upper confidence limit")
    max_megabytes: float | None = Field(default=None, gt=0, description="of all files (10^6 bytes)")
    max_size_ratio: float | None = Field(default=None, gt=0, description="files over those of ``against``, at most")
    batch: int = Field(default=1, ge=1, le=1024, description="images per call")
    threads: int = Field(default=1, ge=1, le=256, description="of each runtime; one, as an instance is served")
    seconds: float = Field(default=10.0, gt=0, le=3600, description="measured time of all formats together")
    confidence: float = Field(default=0.95, ge=0.5, le=0.999)

    @model_validator(mode="after")
    def _asks_something(self) -> SpeedGate:
        limits = (self.min_speedup, self.max_milliseconds, self.max_megabytes, self.max_size_ratio)
        if all(limit is None for limit in limits):
            raise ValueError("give at least one of min_speedup, max_milliseconds, max_megabytes, max_size_ratio")
        return self
