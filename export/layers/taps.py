"""Taps: one opened network that also tells the values between its layers, by the tensor names of the frame.

A tap shows what the next layer really reads: after the rounding of a quantised tensor, before the cast that a kept
layer's answer goes through.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Values = dict[str, NDArray[np.float32]]
#: float32 values -> the same values as they are after a tensor's rounding.
Rounding = Callable[[NDArray[np.float32]], NDArray[np.float32]]


@dataclass(frozen=True)
class Grid:
    """A quantised tensor's grid: ``low`` to ``high`` in ``levels`` equal steps; numbers, or arrays that broadcast
    (one range per channel)."""

    low: NDArray[np.float32]
    high: NDArray[np.float32]
    levels: int

    def __call__(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        """The nearest point of the grid."""
        step = self.step
        steps = np.clip(np.rint((values - self.low) / step), 0, self.levels - 1)
        rounded: NDArray[np.float32] = (steps * step + self.low).astype(np.float32)
        return rounded

    def clipped(self, values: NDArray[np.float32]) -> float:
        """Which part of the values lies more than one step outside of the grid."""
        step = self.step
        return float(np.mean((values < self.low - step) | (values > self.high + step)))

    @property
    def step(self) -> NDArray[np.float32]:
        """Distance of two neighbours."""
        width: NDArray[np.float32] = np.maximum((self.high - self.low) / (self.levels - 1), np.finfo(np.float32).tiny)
        return width


@dataclass(frozen=True)
class Tap:
    """``run``: uint8[N, H, W, 3] -> values by tensor name; ``rounding``: of the tensors that are rounded;
    ``note``: what it cannot show, None when it shows every layer that the runtime keeps."""

    format: str
    run: Callable[[NDArray[np.uint8]], Values]
    rounding: Mapping[str, Rounding] = field(default_factory=dict)
    note: str | None = None


def round_to_half(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Through IEEE fp16: what is beyond 65504 becomes infinite."""
    with np.errstate(over="ignore"):
        return values.astype(np.float16).astype(np.float32)


def round_to_bfloat(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Through bfloat16, to the nearest even, as oneDNN does; numpy has no such type."""
    bits = np.ascontiguousarray(values, np.float32).view(np.uint32)
    rounded = (bits + 0x7FFF + ((bits >> 16) & 1)) & np.uint32(0xFFFF0000)
    result: NDArray[np.float32] = rounded.astype(np.uint32).view(np.float32).reshape(values.shape)
    return result
