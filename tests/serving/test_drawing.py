"""Answers drawn onto real photographs: what was found can be seen, at any size, and nothing else is touched."""

from __future__ import annotations

import base64
from typing import Any

import numpy as np
import pytest
from PIL import Image

from handlers.masks import png, rle
from serving.drawing import COLOURS, draw
from tests.handlers.pictures import picture

FACES: dict[str, Any] = {
    "boxes": [[170.0, 60.0, 290.0, 200.0], [350.0, 20.0, 470.0, 140.0]],
    "labels": ["face", "badge"],
    "scores": [0.98, 0.5],
    "landmarks": [[[205, 115], [245, 110], [225, 135], [210, 155], [245, 152]]],
}


@pytest.fixture(scope="module")
def photo() -> Image.Image:
    return picture("astronaut.png")


def changed(photo: Image.Image, record: dict[str, Any]) -> np.ndarray:
    """bool[H, W]: where the drawing differs from the photograph."""
    drawn = draw(photo, record)
    assert (drawn.size, drawn.mode) == (photo.size, "RGB")
    return (np.asarray(drawn) != np.asarray(photo.convert("RGB"))).any(axis=2)


def scaled(record: dict[str, Any], factor: float) -> dict[str, Any]:
    return {**record, **{key: (np.array(record[key]) * factor).tolist() for key in ("boxes", "landmarks")}}


@pytest.mark.parametrize("factor", [0.25, 1.0, 6.0])
def test_boxes_and_landmarks_are_where_they_were_found(photo: Image.Image, factor: float) -> None:
    large = photo.resize((round(512 * factor), round(512 * factor)))
    before = np.asarray(large).copy()
    drawn = np.asarray(draw(large, scaled(FACES, factor)))
    for (x1, y1, _, y2), colour in zip(np.array(FACES["boxes"]) * factor, COLOURS, strict=False):
        left = drawn[int((y1 + y2) / 2), max(0, int(x1) - 1) : int(x1) + 2]
        assert (left == colour).all(axis=1).any()
    for x, y in np.array(FACES["landmarks"][0]) * factor:
        assert tuple(drawn[int(y), int(x)]) == COLOURS[0]
    inside = np.s_[int(160 * factor) : int(180 * factor), int(190 * factor) : int(200 * factor)]
    assert np.array_equal(drawn[inside], before[inside])
    assert np.array_equal(np.asarray(large), before), "the picture itself stays"


@pytest.mark.parametrize("factor", [0.5, 1.0, 6.0])
def test_letters_grow_with_the_picture(photo: Image.Image, factor: float) -> None:
    large = photo.resize((round(512 * factor),) * 2)
    plate = (np.asarray(draw(large, scaled(FACES, factor))) == COLOURS[0]).all(axis=2)
    above = plate[: int(60 * factor) - 2].any(axis=1).sum()
    assert 10 <= above <= 0.12 * large.height


def test_captions_stay_inside(photo: Image.Image) -> None:
    edge = {"boxes": [[500.0, 0.0, 512.0, 9.0]], "labels": ["far in the corner"], "scores": [0.5]}
    columns = changed(photo, edge).any(axis=0)
    assert columns[-1] and columns[:500].any() and not columns[:250].any()
    full = {"boxes": [[0.0, 0.0, 512.0, 512.0]], "labels": ["everything"], "scores": [1.0]}
    assert changed(photo, full)[2:30, 5:100].any()


def test_attributes_are_written_beside(photo: Image.Image) -> None:
    more = {**FACES, "age.labels": [["20-30", "30-40"], []], "scene.labels": ["indoor"], "id.embedding": [[0.1], [0.2]]}
    assert changed(photo, more).sum() > changed(photo, FACES).sum() + 300


def test_quads_and_their_texts() -> None:
    page = picture("page.png")
    quads = [[[20, 10], [200, 14], [199, 40], [19, 36]]]
    found = changed(page, {"quads": quads, "texts": ["Region-based segmentation — ß, Ω, Ж"], "scores": [0.97]})
    assert found[24, 15:25].any() and found[24, 195:205].any()
    assert not found[100:].any()


@pytest.mark.parametrize("form", ["bytes", "base64", "rle"])
def test_masks_tint_all_but_the_background(photo: Image.Image, form: str) -> None:
    labels = np.zeros((512, 512), np.uint8)
    labels[100:200, 150:300], labels[300:, :200] = 2, 5
    names = ["background", "a", "thing", "b", "c", "other"]
    record: dict[str, Any] = {
        "classes": ["background", "other", "thing"],
        "values": [0, 5, 2],
        "shares": [0.8, 0.1, 0.1],
    }
    forms = {"bytes": png(labels), "base64": base64.b64encode(png(labels)).decode()}
    record |= {"mask": "", "rle": rle(labels, names)} if form == "rle" else {"mask": forms[form], "rle": ""}
    found = changed(photo, record)
    assert found[labels > 0].mean() > 0.97
    assert not found[150:, 320:].any(), "background, right of the list of classes"
    tint = np.asarray(draw(photo, record))[150, 200].astype(int) - np.asarray(photo)[150, 200] * 0.4
    assert tint == pytest.approx(np.array(COLOURS[2]) * 0.6, abs=1.5)


def test_a_mask_of_another_size_is_refused(photo: Image.Image) -> None:
    record = {"mask": png(np.zeros((9, 5), np.uint8)), "classes": ["a"], "values": [0], "shares": [1.0]}
    with pytest.raises(ValueError, match="5x9"):
        draw(photo, record)


def test_labels_of_the_whole_picture_stand_in_its_corner(photo: Image.Image) -> None:
    found = changed(photo, {"labels": ["astronaut", "rocket"], "scores": [0.9, 0.1]})
    assert found[:60, :150].any() and not found[100:].any() and not found[:, 300:].any()


@pytest.mark.parametrize("record", [{}, {"boxes": [], "labels": [], "scores": []}, {"embedding": [0.1, 0.2]}])
def test_nothing_found_leaves_the_photograph(photo: Image.Image, record: dict[str, Any]) -> None:
    assert not changed(photo, record).any()


def test_hundreds_of_items_and_tiny_pictures_are_drawn() -> None:
    boxes = [[x, y, x + 12.0, y + 12.0] for x in range(0, 600, 20) for y in range(0, 400, 20)]
    many = {"boxes": boxes, "scores": [0.5] * len(boxes)}
    assert changed(Image.new("RGB", (640, 427)), many).mean() > 0.2
    assert changed(Image.new("L", (3, 2)), {"boxes": [[0.0, 0.0, 3.0, 2.0]], "scores": [1.0]}).any()
