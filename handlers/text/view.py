"""How a picture is shown to the text detector: scaled, with borders around long strips, in sizes that it takes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image

from handlers.text.quads import Quads
from slipway.contract import Preprocess

Pixels = npt.NDArray[np.uint8]

#: Sides of the network's input are multiples of this, its coarsest stride.
STRIDE = 32
#: A picture that is longer gets borders along its long sides: text that fills a strip from edge to edge is not found.
_LONGEST = 8.0
_FILTER = Image.Resampling.BILINEAR


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


def shown(image: Image.Image, view: View, max_pixels: int = Preprocess.max_pixels) -> Pixels:
    """uint8[H, W, 3]: the network's input.

    A tall strip whose borders would make it larger than ``max_pixels`` is resized along its columns first: its pixels
    may differ by a rounding from those of the other order. All other pictures are resized along their rows first.
    """
    across, down = view.border
    if not across:
        return np.asarray(_resized(image, down, view.input))
    if (image.width + 2 * across) * image.height > max_pixels:
        turned = _resized(image.transpose(Image.Transpose.TRANSPOSE), across, view.input[::-1])
        return np.asarray(turned.transpose(Image.Transpose.TRANSPOSE))
    framed = Image.new("RGB", (image.width + 2 * across, image.height), _edge(image))
    framed.paste(image, (across, 0))
    return np.asarray(framed.resize(view.input, _FILTER))


def _resized(image: Image.Image, down: int, size: tuple[int, int]) -> Image.Image:
    """The picture with borders of ``down`` pixels above and below, at ``size``. Pillow resizes along the rows first and
    a border's rows stay what they are, so rows are made short before there are many: to the same pixels, and a strip of
    65535x1 never becomes a picture of 65535x8193."""
    if down:
        colour = _edge(image)
        image = image.resize((size[0], image.height), _FILTER)
        framed = Image.new("RGB", (size[0], image.height + 2 * down), colour)
        framed.paste(image, (0, down))
        image = framed
    return image.resize(size, _FILTER)


def _edge(image: Image.Image) -> tuple[int, int, int]:
    """The median colour of the picture's edge: borders look like more of the paper."""
    pixels = np.asarray(image)
    edge = np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])
    red, green, blue = (int(level) for level in np.median(edge, axis=0))
    return red, green, blue
