"""What the numbers of one layer say about why it differs."""

from __future__ import annotations

import math

from export.layers.compare import Comparison, LayerDifference

#: Largest finite number of IEEE 754 half precision.
LARGEST_HALF = 65504.0
#: A part of clipped values above which a calibrated range does not fit the images.
CLIPPED = 0.01
#: dB by which the median channel may fall behind its tensor before a few channels must be taking the range.
UNEVEN_DB = 15.0


def title(layer: LayerDifference) -> str:
    """A layer for people: its node, its ops and the module that it came from."""
    return f"{layer.name} ({layer.op}{', ' + layer.module if layer.module else ''})"


def cause(comparison: Comparison, layer: LayerDifference) -> str:
    """Why this layer differs, as far as its own numbers and those of what it reads tell."""
    before = [comparison.layer(tensor) for tensor in layer.inputs]
    whole = [layer, *before]
    beyond = next((item for item in whole if item.largest > LARGEST_HALF), None)
    if not math.isfinite(layer.sqnr_db) and beyond is not None:
        return f"{title(beyond)} overflows fp16: its values reach {beyond.largest:.3g}, fp16 ends at {LARGEST_HALF:g}"
    figures = f"{layer.sqnr_db:.1f} dB, what it reads has {layer.input_sqnr_db:.1f} dB"
    for item in whole:
        if item.clipped is not None and item.clipped > CLIPPED:
            return f"{figures}; {item.clipped:.1%} of the values of {title(item)} lie outside of their calibrated range"
        if is_uneven(item):
            return (
                f"{figures}; a few channels of {title(item)} take the whole range: rounding leaves its median channel "
                f"{item.channel_sqnr_db:.1f} dB, the tensor {item.rounding_sqnr_db:.1f} dB"
            )
    if not math.isfinite(layer.sqnr_db):
        return f"its output is not finite; what it reads has {layer.input_sqnr_db:.1f} dB"
    return figures


def is_uneven(layer: LayerDifference) -> bool:
    """Whether rounding hurts most channels far more than the tensor as a whole shows."""
    if layer.rounding_sqnr_db is None or layer.channel_sqnr_db is None:
        return False
    return layer.rounding_sqnr_db - layer.channel_sqnr_db > UNEVEN_DB
