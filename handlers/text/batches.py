"""Lines of text in batches: a line's input depends on that line alone, and lines of one width go together.

A line is padded to the next multiple of a step, not to the longest one of its batch: it gets the same answer whatever
it is sent with.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Pixels = npt.NDArray[np.uint8]

#: What lies right of a line: the middle of the range, as PaddleOCR has it (0 after normalisation).
PADDING = 128


@dataclass(frozen=True)
class Batch:
    """``rows``: positions of its lines; ``pixels``: uint8[len(rows), H, W, 3]."""

    rows: tuple[int, ...]
    pixels: Pixels


def padded(line: Pixels, width: int) -> Pixels:
    """uint8[H, width, 3]: the line at the left."""
    full = np.full((line.shape[0], width, 3), PADDING, np.uint8)
    full[:, : line.shape[1]] = line
    return full


def by_width(lines: Sequence[Pixels], step: int, least: int, most_pixels: int) -> list[Batch]:
    """Batches of equally wide lines, narrow ones first; a batch has at most ``most_pixels`` columns, or one line.

    ``step``: widths are multiples of it; ``least``: the smallest one.
    """
    widths = [max(least, -(-line.shape[1] // step) * step) for line in lines]
    batches = []
    for width in sorted(set(widths)):
        rows = [row for row, own in enumerate(widths) if own == width]
        size = max(1, most_pixels // width)
        for start in range(0, len(rows), size):
            chosen = tuple(rows[start : start + size])
            batches.append(Batch(chosen, np.stack([padded(lines[row], width) for row in chosen])))
    return batches
