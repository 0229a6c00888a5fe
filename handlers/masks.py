"""Label maps as a client gets them: a PNG, or run lengths in COCO's uncompressed form, and the way back from both."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

Labels = npt.NDArray[np.uint8]


def png(labels: Labels) -> bytes:
    """``labels``: uint8[H, W]. A grey PNG of 8 bits whose levels are the numbers of the classes."""
    file = io.BytesIO()
    # the fastest level: label maps have long runs, and the slower ones gain little for four times the time
    Image.fromarray(labels).save(file, "PNG", compress_level=1)
    return file.getvalue()


def from_png(encoded: bytes) -> Labels:
    """uint8[H, W]: the inverse of :func:`png`; of a palette PNG its indices."""
    with Image.open(io.BytesIO(encoded)) as image:
        return np.array(image if image.mode in ("L", "P") else image.convert("L"), np.uint8)


def rle(labels: Labels, names: Sequence[str]) -> str:
    """JSON text: ``[{"label": name, "size": [height, width], "counts": [...]}, ...]`` for every class that occurs.

    ``counts`` as in COCO (cocodataset/cocoapi, PythonAPI/pycocotools/mask.py): pixels column by column, lengths of
    runs, the first of pixels that are not of the class.
    """
    columns = labels.T.ravel()
    starts = np.concatenate([[0], np.flatnonzero(columns[1:] != columns[:-1]) + 1])
    lengths = np.diff(np.append(starts, columns.size))
    runs = columns[starts]
    size = [int(side) for side in labels.shape]
    found = [
        {"label": name, "size": size, "counts": _counts(runs == number, lengths)}
        for number, name in enumerate(names)
        if np.any(runs == number)
    ]
    return json.dumps(found, ensure_ascii=False, separators=(",", ":"))


def from_rle(text: str, names: Sequence[str], outside: int = 255) -> Labels:
    """uint8[H, W]: the inverse of :func:`rle`; ``outside`` where no class is. Raises ValueError for other text."""
    found: list[dict[str, Any]] = json.loads(text)
    if not found:
        raise ValueError("run lengths of no class")
    height, width = found[0]["size"]
    columns = np.full(height * width, outside, np.uint8)
    for item in found:
        counts = np.asarray(item["counts"], np.int64)
        columns[np.repeat(np.arange(len(counts)) % 2 == 1, counts)] = list(names).index(item["label"])
    labels: Labels = columns.reshape(width, height).T
    return labels


def _counts(inside: npt.NDArray[np.bool_], lengths: npt.NDArray[np.int64]) -> list[int]:
    """Runs of the label map -> runs of one class, which alternate and begin outside."""
    starts = np.concatenate([[0], np.flatnonzero(inside[1:] != inside[:-1]) + 1])
    counts: list[int] = np.add.reduceat(lengths, starts).tolist()
    return [0, *counts] if inside[0] else counts
