"""Cuts lines out of a picture: straightened, of one height, and antialiased however large the text is."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from handlers.text.opencv import opencv
from handlers.text.quads import Quads, sides

Pixels = npt.NDArray[np.uint8]

#: A line is warped at up to so many times its height and then averaged; larger text comes from a reduced picture.
_FINEST = 4


class Source:
    """One picture, uint8[H, W, 3], and reduced copies of it, made when they are first needed."""

    def __init__(self, pixels: Pixels) -> None:
        self.pixels = pixels
        self._halvings = [pixels]

    def crop(self, quad: Quads, height: int, max_width: int) -> Pixels:
        """uint8[height, width, 3]: the text in ``quad`` ([4, 2], clockwise from where it begins), of its own aspect
        ratio up to ``max_width``. Beyond the picture its edge is repeated. Raises EnvironmentUnfit."""
        long, high = sides(quad)
        width = min(max(1, math.ceil(height * long / max(high, 1e-6) - 1e-6)), max_width)
        shrink = high / height
        halvings = max(0, math.floor(math.log2(max(shrink, 1.0) / (_FINEST / 2))))
        source = self._reduced(halvings)
        scale = np.array(source.shape[1::-1]) / np.array(self.pixels.shape[1::-1])
        finer = min(max(1, math.ceil(shrink / 2**halvings)), _FINEST)
        warped = _warped(source, quad * scale, (width * finer, height * finer))
        if finer == 1:
            return warped
        averaged: Pixels = opencv().resize(warped, (width, height), interpolation=opencv().INTER_AREA)
        return averaged

    def _reduced(self, times: int) -> Pixels:
        """The picture at 1, 1/2, 1/4, ... of its sides."""
        while len(self._halvings) <= times:
            finer = self._halvings[-1]
            size = tuple(max(1, side // 2) for side in finer.shape[1::-1])
            self._halvings.append(opencv().resize(finer, size, interpolation=opencv().INTER_AREA))
        return self._halvings[times]


def _warped(source: Pixels, quad: Quads, size: tuple[int, int]) -> Pixels:
    """OpenCV counts from the centre of the first pixel, quads from its corner: hence the halves."""
    cv2 = opencv()
    width, height = size
    target = np.array([[0, 0], [width, 0], [width, height], [0, height]], np.float32) - np.float32(0.5)
    matrix = cv2.getPerspectiveTransform((quad - 0.5).astype(np.float32), target)
    warped: Pixels = cv2.warpPerspective(source, matrix, size, flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    return warped
