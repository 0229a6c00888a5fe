"""The order in which people read: rows from the top, each from its left end, in the direction of the page's text."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from handlers.text.quads import Quads

#: A line belongs to a row when they share this much of the height of the lower of the two.
_SHARED = 0.5
#: Lines agree on a direction when the mean of their directions, by length, is this long; else the page stands upright.
_AGREED = 0.5


def reading_order(quads: Quads) -> list[int]:
    """Positions of [n, 4, 2] (each beginning where its text does) in reading order; the same for the same quads.

    The page is turned by the lines' common direction first: a page upside down is read from its own top.
    """
    if not len(quads):
        return []
    turned = _turned(quads, _direction(quads))
    low, high = turned.min(axis=1), turned.max(axis=1)
    tops, bottoms, lefts = low[:, 1], high[:, 1], low[:, 0]
    from_the_top = sorted(range(len(quads)), key=lambda row: (tops[row] + bottoms[row], lefts[row], row))
    order: list[int] = []
    for row in _rows(from_the_top, tops, bottoms):
        order += sorted(row, key=lambda index: (lefts[index], tops[index], index))
    return order


def _rows(order: list[int], tops: npt.NDArray[np.float64], bottoms: npt.NDArray[np.float64]) -> list[list[int]]:
    """A row is as high as its first line: no chain of steps can pull two rows together."""
    rows: list[list[int]] = []
    for index in order:
        first = rows[-1][0] if rows else index
        shared = min(bottoms[first], bottoms[index]) - max(tops[first], tops[index])
        lower = min(bottoms[first] - tops[first], bottoms[index] - tops[index])
        if rows and shared >= _SHARED * lower:
            rows[-1].append(index)
        else:
            rows.append([index])
    return rows


def _direction(quads: Quads) -> float:
    """Radians, clockwise from the x axis as y points down: the mean over the lines, weighted by their lengths."""
    runs = (quads[:, 1] - quads[:, 0]) + (quads[:, 2] - quads[:, 3])
    total = float(np.linalg.norm(runs, axis=1).sum())
    x, y = (float(value) for value in runs.sum(axis=0))
    return math.atan2(y, x) if math.hypot(x, y) >= _AGREED * total > 0 else 0.0


def _turned(quads: Quads, angle: float) -> Quads:
    cos, sin = math.cos(angle), math.sin(angle)
    turned: Quads = quads @ np.array([[cos, -sin], [sin, cos]])
    return turned
