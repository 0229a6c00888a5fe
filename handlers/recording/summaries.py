"""What of an answer is noted: enough to compare it with another version's (routing/compare), and bounded.

```
classification   {"label": "7", "score": 0.99, "top": [["7", 0.99], ...]}      at most 5; label null where none is named
  several labels {"labels": [["cat", 0.9], ...]}                               activation sigmoid; at most 100
detection        {"count": 2, "boxes": [[x1, y1, x2, y2], ...], "scores", "labels"}    the best 100
faces            {"count", "boxes", "scores"}                                  the best 100
ocr              {"text": lines joined by newlines, "lines": how many}
embedding        {"vector": base64 of float16[D], little-endian}
segmentation     {"areas": {label: share}, "grid": base64 of uint8[64, 64], the label in the middle of each cell}
```
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from slipway.contract import Contract

#: Items of one answer that are noted, and bytes of a summary as JSON; more is no summary.
MOST_ITEMS = 100
MOST_BYTES = 16384
GRID = 64
_TOP = 5

#: An answer about one image -> JSON-ready values. Raises TooLarge.
Summarise = Callable[[Any], "dict[str, Any]"]


class TooLarge(Exception):
    """A summary would have more than MOST_BYTES, as can be told before it is made."""


def form_of(contract: Contract) -> Summarise | None:
    """How answers under this contract are summarised; None for a task without a form."""
    if contract.task == "classification" and contract.postprocess.activation == "sigmoid":
        return _several_labels
    return _FORMS.get(contract.task)


def _classification(answer: Any) -> dict[str, Any]:
    top = _pairs(answer.record(), _TOP)
    label, score = top[0] if top else (None, None)
    return {"label": label, "score": score, "top": top}


def _several_labels(answer: Any) -> dict[str, Any]:
    return {"labels": _pairs(answer.record(), MOST_ITEMS)}


def _pairs(record: Mapping[str, Any], most: int) -> list[list[Any]]:
    scores = _rounded(record["scores"][:most], 5)
    return [[str(label), score] for label, score in zip(record["labels"][:most], scores, strict=True)]


def _boxes(answer: Any) -> dict[str, Any]:
    record = answer.record()
    return {
        "count": len(record["boxes"]),
        "boxes": _rounded(record["boxes"][:MOST_ITEMS], 2),
        "scores": _rounded(record["scores"][:MOST_ITEMS], 4),
    }


def _objects(answer: Any) -> dict[str, Any]:
    return {**_boxes(answer), "labels": [str(label) for label in answer.record()["labels"][:MOST_ITEMS]]}


def _text(answer: Any) -> dict[str, Any]:
    texts = answer.record()["texts"]
    if sum(map(len, texts)) > MOST_BYTES:
        raise TooLarge
    return {"text": "\n".join(texts), "lines": len(texts)}


def _vector(answer: Any) -> dict[str, Any]:
    vector = np.asarray(answer.record()["embedding"])
    if 2 * vector.size > MOST_BYTES:
        raise TooLarge
    with np.errstate(over="ignore"):  # of a vector that is not of length one: infinite, and seen to be
        half = vector.astype("<f2")
    return {"vector": base64.b64encode(half.tobytes()).decode("ascii")}


def _areas(answer: Any) -> dict[str, Any]:
    own = getattr(answer, "result", answer)  # without the attributes, whose results stand beside it
    shares = zip(own.classes[:MOST_ITEMS], _rounded(own.shares[:MOST_ITEMS], 5), strict=True)
    return {"areas": dict(shares), "grid": _grid(own.map)}


def _grid(labels: Any) -> str:
    rows, columns = (((np.arange(GRID) + 0.5) * size / GRID).astype(int) for size in labels.shape)
    return base64.b64encode(labels[np.ix_(rows, columns)].astype(np.uint8).tobytes()).decode("ascii")


def _rounded(values: Any, digits: int) -> Any:
    """In float64, so that few digits are few characters."""
    return np.asarray(values, np.float64).round(digits).tolist()


_FORMS: dict[str, Summarise] = {
    "classification": _classification,
    "detection": _objects,
    "faces": _boxes,
    "ocr": _text,
    "embedding": _vector,
    "segmentation": _areas,
}
