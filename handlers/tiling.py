"""High-resolution pictures in overlapping parts: where the tiles lie, and which of their detections are only pieces.

Small objects vanish when a large picture is letterboxed into a small network. Tiles show them at the picture's own
scale; the whole picture, letterboxed, is looked at as well, for what is larger than a tile (slicing aided inference,
Akyon et al., arXiv 2202.06934). What a tile's border cuts is dropped when another view shows more of it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from handlers.boxes import Boxes, Floats, areas, intersections
from handlers.geometry import Placement

ENABLED = ("auto", "never", "always")
#: A box that ends within this share of a tile's side from its border is taken to be cut there.
_NEAR_BORDER = 0.01
#: A cut box is a piece of a fuller one when so much of it lies inside that one ...
_INSIDE = 0.6
#: ... and, where the classes differ (half an 8 looks like a 3), when both span about the same along the border.
_SAME_SPAN = 0.6


@dataclass(frozen=True)
class Tiling:
    """``enabled``: ``auto`` tiles a picture that fitting the network's input would shrink more than ``above`` times;
    ``always`` tiles all that are larger than the input; a request may ask for either, but not for tiles where they are
    ``never``. ``overlap``: of neighbouring tiles, a share of their sides, best no less than an object has.
    ``max_tiles``: a picture that needs more is scaled down until it does not. ``reductions``: at which scales tiles are
    cut, 1 the picture's own, 2 half of it. ``whole``: whether the whole picture is looked at as well."""

    enabled: str = "auto"
    overlap: float = 0.2
    max_tiles: int = 128
    above: float = 1.5
    reductions: tuple[float, ...] = (1.0,)
    whole: bool = True

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Tiling:
        """From the ``tile`` of a contract's settings. Raises ValueError, TypeError."""
        known = dict(values)
        if "reductions" in known:
            known["reductions"] = tuple(float(factor) for factor in known["reductions"])
        made = cls(**known)
        checks = (
            (made.enabled in ENABLED, f"tile.enabled is one of {', '.join(ENABLED)}"),
            (0 <= made.overlap < 0.9, "tile.overlap lies in 0..0.9"),
            (made.max_tiles >= 1, "tile.max_tiles is 1 or more"),
            (made.above >= 1, "tile.above is 1 or more"),
            (bool(made.reductions) and all(factor >= 1 for factor in made.reductions), "tile.reductions are 1 or more"),
        )
        for good, rule in checks:
            if not good:
                raise ValueError(rule)
        return made

    def wanted(self, size: tuple[int, int], tile: tuple[int, int], asked: bool | None) -> bool:
        """Whether a picture of ``size`` is tiled into ``tile`` (both width, height). ``asked``: by the request."""
        shrinks = max(size[0] / tile[0], size[1] / tile[1])
        if asked is False or shrinks <= 1 or self.enabled == "never":
            return False
        return asked is True or self.enabled == "always" or shrinks > self.above


def tiles(size: tuple[int, int], tile: tuple[int, int], tiling: Tiling) -> list[Placement]:
    """Where the tiles of a picture of ``size`` lie, row by row, for every reduction; at most ``max_tiles`` together.

    They are spread evenly, so neighbours overlap by at least ``overlap``. A picture narrower than a tile fills it in
    part; the rest is filled.
    """
    found = [place for reduction in tiling.reductions for place in _grid(size, tile, tiling.overlap, reduction)]
    least = min(tiling.reductions)
    while len(found) > tiling.max_tiles:
        least *= max(1.05, math.sqrt(len(found) / tiling.max_tiles))
        kept = sorted({max(reduction, least) for reduction in tiling.reductions})
        found = [place for reduction in kept for place in _grid(size, tile, tiling.overlap, reduction)]
    return found


def _grid(size: tuple[int, int], tile: tuple[int, int], overlap: float, reduction: float) -> list[Placement]:
    scaled = (max(1, round(size[0] / reduction)), max(1, round(size[1] / reduction)))
    columns, rows = (_starts(scaled[axis], tile[axis], overlap) for axis in (0, 1))
    patch = (min(tile[0], scaled[0]), min(tile[1], scaled[1]))
    across, down = size[0] / scaled[0], size[1] / scaled[1]
    return [
        Placement(
            (left * across, top * down, (left + patch[0]) * across, (top + patch[1]) * down), patch, (0, 0), scaled
        )
        for top in rows
        for left in columns
    ]


