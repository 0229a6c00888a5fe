"""Resampling without antialiasing, which Pillow does not offer: equal to ``torch.nn.functional.interpolate``.

``align_corners=False``, samples at ``(i + 0.5) * scale - 0.5``, borders repeated; the cubic kernel has a = -0.75, as
in torch and OpenCV (Pillow's antialiased one has -0.5). Results are rounded to the nearest level.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Pixels = npt.NDArray[np.uint8]
_CUBIC_A = -0.75


def sample(
    source: Pixels, box: tuple[float, float, float, float], patch: tuple[int, int], interpolation: str
) -> Pixels:
    """``source``: uint8[H, W, C]; ``box``: left, top, right, bottom in its pixels; ``patch``: result width, height.

    Returns uint8[height, width, C]. ``interpolation``: ``bilinear`` (2x2 taps) or ``bicubic`` (4x4 taps).
    """
    rows, row_weights = _taps(box[1], box[3], patch[1], source.shape[0], interpolation)
    columns, column_weights = _taps(box[0], box[2], patch[0], source.shape[1], interpolation)
    tall = np.zeros((patch[1], *source.shape[1:]), np.float32)
    for index, weight in zip(rows, row_weights, strict=True):
        tall += source[index] * weight[:, None, None]
    full = np.zeros((patch[1], patch[0], source.shape[2]), np.float32)
    for index, weight in zip(columns, column_weights, strict=True):
        full += tall[:, index] * weight[:, None]
    pixels: Pixels = np.clip(np.rint(full), 0, 255).astype(np.uint8)
    return pixels


def _taps(
    start: float, stop: float, count: int, limit: int, interpolation: str
) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.float32]]:
    """Indices [taps, count] into one axis of length ``limit`` and their weights [taps, count]."""
    centre = start + (np.arange(count) + 0.5) * ((stop - start) / count) - 0.5
    if interpolation == "bilinear":
        centre = np.maximum(centre, 0.0)
    base = np.floor(centre)
    offset = centre - base
    taps = range(-1, 3) if interpolation == "bicubic" else range(2)
    weights = [_cubic(np.abs(offset - tap)) if interpolation == "bicubic" else 1 - np.abs(offset - tap) for tap in taps]
    indices = [np.clip(base + tap, 0, limit - 1).astype(np.intp) for tap in taps]
    return np.stack(indices), np.stack(weights).astype(np.float32)


def _cubic(distance: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Keys' cubic convolution kernel (1981) for distances 0..2."""
    near = ((_CUBIC_A + 2) * distance - (_CUBIC_A + 3)) * distance**2 + 1
    far = _CUBIC_A * (((distance - 5) * distance + 8) * distance - 4)
    return np.where(distance <= 1, near, far)
