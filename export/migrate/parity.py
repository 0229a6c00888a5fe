"""Do the archive's handler and the migrated model answer alike? One row per sample, by what its task's answers mean."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from export.migrate.asked import Asked
from handlers.documents import difference
from handlers.geometry import Placement
from handlers.masks import from_png

Record = Mapping[str, Any]
#: Scores, probabilities and fractions of pixels that may differ; resizing moves pixels by up to two grey levels.
TOLERANCE = 1e-2
#: Pixels of the picture that a box's corners may lie apart.
PIXELS = 2.0


@dataclass(frozen=True)
class Row:
    """``same``: None where the archive's handler has no answer to compare with. ``worst_difference``: of scores, of
    any number of a wrapped handler's JSON, or the fraction of pixels with another class; None where that says nothing.
    ``worst_pixels``: of boxes. ``note``: why."""

    sample: str
    same: bool | None
    worst_difference: float | None
    worst_pixels: float | None = None
    note: str = ""

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready; what does not apply is left out."""
        values = asdict(self)
        kept = {key: values[key] for key in ("sample", "same", "worst_difference")}
        return kept | {key: values[key] for key in ("worst_pixels", "note") if values[key] not in (None, "")}


def holds(rows: Sequence[Row]) -> bool:
    """Whether every sample that both sides answer is the same, and there is one; two errors are no proof."""
    compared = [row.same for row in rows if row.same is not None]
    return bool(compared) and all(compared)


def unanswered(name: str, original: Asked, migrated: str | None) -> Row | None:
    """The row of a sample that one side has no answer for; None where both have. ``migrated``: its error."""
    if original.error is None and migrated is None:
        return None
    if original.error is None:
        return Row(name, False, None, note=f"only the archive's handler answers: {migrated}")
    if migrated is None:
        return Row(name, None, None, note=f"only the migrated model answers: {original.error}")
    return Row(name, None, None, note="both refuse it")


def compare_bytes(name: str, original: bytes, migrated: bytes, tolerance: float) -> Row:
    """Answers of a wrapped handler: equal JSON up to ``tolerance`` in its numbers, or equal bytes."""
    apart = difference(original, migrated)
    return Row(name, apart is not None and apart <= tolerance, apart, note="" if apart is not None else "other content")


def compare_labels(name: str, original: bytes, record: Record, names: Mapping[str, str], tolerance: float) -> Row:
    """``original``: ``{label: probability}`` of image_classifier, as it is; labels that stand twice are one there."""
    expected: dict[str, float] = json.loads(original)
    pairs = zip(record["labels"], (float(score) for score in record["scores"]), strict=True)
    found = {names.get(label, label): score for label, score in pairs}
    least = {key: min(values.values(), default=0.0) for key, values in (("expected", expected), ("found", found))}
    apart = [abs(score - found.get(label, least["found"])) for label, score in expected.items()]
    apart += [abs(score - least["expected"]) for label, score in found.items() if label not in expected]
    best = [max(values, key=lambda label: values[label], default="") for values in (expected, found)]
    worst = max(apart, default=0.0)
    tied = bool(expected) and abs(expected.get(best[1], -1.0) - expected[best[0]]) <= tolerance
    note = "" if best[0] == best[1] or tied else f"best label {best[1]!r} instead of {best[0]!r}"
    return Row(name, not note and worst <= tolerance, worst, note=note)


def compare_boxes(name: str, original: bytes, record: Record, names: Mapping[str, str], tolerance: float) -> Row:
    """``original``: ``[{label: [x1, y1, x2, y2], "score": s}, ...]`` of object_detector. Every detection needs its
    counterpart, except those whose score lies at the threshold."""
    expected = [
        (next(key for key in item if key != "score"), item[next(key for key in item if key != "score")], item["score"])
        for item in json.loads(original)
    ]
    labels = [names.get(label, label) for label in record["labels"]]
    left = list(
        zip(labels, np.asarray(record["boxes"], np.float64).tolist(), map(float, record["scores"]), strict=True)
    )
    scores, pixels, missing = [0.0], [0.0], 0
    for label, box, score in expected:
        near = [item for item in left if item[0] == label and abs(item[2] - score) <= tolerance]
        best = min(near, key=lambda item: _corners(item[1], box), default=None)
        if best is None or _corners(best[1], box) > PIXELS:
            missing += score > 0.5 + tolerance
            continue
        left.remove(best)
        scores.append(abs(best[2] - score))
        pixels.append(_corners(best[1], box))
    added = sum(score > 0.5 + tolerance for _, _, score in left)
    note = f"{missing} of {len(expected)} detections have no counterpart, {added} are new" if missing or added else ""
    return Row(name, not note, max(scores), max(pixels), note)


def compare_masks(name: str, original: bytes, record: Record, placement: Placement, tolerance: float) -> Row:
    """``original``: ``[H][W][class, probability]`` of image_segmenter, of the network's input. The migrated model has a
    class for every pixel of the picture; at a border of two classes one pixel of the network is allowed."""
    expected = np.asarray(json.loads(original), np.float64)[..., 0].astype(np.int64)
    mask = record["mask"]
    found = from_png(base64.b64decode(mask) if isinstance(mask, str) else mask).astype(np.int64)
    seen = found[
        np.ix_(
            _places(placement, 1, len(expected), len(found)), _places(placement, 0, expected.shape[1], found.shape[1])
        )
    ]
    padded = np.pad(expected, 1, mode="edge")
    height, width = expected.shape
    near = [padded[y : y + height, x : x + width] == seen for y in range(3) for x in range(3)]
    apart = float(1 - np.mean(np.any(near, axis=0)))
    return Row(name, apart <= tolerance, apart)


def _places(placement: Placement, axis: int, count: int, limit: int) -> npt.NDArray[np.int64]:
    """Pixel of the picture under every pixel of the network's input along one axis."""
    start, stop = placement.box[axis], placement.box[axis + 2]
    places = start + (np.arange(count) + 0.5) * (stop - start) / count
    return np.clip(places.astype(np.int64), 0, limit - 1)


def _corners(one: Sequence[float], other: Sequence[float]) -> float:
    return float(np.max(np.abs(np.asarray(one) - np.asarray(other))))


Compare = Callable[[str, bytes, Record, Mapping[str, str], float], Row]
COMPARE: dict[str, Compare] = {"classification": compare_labels, "detection": compare_boxes}
