"""Arithmetic on boxes that may be faces, as in facenet-pytorch's detect_face.py (2.6.0): no pixels, no networks.

Boxes are float32[n, 4], x1, y1, x2, y2 in pixels, the first pixel being 1 (Matlab's convention, in which MTCNN was
trained). Corrections are fractions of the sides, one per edge.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from handlers.boxes import non_maximum_suppression
from handlers.faces_settings import CELL

Floats = npt.NDArray[np.float32]
Indices = npt.NDArray[np.integer]
#: Pixels of a level between two places of the P-Net.
_STRIDE = 2
#: Places of one level that suppression looks at, per candidate that is wanted in the end.
_SPARE = 4


@dataclass(frozen=True, eq=False)
class Candidates:
    """``boxes``: float32[n, 4]; ``scores``: float32[n] in 0..1; ``corrections``: float32[n, 4]."""

    boxes: Floats
    scores: Floats
    corrections: Floats

    def take(self, chosen: Indices | npt.NDArray[np.bool_]) -> Candidates:
        """Those at indices, or where true."""
        return Candidates(self.boxes[chosen], self.scores[chosen], self.corrections[chosen])

    def suppressed(self, overlap: float, most: int) -> Candidates:
        """The best, without those that overlap with a better one by more."""
        return self.take(non_maximum_suppression(self.boxes, self.scores, None, overlap, most))


def none() -> Candidates:
    """No candidates."""
    return Candidates(np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros((0, 4), np.float32))


def joined(parts: Sequence[Candidates]) -> Candidates:
    """All candidates of several levels."""
    if not parts:
        return none()
    columns = zip(*((part.boxes, part.scores, part.corrections) for part in parts), strict=True)
    boxes, scores, corrections = (np.concatenate(column) for column in columns)
    return Candidates(boxes, scores, corrections)


def proposed(output: Floats, scale: float, threshold: float, most: int) -> Candidates:
    """What the P-Net sees on one level. ``output``: float32[5, h, w]; every place is a window of 12x12 pixels of the
    level. Among more than a few times ``most``, the best; equal scores keep the order of the places."""
    down, across = np.nonzero(output[0] >= threshold)
    scores = output[0, down, across]
    if len(scores) > _SPARE * most:
        best = np.argsort(-scores, kind="stable")[: _SPARE * most]
        down, across, scores = down[best], across[best], scores[best]
    corner = np.stack([across, down], axis=1).astype(np.float32) * _STRIDE
    size = np.float32(scale)
    boxes = np.concatenate([np.floor((corner + 1) / size), np.floor((corner + CELL) / size)], axis=1)
    return Candidates(boxes, scores, output[1:, down, across].T.astype(np.float32))


def corrected(boxes: Floats, corrections: Floats, extra: int) -> Floats:
    """Every edge moved by its correction; ``extra``: what facenet-pytorch adds to the sides, 0 after the P-Net and 1
    after the others."""
    sides = np.tile(boxes[:, 2:] - boxes[:, :2] + np.float32(extra), 2)
    moved: Floats = boxes + corrections * sides
    return moved


def squared(boxes: Floats) -> Floats:
    """Squares of the longer side around the same middles."""
    sides = boxes[:, 2:] - boxes[:, :2]
    longer = sides.max(axis=1, keepdims=True)
    corner = boxes[:, :2] + sides * np.float32(0.5) - longer * np.float32(0.5)
    return np.concatenate([corner, corner + longer], axis=1)


def windows(boxes: Floats, size: tuple[int, int]) -> npt.NDArray[np.int64]:
    """int64[n, 4]: the pixels of every box that lie on a picture of ``size`` (width, height), as a half-open range that
    starts at 0. A box beside the picture gives a range without pixels."""
    whole = np.trunc(boxes).astype(np.int64)
    first = np.maximum(whole[:, :2], 1) - 1
    return np.concatenate([first, np.minimum(whole[:, 2:], size)], axis=1)


def landmarks(boxes: Floats, fractions: Floats) -> Floats:
    """float32[n, 5, 2], x and y in pixels. ``fractions``: float32[n, 10] of the box, five x and five y."""
    corner, sides = boxes[:, None, :2], boxes[:, None, 2:] - boxes[:, None, :2] + np.float32(1)
    places: Floats = fractions.reshape(-1, 2, 5).transpose(0, 2, 1) * sides + corner - np.float32(1)
    return places


def without_inner(boxes: Floats, scores: Floats, overlap: float) -> Indices:
    """Indices of the boxes that are kept, best first: a box goes when it shares more than ``overlap`` of the SMALLER
    one's area with a better one, so that no box within another is left."""
    order = np.argsort(-scores, kind="stable")
    sorted_boxes = boxes[order].astype(np.float64)
    areas = np.prod(sorted_boxes[:, 2:] - sorted_boxes[:, :2] + 1, axis=1)
    left, kept = np.arange(len(order)), []
    while len(left):
        best, left = left[0], left[1:]
        kept.append(int(best))
        low = np.maximum(sorted_boxes[best, :2], sorted_boxes[left, :2])
        sides = np.clip(np.minimum(sorted_boxes[best, 2:], sorted_boxes[left, 2:]) - low + 1, 0, None)
        left = left[np.prod(sides, axis=1) <= overlap * np.minimum(areas[best], areas[left])]
    return order[np.array(kept, np.int64)]
