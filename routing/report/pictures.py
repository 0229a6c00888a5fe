"""Pictures for the page: small, decoded by the same careful decoder that serves, and as data URIs.

Files come from clients: only known formats within limits are decoded, and what the page gets is encoded anew.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from handlers.picture import Picture
from routing.report.words import number
from serving.drawing import COLOURS, draw
from slipway.errors import ImageError

#: Pixels of the longer side.
LONGEST_SIDE = 320
#: Smaller pictures are shown larger, or nobody would see them on a phone; boxes are drawn on the larger ones.
_SHORTEST = 160
_MAX_PIXELS, _MAX_BYTES = 50_000_000, 32 << 20
_BLANK = (128, 128, 128)
_MOST_BOXES = 50
#: Characters of a box's label that fit beside the others.
_LABEL = 24


@dataclass(frozen=True)
class Shown:
    """A picture on the page. ``size``: (width, height) in pixels."""

    uri: str
    size: tuple[int, int]


class Budget:
    """Bytes that all pictures together may take, so that the page stays a file that one can send."""

    def __init__(self, left: int) -> None:
        self._left = left

    def shown(self, image: Image.Image) -> Shown | None:
        """``image`` as a data URI; None when it does not fit any more."""
        uri = _uri(image)
        if len(uri) > self._left:
            return None
        self._left -= len(uri)
        return Shown(uri, image.size)


def opened(encoded: bytes | None) -> tuple[Image.Image, float] | None:
    """The upright picture (RGB) with its longer side at most LONGEST_SIDE, and its scale; None when it is none."""
    if not encoded:
        return None
    try:
        image = Picture(encoded, _MAX_PIXELS, _MAX_BYTES).image()
    except (ImageError, MemoryError):
        return None
    scale = min(LONGEST_SIDE / max(image.size), max(1.0, _SHORTEST / max(image.size)))
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    # pixels stay pixels where they are enlarged: they are what the model has seen
    how = Image.Resampling.NEAREST if scale > 1 else Image.Resampling.LANCZOS
    return image.resize(size, how), scale


def with_boxes(
    picture: tuple[Image.Image, float] | None, summary: Mapping[str, Any], other: Mapping[str, Any]
) -> Image.Image | None:
    """The picture with a summary's boxes on it; without a picture on grey, as large as both answers' boxes need.

    ``summary``: ``boxes`` (x1, y1, x2, y2 in pixels of the upright original), and ``labels``, ``scores`` of each.
    None without picture and boxes. Raises what malformed summaries make it raise: KeyError, TypeError, ValueError.
    """
    boxes = _boxes(summary)
    if picture is None:
        extent = boxes + _boxes(other)
        if not extent:
            return None
        picture = _blank(extent)
    image, scale = picture
    record: dict[str, Any] = {"boxes": [_within(box, scale, image.size) for box in boxes]}
    labels, scores = summary.get("labels"), summary.get("scores")
    if labels is not None and len(labels) >= len(boxes):
        record["labels"] = [_short(str(label)) for label in labels[: len(boxes)]]
    if scores is not None and len(scores) >= len(boxes):
        record["scores"] = [number(score) for score in scores[: len(boxes)]]
    return draw(image, record) if boxes else image


def _boxes(summary: Mapping[str, Any]) -> list[tuple[float, ...]]:
    boxes = [tuple(map(float, box)) for box in summary.get("boxes", ())[:_MOST_BOXES]]
    if any(len(box) != 4 or any(number(edge) is None for edge in box) for box in boxes):
        raise ValueError("a box is four numbers")
    return boxes


def label_map(grid: str) -> Image.Image:
    """A segmentation's grid (base64 of 64x64 labels, uint8) in the colours of the labels' numbers.

    Raises ValueError for another size.
    """
    found = np.frombuffer(base64.b64decode(grid, validate=True), np.uint8)
    if found.size != 64 * 64:
        raise ValueError("a grid has 64x64 labels")
    palette = np.array([(60, 60, 60), *COLOURS], np.uint8)
    numbers = np.where(found == 0, 0, 1 + (found - 1) % len(COLOURS))
    return Image.fromarray(palette[numbers].reshape(64, 64, 3)).resize((192, 192), Image.Resampling.NEAREST)


def _blank(boxes: list[tuple[float, ...]]) -> tuple[Image.Image, float]:
    width, height = max(box[2] for box in boxes) * 1.05, max(box[3] for box in boxes) * 1.05
    scale = LONGEST_SIDE / max(width, height, 1.0)
    size = (max(32, round(width * scale)), max(32, round(height * scale)))
    return Image.new("RGB", size, _BLANK), scale


def _within(box: tuple[float, ...], scale: float, size: tuple[int, int]) -> tuple[float, ...]:
    """Scaled, and its corners in order and on the picture: who draws far outside waits long."""
    xs = sorted(min(max(edge * scale, 0.0), size[0] - 1.0) for edge in box[::2])
    ys = sorted(min(max(edge * scale, 0.0), size[1] - 1.0) for edge in box[1::2])
    return xs[0], ys[0], xs[1], ys[1]


def _short(text: str) -> str:
    return text if len(text) <= _LABEL else text[: _LABEL - 1] + "…"


def _uri(image: Image.Image) -> str:
    """PNG of few colours (drawings, scans, small pictures), which it keeps sharp; JPEG of others."""
    kind = "png" if image.getcolors(256) is not None else "jpeg"
    stream = io.BytesIO()
    image.save(stream, kind, optimize=True, quality=75)
    return f"data:image/{kind};base64,{base64.b64encode(stream.getvalue()).decode('ascii')}"
