"""Odd encodings of a photograph, as bytes: what real users send and naive servers get wrong."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

_ORIENTATION = 0x0112  # EXIF tag "Orientation"
#: EXIF value -> how the STORED pixels must be turned so that a viewer that obeys the tag shows the picture upright.
_STORED = {3: Image.Transpose.ROTATE_180, 6: Image.Transpose.ROTATE_90, 8: Image.Transpose.ROTATE_270}


def jpeg(image: Image.Image, quality: int = 90, **options: object) -> bytes:
    """A JPEG; grey, RGB and CMYK images keep their mode."""
    return _saved(image, "JPEG", quality=quality, **options)


def png(image: Image.Image) -> bytes:
    """A PNG in the image's own mode."""
    return _saved(image, "PNG")


def webp(image: Image.Image, **options: object) -> bytes:
    """A WebP, lossy unless ``lossless=True``."""
    return _saved(image, "WEBP", **options)


def bmp(image: Image.Image) -> bytes:
    """An uncompressed BMP."""
    return _saved(image, "BMP")


def exif_rotated(image: Image.Image, orientation: int) -> bytes:
    """A JPEG as a turned camera writes it: pixels lying on their side, and the EXIF tag that says so (3, 6 or 8)."""
    exif = Image.Exif()
    exif[_ORIENTATION] = orientation
    return jpeg(image.transpose(_STORED[orientation]), exif=exif)


def sixteen_bit(grey: Image.Image) -> bytes:
    """A 16-bit grey PNG of an 8-bit grey image: 0..255 becomes 0..65535."""
    wide = np.asarray(grey.convert("L")).astype(np.uint16) * 257
    return _saved(Image.fromarray(wide), "PNG")


def palette(image: Image.Image) -> bytes:
    """A PNG of at most 256 colours by palette."""
    return _saved(image.quantize(256), "PNG")


def palette_with_transparency(image: Image.Image) -> bytes:
    """A palette PNG whose first colour is transparent (a tRNS chunk, no alpha channel)."""
    return _saved(image.quantize(64), "PNG", transparency=0)


def cut_out(image: Image.Image) -> Image.Image:
    """RGBA: an ellipse of the picture, soft at its edge, on a transparent ground."""
    mask = Image.new("L", image.size, 0)
    ImageDraw.Draw(mask).ellipse((0, 0, *image.size), fill=255)
    cut = image.convert("RGBA")
    cut.putalpha(mask.filter(ImageFilter.GaussianBlur(4)))
    return cut


def animation(*frames: Image.Image) -> bytes:
    """An animated GIF; servers answer for its first frame."""
    return _saved(frames[0], "GIF", save_all=True, append_images=list(frames[1:]), duration=200, loop=0)


def _saved(image: Image.Image, format: str, **options: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, format, **options)
    return stream.getvalue()
