"""Axis-aligned boxes: overlaps, greedy suppression, and the way back from a network's input to the picture.

A box is x1, y1, x2, y2 in pixels, x to the right, y down; the picture's own corner is 0, 0 and its far corner is
(width, height). Arrays of boxes are float[n, 4].
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from handlers.geometry import Placement

Boxes = npt.NDArray[np.floating]
Floats = npt.NDArray[np.float64]
Indices = npt.NDArray[np.intp]


def areas(boxes: Boxes) -> Floats:
    """float64[n] in square pixels; 0 where a corner lies on the wrong side."""
    wide = np.asarray(boxes, np.float64)
    sides = np.clip(wide[:, 2:] - wide[:, :2], 0.0, None)
    found: Floats = sides[:, 0] * sides[:, 1]
    return found


def intersections(first: Boxes, second: Boxes) -> Floats:
    """float64[n, m]: common area of every pair, square pixels."""
    one, two = np.asarray(first, np.float64), np.asarray(second, np.float64)
    low = np.maximum(one[:, None, :2], two[None, :, :2])
    sides = np.clip(np.minimum(one[:, None, 2:], two[None, :, 2:]) - low, 0.0, None)
    common: Floats = sides[..., 0] * sides[..., 1]
    return common


def overlaps(first: Boxes, second: Boxes) -> Floats:
    """float64[n, m]: intersection over union of every pair, 0..1. Boxes without area overlap with nothing."""
    common = intersections(first, second)
    return _over(common, areas(first)[:, None] + areas(second)[None, :] - common)


def non_maximum_suppression(
    boxes: Boxes,
    scores: npt.NDArray[np.floating],
    classes: npt.NDArray[np.integer] | None,
    iou_threshold: float,
    most: int | None = None,
) -> Indices:
    """Indices of the boxes that greedy suppression keeps, best score first, at most ``most`` of them.

    A box is dropped when its intersection over union with a kept one of its own class (of any class where ``classes``
    is None) is ABOVE the threshold, as in torchvision.ops.batched_nms. Equal scores keep the order they came in.
    ``boxes``: float[n, 4], finite; ``scores``: float[n]; ``classes``: int[n].
    """
    order = np.argsort(-scores, kind="stable")
    apart = _apart(np.asarray(boxes, np.float64), classes)[order]
    low_x, low_y, high_x, high_y = (np.ascontiguousarray(column) for column in apart.T)
    area = areas(apart)
    left = np.arange(len(order))
    kept: list[int] = []
    while len(left) and (most is None or len(kept) < most):
        best, left = left[0], left[1:]
        kept.append(int(best))
        # one row of the matrix of overlaps at a time: only kept boxes need theirs
        width = np.minimum(high_x[best], high_x[left]) - np.maximum(low_x[best], low_x[left])
        height = np.minimum(high_y[best], high_y[left]) - np.maximum(low_y[best], low_y[left])
        common = np.maximum(width, 0.0) * np.maximum(height, 0.0)
        left = left[common <= iou_threshold * (area[best] + area[left] - common)]
    return order[kept]


def clipped(boxes: Boxes, size: tuple[int, int]) -> Boxes:
    """The part of every box that lies on a picture of ``size`` (width, height)."""
    width, height = size
    limit = np.asarray((width, height, width, height), boxes.dtype)
    inside: Boxes = np.clip(boxes, 0, limit)
    return inside


def to_picture(boxes: Boxes, placement: Placement) -> Floats:
    """Boxes in pixels of a network's input -> float64[n, 4] in pixels of the upright picture, by where the picture went
    in that input (handlers.geometry). Not clipped: a box may reach beyond the picture into what was filled."""
    scale, shift = _axes(placement)
    found: Floats = (np.asarray(boxes, np.float64) - placement.offset * 2) * scale + shift
    return found


def to_input(boxes: Boxes, placement: Placement) -> Floats:
    """The inverse of :func:`to_picture`."""
    scale, shift = _axes(placement)
    found: Floats = (np.asarray(boxes, np.float64) - shift) / scale + placement.offset * 2
    return found


def _axes(placement: Placement) -> tuple[Floats, Floats]:
    """float64[4] each: picture pixels per input pixel, and where the placed part begins in the picture. The two axes
    are scaled apart, because the letterbox rounds each side of its patch to whole pixels."""
    left, top, right, bottom = placement.box
    scale = ((right - left) / placement.patch[0], (bottom - top) / placement.patch[1])
    return np.array(scale * 2), np.array((left, top) * 2)


def _apart(boxes: Floats, classes: npt.NDArray[np.integer] | None) -> Floats:
    """Every class moved to a place of its own, so that boxes of different classes never meet. float64 holds the move:
    in float32 the last digits of the coordinates would go."""
    if classes is None or not len(boxes):
        return boxes
    reach = boxes.max() - boxes.min() + 1.0
    moved: Floats = boxes + (classes.astype(np.float64) * reach)[:, None]
    return moved


def _over(part: Floats, whole: Floats) -> Floats:
    found: Floats = np.divide(part, whole, out=np.zeros_like(part), where=whole > 0)
    return found
