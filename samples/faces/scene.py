"""Photographs with a known number of faces: portraits of known boxes laid on photographs of places and things."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFilter, ImageOps

from samples.faces.portraits import FACE, PORTRAITS, Box, astronaut, portrait
from samples.photos.originals import opened

#: Photographs in which the real detector finds no face.
GROUNDS = ("china.jpg", "flower.jpg", "coffee.png", "rocket.jpg")
_ATTEMPTS = 400


@dataclass(frozen=True)
class Plan:
    """``size``: (width, height) in pixels. ``portraits``: how many people of LFW; ``astronauts``: how many times the
    astronaut. ``sides``: least and most of a portrait, pixels; a face takes three quarters of its width."""

    size: tuple[int, int]
    portraits: int
    astronauts: int = 0
    sides: tuple[int, int] = (44, 110)


@dataclass(frozen=True)
class Drawn:
    """``picture``: mode RGB. ``boxes``: float32[n, 4], x1, y1, x2, y2 of every face in pixels."""

    picture: Image.Image
    boxes: npt.NDArray[np.float32]


def draw(plan: Plan, random: np.random.Generator) -> Drawn:
    """A scene; equal random states give equal scenes. Raises ValueError where the faces find no room."""
    ground = opened(GROUNDS[int(random.integers(len(GROUNDS)))])
    picture = ImageOps.fit(ground, plan.size, Image.Resampling.BICUBIC)
    people = [*[-1] * plan.astronauts, *random.permutation(PORTRAITS)[: plan.portraits].tolist()]
    places = _places([_side(plan, random) for _ in people], plan.size, random)
    boxes = [_lay(picture, number, place, random) for number, place in zip(people, places, strict=True)]
    return Drawn(picture, np.asarray(boxes, np.float32).reshape(-1, 4))


def _side(plan: Plan, random: np.random.Generator) -> int:
    low, high = np.log(plan.sides)
    return round(float(np.exp(random.uniform(low, high))))


def _places(sides: list[int], size: tuple[int, int], random: np.random.Generator) -> list[tuple[int, int, int]]:
    """x, y and side of squares that do not touch, in the order of ``sides``; the largest are placed first."""
    found: dict[int, tuple[int, int, int]] = {}
    for index in sorted(range(len(sides)), key=lambda item: -sides[item]):
        side = sides[index]
        for _ in range(_ATTEMPTS if side < min(size) else 0):
            x, y = int(random.integers(size[0] - side)), int(random.integers(size[1] - side))
            if all(x + side < a or a + s < x or y + side < b or b + s < y for a, b, s in found.values()):
                found[index] = (x, y, side)
                break
        else:
            raise ValueError(f"no room for a face of {side} pixels among {len(found)} others on {size}")
    return [found[index] for index in range(len(sides))]


def _lay(picture: Image.Image, number: int, place: tuple[int, int, int], random: np.random.Generator) -> Box:
    """Puts a person there with soft edges, perhaps mirrored, a little lighter or darker. Returns the face's box."""
    x, y, side = place
    person, box = astronaut() if number < 0 else (portrait(number), FACE)
    if random.random() < 0.5:
        person, box = ImageOps.mirror(person), (1 - box[2], box[1], 1 - box[0], box[3])
    person = person.resize((side, side), Image.Resampling.BICUBIC)
    light = float(random.uniform(0.85, 1.15))
    person = person.point([min(255, round(level * light)) for level in range(256)] * 3)
    edge = max(1, side // 40)
    mask = Image.new("L", (side, side))
    mask.paste(255, (edge, edge, side - edge, side - edge))
    picture.paste(person, (x, y), mask.filter(ImageFilter.GaussianBlur(edge / 2)))
    return x + box[0] * side, y + box[1] * side, x + box[2] * side, y + box[3] * side
