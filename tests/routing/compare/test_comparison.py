"""Comparisons of summaries, against values computed by hand."""

from __future__ import annotations

import base64
import json
from typing import Any

import numpy as np
import pytest

from routing.compare import Thresholds, compare
from routing.compare.boxes import iou, matched


def vector(*values: float) -> dict[str, Any]:
    return {"vector": base64.b64encode(np.array(values, "<f2").tobytes()).decode()}


def grid(values: np.ndarray) -> dict[str, Any]:
    return {"grid": base64.b64encode(values.astype(np.uint8).tobytes()).decode()}


def boxes(*found: tuple[float, ...], labels: str | None = None) -> dict[str, Any]:
    return {"boxes": [list(box) for box in found]} | ({"labels": list(labels)} if labels is not None else {})


def row(count: int, shift: float = 0.0) -> list[tuple[float, ...]]:
    return [(20 * place + shift, 0, 20 * place + 10 + shift, 10) for place in range(count)]


def best(**scores: float) -> dict[str, Any]:
    pairs = [[name.removeprefix("_"), score] for name, score in scores.items()]
    return {"label": pairs[0][0], "score": pairs[0][1], "top": pairs}


HALF = np.zeros((64, 64))
HALF[:, 32:] = 1
QUARTER = np.zeros((64, 64))
QUARTER[:, 48:] = 1
CASES = [
    ("classification", best(_7=0.9, _1=0.1), best(_7=0.7, _1=0.3), True, 0.2),
    ("classification", best(_7=1.0), best(_1=1.0), False, 1.0),
    ("classification", best(_7=0.6, _1=0.4), best(_1=0.5, _7=0.5), False, 0.1),
    ("classification", best(_7=0.6, _1=0.3), best(_7=0.6, _2=0.3), True, 0.3),
    ("classification", best(_7=812.5), best(_7=12.5), True, 1.0),
    (
        "classification",
        {"label": None, "score": None, "top": []},
        {"label": None, "score": None, "top": []},
        True,
        0.0,
    ),
    ("classification", {"label": None, "score": None, "top": []}, best(_7=0.9), False, 0.45),
    ("classification", {"labels": [["a", 0.9], ["b", 0.8]]}, {"labels": [["a", 0.9]]}, False, 0.5),
    ("classification", {"labels": [["a", 0.9], ["b", 0.8]]}, {"labels": [["b", 0.6], ["a", 0.6]]}, True, 0.0),
    ("classification", {"labels": []}, {"labels": []}, True, 0.0),
    ("detection", boxes((0, 0, 10, 10), labels="7"), boxes((0, 0, 10, 8), labels="7"), True, 0.0),
    ("detection", boxes((0, 0, 10, 10), labels="7"), boxes((0, 0, 10, 10), labels="1"), False, 1.0),
    ("detection", boxes((0, 0, 10, 10), labels="7"), boxes((0, 0, 10, 4.9), labels="7"), False, 1.0),
    (
        "detection",
        boxes((0, 0, 10, 10), (20, 20, 30, 30), labels="77"),
        boxes((20, 20, 30, 30), labels="7"),
        False,
        1 / 3,
    ),
    ("detection", boxes(*row(10), labels="7" * 10), boxes(*row(9), labels="7" * 9), True, 1 / 19),
    ("detection", boxes(*row(10), labels="7" * 10), boxes(*row(8), labels="7" * 8), False, 2 / 18),
    ("detection", boxes(labels=""), boxes(labels=""), True, 0.0),
    ("detection", boxes(labels=""), boxes((0, 0, 1, 1), labels="7"), False, 1.0),
    ("faces", boxes((0, 0, 4, 4)), boxes((0, 0, 4, 4)), True, 0.0),
    ("ocr", {"text": "hello"}, {"text": "hallo"}, False, 0.2),
    ("ocr", {"text": "x" * 50}, {"text": "x" * 49 + "y"}, True, 0.02),
    ("ocr", {"text": "x" * 49}, {"text": "x" * 48 + "y"}, False, 1 / 49),
    ("ocr", {"text": "eins\nzwei"}, {"text": ""}, False, 1.0),
    ("ocr", {"text": ""}, {"text": ""}, True, 0.0),
    ("embedding", vector(1, 0), vector(0, 1), False, 0.5),
    ("embedding", vector(1, 1), vector(2, 2), True, 0.0),
    ("embedding", vector(1, 0), vector(-3, 0), False, 1.0),
    ("segmentation", grid(HALF), grid(HALF), True, 0.0),
    ("segmentation", grid(HALF), grid(1 - HALF), False, 1.0),
    # label 0: 32 of 48 columns; label 1: 16 of 32
    ("segmentation", grid(HALF), grid(QUARTER), False, 1 - (32 / 48 + 16 / 32) / 2),
]


@pytest.mark.parametrize(("task", "a", "b", "agree", "distance"), CASES)
def test_measures(task: str, a: dict[str, Any], b: dict[str, Any], agree: bool, distance: float) -> None:
    for left, right in ((a, b), (b, a)):
        found = compare(task, left, right)
        assert found.agree is agree and found.distance == pytest.approx(distance, abs=1e-6)
        json.dumps(found.detail, allow_nan=False)


