"""``int8``: how ONNX Runtime's INT8 ranges are chosen; see export/formats/onnx_int8.py for figures."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from slipway.spec.base import Section


class Int8Spec(Section):
    """INT8 of the ONNX formats. The images are those of ``calibration``."""

    reduce_range: bool = Field(
        default=True,
        description="onnx-int8: weights of 7 bits, right on every processor; 8 bits are right only where it has VNNI",
    )
    method: Literal["minmax", "percentile"] = Field(
        default="minmax", description="range of an activation: its extremes, or without its outliers"
    )
    percentile: float = Field(default=99.99, gt=50, lt=100, description="of the values that a range holds")
