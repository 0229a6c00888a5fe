"""What lies behind the digits: parts of real photographs at any contrast, shading, strokes and noise."""

from __future__ import annotations

import functools
from typing import Literal

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

from samples.photos.originals import opened

Split = Literal["train", "test"]
Scene = npt.NDArray[np.float32]

#: No photograph lies behind both trained and held-out scenes.
PHOTOS: dict[Split, tuple[str, ...]] = {
    "train": ("china.jpg", "coffee.png", "chelsea.png", "motorcycle_left.png", "gravel.png", "camera.png", "ihc.png"),
    "test": ("flower.jpg", "astronaut.png", "rocket.jpg", "grass.png", "brick.png", "moon.png", "coins.png"),
}


@functools.lru_cache(maxsize=2)
def _photos(split: Split) -> tuple[Image.Image, ...]:
    return tuple(opened(name) for name in PHOTOS[split])


def ground(size: tuple[int, int], split: Split, random: np.random.Generator) -> Scene:
    """float32[height, width, 3] in 0..255: a photograph's part around a random grey or colour, shaded, with strokes.

    ``size``: (width, height).
    """
    picture = _part(size, _pick(_photos(split), random), random)
    contrast = random.uniform(0.05, 0.55)
    paper = random.uniform(40, 215) + random.uniform(-25, 25, 3)
    scene = paper + (picture - picture.mean(axis=(0, 1))) * contrast + _shade(size, random)[:, :, None]
    return _with_strokes(np.clip(scene, 0, 255), random)


def with_noise(scene: Scene, random: np.random.Generator) -> npt.NDArray[np.uint8]:
    """uint8[H, W, 3]: what a camera would add, normal noise of up to 9 grey levels."""
    noise = random.standard_normal(scene.shape, np.float32) * np.float32(random.uniform(0, 9))
    noisy: npt.NDArray[np.uint8] = np.clip(np.rint(scene + noise), 0, 255).astype(np.uint8)
    return noisy


def _pick(photos: tuple[Image.Image, ...], random: np.random.Generator) -> Image.Image:
    return photos[int(random.integers(len(photos)))]


def _part(size: tuple[int, int], photo: Image.Image, random: np.random.Generator) -> Scene:
    """A part of the size's shape, scaled to it."""
    fits = min(photo.width / size[0], photo.height / size[1])
    scale = fits * random.uniform(0.4, 1.0)
    width, height = size[0] * scale, size[1] * scale
    left, top = random.uniform(0, photo.width - width), random.uniform(0, photo.height - height)
    box = (left, top, left + width, top + height)
    return np.asarray(photo.resize(size, Image.Resampling.BILINEAR, box), np.float32)


def _shade(size: tuple[int, int], random: np.random.Generator) -> Scene:
    """float32[height, width]: light that falls from one side."""
    slope = random.uniform(-30, 30, 2).astype(np.float32)
    across = np.linspace(-1, 1, size[0], dtype=np.float32) * slope[0]
    down = np.linspace(-1, 1, size[1], dtype=np.float32) * slope[1]
    shade: Scene = across[None, :] + down[:, None]
    return shade


def _with_strokes(scene: Scene, random: np.random.Generator) -> Scene:
    """Lines, arcs and ellipses of any colour: about one per 8000 pixels at most."""
    height, width = scene.shape[:2]
    canvas = Image.fromarray(scene.astype(np.uint8))
    draw = ImageDraw.Draw(canvas)
    for _ in range(int(random.integers(0, 2 + height * width // 8000))):
        x, y = random.uniform(0, width), random.uniform(0, height)
        reach = random.uniform(-70, 70, 2)
        colour = tuple(int(level) for level in random.integers(0, 256, 3))
        thick = int(random.integers(1, 5))
        box = (min(x, x + reach[0]), min(y, y + reach[1]), max(x, x + reach[0]), max(y, y + reach[1]))
        kind = random.integers(3)
        if kind == 0:
            draw.line((x, y, x + reach[0], y + reach[1]), colour, thick)
        elif kind == 1:
            start = random.uniform(0, 360)
            draw.arc(box, start, start + random.uniform(60, 200), colour, thick)
        else:
            draw.ellipse(box, None, colour, thick)
    return np.asarray(canvas, np.float32)
