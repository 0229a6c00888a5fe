"""Shrinks and enlarges parts of a picture by averaging whole pixels, as torch's ``interpolate(mode="area")`` does.

Output pixel i of n is the mean of the source pixels ``floor(i * N / n) .. ceil((i + 1) * N / n)`` along each axis:
whole pixels, so that windows overlap where the sides do not divide. Networks that were tuned on this filter, as
facenet-pytorch's MTCNN was, answer otherwise to Pillow's box filter, whose windows end between pixels. The running sums
are made once per picture, after which any size of any part costs no more than its own pixels. The same bits under every
numpy.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Pixels = npt.NDArray[np.uint8]
Sums = npt.NDArray[np.uint32]
Indices = npt.NDArray[np.int64]


class Summed:
    """Running sums of one picture, 12 bytes per pixel."""

    def __init__(self, pixels: Pixels) -> None:
        """``pixels``: uint8[H, W, 3]. Sums beyond 32 bits overflow, which cancels in the difference of two."""
        height, width = pixels.shape[:2]
        self.size = width, height
        sums = np.zeros((height + 1, width + 1, 3), np.uint32)
        sums[1:, 1:] = pixels
        for row in range(2, height + 1):  # several times faster than numpy's own cumsum along this axis
            sums[row] += sums[row - 1]
        self._sums: Sums = np.cumsum(sums, axis=1, dtype=np.uint32)

    def resized(self, size: tuple[int, int]) -> Pixels:
        """uint8[height, width, 3] of the whole picture; ``size``: (width, height). Rounded half up."""
        left, right = (edges[0] for edges in _windows(np.zeros(1, np.int64), np.array([self.size[0]]), size[0]))
        top, bottom = (edges[0] for edges in _windows(np.zeros(1, np.int64), np.array([self.size[1]]), size[1]))
        rows = np.take(self._sums, bottom, axis=0)
        rows -= np.take(self._sums, top, axis=0)
        sums = np.take(rows, right, axis=1)
        sums -= np.take(rows, left, axis=1)
        return _means(sums, (bottom - top)[:, None] * (right - left)[None, :])

    def crops(self, parts: Indices, side: int) -> Pixels:
        """uint8[n, side, side, 3]. ``parts``: int[n, 4], x1, y1, x2, y2 in whole pixels, inside the picture, each with
        an area; a part that is no square is squeezed into one."""
        left, right = (edges[:, None, :] for edges in _windows(parts[:, 0], parts[:, 2], side))
        top, bottom = (edges[:, :, None] for edges in _windows(parts[:, 1], parts[:, 3], side))
        flat, row = self._sums.reshape(-1, 3), self._sums.shape[1]
        sums = np.take(flat, bottom * row + right, axis=0)
        sums -= np.take(flat, bottom * row + left, axis=0)
        sums -= np.take(flat, top * row + right, axis=0)
        sums += np.take(flat, top * row + left, axis=0)
        return _means(sums, (bottom - top) * (right - left))


def _windows(start: Indices, end: Indices, count: int) -> tuple[Indices, Indices]:
    """int64[n, count] each: first source pixel of every window, and the one after its last."""
    at, sides = np.arange(count, dtype=np.int64)[None, :], (end - start)[:, None]
    return start[:, None] + at * sides // count, start[:, None] - ((at + 1) * sides // -count)


def _means(sums: Sums, count: Indices) -> Pixels:
    share = (1.0 / count).astype(np.float32)[..., None]
    rounded: Pixels = (sums * share + np.float32(0.5)).astype(np.uint8)
    return rounded
