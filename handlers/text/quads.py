"""Quadrilaterals around lines of text: four corners, clockwise, from the corner where the text begins.

They are continuous coordinates: the picture's left upper corner is (0, 0), its first pixel's centre (0.5, 0.5).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

#: [n, 4, 2] or [4, 2]: corners as x, y.
Quads = npt.NDArray[np.float64]

#: A box so many times as high as wide holds text that runs up or down (PaddleOCR, tools/infer/utility.py).
TALL = 1.5


def clockwise(corners: Quads) -> Quads:
    """[4, 2]: the corners of a convex quadrilateral from the upper left one on.

    The two leftmost corners are the left side, the upper of them comes first; so a line of up to 90 degrees keeps its
    ends.
    """
    by_x = corners[np.argsort(corners[:, 0], kind="stable")]
    left = by_x[:2][np.argsort(by_x[:2, 1], kind="stable")]
    right = by_x[2:][np.argsort(by_x[2:, 1], kind="stable")]
    return np.stack([left[0], right[0], right[1], left[1]])


def along_text(quad: Quads) -> Quads:
    """[4, 2], from :func:`clockwise`: beginning where the text would, were it turned clockwise in a tall box."""
    width, height = sides(quad)
    return np.roll(quad, -1, axis=0) if height >= TALL * width else quad


def upside_down(quad: Quads) -> Quads:
    """[4, 2]: the same place, the text beginning at its other end."""
    return np.roll(quad, 2, axis=0)


def sides(quad: Quads) -> tuple[float, float]:
    """Width and height of a [4, 2] in the direction of its text, pixels: of opposite sides the longer."""
    lengths = np.linalg.norm(np.roll(quad, -1, axis=0) - quad, axis=1)
    return float(max(lengths[0], lengths[2])), float(max(lengths[1], lengths[3]))


def enlarged(quad: Quads, margin: float) -> Quads:
    """[4, 2]: every side moved outwards by ``margin`` times the height of the text."""
    reach = margin * sides(quad)[1]
    along, down = (_unit(quad[1] - quad[0] + quad[2] - quad[3]), _unit(quad[3] - quad[0] + quad[2] - quad[1]))
    return quad + reach * np.stack([-along - down, along - down, along + down, down - along])


def _unit(vector: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    length = float(np.linalg.norm(vector))
    return vector / length if length else vector
