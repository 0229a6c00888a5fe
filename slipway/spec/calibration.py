"""``calibration``: the real images that INT8 ranges are measured on."""

from __future__ import annotations

from pydantic import Field

from slipway.spec.base import Section


class CalibrationSpec(Section):
    """Images for INT8 calibration, through the same contract as every other image."""

    images: str | None = Field(default=None, description="directory of real images; the held-out samples unless set")
    count: int = Field(default=64, ge=1, le=10_000, description="how many, spread evenly over the directory")
