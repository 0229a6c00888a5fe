"""One scene: digits of random size, place, contrast and slant on a ground, and the boxes that surround them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from samples.scenes.grounds import Scene, Split, ground, with_noise
from samples.scenes.ink import scans, stamped

#: How far a digit may cover another: of the smaller one's area.
MOST_COVERED = 0.12
_LEAST_CONTRAST = 80.0
_ATTEMPTS = 12


@dataclass(frozen=True)
class Plan:
    """``size``: (width, height) in pixels. ``digits``: least and most of them. ``heights``: of a digit, pixels."""

    size: tuple[int, int]
    digits: tuple[int, int]
    heights: tuple[int, int] = (20, 64)


@dataclass(frozen=True)
class Drawn:
    """``pixels``: uint8[H, W, 3], RGB. ``boxes``: float32[n, 4], x1, y1, x2, y2 in pixels. ``labels``: int64[n]."""

    pixels: npt.NDArray[np.uint8]
    boxes: npt.NDArray[np.float32]
    labels: npt.NDArray[np.int64]


def draw(plan: Plan, split: Split, random: np.random.Generator) -> Drawn:
    """A scene of the split's own scans and photographs."""
    scene = ground(plan.size, split, random)
    boxes = np.zeros((0, 4), np.float32)
    labels: list[int] = []
    for _ in range(int(random.integers(plan.digits[0], plan.digits[1] + 1))):
        label, ink = scans(split)[int(random.integers(len(scans(split))))]
        low, high = np.log(plan.heights)
        stamp = stamped(ink, round(float(np.exp(random.uniform(low, high)))), random)
        box = _free_place(stamp.shape, plan.size, boxes, random)
        if box is not None:
            _lay(stamp, scene, box, random)
            boxes = np.concatenate([boxes, np.asarray([box], np.float32)])
            labels.append(label)
    return Drawn(with_noise(scene, random), boxes, np.asarray(labels, np.int64))


def _free_place(
    shape: tuple[int, ...], size: tuple[int, int], taken: npt.NDArray[np.float32], random: np.random.Generator
) -> tuple[int, int, int, int] | None:
    """x1, y1, x2, y2 of a place where the digit covers no other by more than a little; None where none was found."""
    height, width = shape
    if width >= size[0] or height >= size[1]:
        return None
    for _ in range(_ATTEMPTS):
        x, y = int(random.integers(size[0] - width)), int(random.integers(size[1] - height))
        sides = np.minimum(taken[:, 2:], (x + width, y + height)) - np.maximum(taken[:, :2], (x, y))
        areas = np.prod(taken[:, 2:] - taken[:, :2], axis=1)
        common = np.prod(np.clip(sides, 0, None), axis=1)
        if not np.any(common > MOST_COVERED * np.minimum(areas, width * height)):
            return x, y, x + width, y + height
    return None


def _lay(
    stamp: npt.NDArray[np.float32], scene: Scene, box: tuple[int, int, int, int], random: np.random.Generator
) -> None:
    """Dark ink on what is light there, light ink on what is dark."""
    part = scene[box[1] : box[3], box[0] : box[2]]
    level = float(part.mean())
    darker = level > 150 or (level > 105 and random.random() < 0.5)
    room = level if darker else 255.0 - level
    contrast = random.uniform(_LEAST_CONTRAST, max(room, _LEAST_CONTRAST + 1))
    colour = np.clip(level + (-contrast if darker else contrast) + random.uniform(-25, 25, 3), 0, 255)
    cover = (stamp * np.float32(random.uniform(0.8, 1.0)))[:, :, None]
    part += cover * (colour.astype(np.float32) - part)
