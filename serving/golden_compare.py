"""Is a served answer the golden one? Compares two JSON-ready records of any task, apart from any engine.

Resize, rounding and another processor move scores a little and boxes by a fraction of a pixel; another model moves
more. Equal labels and texts are asked for, and of classes that are equally likely, any order.
"""

from __future__ import annotations

import base64
import binascii
import io
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from handlers.documents import difference

SCORE_TOLERANCE = 1e-2
#: Pixels of the original image.
PIXEL_TOLERANCE = 2.0
#: Cosine similarity of two embeddings, at least; fraction of a mask's pixels that may differ.
LEAST_COSINE = 0.99
MASK_TOLERANCE = 1e-2

_PIXELS = ("boxes", "landmarks", "quads")
_WHOLE = ("embedding", "size", "mask")
Record = Mapping[str, Any]


def expected_record(values: Mapping[str, Any]) -> Record:
    """The record of a ``golden/expected.json``; versions before the tasks hold labels and scores alone.

    Raises KeyError and TypeError for a file of another form."""
    record = values["record"] if "record" in values else {"labels": values["labels"], "scores": values["scores"]}
    if not isinstance(record, Mapping) or not record:
        raise TypeError("the golden record is empty")
    return record


def differences(expected: Record, found: Record) -> list[str]:
    """What is wrong with ``found``, one line per field or item; empty when it is the same answer."""
    missing = sorted(expected.keys() - found.keys())
    if missing:
        return [f"no {', '.join(missing)}"]
    items = _item_fields(expected)
    whole = [text for name in expected if name not in items for text in _differ(name, expected[name], found[name])]
    if not items:
        return whole
    counts = len(expected[items[0]]), len(found[items[0]])
    if counts[0] != counts[1]:
        return [*whole, f"{counts[1]} items instead of {counts[0]}"]
    located = any(_kind(name) in (*_PIXELS, "texts") for name in items)
    return whole + (_unmatched(items, expected, found) if located else _ranked(items, expected, found))


def _item_fields(record: Record) -> list[str]:
    """Fields with one entry per item: as many as there are scores."""
    count = len(record["scores"]) if isinstance(record.get("scores"), Sequence) else None
    return [
        name
        for name, value in record.items()
        if isinstance(value, Sequence) and not isinstance(value, str) and len(value) == count and name not in _WHOLE
    ]


def _ranked(items: Sequence[str], expected: Record, found: Record) -> list[str]:
    """Classes, best first: each where it was, except that classes of nearly one score may change places."""
    wrong = []
    scores = expected["scores"]
    for index, score in enumerate(scores):
        near = [abs(score - other) <= SCORE_TOLERANCE for at, other in enumerate(scores) if at != index]
        last = index == len(scores) - 1 and score <= SCORE_TOLERANCE
        tied = index > 0 and (any(near) or last)
        for name in items:
            if not (tied and _kind(name) == "labels"):
                wrong += _differ(f"{name}[{index}]", expected[name][index], found[name][index])
    return wrong


def _unmatched(items: Sequence[str], expected: Record, found: Record) -> list[str]:
    """Items without a counterpart, wherever in the list it lies: nearly equal scores change places."""
    left = list(range(len(found[items[0]])))
    wrong = []
    for index in range(len(expected[items[0]])):
        tried: list[list[str]] = []
        for at in sorted(left, key=partial(_distance, index)):
            tried.append([text for name in items for text in _differ(name, expected[name][index], found[name][at])])
            if not tried[-1]:
                left.remove(at)
                break
        else:
            wrong.append(f"item {index}: {'; '.join(tried[0]) if tried else 'is missing'}")
    return wrong


def _distance(one: int, other: int) -> int:
    return abs(one - other)


def _kind(name: str) -> str:
    return name.split("[")[0].rsplit(".", 1)[-1]


def _differ(name: str, expected: Any, found: Any) -> list[str]:
    kind = _kind(name)
    if kind == "mask":
        return _masks(name, expected, found)
    if kind == "embedding":
        return _embeddings(name, expected, found)
    if kind == "answer":
        return _documents(name, expected, found)
    if kind in ("scores", *_PIXELS):
        return _numbers(name, expected, found, SCORE_TOLERANCE if kind == "scores" else PIXEL_TOLERANCE)
    return [] if expected == found else [f"{name} is {_short(found)} instead of {_short(expected)}"]


def _numbers(name: str, expected: Any, found: Any, tolerance: float) -> list[str]:
    one, other = _array(expected), _array(found)
    if one.shape != other.shape:
        return [f"{name} has the shape {list(other.shape)} instead of {list(one.shape)}"]
    if np.allclose(one, other, rtol=0.0, atol=tolerance, equal_nan=True):
        return []
    return [f"{name} is {_short(found)} instead of {_short(expected)} within {tolerance:g}"]


def _embeddings(name: str, expected: Any, found: Any) -> list[str]:
    one, other = _array(expected), _array(found)
    if one.shape != other.shape:
        return [f"{name} has the shape {list(other.shape)} instead of {list(one.shape)}"]
    lengths = np.linalg.norm(one, axis=-1) * np.linalg.norm(other, axis=-1)
    cosine = np.min(np.sum(one * other, axis=-1) / np.maximum(lengths, 1e-12), initial=1.0)
    return [] if cosine >= LEAST_COSINE else [f"{name} has the cosine {cosine:.4f} with the golden one"]


def _masks(name: str, expected: Any, found: Any) -> list[str]:
    if expected == found:
        return []
    try:
        one, other = (np.asarray(Image.open(io.BytesIO(base64.b64decode(text)))) for text in (expected, found))
    except (OSError, ValueError, TypeError, binascii.Error):
        return [f"{name} differs"]
    if one.shape != other.shape:
        return [f"{name} has the size {other.shape} instead of {one.shape}"]
    differing = float(np.mean(one != other))
    return [] if differing <= MASK_TOLERANCE else [f"{name} differs in {differing:.1%} of its pixels"]


def _documents(name: str, expected: Any, found: Any) -> list[str]:
    """What a migrated TorchServe handler answers, of which nothing is known but that it may be JSON."""
    apart = difference(str(expected), str(found))
    if apart is not None and apart <= SCORE_TOLERANCE:
        return []
    return [f"{name} is {_short(found)} instead of {_short(expected)}"]


def _array(value: Any) -> npt.NDArray[np.float64]:
    """Numbers; null of JSON is NaN."""
    try:
        return np.asarray(value, np.float64)
    except (TypeError, ValueError):
        return np.full(1, np.nan)


def _short(value: Any) -> str:
    text = f"{value:.4f}" if isinstance(value, float) else str(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
