"""JPEG files of chosen sizes in bytes, for benchmarks: photographs at the quality that comes nearest to each size."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from samples.photos.originals import opened
from samples.photos.variants import jpeg
from slipway.files import write_atomically

#: Kilobytes (1000 bytes). About 100 kB at 640x427 is the reference image of the benchmarks.
SIZES = (20, 50, 100, 200, 500, 1000)
#: All are 640x427. The first is scaled down for small files; large ones are sheets of them side by side, because a
#: picture scaled up has too little detail for its size.
_ORIGINALS = ("china.jpg", "flower.jpg", "rocket.jpg")
_REFERENCE_KILOBYTES, _WIDTH, _HEIGHT = 100, 640, 427
_QUALITIES = (30, 98)


def jpegs(out_dir: Path, sizes: Sequence[int] = SIZES) -> list[Path]:
    """Writes one JPEG per entry of ``sizes`` (kilobytes), named ``<size>kb-<width>x<height>.jpg``.

    The area in pixels grows with the size, so that quality stays in the usual range: 100 kB is 640x427. The result is
    the same on every run; its size is the nearest that a whole JPEG quality gives, usually within 5 %.
    """
    out_dir.mkdir(parents=True, exist_ok=True)
    paths = []
    for size in sizes:
        scale = math.sqrt(size / _REFERENCE_KILOBYTES)
        width, height = round(_WIDTH * scale), round(_HEIGHT * scale)
        path = out_dir / f"{size}kb-{width}x{height}.jpg"
        write_atomically(path, _nearest(_picture(width, height), size * 1000))
        paths.append(path)
    return paths


def _picture(width: int, height: int) -> Image.Image:
    if width <= _WIDTH:
        return opened(_ORIGINALS[0]).resize((width, height), Image.Resampling.LANCZOS)
    sheet = Image.new("RGB", (width, height))
    originals = [opened(name) for name in _ORIGINALS]
    for row in range(math.ceil(height / _HEIGHT)):
        for column in range(math.ceil(width / _WIDTH)):
            sheet.paste(originals[(row + column) % len(originals)], (column * _WIDTH, row * _HEIGHT))
    return sheet


def _nearest(image: Image.Image, size: int) -> bytes:
    """The JPEG whose length is nearest to ``size`` bytes: length grows with quality, so the search halves."""
    low, high = _QUALITIES
    best = jpeg(image, low)
    while low <= high:
        quality = (low + high) // 2
        candidate = jpeg(image, quality)
        if abs(len(candidate) - size) < abs(len(best) - size):
            best = candidate
        low, high = (quality + 1, high) if len(candidate) < size else (low, quality - 1)
    return best
