"""Boxes of two answers, matched one to one."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from routing.compare.found import Incomparable

Floats = NDArray[np.float64]
#: Boxes of one answer; handlers record the best hundred.
_MOST = 1000


def corners(values: Any) -> Floats:
    """float64[n, 4]: x1, y1, x2, y2. Raises Incomparable, and what numpy raises for other forms."""
    if len(values) > _MOST:
        raise Incomparable(f"more than {_MOST} boxes")
    found: Floats = np.asarray(values, np.float64)
    if found.size and (found.ndim != 2 or found.shape[1] != 4):
        raise Incomparable("boxes are not of four numbers each")
    return found.reshape(-1, 4)


def matched(a: Floats, b: Floats, allowed: NDArray[np.bool_], least: float) -> Floats:
    """Intersections over union of the pairs of a one-to-one matching: float64[pairs], each ``least`` or more. As many
    pairs as there can be, and of equally many those that overlap most (Kuhn, 1955). ``allowed``: bool[n, m]."""
    overlap = iou(a, b)
    value = np.where(allowed & (overlap >= least), len(a) + len(b) + overlap, 0.0)
    rows, columns = linear_sum_assignment(value, maximize=True)
    taken: Floats = overlap[rows, columns][value[rows, columns] > 0]
    return taken


def iou(a: Floats, b: Floats) -> Floats:
    """float64[n, m] of boxes float64[n, 4] and float64[m, 4]; 0 for empty ones."""
    low = np.maximum(a[:, None, :2], b[None, :, :2])
    high = np.minimum(a[:, None, 2:], b[None, :, 2:])
    shared = np.clip(high - low, 0, None).prod(-1)
    own, other = (np.clip(item[:, 2:] - item[:, :2], 0, None).prod(-1) for item in (a, b))
    union = own[:, None] + other[None, :] - shared
    found: Floats = np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)
    return np.nan_to_num(found)
