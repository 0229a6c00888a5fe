"""Encoded images of different sizes, for the gate that runs them: real ones, and resized ones where all are alike."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

if TYPE_CHECKING:
    from export.gates.base import Reference

#: At most so many held-out images are looked at, spread evenly.
_LOOKED_AT = 64
#: Factors of width and height by which an image is resized where the held-out ones have too few sizes.
_FACTORS = ((1.5, 1.25), (0.75, 1.0), (2.0, 0.5))


@dataclass(frozen=True)
class SizedImage:
    """One encoded image and its size in pixels, as stored."""

    encoded: bytes
    width: int
    height: int

    def __str__(self) -> str:
        return f"{self.width}x{self.height}"


def images_of_sizes(reference: Reference, count: int) -> list[SizedImage]:
    """``count`` images of different sizes: the held-out ones from the smallest to the largest, then resized ones."""
    found = _held_out(reference)
    by_area = sorted(found.values(), key=lambda image: image.width * image.height)
    chosen = [
        by_area[index] for index in np.linspace(0, len(by_area) - 1, min(count, len(by_area))).round().astype(int)
    ]
    for index in range(count - len(chosen)):
        chosen.append(_resized(chosen[0], index))
    return chosen


def _held_out(reference: Reference) -> dict[tuple[int, int], SizedImage]:
    images, limits = reference.held_out.images, reference.contract.preprocess
    found: dict[tuple[int, int], SizedImage] = {}
    for index in np.unique(np.linspace(0, len(images) - 1, _LOOKED_AT).round().astype(int)):
        encoded = images[index].encoded
        with Image.open(io.BytesIO(encoded)) as opened:
            width, height = opened.size
        if width * height <= limits.max_pixels:
            found.setdefault((width, height), SizedImage(encoded, width, height))
    return found


def _resized(image: SizedImage, index: int) -> SizedImage:
    grow = 1 + index // len(_FACTORS)
    horizontal, vertical = _FACTORS[index % len(_FACTORS)]
    width, height = max(1, round(image.width * horizontal * grow)), max(1, round(image.height * vertical * grow))
    with Image.open(io.BytesIO(image.encoded)) as opened:
        picture = opened.convert("RGB").resize((width, height), Image.Resampling.BILINEAR)
    stream = io.BytesIO()
    picture.save(stream, "PNG")
    return SizedImage(stream.getvalue(), width, height)
