"""Any Pillow mode that a decoder yields -> RGB, by rules that are written down.

* Transparency (alpha channel, PNG colour key, palette or GIF transparency) is laid over ``BACKGROUND``, white: what a
  person sees in most viewers. Dropping alpha would show whatever colour the editor left underneath.
* 16 bits per channel become 8 by their high byte, which is exact for pictures that were made from 8 bits; Pillow's own
  conversion of 16-bit grey clips everything above 255 to white.
* CMYK is read with Adobe's polarity (inverted), as Pillow does for every JPEG, and converted without an ICC profile:
  embedded profiles are ignored everywhere, as in the usual training pipelines.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from PIL import Image

BACKGROUND: Final = (255, 255, 255)


def to_rgb(image: Image.Image) -> Image.Image:
    """The same picture in mode ``RGB``, 8 bits; ``image`` itself where it is that already."""
    if image.mode.startswith("I"):
        return _from_16_bit(image)
    if image.has_transparency_data:
        return _over_background(image if image.mode == "RGBA" else image.convert("RGBA"))
    return image if image.mode == "RGB" else image.convert("RGB")


def _from_16_bit(image: Image.Image) -> Image.Image:
    """Grey of 16 bits (``I;16``, or ``I`` holding 0..65535), with an optional transparent level."""
    wide = np.asarray(image)
    grey = Image.fromarray((wide >> 8).astype(np.uint8)).convert("RGB")
    key = image.info.get("transparency")
    if isinstance(key, int):
        grey.paste(BACKGROUND, mask=Image.fromarray(np.where(wide == key, 255, 0).astype(np.uint8)))
    return grey


def _over_background(image: Image.Image) -> Image.Image:
    alpha = image.getchannel("A")
    if alpha.getextrema() == (255, 255):
        return image.convert("RGB")
    canvas = Image.new("RGB", image.size, BACKGROUND)
    canvas.paste(image, mask=alpha)
    return canvas
