"""When two answers are the same, and what the table of `slipway bench parity` says of them."""

from __future__ import annotations

import pytest

from benchmarks.agreement import compare
from benchmarks.parity import ParityReport, Row
from handlers.fields import COUNT, Field

BOXES = (
    Field("boxes", "float32", (4,), each=True),
    Field("labels", "string", each=True),
    Field("scores", "float32", each=True),
    COUNT,
)
TWO = {"boxes": [[0, 0, 10, 10], [20, 20, 40, 40]], "labels": ["a", "b"], "scores": [0.9, 0.8], "count": 2}


def changed(**values: object) -> dict[str, object]:
    return {**TWO, **values}


@pytest.mark.parametrize(
    "other",
    [
        TWO,
        changed(boxes=[[0.4, 0, 10, 10], [20, 20, 40, 39.6]]),
        changed(scores=[0.9005, 0.7995]),
    ],
)
def test_small_differences_are_the_same_answer(other: dict[str, object]) -> None:
    assert compare(BOXES, TWO, other).same


@pytest.mark.parametrize(
    "other",
    [
        changed(boxes=[[0.6, 0, 10, 10], [20, 20, 40, 40]]),
        changed(scores=[0.9, 0.802]),
        changed(labels=["a", "c"]),
        changed(boxes=TWO["boxes"][:1], labels=["a"], scores=[0.9], count=1),
    ],
)
def test_others_are_not(other: dict[str, object]) -> None:
    found = compare(BOXES, TWO, other)
    assert not found.same and found.problems


def test_items_of_one_score_may_change_places() -> None:
    tied = changed(scores=[0.9, 0.9])
    swapped = {"boxes": tied["boxes"][::-1], "labels": ["b", "a"], "scores": [0.9, 0.9], "count": 2}
    assert compare(BOXES, tied, swapped).same


def test_vectors_and_texts() -> None:
    vector = (Field("embedding", "float32", (-1,)),)
    assert compare(vector, {"embedding": [0.6, 0.8]}, {"embedding": [0.6005, 0.7996]}).same
    assert not compare(vector, {"embedding": [0.6, 0.8]}, {"embedding": [0.8, 0.6]}).same
    texts = (Field("texts", "string", each=True), Field("scores", "float32", each=True))
    one = {"texts": ["hello"], "scores": [0.9]}
    assert compare(texts, one, one).same and not compare(texts, one, {"texts": ["hallo"], "scores": [0.9]}).same


def test_a_report_agrees_only_when_everything_was_asked_and_is_the_same() -> None:
    good = Row("detection", "scenes", 1, 3, 3, ("triton", "torchserve"), {"boxes": 0.1, "scores": 5e-4})
    bad = Row("detection", "scenes", 1, 3, 2, ("triton", "torchserve"), {"boxes": 9.0})
    empty = Row("detection", "scenes", 1, 0, 0, ("triton", "torchserve"), {})
    assert ParityReport([good]).same and good.worst == ("scores", 5e-4)
    assert not ParityReport([good, bad]).same and not ParityReport([empty]).same and not ParityReport([]).same
    assert not ParityReport([good], {"faces": "not published"}).same
    values = good.to_dict()
    assert (values["task"], values["images"], values["same"], values["worst_difference"]) == ("detection", 3, 3, 5e-4)
