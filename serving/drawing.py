"""Draws what a task has found onto its picture: boxes, landmarks, text lines, masks, labels, readable at any size."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from handlers.masks import from_png, from_rle
from slipway.errors import EnvironmentUnfit

Colour = tuple[int, int, int]
Point = tuple[float, float]

#: Easy to tell apart, also by most who are colour-blind (the first ones, after Okabe and Ito, 2008).
COLOURS: tuple[Colour, ...] = (
    (0, 158, 255),
    (255, 140, 0),
    (0, 200, 120),
    (240, 70, 150),
    (250, 220, 50),
    (120, 210, 255),
    (230, 80, 40),
    (160, 110, 255),
    (140, 90, 40),
    (255, 180, 190),
    (20, 90, 170),
    (170, 230, 90),
)
_MASK_OPACITY = 0.6
_BACKGROUND, _GROUND = "background", (60, 60, 60)
_MOST_LABELS = 10


def draw(image: Image.Image, record: Mapping[str, Any]) -> Image.Image:
    """A copy in mode RGB with everything of ``record`` that can be seen.

    ``image``: upright, in the size that the record's pixels are of. ``record``: of one image, as clients get it: any of
    ``boxes`` (x1, y1, x2, y2), ``quads``, ``landmarks``, ``texts``, ``labels``, ``scores``, ``mask`` (PNG, bytes or
    base64) or ``rle`` with ``classes`` and ``values``, and attributes ``<name>.labels`` of each item.
    Raises ValueError for a mask of another size.
    """
    outlines = _outlines(record)
    canvas = _Canvas(_with_mask(image.convert("RGB"), record), _heights(outlines))
    colours = _colours(record, len(outlines))
    for corners, colour in zip(outlines, colours, strict=True):
        canvas.outline(corners, colour)
    for points, colour in zip(record.get("landmarks", ()), colours, strict=False):
        canvas.dots(points, colour)
    for corners, text, colour in zip(outlines, _captions(record, len(outlines)), colours, strict=True):
        canvas.caption(corners, text, colour)
    if not outlines:
        canvas.list(_summary(record))
    return canvas.image


class _Canvas:
    """``image`` is drawn on. Widths and letters grow with it; letters stay small beside small items, of which there may
    be many. ``heights``: of the items, pixels."""

    def __init__(self, image: Image.Image, heights: Sequence[float]) -> None:
        self.image = image
        self._pen = ImageDraw.Draw(image)
        scale = (min(image.size) * max(image.size)) ** 0.5
        largest = min(scale / 24, 12 + scale / 70, 0.4 * float(np.median(heights)) if len(heights) else np.inf)
        self._line = max(1, round(scale / 250))
        self._font = _font(max(10, round(largest)))
        self._pad = max(1, round(self._font_size / 6))

    @property
    def _font_size(self) -> float:
        return float(self._font.size)

    def outline(self, corners: Sequence[Point], colour: Colour) -> None:
        """A closed line through the corners, dark around, so that it is seen on any ground."""
        closed = [*corners, corners[0], corners[1]]
        self._pen.line(closed, (0, 0, 0), self._line + 2 * max(1, self._line // 3), "curve")
        self._pen.line(closed, colour, self._line, "curve")

    def dots(self, points: Sequence[Point], colour: Colour) -> None:
        """One dot per point."""
        radius = 1.2 * self._line
        for x, y in points:
            box = (x - radius, y - radius, x + radius, y + radius)
            self._pen.ellipse(box, colour, (0, 0, 0), max(1, self._line // 3))

    def caption(self, corners: Sequence[Point], text: str, colour: Colour) -> None:
        """Above the shape, below where there is no room, inside the picture in any case."""
        if not text:
            return
        height = self._size(text)[1]
        left = min(x for x, _ in corners)
        top, bottom = min(y for _, y in corners), max(y for _, y in corners)
        above, below = top - height - self._line, bottom + self._line
        place = above if above >= 0 else below if below + height <= self.image.height else top
        self._plate(text, left, place, colour)

    def list(self, lines: Sequence[tuple[str, Colour]]) -> None:
        """One below the other in the upper left corner."""
        top = float(self._pad)
        for text, colour in lines:
            self._plate(text, self._pad, top, colour)
            top += self._size(text)[1] + self._pad

    def _plate(self, text: str, left: float, top: float, colour: Colour) -> None:
        width, height = self._size(text)
        left = max(0.0, min(left, self.image.width - width))
        top = max(0.0, min(top, self.image.height - height))
        self._pen.rectangle((left, top, left + width, top + height), colour)
        dark = np.dot(colour, (0.299, 0.587, 0.114)) < 140
        middle = (left + self._pad, top + height / 2)
        self._pen.text(middle, text, (255, 255, 255) if dark else (0, 0, 0), self._font, anchor="lm")

    def _size(self, text: str) -> tuple[float, float]:
        width = self._pen.textlength(text, self._font)
        return width + 2 * self._pad, self._font_size * 1.2 + self._pad


@lru_cache(maxsize=16)
def _font(size: int) -> ImageFont.FreeTypeFont:
    """DejaVu Sans, which matplotlib carries and which knows Latin, Greek and Cyrillic; Pillow's own where it is not
    installed. ``size``: pixels."""
    spec = find_spec("matplotlib")
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        path = Path(folder) / "mpl-data" / "fonts" / "ttf" / "DejaVuSans.ttf"
        if path.is_file():
            return ImageFont.truetype(path, size)
    font = ImageFont.load_default(size)
    if isinstance(font, ImageFont.FreeTypeFont):
        return font
    raise EnvironmentUnfit("Pillow cannot draw text here", expected="Pillow with FreeType, as in its wheels")


def _outlines(record: Mapping[str, Any]) -> list[list[Point]]:
    """Corners of every item."""
    if "quads" in record:
        return [[(float(x), float(y)) for x, y in quad] for quad in record["quads"]]
    return [[(x1, y1), (x2, y1), (x2, y2), (x1, y2)] for x1, y1, x2, y2 in record.get("boxes", ())]


def _heights(outlines: Sequence[Sequence[Point]]) -> list[float]:
    return [max(y for _, y in corners) - min(y for _, y in corners) for corners in outlines]


def _colours(record: Mapping[str, Any], items: int) -> list[Colour]:
    """One per label, where items have labels; else one per item."""
    labels = record.get("labels", range(items))
    numbers = {label: number for number, label in enumerate(dict.fromkeys(labels))}
    return [COLOURS[numbers[label] % len(COLOURS)] for label in labels][:items]


def _captions(record: Mapping[str, Any], items: int) -> Iterator[str]:
    """What is written at every item: its text or label, its score, and its attributes' best labels."""
    names = record.get("texts", record.get("labels", ("",) * items))
    scores = record.get("scores", (None,) * items)
    attributes = [values for key, values in record.items() if key.endswith(".labels") and len(values) == items]
    for index in range(items):
        own = [value[index][0] for value in attributes if value[index] and not isinstance(value[index], str)]
        score = "" if scores[index] is None else f"{scores[index]:.2f}"
        yield " ".join(part for part in (str(names[index]), score, *map(str, own)) if part)


