"""One measure per task, on two summaries in the form of handlers/recording/summaries.py.

They raise Incomparable, or whatever Python and numpy raise for values of another form.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rapidfuzz.distance import Levenshtein

from routing.compare.boxes import corners, matched
from routing.compare.found import Found, Incomparable, Thresholds

Summary = dict[str, Any]
Measure = Callable[[Summary, Summary, Thresholds], Found]

#: Characters of a text; longer ones cost seconds, and no handler records them.
_LONGEST = 20_000


def _classification(a: Summary, b: Summary, thresholds: Thresholds) -> Found:
    if "labels" in a and "labels" in b:
        return _several_labels(a, b)
    left, right = (_scores(item["top"]) for item in (a, b))
    apart = total_variation(left, right)
    names = [item["label"] for item in (a, b)]
    if not all(name is None or isinstance(name, str) for name in names):
        raise Incomparable("a label is no text")
    return Found(names[0] == names[1], apart, {"labels": names})


def total_variation(a: dict[str, float], b: dict[str, float]) -> float:
    """Half the sum of the differences: 0..1 for probabilities, any number for raw scores. Of a longer list only the
    best are recorded, so what is in one list alone counts with the whole of its score."""
    return sum(abs(a.get(name, 0.0) - b.get(name, 0.0)) for name in a.keys() | b.keys()) / 2


def _several_labels(a: Summary, b: Summary) -> Found:
    """Sets of labels: 1 - |both| / |either| (Jaccard)."""
    left, right = (set(_scores(item["labels"])) for item in (a, b))
    either = left | right
    apart = 1 - len(left & right) / len(either) if either else 0.0
    return Found(left == right, apart, {"missed": sorted(left - right), "extra": sorted(right - left)})


def _scores(pairs: Any) -> dict[str, float]:
    """By name; null, which handlers write for NaN, is NaN."""
    return {str(name): math.nan if score is None else float(score) for name, score in pairs}


def _detection(a: Summary, b: Summary, thresholds: Thresholds) -> Found:
    return _boxes(a, b, thresholds, [_names(item) for item in (a, b)])


def _names(item: Summary) -> NDArray[np.str_]:
    names = item["labels"]
    if len(names) != len(item["boxes"]):
        raise Incomparable("not one label per box")
    return np.array([str(name) for name in names], dtype=np.str_)


def _faces(a: Summary, b: Summary, thresholds: Thresholds) -> Found:
    return _boxes(a, b, thresholds, None)


def _boxes(a: Summary, b: Summary, thresholds: Thresholds, names: list[NDArray[np.str_]] | None) -> Found:
    """F1 of the boxes that are in both answers; two answers without boxes are the same."""
    left, right = (corners(item["boxes"]) for item in (a, b))
    if not (np.isfinite(left).all() and np.isfinite(right).all()):
        return Found(False, np.nan)
    allowed = np.ones((len(left), len(right)), bool) if names is None else names[0][:, None] == names[1][None, :]
    pairs = matched(left, right, allowed, thresholds.same_box)
    total = len(left) + len(right)
    f1 = 2 * len(pairs) / total if total else 1.0
    detail = {
        "matched": len(pairs),
        "missed": len(left) - len(pairs),
        "extra": len(right) - len(pairs),
        "mean_iou": float(pairs.mean()) if len(pairs) else None,
    }
    return Found(f1 >= thresholds.boxes, 1 - f1, detail)


def _text(a: Summary, b: Summary, thresholds: Thresholds) -> Found:
    left, right = (item["text"] for item in (a, b))
    if not (isinstance(left, str) and isinstance(right, str)):
        raise Incomparable("a text is no text")
    if max(len(left), len(right)) > _LONGEST:
        raise Incomparable(f"a text of more than {_LONGEST} characters")
    apart = float(Levenshtein.normalized_distance(left, right))
    return Found(apart <= thresholds.text, apart, {"characters": [len(left), len(right)]})


def _vector(a: Summary, b: Summary, thresholds: Thresholds) -> Found:
    """The angle by its cosine, -1..1, as a distance of 1..0."""
    left, right = (np.frombuffer(_decoded(item["vector"]), "<f2").astype(np.float64) for item in (a, b))
    if left.shape != right.shape or not left.size:
        raise Incomparable(f"vectors of {left.size} and {right.size} numbers")
    length = float(np.linalg.norm(left) * np.linalg.norm(right))
    cosine = float(np.clip(left @ right / length, -1, 1)) if length else np.nan  # zeros have no direction
    return Found(cosine >= thresholds.vector, (1 - cosine) / 2, {"cosine": cosine})


def _label_map(a: Summary, b: Summary, thresholds: Thresholds) -> Found:
    """1 - mIoU over the labels that are in either map."""
    left, right = (np.frombuffer(_decoded(item["grid"]), np.uint8) for item in (a, b))
    if left.shape != right.shape or not left.size:
        raise Incomparable(f"label maps of {left.size} and {right.size} cells")
    either = np.bincount(left, minlength=256) + np.bincount(right, minlength=256)
    both = np.bincount(left[left == right], minlength=256)
    there = either > 0
    mean = float((both[there] / (either - both)[there]).mean())
    return Found(mean >= thresholds.label_map, 1 - mean, {"mean_iou": mean})


def _decoded(text: Any) -> bytes:
    if not isinstance(text, str):
        raise Incomparable("no base64 text")
    return base64.b64decode(text, validate=True)


MEASURES: dict[str, Measure] = {
    "classification": _classification,
    "detection": _detection,
    "faces": _faces,
    "ocr": _text,
    "embedding": _vector,
    "segmentation": _label_map,
}
