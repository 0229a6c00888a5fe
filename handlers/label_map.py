"""A network's maps, one per class and coarser than the picture -> the best class of every pixel of the picture.

The maps are interpolated bilinearly (pixel centres at halves, borders repeated, as torch's ``interpolate`` without
``align_corners``) at the place where each pixel of the picture lies in the network's input, and the highest wins. Where
one class is the highest at all four neighbours of a place it is so in between, whatever the weights: only places with
different neighbours are computed, which makes a photo of 20 megapixels a matter of a second.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from handlers.geometry import Placement

Floats = npt.NDArray[np.float32]
Indices = npt.NDArray[np.intp]
Labels = npt.NDArray[np.uint8]

#: Interpolated values at once, and of one picture: beyond that every second, fourth, ... pixel is computed, and stands
#: for its neighbours.
_CHUNK, _MOST = 1 << 20, 1 << 26
_MIXED = 255  # a class that no network has: handlers.segmentation allows 254


@dataclass(frozen=True)
class _Axis:
    """Of every pixel along one axis of the picture: the map's cells ``low`` and ``high``, the weight of ``high``
    (float32), and whether the network has seen it."""

    low: Indices
    high: Indices
    weight: Floats
    seen: npt.NDArray[np.bool_]


def label_map(
    maps: Floats, placement: Placement, size: tuple[int, int], inputs: tuple[int, int], outside: int
) -> Labels:
    """``maps``: float32[K, h, w], K <= 254, higher is better; of equal ones the first wins. ``placement``: of the
    picture in the input; ``size``: of the picture and ``inputs`` of the input, (width, height) in pixels.

    Returns uint8[height, width]: numbers of classes, ``outside`` where the network has not seen the picture.
    """
    cells = _cells(maps.argmax(axis=0).astype(np.uint8))
    step = 1
    while True:
        across = _axis(size[0], step, placement, inputs[0], maps.shape[2], 0)
        down = _axis(size[1], step, placement, inputs[1], maps.shape[1], 1)
        if step >= max(size) or _mixed_pixels(cells, across, down) * len(maps) <= _MOST:
            break
        step *= 2
    labels = _decide(maps, cells, across, down)
    labels[~down.seen] = outside
    labels[:, ~across.seen] = outside
    if step > 1:
        labels = np.repeat(np.repeat(labels, step, axis=0), step, axis=1)[: size[1], : size[0]]
    return labels


def _axis(pixels: int, step: int, placement: Placement, inputs: int, cells: int, axis: int) -> _Axis:
    """``axis``: 0 across, 1 down. ``pixels``: of the picture, of which every ``step``-th is asked for."""
    start, stop = placement.box[axis], placement.box[axis + 2]
    patch, offset = placement.patch[axis], placement.offset[axis]
    places = np.minimum((np.arange(0, pixels, step) + step / 2), pixels - 0.5)
    inside = (places - start) * (patch / (stop - start)) + offset
    # the filled rest of the input says nothing about the picture: cells that lie in it are not looked at
    first = int(offset * cells / inputs)
    last = max(first, int(np.ceil((offset + patch) * cells / inputs)) - 1)
    centre = np.clip(inside * (cells / inputs) - 0.5, first, last)
    low = np.floor(centre)
    high = np.minimum(low + 1, last)
    seen = (places >= start) & (places < stop)
    return _Axis(low.astype(np.intp), high.astype(np.intp), (centre - low).astype(np.float32), seen)


def _cells(best: Labels) -> Labels:
    """``best``: uint8[h, w], the highest class at every cell. Returns the same where the neighbours below and to the
    right have it too, and _MIXED elsewhere."""
    cells: Labels = best.copy()
    below, right = np.roll(best, -1, axis=0), np.roll(best, -1, axis=1)
    below[-1], right[:, -1] = best[-1], best[:, -1]
    across = np.roll(below, -1, axis=1)
    across[:, -1] = below[:, -1]
    cells[(below != best) | (right != best) | (across != best)] = _MIXED
    return cells


def _mixed_pixels(cells: Labels, across: _Axis, down: _Axis) -> int:
    rows = np.bincount(down.low, minlength=cells.shape[0])
    columns = np.bincount(across.low, minlength=cells.shape[1])
    return int(rows @ (cells == _MIXED).astype(np.int64) @ columns)


def _decide(maps: Floats, cells: Labels, across: _Axis, down: _Axis) -> Labels:
    labels: Labels = cells[down.low].take(across.low, axis=1)
    flat = labels.reshape(-1)  # a view: take's result is contiguous, that of an index may be transposed
    wanted = np.flatnonzero(flat == _MIXED)
    values = np.ascontiguousarray(maps.reshape(len(maps), -1).T)  # one cell's classes lie side by side
    chunk = max(1, _CHUNK // len(maps))
    for start in range(0, len(wanted), chunk):
        place = wanted[start : start + chunk]
        rows, columns = np.divmod(place, labels.shape[1])
        flat[place] = _interpolated(values, maps.shape[2], down, rows, across, columns).argmax(axis=1)
    return labels


def _interpolated(values: Floats, width: int, down: _Axis, rows: Indices, across: _Axis, columns: Indices) -> Floats:
    """float32[n, K] at n pixels; ``values``: float32[h * width, K]."""
    top, bottom = down.low[rows] * width, down.high[rows] * width
    left, right = across.low[columns], across.high[columns]
    beside, below = across.weight[columns][:, None], down.weight[rows][:, None]
    upper = _between(values[top + left], values[top + right], beside)
    return _between(upper, _between(values[bottom + left], values[bottom + right], beside), below)


def _between(first: Floats, second: Floats, weight: Floats) -> Floats:
    """In place of ``second``; both are fresh copies."""
    second -= first
    second *= weight
    second += first
    return second