def _summary(record: Mapping[str, Any]) -> list[tuple[str, Colour]]:
    """What is said of the whole picture: its labels, or the classes of its mask in their colours."""
    if "classes" in record:
        parts = list(zip(record["classes"], record["shares"], strict=True))[:_MOST_LABELS]
        colours = _mask_colours(record)
        return [(f"{name} {100 * share:.1f} %", colours[name]) for name, share in parts]
    pairs = zip(record.get("labels", ()), record.get("scores", ()), strict=False)
    return [(f"{label} {score:.2f}", _GROUND) for label, score in list(pairs)[:_MOST_LABELS]]


def _mask_colours(record: Mapping[str, Any]) -> dict[str, Colour]:
    """By the classes' numbers, so that pictures of one series compare; the background has none of its own."""
    rows = zip(record["classes"], record["values"], strict=True)
    return {name: _GROUND if name == _BACKGROUND else COLOURS[value % len(COLOURS)] for name, value in rows}


def _with_mask(image: Image.Image, record: Mapping[str, Any]) -> Image.Image:
    """A copy, tinted where the mask has a class other than the background."""
    if not (record.get("mask") or record.get("rle")):
        return image.copy()
    labels, values = _mask(record)
    if labels.shape[::-1] != image.size:
        raise ValueError(f"the mask is {labels.shape[1]}x{labels.shape[0]}, the picture {image.width}x{image.height}")
    pixels = np.array(image)
    for (name, colour), value in zip(_mask_colours(record).items(), values, strict=True):
        if name != _BACKGROUND:
            there = labels == value
            tint = np.array(colour, np.float32) * _MASK_OPACITY
            pixels[there] = (pixels[there] * (1 - _MASK_OPACITY) + tint).astype(np.uint8)
    return Image.fromarray(pixels)


def _mask(record: Mapping[str, Any]) -> tuple[npt.NDArray[np.uint8], Sequence[int]]:
    """The label map, and the number in it of each of the record's classes."""
    classes: Sequence[str] = record["classes"]
    if record.get("rle"):
        return from_rle(record["rle"], classes), range(len(classes))
    mask = record["mask"]
    return from_png(mask if isinstance(mask, bytes) else base64.b64decode(mask)), record["values"]
