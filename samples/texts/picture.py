"""Draws text as a camera might see it: on paper or on a photograph, turned, blurred, noisy."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFilter

from samples.photos.originals import opened
from samples.texts.fonts import font

Pixels = npt.NDArray[np.uint8]

PHOTOS = (
    "china.jpg",
    "flower.jpg",
    "coffee.png",
    "astronaut.png",
    "brick.png",
    "grass.png",
    "gravel.png",
    "rocket.jpg",
)


@dataclass(frozen=True)
class Look:
    """``font``: a name of samples.texts.fonts; ``size``: its em, pixels. ``angle``: degrees, counter-clockwise.
    ``photo``: contrast of the photograph behind the text, 0 for plain paper; ``ink``: difference of text and ground in
    grey levels, negative for light text. ``noise``: standard deviation in grey levels; ``blur``: radius in pixels."""

    font: str
    size: int
    angle: float = 0.0
    photo: float = 0.0
    ink: float = 160.0
    noise: float = 0.0
    blur: float = 0.0


def draw(rows: Sequence[Sequence[str]], look: Look, random: np.random.Generator) -> Pixels:
    """uint8[H, W, 3]: ``rows`` of texts from the top, those of one row side by side."""
    mask = _turned(_mask(rows, look, random), look.angle)
    ground = _ground(mask.size, look, random)
    strength = np.asarray(mask, np.float32)[:, :, None] / 255
    tint = np.float32(look.ink) + random.uniform(-25, 25, 3).astype(np.float32)
    scene = Image.fromarray(np.clip(ground - strength * tint, 0, 255).astype(np.uint8))
    if look.blur:
        scene = scene.filter(ImageFilter.GaussianBlur(look.blur))
    noisy = np.asarray(scene, np.float32) + random.standard_normal((*scene.size[::-1], 3), np.float32) * look.noise
    pixels: Pixels = np.clip(np.rint(noisy), 0, 255).astype(np.uint8)
    return pixels


def _mask(rows: Sequence[Sequence[str]], look: Look, random: np.random.Generator) -> Image.Image:
    """8-bit grey: 255 where ink is."""
    chosen = font(look.font, look.size)
    margin, line = int(look.size * random.uniform(0.7, 1.5)), round(look.size * 1.7)
    columns = max(len(row) for row in rows)
    gap = 3 * look.size
    widths = [
        max(math.ceil(chosen.getlength(row[column])) for row in rows if column < len(row)) for column in range(columns)
    ]
    size = (sum(widths) + gap * (columns - 1) + 2 * margin, line * len(rows) + 2 * margin)
    mask = Image.new("L", size)
    pen = ImageDraw.Draw(mask)
    for number, row in enumerate(rows):
        left = margin
        for text, width in zip(row, widths, strict=False):
            pen.text((left, margin + number * line + line // 2), text, 255, chosen, anchor="lm")
            left += width + gap
    return mask


def _turned(mask: Image.Image, angle: float) -> Image.Image:
    return mask.rotate(angle, Image.Resampling.BICUBIC, expand=True) if angle else mask


def _ground(size: tuple[int, int], look: Look, random: np.random.Generator) -> npt.NDArray[np.float32]:
    """float32[H, W, 3]: light enough for the ink to be taken away, dark enough where it is added."""
    low, high = sorted((max(0.0, look.ink), 255 + min(0.0, look.ink)))
    level = random.uniform(low + (high - low) * 0.6, high) if look.ink > 0 else random.uniform(0, high * 0.4)
    paper = np.full((size[1], size[0], 3), level, np.float32) + random.uniform(-12, 12, 3).astype(np.float32)
    if not look.photo:
        return paper
    photo = _photo(PHOTOS[int(random.integers(len(PHOTOS)))])
    fits = min(photo.width / size[0], photo.height / size[1]) * random.uniform(0.6, 1.0)
    wide, high_ = size[0] * fits, size[1] * fits
    left, top = random.uniform(0, photo.width - wide), random.uniform(0, photo.height - high_)
    part = photo.resize(size, Image.Resampling.BILINEAR, (left, top, left + wide, top + high_))
    picture = np.asarray(part, np.float32)
    textured: npt.NDArray[np.float32] = paper + (picture - picture.mean(axis=(0, 1))) * np.float32(look.photo)
    return textured


@functools.lru_cache(maxsize=len(PHOTOS))
def _photo(name: str) -> Image.Image:
    return opened(name)
