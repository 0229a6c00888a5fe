"""Which answers count as the golden one, for every kind of field."""

from __future__ import annotations

import base64
import io

import numpy as np
import pytest
from PIL import Image

from serving.golden_compare import differences, expected_record

CLASSES = {"labels": ["cat", "dog", "owl"], "scores": [0.9, 0.06, 0.04]}
BOXES = {
    "boxes": [[10.0, 10.0, 50.0, 60.0], [100.0, 20.0, 130.0, 90.0], [5.0, 5.0, 20.0, 20.0]],
    "labels": ["3", "7", "7"],
    "scores": [0.99, 0.98, 0.7],
}


def mask(square: int) -> str:
    pixels = np.zeros((100, 80), np.uint8)
    pixels[:square, :square] = 1
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    return base64.b64encode(stream.getvalue()).decode()


def test_both_forms_of_the_file_are_read() -> None:
    assert expected_record({"record": CLASSES}) == CLASSES == expected_record(CLASSES)
    for bad in ({}, {"record": {}}, {"record": [1]}, {"labels": ["a"]}):
        with pytest.raises((KeyError, TypeError)):
            expected_record(bad)


@pytest.mark.parametrize(
    "found",
    [
        CLASSES,
        {**CLASSES, "more": 1},
        {"labels": ["cat", "dog", "owl"], "scores": [0.891, 0.068, 0.041]},
    ],
)
def test_the_same_classes_with_scores_that_moved_a_little(found: dict) -> None:
    assert differences(CLASSES, found) == []


@pytest.mark.parametrize(
    "found",
    [
        {"labels": ["dog", "cat", "owl"], "scores": [0.9, 0.06, 0.04]},
        {"labels": ["cat", "owl", "dog"], "scores": [0.9, 0.06, 0.04]},
        {"labels": ["cat", "dog", "owl"], "scores": [0.88, 0.08, 0.04]},
        {"labels": ["cat", "dog"], "scores": [0.9, 0.06]},
        {"labels": [], "scores": []},
        {"labels": ["cat", "dog", "owl"]},
        {"labels": ["cat", "dog", "owl"], "scores": [None, 0.06, 0.04]},
        {"labels": ["cat", "dog", "owl"], "scores": ["x", 0.06, 0.04]},
        {},
    ],
)
def test_other_classes_are_different(found: dict) -> None:
    assert differences(CLASSES, found)


def test_classes_of_nearly_one_score_may_change_places_but_not_the_best() -> None:
    expected = {"labels": ["3", "5", "9"], "scores": [0.9975, 0.00039, 0.00038]}
    assert differences(expected, {"labels": ["3", "9", "5"], "scores": [0.9975, 0.00039, 0.00038]}) == []
    assert differences(expected, {"labels": ["3", "9", "4"], "scores": [0.9975, 0.00039, 0.00038]}) == []
    even = {"labels": ["a", "b"], "scores": [0.5, 0.5]}
    assert differences(even, {"labels": ["b", "a"], "scores": [0.5, 0.5]}), "the best must be the best"


def test_items_are_found_wherever_they_lie() -> None:
    order = [1, 0, 2]
    swapped = {name: [values[index] for index in order] for name, values in BOXES.items()}
    moved = {**swapped, "boxes": [[value + 1.5 for value in box] for box in swapped["boxes"]]}
    assert differences(BOXES, swapped) == differences(BOXES, moved) == []


def test_an_item_that_is_another_one_is_named() -> None:
    far = {**BOXES, "boxes": [[13.0, 10.0, 50.0, 60.0], *BOXES["boxes"][1:]]}
    assert differences(BOXES, far) == [
        "item 0: boxes is [13.0, 10.0, 50.0, 60.0] instead of [10.0, 10.0, 50.0, 60.0] within 2"
    ]
    assert differences(BOXES, {**BOXES, "labels": ["3", "7", "8"]})
    assert differences(BOXES, {name: values[:2] for name, values in BOXES.items()}) == ["2 items instead of 3"]
    twice = {name: [values[1], values[1], values[2]] for name, values in BOXES.items()}
    assert differences(BOXES, twice), "one found item is no answer for two"


def test_no_items_are_an_answer_too() -> None:
    none = {"boxes": [], "labels": [], "scores": []}
    assert differences(none, none) == [] and differences(none, BOXES) and differences(BOXES, none)


def test_texts_are_equal_and_quads_near() -> None:
    line = {"quads": [[[0, 0], [9, 0], [9, 5], [0, 5]]], "texts": ["Rechnung"], "scores": [0.97]}
    near = {**line, "quads": [[[1, 1], [10, 0], [10, 6], [0, 6]]]}
    assert differences(line, near) == [] and differences(line, {**line, "texts": ["Rechnunq"]})


def test_embeddings_by_their_direction() -> None:
    vector = np.random.default_rng(0).normal(size=64)
    noisy = vector + np.random.default_rng(1).normal(size=64) * 0.02
    expected = {"embedding": vector.tolist()}
    assert differences(expected, {"embedding": noisy.tolist()}) == []
    for wrong in ((-vector).tolist(), vector[:32].tolist(), None, [float("nan")] * 64):
        assert differences(expected, {"embedding": wrong})


def test_attributes_of_items_travel_with_them() -> None:
    faces = {
        "boxes": [[0, 0, 9, 9], [20, 20, 40, 40]],
        "scores": [0.99, 0.985],
        "age.labels": [["young", "old"], ["old", "young"]],
        "age.scores": [[0.8, 0.2], [0.7, 0.3]],
        "identity.embedding": [[1.0, 0.0], [0.0, 1.0]],
    }
    swapped = {name: values[::-1] for name, values in faces.items()}
    assert differences(faces, swapped) == []
    mixed = {**swapped, "identity.embedding": faces["identity.embedding"]}
    assert differences(faces, mixed)


def test_masks_by_their_pixels() -> None:
    expected = {"mask": mask(40), "size": [80, 100]}
    assert differences(expected, {"mask": mask(40), "size": [80, 100]}) == []
    wider = {"mask": mask(50), "size": [80, 100]}
    assert differences(expected, wider) == ["mask differs in 11.2% of its pixels"]
    for broken in ("", "no base64 é", None, base64.b64encode(b"no picture").decode()):
        assert differences(expected, {"mask": broken, "size": [80, 100]})
    assert differences(expected, {**expected, "size": [100, 80]})
