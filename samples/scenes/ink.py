"""Single handwritten digits as ink that can be laid on any picture: real scans, turned, stretched and cut tight."""

from __future__ import annotations

import functools
import io

import numpy as np
import numpy.typing as npt
from PIL import Image

from samples.digits import images

#: Ink lighter than this share of black belongs to the smooth edge, not to the digit that a box surrounds.
_EDGE = 80
_MARGIN = 12
_MOST_DEGREES = 12.0
_MOST_STRETCH = 0.15


@functools.lru_cache(maxsize=2)
def scans(split: images.Split) -> tuple[tuple[int, Image.Image], ...]:
    """(label, ink) of every scan of a split of the digits sample. Ink: mode L, 64x64 and a margin, 255 is black."""
    return tuple((images.label(index), _ink(index)) for index in images.indices(split))


def _ink(index: int) -> Image.Image:
    paper = Image.open(io.BytesIO(images.encoded(index)[0])).convert("L")
    side = paper.width + 2 * _MARGIN
    ink = Image.new("L", (side, side), 0)
    ink.paste(paper.point(lambda grey: 255 - grey), (_MARGIN, _MARGIN))
    return ink


def stamped(ink: Image.Image, height: int, random: np.random.Generator) -> npt.NDArray[np.float32]:
    """One digit ``height`` pixels high, turned by up to 12 degrees and stretched by up to 15 %: float32[height, W] in
    0..1, how much ink there is. Its borders are those of the digit."""
    turned = ink.rotate(float(random.uniform(-_MOST_DEGREES, _MOST_DEGREES)), Image.Resampling.BICUBIC)
    box = turned.point(lambda level: 255 if level > _EDGE else 0).getbbox()
    if box is None:  # no scan is blank; a box of nothing would be no digit
        raise ValueError("a digit without ink")
    aspect = (box[2] - box[0]) / (box[3] - box[1]) * random.uniform(1 - _MOST_STRETCH, 1 + _MOST_STRETCH)
    width = max(4, round(height * aspect))
    small = turned.resize((width, height), Image.Resampling.BICUBIC, box)
    stamp: npt.NDArray[np.float32] = np.asarray(small, np.float32) / np.float32(255)
    return stamp