def test_what_is_missing_is_told() -> None:
    a = boxes((0, 0, 10, 10), (20, 20, 30, 30), labels="77")
    b = boxes((20, 20, 30, 28), (50, 50, 60, 60), (80, 80, 90, 90), labels="777")
    assert compare("detection", a, b).detail == {"matched": 1, "missed": 1, "extra": 2, "mean_iou": pytest.approx(0.8)}
    found = compare("classification", {"labels": [["a", 1], ["b", 1]]}, {"labels": [["a", 1], ["c", 1]]})
    assert found.detail == {"missed": ["b"], "extra": ["c"]}
    assert compare("classification", best(_7=0.9), best(_1=0.9)).detail == {"labels": ["7", "1"]}


def test_as_many_boxes_are_matched_as_can_be() -> None:
    """The pair that overlaps most takes the only partner of another one: greedy matching finds one pair, not two."""
    a = np.array([[0, 0, 10, 10], [4, 0, 14, 10]], float)
    b = np.array([[3, 0, 13, 10], [-3, 0, 7, 10]], float)
    overlap = iou(a, b)
    assert overlap[1, 0] > overlap[0, 0] > 0.5 and overlap[0, 1] > 0.5 and overlap[1, 1] < 0.5
    c = np.array([[1, 0, 11, 10], [-30, 0, -20, 10]], float)
    assert matched(a, b, np.ones((2, 2), bool), 0.5) == pytest.approx([overlap[0, 1], overlap[1, 0]])
    assert matched(a, c, np.ones((2, 2), bool), 0.5) == pytest.approx([9 / 11])
    assert len(matched(a, b, np.array([[False, True], [False, True]]), 0.5)) == 1


def test_overlaps_by_hand() -> None:
    a = np.array([[0, 0, 10, 10], [5, 5, 5, 9]], float)
    b = np.array([[5, 0, 15, 10], [0, 0, 10, 10], [20, 20, 30, 30]], float)
    assert iou(a, b) == pytest.approx(np.array([[50 / 150, 1, 0], [0, 0, 0]]))


def test_thresholds_can_be_others() -> None:
    loose = Thresholds(same_box=0.4, text=0.2)
    a, b = boxes((0, 0, 10, 10), labels="7"), boxes((0, 0, 10, 4.9), labels="7")
    assert compare("detection", a, b, loose).agree is True
    assert compare("ocr", {"text": "hello"}, {"text": "hallo"}, loose).agree is True


def test_a_failure_and_an_answer_are_as_far_apart_as_can_be() -> None:
    for task in ("ocr", "unknown"):
        assert compare(task, None, {"text": "a"}).detail == {"failed": "a"}
        found = compare(task, {"text": "a"}, None)
        assert (found.agree, found.distance, found.detail) == (False, 1.0, {"failed": "b"})
        assert compare(task, None, None).agree is None


HOSTILE: list[Any] = [
    {},
    {"boxes": "x", "vector": 3, "grid": None, "top": [[1]], "label": None},
    {"boxes": [[1, 2, 3]], "labels": ["a"], "text": 5, "vector": "????", "grid": "", "top": {}},
    {"boxes": [[10**400] * 4], "labels": [["a", 10**400]], "text": "x" * 100_000, "vector": "AAA=", "grid": "AA=A"},
    {"boxes": [[0, 0, 1, 1]] * 5000, "labels": ["a"] * 5000, "label": {}, "top": [["a", "b"]], "vector": "AAAAAA=="},
    {"boxes": [[0, 0, 1, 1]], "labels": ["a", "b"], "label": [1], "top": []},
    {"boxes": {"a": 1}, "labels": {"a": 1}, "label": "7", "top": 7, "vector": "", "text": None},
    [],
    "text",
    7,
]


@pytest.mark.parametrize("task", ["classification", "detection", "ocr", "embedding", "segmentation", "unknown"])
@pytest.mark.parametrize("hostile", HOSTILE, ids=range(len(HOSTILE)))
def test_what_is_no_summary_agrees_with_nothing(task: str, hostile: Any) -> None:
    for a, b in ((hostile, hostile), (hostile, boxes(labels="")), (best(_7=0.5), hostile)):
        found = compare(task, a, b)
        assert found.agree is not True or task == "classification"
        json.dumps(found.detail, allow_nan=False)
        assert found.agree is None or 0 <= float(found.distance or 0) <= 1
        assert found.agree is not None or found.detail["reason"]


@pytest.mark.parametrize("wild", [float("nan"), float("inf"), None])
def test_not_finite_is_a_disagreement(wild: Any) -> None:
    for a, b in (
        (boxes((0, 0, wild, 1), labels="7"), boxes((0, 0, 1, 1), labels="7")),
        (boxes((0, 0, wild, 1), labels="7"), boxes((0, 0, wild, 1), labels="7")),
    ):
        assert compare("detection", a, b).distance == 1.0 and compare("detection", a, b).agree is False
    found = compare("classification", {"label": "7", "top": [["7", wild]]}, best(_7=0.9))
    assert (found.agree, found.distance) == (False, 1.0)
    bad = vector(float("nan") if wild is None else wild, 1.0)
    assert compare("embedding", bad, vector(1.0, 0.0)) == compare("embedding", vector(1.0, 0.0), bad)
    assert compare("embedding", bad, vector(1.0, 0.0)).agree is False
    json.dumps(compare("embedding", bad, bad).detail, allow_nan=False)


def test_vectors_of_other_lengths_are_not_comparable_and_zeros_agree_with_nothing() -> None:
    assert compare("embedding", vector(1, 0), vector(1, 0, 0)).agree is None
    assert compare("embedding", vector(0, 0), vector(0, 0)).agree is False


def test_boxes_beyond_all_numbers_do_no_harm() -> None:
    huge = boxes((-1e300, -1e300, 1e300, 1e300), labels="7")
    assert compare("detection", huge, huge).agree in (False, True)
