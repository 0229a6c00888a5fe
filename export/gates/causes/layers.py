"""What the layers of the fp32 network reach on real images, and where in the source each was written."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from export.gates.causes.case import Case

if TYPE_CHECKING:
    from export.layers.graph import Frame, Layer
    from export.layers.taps import Grid


@dataclass(frozen=True)
class Range:
    """A layer's tensor: its calibrated range ``low`` to ``high``, what real images reach, and which part of their
    values lies ``clipped`` outside of the calibrated range."""

    layer: Layer
    low: float
    high: float
    real_low: float
    real_high: float
    clipped: float

    @property
    def width(self) -> float:
        """How many times wider the calibrated range is than the real one; below 1 it is too narrow."""
        real = max(abs(self.real_low), abs(self.real_high))
        return max(abs(self.low), abs(self.high)) / real if real else float("inf")

    def __str__(self) -> str:
        return (
            f"{describe(self.layer)} is calibrated to {self.low:.3g}..{self.high:.3g}, real images reach "
            f"{self.real_low:.3g}..{self.real_high:.3g}"
        )


def describe(layer: Layer) -> str:
    """A layer for people: its node, its op and the module that it came from."""
    return f"{layer.name} ({layer.op}{', ' + layer.module if layer.module else ''})"


def written_at(frame: Frame, layer: Layer) -> str:
    """`` at model.py:12 in forward``, or nothing where the ONNX file does not know it."""
    import onnx

    from export.formats.stack_traces import source_of

    nodes = {node.name: node for node in onnx.load(str(frame.path)).graph.node}
    place = source_of(nodes[layer.name]) if layer.name in nodes else None
    return f" at {place}" if place else ""


def calibrated_ranges(case: Case) -> list[Range]:
    """Every tensor that the candidate quantises with one range, in the order of the layers; empty for a format whose
    file does not tell its ranges."""
    from export.layers.tapping import tap_artifact
    from export.layers.taps import Grid

    frame, artifact = case.frame, case.candidate.artifact
    if frame is None or artifact is None or artifact.path.suffix not in (".onnx", ".xml"):
        return []
    rounding = tap_artifact(artifact, frame).rounding
    grids = {name: grid for name, grid in rounding.items() if isinstance(grid, Grid)}
    values = [{name: image[name] for name in grids if name in image} for image in case.float_values()]
    return [
        _range(layer, grids[layer.tensor], [image[layer.tensor] for image in values])
        for layer in frame.layers
        if layer.tensor in grids and layer.tensor in values[0]
    ]


def _range(layer: Layer, grid: Grid, values: list[NDArray[np.float32]]) -> Range:
    return Range(
        layer,
        float(np.min(grid.low)),
        float(np.max(grid.high)),
        min(float(item.min()) for item in values),
        max(float(item.max()) for item in values),
        float(np.mean([grid.clipped(item) for item in values])),
    )