def _starts(length: int, tile: int, overlap: float) -> list[int]:
    if length <= tile:
        return [0]
    step = max(1.0, tile * (1.0 - overlap))
    count = math.ceil((length - tile) / step) + 1
    return [round(position * (length - tile) / (count - 1)) for position in range(count)]


def cut(image: Image.Image, placement: Placement) -> tuple[Image.Image, Placement]:
    """What a tile shows, and where it goes: at the picture's own scale a plain crop, which costs no resampling."""
    if placement.resized != image.size:
        return image, placement
    left, top, right, bottom = (round(side) for side in placement.box)
    return image.crop((left, top, right, bottom)), Placement(
        (0, 0, *placement.patch), placement.patch, placement.offset, placement.patch
    )


def pieces(
    boxes: Boxes,
    classes: npt.NDArray[np.integer],
    views: npt.NDArray[np.integer],
    placements: list[Placement],
    size: tuple[int, int],
) -> npt.NDArray[np.bool_]:
    """bool[n]: which boxes are pieces of another, fuller one, because the border of their tile cuts the object.

    ``boxes``: float[n, 4] in pixels of the picture of ``size``; ``views``: int[n], which of ``placements`` each box was
    seen in. The fuller box is larger, seen in another view, and not itself cut at the same border.
    """
    borders = _cut_at(boxes, np.array([place.box for place in placements], np.float64)[views], size)
    cut = np.flatnonzero(_any(borders))
    found = np.zeros(len(boxes), bool)
    for part in _blocks(cut):
        found[part] = _is_piece(boxes, classes, views, borders, part)
    return found


def _blocks(indices: npt.NDArray[np.intp], most: int = 256) -> Iterator[npt.NDArray[np.intp]]:
    """The matrix of pairs in parts, so that a hostile picture cannot make it large."""
    for start in range(0, len(indices), most):
        yield indices[start : start + most]


def _cut_at(boxes: Boxes, seen: Floats, size: tuple[int, int]) -> npt.NDArray[np.bool_]:
    """bool[n, 4]: at which border (left, top, right, bottom) of its view a box is cut; the picture's own cuts none."""
    sides = np.tile(seen[:, 2:] - seen[:, :2], 2)
    outward = np.array([-1.0, -1.0, 1.0, 1.0])
    reaches = (boxes - seen) * outward >= -_NEAR_BORDER * sides
    limits = np.array([0.0, 0.0, *size])
    inside = np.abs(seen - limits) > 0.5
    found: npt.NDArray[np.bool_] = reaches & inside
    return found


def _is_piece(
    boxes: Boxes,
    classes: npt.NDArray[np.integer],
    views: npt.NDArray[np.integer],
    borders: npt.NDArray[np.bool_],
    part: npt.NDArray[np.intp],
) -> npt.NDArray[np.bool_]:
    """bool[len(part)]: of the cut boxes ``part``, which have a fuller one among all."""
    area = areas(boxes)
    within = intersections(boxes[part], boxes) / np.maximum(area[part], 1e-9)[:, None]
    whole = ~_any(borders)
    fuller = (views[part][:, None] != views[None, :]) & (whole[None, :] | (area[None, :] > area[part][:, None]))
    same = classes[part][:, None] == classes[None, :]
    found = fuller & (within >= _INSIDE) & (same | (whole[None, :] & _continues(boxes, borders, part)))
    judged: npt.NDArray[np.bool_] = found.any(axis=1)
    return judged


def _continues(boxes: Boxes, borders: npt.NDArray[np.bool_], part: npt.NDArray[np.intp]) -> npt.NDArray[np.bool_]:
    """bool[len(part), n]: whether a box goes on where a cut one ends: it spans about the same along that border."""
    spans = []
    for axis in (0, 1):
        low = np.maximum(boxes[part, axis][:, None], boxes[None, :, axis])
        high = np.minimum(boxes[part, axis + 2][:, None], boxes[None, :, axis + 2])
        length = boxes[:, axis + 2] - boxes[:, axis]
        longest = np.maximum(length[part][:, None], length[None, :])
        spans.append((high - low) >= _SAME_SPAN * np.maximum(longest, 1e-9))
    upright, level = (_any(borders[part][:, sides])[:, None] for sides in ([0, 2], [1, 3]))
    # cut at a left or right border: the heights agree; at the top or bottom: the widths; at a corner neither can
    found: npt.NDArray[np.bool_] = (spans[1] | ~upright) & (spans[0] | ~level) | (upright & level)
    return found


def _any(rows: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """bool[n] of bool[n, k]."""
    return np.asarray(rows.any(axis=1), bool)
