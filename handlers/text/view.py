"""How a picture is shown to the text detector: scaled, with borders around long strips, in sizes that it takes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image

from handlers.text.quads import Quads

Pixels = npt.NDArray[np.uint8]

#: Sides of the network's input are multiples of this, its coarsest stride.
STRIDE = 32
#: A picture that is longer gets borders along its long sides: text that fills a strip from edge to edge is not found.
_LONGEST = 8.0


@dataclass(frozen=True)
class View:
    """``picture``: (width, height) of the picture; ``border``: pixels of it added on both sides, (x, y); ``input``:
    (width, height) of the network's input."""

    picture: tuple[int, int]
    border: tuple[int, int]
    input: tuple[int, int]

    def to_picture(self, quads: Quads) -> Quads:
        """[n, 4, 2] in pixels of the input -> of the picture, clipped to it."""
        padded = np.array(self.picture) + 2 * np.array(self.border)
        moved = quads * (padded / np.array(self.input)) - np.array(self.border)
        clipped: Quads = np.clip(moved, 0, np.array(self.picture, np.float64))
        return clipped


def view(size: tuple[int, int], min_side: int, max_side: int, max_scale: float) -> View:
    """For a picture of ``size`` (width, height): its longer side at most ``max_side``, its shorter one ``min_side`` at
    least where that enlarges it no more than ``max_scale`` times."""
    width, height = size
    border = (_missing(height, width), _missing(width, height))
    padded = (width + 2 * border[0], height + 2 * border[1])
    scale = min(max(1.0, min_side / min(padded)), max_scale)
    scale = min(scale, max_side / max(padded))
    wide, high = (max(STRIDE, round(side * scale / STRIDE) * STRIDE) for side in padded)
    return View(size, border, (wide, high))


def _missing(long: int, short: int) -> int:
    """What a side lacks at each end."""
    return max(0, int(np.ceil((long / _LONGEST - short) / 2)))


def shown(image: Image.Image, view: View) -> Pixels:
    """uint8[H, W, 3]: the network's input."""
    if view.border != (0, 0):
        across, down = view.border
        framed = Image.new("RGB", (image.width + 2 * across, image.height + 2 * down), _edge(image))
        framed.paste(image, view.border)
        image = framed
    return np.asarray(image.resize(view.input, Image.Resampling.BILINEAR))


def _edge(image: Image.Image) -> tuple[int, int, int]:
    """The median colour of the picture's edge: borders look like more of the paper."""
    pixels = np.asarray(image)
    edge = np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])
    red, green, blue = (int(level) for level in np.median(edge, axis=0))
    return red, green, blue
