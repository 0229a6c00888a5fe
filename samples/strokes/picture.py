"""One picture: real scans of digits laid on a part of a photograph, and the digit that every pixel belongs to."""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image

from samples.photos.originals import opened
from samples.scenes.grounds import PHOTOS, Scene, Split, with_noise
from samples.scenes.ink import scans, stamped

#: Where so much of a pixel is ink it belongs to the digit.
_INK = 0.4
#: Of the photograph behind, as a share of its own; of the ink against it, grey levels.
_CONTRAST = (0.05, 0.35)
_LEAST_CONTRAST = 90.0
_ATTEMPTS = 30


@dataclass(frozen=True)
class Plan:
    """``size``: (width, height) in pixels. ``digits``: least and most of them. ``heights``: of a digit, least and most
    as a share of the picture's longer side."""

    size: tuple[int, int]
    digits: tuple[int, int]
    heights: tuple[float, float]


@dataclass(frozen=True)
class Drawn:
    """``pixels``: uint8[H, W, 3], RGB. ``mask``: uint8[H, W], 0 for the background, 1 more than the digit elsewhere.
    ``digits``: what was laid down, and ``centres``: where, float32[n, 2], x and y in pixels."""

    pixels: npt.NDArray[np.uint8]
    mask: npt.NDArray[np.uint8]
    digits: tuple[int, ...]
    centres: npt.NDArray[np.float32]


def draw(plan: Plan, split: Split, random: np.random.Generator) -> Drawn:
    """A picture of the split's own scans and photographs; no digit touches the box of another. One digit at least has a
    place; the others are left out where a few tries find none."""
    scene = _ground(plan.size, split, random)
    mask = np.zeros(scene.shape[:2], np.uint8)
    taken = np.zeros(scene.shape[:2], bool)
    digits, centres = [], []
    for _ in range(int(random.integers(plan.digits[0], plan.digits[1] + 1))):
        label, ink = scans(split)[int(random.integers(len(scans(split))))]
        stamp = stamped(ink, _height(plan, random), random)
        place = _place(stamp.shape, taken, random)
        if place is not None:
            taken[place] = True
            mask[place][stamp > _INK] = label + 1
            _lay(stamp, scene[place], random)
            digits.append(label)
            centres.append([(side.start + side.stop) / 2 for side in reversed(place)])
    found = np.asarray(centres, np.float32).reshape(-1, 2)
    return Drawn(with_noise(scene, random), mask, tuple(digits), found)


@functools.lru_cache(maxsize=2)
def _photos(split: Split) -> tuple[Image.Image, ...]:
    return tuple(opened(name) for name in PHOTOS[split])


def _ground(size: tuple[int, int], split: Split, random: np.random.Generator) -> Scene:
    """float32[height, width, 3] in 0..255: a part of a photograph, paled, on paper of any grey or colour."""
    photo = _photos(split)[int(random.integers(len(_photos(split))))]
    scale = min(photo.width / size[0], photo.height / size[1]) * random.uniform(0.4, 1.0)
    width, height = size[0] * scale, size[1] * scale
    left, top = random.uniform(0, photo.width - width), random.uniform(0, photo.height - height)
    part = photo.resize(size, Image.Resampling.BILINEAR, (left, top, left + width, top + height))
    picture = np.asarray(part, np.float32)
    paper = random.uniform(120, 235) + random.uniform(-25, 25, 3)
    paled = (picture - picture.mean(axis=(0, 1))) * random.uniform(*_CONTRAST)
    scene: Scene = np.clip(paper + paled, 0, 255).astype(np.float32)
    return scene


def _height(plan: Plan, random: np.random.Generator) -> int:
    low, high = np.log(np.asarray(plan.heights) * max(plan.size))
    return round(float(np.exp(random.uniform(low, high))))


def _place(
    shape: tuple[int, ...], taken: npt.NDArray[np.bool_], random: np.random.Generator
) -> tuple[slice, slice] | None:
    """Rows and columns that are free; None where no try found any."""
    rows, columns = taken.shape[0] - shape[0], taken.shape[1] - shape[1]
    for _ in range(_ATTEMPTS if min(rows, columns) > 0 else 0):
        top, left = int(random.integers(rows)), int(random.integers(columns))
        place = slice(top, top + shape[0]), slice(left, left + shape[1])
        if not taken[place].any():
            return place
    return None


def _lay(stamp: npt.NDArray[np.float32], part: Scene, random: np.random.Generator) -> None:
    """Ink of any colour that is darker than what is there."""
    level = float(part.mean())
    contrast = random.uniform(_LEAST_CONTRAST, max(level, _LEAST_CONTRAST + 1))
    colour = np.clip(level - contrast + random.uniform(-25, 25, 3), 0, 255)
    cover = (stamp * np.float32(random.uniform(0.8, 1.0)))[:, :, None]
    part += cover * (colour.astype(np.float32) - part)
