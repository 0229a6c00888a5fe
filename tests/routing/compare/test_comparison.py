"""Comparisons of summaries, against values computed by hand."""

from __future__ import annotations

import base64
from typing import Any

import numpy as np
import pytest

from routing.compare import compare


def vector(*values: float) -> dict[str, Any]:
    return {"vector": base64.b64encode(np.array(values, "<f2").tobytes()).decode()}


def grid(values: np.ndarray) -> dict[str, Any]:
    return {"grid": base64.b64encode(values.astype(np.uint8).tobytes()).decode()}


def boxes(*found: tuple[float, ...], labels: str | None = None) -> dict[str, Any]:
    return {"boxes": [list(box) for box in found]} | ({"labels": list(labels)} if labels is not None else {})


def label(first: str, score: float, second: str) -> dict[str, Any]:
    return {"label": first, "top": [[first, score], [second, 1 - score]]}


HALF = np.zeros((64, 64))
HALF[:, 32:] = 1
CASES = [
    (
        "classification",
        {"label": "7", "top": [["7", 0.9], ["1", 0.1]]},
        {"label": "7", "top": [["7", 0.7], ["1", 0.3]]},
        True,
        0.2,
    ),
    ("classification", {"label": "7", "top": [["7", 1.0]]}, {"label": "1", "top": [["1", 1.0]]}, False, 1.0),
    ("classification", {"labels": [["a", 0.9], ["b", 0.8]]}, {"labels": [["a", 0.9]]}, False, 0.5),
    ("classification", {"labels": []}, {"labels": []}, True, 0.0),
    ("detection", boxes((0, 0, 10, 10), labels="7"), boxes((0, 0, 10, 8), labels="7"), True, 0.0),
    ("detection", boxes((0, 0, 10, 10), labels="7"), boxes((0, 0, 10, 10), labels="1"), False, 1.0),
    (
        "detection",
        boxes((0, 0, 10, 10), (20, 20, 30, 30), labels="77"),
        boxes((20, 20, 30, 30), labels="7"),
        False,
        1 / 3,
    ),
    ("detection", boxes(labels=""), boxes(labels=""), True, 0.0),
    ("faces", boxes((0, 0, 4, 4)), boxes((0, 0, 4, 4)), True, 0.0),
    ("ocr", {"text": "hello"}, {"text": "hallo"}, False, 0.2),
    ("ocr", {"text": ""}, {"text": ""}, True, 0.0),
    ("embedding", vector(1, 0), vector(0, 1), False, 0.5),
    ("embedding", vector(1, 1), vector(2, 2), True, 0.0),
    ("segmentation", grid(HALF), grid(HALF), True, 0.0),
    ("segmentation", grid(HALF), grid(1 - HALF), False, 1.0),
]


@pytest.mark.parametrize(("task", "a", "b", "agree", "distance"), CASES)
def test_measures(task: str, a: dict[str, Any], b: dict[str, Any], agree: bool, distance: float) -> None:
    for left, right in ((a, b), (b, a)):
        found = compare(task, left, right)
        assert found.agree is agree and found.distance == pytest.approx(distance, abs=1e-6)


@pytest.mark.parametrize("task", ["classification", "detection", "ocr", "embedding", "segmentation", "unknown"])
@pytest.mark.parametrize("hostile", [{}, {"boxes": "x", "vector": 3, "grid": None, "top": [[1]], "label": None}])
def test_what_is_no_summary_is_not_comparable(task: str, hostile: dict[str, Any]) -> None:
    assert compare(task, hostile, hostile).agree is None


def test_not_finite_is_a_disagreement() -> None:
    assert compare("detection", boxes((0, 0, float("nan"), 1)), boxes()).distance == 1.0
    assert compare("embedding", vector(float("nan")), vector(1.0)).agree is False
