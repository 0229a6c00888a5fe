"""Tiles cover every pixel with the overlap asked for, stay few enough, and pieces of objects are told from objects."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from PIL import Image

from handlers.geometry import Placement
from handlers.tiling import Tiling, cut, pieces, tiles
from tests.handlers.pictures import picture

TILE = (416, 416)


def area(placement: Placement) -> tuple[int, int, int, int]:
    left, top, right, bottom = (round(side) for side in placement.box)
    return left, top, right, bottom


@pytest.mark.parametrize("size", [(4000, 3000), (417, 2000), (300, 5000), (833, 417), (5472, 3648), (416, 416), (9, 7)])
@pytest.mark.parametrize("overlap", [0.0, 0.2, 0.5])
def test_tiles_cover_the_picture_and_overlap(size: tuple[int, int], overlap: float) -> None:
    places = tiles(size, TILE, Tiling(overlap=overlap, max_tiles=1000))
    seen = np.zeros(size[::-1], np.uint8)
    for left, top, right, bottom in map(area, places):
        assert 0 <= left < right <= size[0]
        assert 0 <= top < bottom <= size[1]
        assert (right - left, bottom - top) == (min(416, size[0]), min(416, size[1]))
        seen[top:bottom, left:right] = 1
    assert seen.all()
    for axis in (0, 1):
        starts = sorted({area(place)[axis] for place in places})
        assert all(416 - (b - a) >= overlap * 416 - 1 for a, b in pairwise(starts))


def test_a_picture_of_12_megapixels_takes_108_tiles() -> None:
    assert len(tiles((4000, 3000), TILE, Tiling())) == 12 * 9


@pytest.mark.parametrize("most", [1, 2, 7, 50, 128])
@pytest.mark.parametrize("size", [(5472, 3648), (65_000, 420), (7000, 7000)])
def test_no_more_tiles_than_allowed_and_all_is_still_seen(size: tuple[int, int], most: int) -> None:
    places = tiles(size, TILE, Tiling(max_tiles=most))
    assert 1 <= len(places) <= most
    boxes = np.array([place.box for place in places])
    assert boxes[:, :2].min() == 0
    assert boxes[:, 2:].max(axis=0) == pytest.approx(size)
    assert all(place.patch[0] <= 416 and place.patch[1] <= 416 for place in places)


def test_reductions_add_tiles_of_a_smaller_picture() -> None:
    places = tiles((1600, 1200), TILE, Tiling(reductions=(1, 2, 4)))
    assert [place.resized for place in (places[0], places[-1])] == [(1600, 1200), (400, 300)]
    assert places[-1].box == (0, 0, 1600, 1200)
    assert {place.resized for place in places} == {(1600, 1200), (800, 600), (400, 300)}


def test_a_tile_at_the_pictures_own_scale_is_a_plain_crop() -> None:
    image = picture("retina.jpg")
    place = tiles(image.size, TILE, Tiling())[4]
    part, inner = cut(image, place)
    assert np.array_equal(part, image.crop(area(place)))
    assert inner.box == (0, 0, 416, 416)
    half = tiles(image.size, TILE, Tiling(reductions=(2,)))[0]
    assert cut(image, half) == (image, half)


@pytest.mark.parametrize(
    ("enabled", "size", "asked", "wanted"),
    [
        ("auto", (4000, 3000), None, True),
        ("auto", (500, 400), None, False),
        ("auto", (500, 400), True, True),
        ("auto", (416, 400), True, False),
        ("auto", (4000, 3000), False, False),
        ("always", (500, 400), None, True),
        ("always", (500, 400), False, False),
        ("never", (4000, 3000), None, False),
    ],
)
def test_what_is_tiled(enabled: str, size: tuple[int, int], asked: bool | None, wanted: bool) -> None:
    assert Tiling(enabled=enabled).wanted(size, TILE, asked) is wanted


@pytest.mark.parametrize(
    "values",
    [
        {"enabled": "sometimes"},
        {"overlap": 0.95},
        {"overlap": -0.1},
        {"max_tiles": 0},
        {"above": 0.5},
        {"reductions": []},
        {"reductions": [0.5]},
        {"tile_size": 640},
    ],
)
def test_settings_that_cannot_be_are_refused(values: dict[str, Any]) -> None:
    with pytest.raises((ValueError, TypeError)):
        Tiling.of(values)


LEFT, RIGHT = (
    Placement((0, 0, 416, 416), TILE, (0, 0), (800, 416)),
    Placement((384, 0, 800, 416), TILE, (0, 0), (800, 416)),
)
WHOLE = Placement((0, 0, 800, 416), (416, 216), (0, 100), (416, 216))


def judged(*seen: tuple[int, int, tuple[float, float, float, float]]) -> list[bool]:
    """view, class, box -> whether it is a piece."""
    views, classes, boxes = zip(*seen, strict=True)
    found = pieces(np.array(boxes, float), np.array(classes), np.array(views), [LEFT, RIGHT, WHOLE], (800, 416))
    return [bool(each) for each in found]


def test_a_piece_at_a_border_gives_way_to_the_whole_object() -> None:
    assert judged((0, 8, (400, 100, 416, 150)), (1, 8, (400, 100, 440, 150))) == [True, False]


def test_a_piece_of_another_class_gives_way_when_the_object_goes_on_there() -> None:
    assert judged((0, 3, (400, 101, 416, 149)), (1, 8, (400, 100, 440, 150))) == [True, False]
    assert judged((0, 3, (400, 120, 416, 130)), (1, 8, (300, 0, 500, 400))) == [False, False], "a thing inside another"


def test_what_only_one_view_saw_stays() -> None:
    assert judged((0, 8, (400, 100, 416, 150)), (0, 8, (390, 100, 416, 150))) == [False, False], "the same view"
    assert judged((0, 8, (400, 100, 416, 150)), (1, 8, (600, 100, 640, 150))) == [False, False], "elsewhere"
    assert judged((0, 8, (0, 100, 16, 150)), (2, 8, (0, 100, 30, 150))) == [False, False], "the picture's own border"


def test_both_halves_of_what_no_tile_holds_give_way_to_the_whole_picture() -> None:
    seen = ((0, 5, (100, 50, 416, 380)), (1, 5, (384, 50, 700, 380)), (2, 5, (100, 50, 700, 380)))
    assert judged(*seen) == [True, True, False]


def test_many_cut_boxes_are_judged_in_bounded_memory() -> None:
    random = np.random.default_rng(0)
    count = 3000
    starts = random.uniform(0, 380, count)
    boxes = np.stack([np.full(count, 400.0), starts, np.full(count, 416.0), starts + 30], axis=1)
    found = pieces(boxes, np.zeros(count, int), np.zeros(count, int), [LEFT], (800, 416))
    assert not found.any()


def test_an_upright_picture_is_needed_only_once() -> None:
    image = Image.new("RGB", (900, 700))
    assert {cut(image, place)[0].size for place in tiles(image.size, TILE, Tiling())} == {(416, 416)}
