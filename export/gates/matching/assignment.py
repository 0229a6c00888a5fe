"""One-to-one assignment of two sets by similarity, and the overlap of boxes."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating]


def assign(similarity: Floats, allowed: NDArray[np.bool_]) -> list[tuple[int, int]]:
    """As many pairs (row, column) of allowed ones as there can be, and among those with the largest total similarity
    (Hungarian algorithm, scipy.optimize.linear_sum_assignment). ``similarity``: float[N, M] in 0..1; ``allowed``:
    bool[N, M]."""
    from scipy.optimize import linear_sum_assignment

    if not similarity.size:
        return []
    # one more pair is worth more than all similarities together
    worth = np.where(allowed, max(similarity.shape) + similarity, 0.0)
    rows, columns = linear_sum_assignment(worth, maximize=True)
    return [(int(row), int(column)) for row, column in zip(rows, columns, strict=True) if allowed[row, column]]


def overlaps(first: Floats, second: Floats) -> NDArray[np.float64]:
    """Intersection over union of boxes: float[N, 4] and float[M, 4] as x1, y1, x2, y2 -> float64[N, M] in 0..1.

    Boxes without area overlap with nothing."""
    one, two = np.asarray(first, np.float64).reshape(-1, 4), np.asarray(second, np.float64).reshape(-1, 4)
    low = np.maximum(one[:, None, :2], two[None, :, :2])
    high = np.minimum(one[:, None, 2:], two[None, :, 2:])
    common = np.prod(np.clip(high - low, 0.0, None), axis=2)
    areas = [np.prod(np.clip(boxes[:, 2:] - boxes[:, :2], 0.0, None), axis=1) for boxes in (one, two)]
    union = areas[0][:, None] + areas[1][None, :] - common
    found: NDArray[np.float64] = np.divide(common, union, out=np.zeros_like(common), where=union > 0)
    return found
