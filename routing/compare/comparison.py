"""``compare``: whether two summaries of one image agree, and how far apart they are.

Summaries are what handlers record (handlers/recording); they come from files, so nothing in them is trusted: what has
not the task's form is not comparable, which is neither agreement nor disagreement.
"""

from __future__ import annotations

import base64
import binascii
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from rapidfuzz.distance import Levenshtein
from scipy.optimize import linear_sum_assignment

Summary = dict[str, Any]

#: Boxes are the same object from this intersection over union, as in mAP@50.
SAME_BOX = 0.5
#: Answers agree from: F1 of matched boxes, characters that are the same, cosine of vectors, mIoU of label maps.
AGREE = {"boxes": 0.9, "text": 0.98, "vector": 0.99, "map": 0.9}


@dataclass(frozen=True)
class Found:
    """``agree`` and ``distance`` (0 the same .. 1) are None where the two cannot be compared."""

    agree: bool | None
    distance: float | None
    detail: dict[str, Any] = field(default_factory=dict)


def compare(task: str, a: Summary, b: Summary) -> Found:
    """Compares two summaries of ``task``. Never raises."""
    measure = _MEASURES.get(task)
    if measure is None:
        return Found(None, None, {"reason": f"no measure for the task {task!r}"})
    try:
        found = measure(a, b)
    except (KeyError, TypeError, ValueError, IndexError, AttributeError, binascii.Error) as problem:
        return Found(None, None, {"reason": f"a summary has not the form of {task}: {type(problem).__name__}"})
    if found.distance is not None and not math.isfinite(found.distance):
        return Found(False, 1.0, {**found.detail, "reason": "not finite"})
    return found


def _classification(a: Summary, b: Summary) -> Found:
    if "labels" in a or "labels" in b:
        return _labels({str(name) for name, _ in a["labels"]}, {str(name) for name, _ in b["labels"]})
    left, right = ({str(name): float(score) for name, score in item["top"]} for item in (a, b))
    apart = sum(abs(left.get(name, 0.0) - right.get(name, 0.0)) for name in left.keys() | right.keys()) / 2
    same = bool(a["label"] == b["label"])
    return Found(same, min(1.0, apart), {"labels": [str(a["label"]), str(b["label"])]})


def _labels(a: set[str], b: set[str]) -> Found:
    union = a | b
    apart = 1 - len(a & b) / len(union) if union else 0.0
    return Found(a == b, apart, {"only": [sorted(a - b), sorted(b - a)]})


def _boxes(a: Summary, b: Summary) -> Found:
    left, right = (np.asarray(item["boxes"], float).reshape(-1, 4) for item in (a, b))
    if not (np.isfinite(left).all() and np.isfinite(right).all()):
        return Found(False, 1.0, {"reason": "not finite"})
    overlap = _iou(left, right)
    if "labels" in a and "labels" in b:
        differ = np.asarray(a["labels"], str)[:, None] != np.asarray(b["labels"], str)[None, :]
        overlap = np.where(differ, 0.0, overlap)
    rows, columns = linear_sum_assignment(-overlap)
    pairs = overlap[rows, columns]
    matched = int((pairs >= SAME_BOX).sum())
    total = len(left) + len(right)
    f1 = 2 * matched / total if total else 1.0
    mean = float(pairs[pairs >= SAME_BOX].mean()) if matched else None
    detail = {"matched": matched, "only": [len(left) - matched, len(right) - matched], "mean_iou": mean}
    return Found(f1 >= AGREE["boxes"], 1 - f1, detail)


def _iou(a: Any, b: Any) -> Any:
    """float64[n, m] of boxes float64[n, 4] and [m, 4]: x1, y1, x2, y2."""
    low = np.maximum(a[:, None, :2], b[None, :, :2])
    high = np.minimum(a[:, None, 2:], b[None, :, 2:])
    shared = np.clip(high - low, 0, None).prod(-1)
    area = [np.clip(item[:, 2:] - item[:, :2], 0, None).prod(-1) for item in (a, b)]
    union = area[0][:, None] + area[1][None, :] - shared
    return np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)


def _text(a: Summary, b: Summary) -> Found:
    apart = float(Levenshtein.normalized_distance(str(a["text"]), str(b["text"])))
    return Found(1 - apart >= AGREE["text"], apart)


def _vector(a: Summary, b: Summary) -> Found:
    left, right = (np.frombuffer(base64.b64decode(item["vector"]), "<f2").astype(float) for item in (a, b))
    length = float(np.linalg.norm(left) * np.linalg.norm(right))
    cosine = float(left @ right / length) if length else math.nan
    return Found(cosine >= AGREE["vector"], min(1.0, (1 - cosine) / 2), {"cosine": cosine})


def _map(a: Summary, b: Summary) -> Found:
    left, right = (np.frombuffer(base64.b64decode(item["grid"]), np.uint8) for item in (a, b))
    if left.shape != right.shape:
        return Found(None, None, {"reason": "label maps of different sizes"})
    values = np.union1d(left, right)
    each = [((left == v) & (right == v)).sum() / ((left == v) | (right == v)).sum() for v in values]
    mean = float(np.mean(each))
    return Found(mean >= AGREE["map"], 1 - mean, {"mean_iou": mean})


_MEASURES: dict[str, Callable[[Summary, Summary], Found]] = {
    "classification": _classification,
    "detection": _boxes,
    "faces": _boxes,
    "ocr": _text,
    "embedding": _vector,
    "segmentation": _map,
}
