"""Boxes from the map of a DB network: for every pixel, the probability that it is inside the shrunk core of a line.

Liao et al., Real-time Scene Text Detection with Differentiable Binarization (AAAI 2020), with the shortcuts of
PaddleOCR (ppocr/postprocess/db_postprocess.py): boxes are rectangles at any angle, and a box's score is the mean
probability inside it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from handlers.text.opencv import opencv
from handlers.text.quads import Quads, clockwise

Probabilities = npt.NDArray[np.float32]

#: Cores with a shorter side are noise, pixels of the map; grown boxes have to be two pixels larger.
_SMALLEST = 3.0
#: As many cores are measured at most, the largest ones.
_MOST_CORES = 3000


@dataclass(frozen=True)
class Found:
    """``quads``: float64[n, 4, 2], clockwise from the upper left corner; ``scores``: float32[n] in 0..1."""

    quads: Quads
    scores: npt.NDArray[np.float32]

    def best(self, count: int) -> Found:
        """The ``count`` with the best scores, in the order that they have here."""
        if len(self.scores) <= count:
            return self
        kept = np.sort(np.argsort(-self.scores, kind="stable")[:count])
        return Found(self.quads[kept], self.scores[kept])


def find_boxes(probabilities: Probabilities, threshold: float, box_threshold: float, unclip_ratio: float) -> Found:
    """``probabilities``: float32[H, W]; boxes are in pixels of that map, from the top down as OpenCV meets them last.

    ``threshold``: from which probability on a pixel belongs to a core. ``box_threshold``: mean probability that a box
    must have. ``unclip_ratio``: a core grows by its area times this over its perimeter (the paper's r').
    Raises EnvironmentUnfit where OpenCV is missing.
    """
    quads, scores = [], []
    for core in _cores(probabilities, threshold):
        rectangle = _smallest_rectangle(core)
        if rectangle is None or min(rectangle[1]) < _SMALLEST:
            continue
        score = _mean_inside(probabilities, _corners(rectangle))
        grown = _grown(rectangle, unclip_ratio)
        if score < box_threshold or min(grown[1]) < _SMALLEST + 2:
            continue
        quads.append(clockwise(_corners(grown)))
        scores.append(score)
    return Found(np.array(quads, np.float64).reshape(-1, 4, 2), np.array(scores, np.float32))


#: OpenCV's rotated rectangle: centre, sides, degrees.
_Rectangle = tuple[tuple[float, float], tuple[float, float], float]


def _cores(probabilities: Probabilities, threshold: float) -> Iterable[Any]:
    """Outlines, int32[k, 1, 2].

    Every pixel is doubled to the right and down before, as PaddleOCR's ``use_dilation`` does: it mends broken cores,
    and it makes outlines, which run through the centres of pixels, reach the core's right and lower edge.
    """
    cv2 = opencv()
    inside = cv2.dilate((probabilities > threshold).astype(np.uint8), np.ones((2, 2), np.uint8))
    outlines = cv2.findContours(inside, cv2.RETR_LIST, cv2.CHAIN_APPROX_SIMPLE)[0]
    if len(outlines) <= _MOST_CORES:
        return outlines  # type: ignore[no-any-return]
    areas = np.array([width * height for _, _, width, height in map(cv2.boundingRect, outlines)])
    return [outlines[index] for index in np.sort(np.argsort(-areas, kind="stable")[:_MOST_CORES])]


def _smallest_rectangle(core: Any) -> _Rectangle | None:
    if len(core) < 3:  # a point or a line
        return None
    rectangle: _Rectangle = opencv().minAreaRect(core)
    return rectangle


def _grown(rectangle: _Rectangle, ratio: float) -> _Rectangle:
    """The rectangle around the offset of a rectangle is that rectangle with longer sides: no polygon library needed."""
    centre, (width, height), angle = rectangle
    reach = width * height * ratio / (2 * (width + height))
    return centre, (width + 2 * reach, height + 2 * reach), angle


def _corners(rectangle: _Rectangle) -> Quads:
    corners: Quads = np.asarray(opencv().boxPoints(rectangle), np.float64)
    return corners


def _mean_inside(probabilities: Probabilities, corners: Quads) -> float:
    """PaddleOCR's ``box_score_fast``."""
    cv2 = opencv()
    limits = np.array(probabilities.shape[::-1]) - 1
    low = np.clip(np.floor(corners.min(axis=0)), 0, limits).astype(int)
    high = np.clip(np.ceil(corners.max(axis=0)), 0, limits).astype(int)
    inside = np.zeros((high[1] - low[1] + 1, high[0] - low[0] + 1), np.uint8)
    cv2.fillPoly(inside, (clockwise(corners) - low).astype(np.int32)[None], 1)
    part = probabilities[low[1] : high[1] + 1, low[0] : high[0] + 1]
    return float(cv2.mean(part, inside)[0])
