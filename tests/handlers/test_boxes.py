"""Suppression against a plain loop and torchvision, overlaps against arithmetic, the letterbox there and back."""

from __future__ import annotations

from types import ModuleType

import numpy as np
import numpy.typing as npt
import pytest

from handlers.boxes import areas, clipped, intersections, non_maximum_suppression, overlaps, to_input, to_picture
from handlers.geometry import place
from slipway.contract import Preprocess

Floats = npt.NDArray[np.float32]


def crowd(seed: int, count: int = 120) -> tuple[Floats, Floats, npt.NDArray[np.int64]]:
    """Boxes that overlap a lot, with scores of which many are equal."""
    random = np.random.default_rng(seed)
    corners = random.uniform(0, 300, (count, 2))
    boxes = np.concatenate([corners, corners + random.uniform(5, 120, (count, 2))], axis=1).astype(np.float32)
    scores = (random.integers(1, 40, count) / 40).astype(np.float32)
    return boxes, scores, random.integers(0, 4, count)


def iou(first: Floats, second: Floats) -> float:
    wide = [[float(value) for value in box] for box in (first, second)]
    width = min(wide[0][2], wide[1][2]) - max(wide[0][0], wide[1][0])
    height = min(wide[0][3], wide[1][3]) - max(wide[0][1], wide[1][1])
    common = max(width, 0.0) * max(height, 0.0)
    both = sum((box[2] - box[0]) * (box[3] - box[1]) for box in wide)
    return common / (both - common) if both > common else 0.0


def plain(boxes: Floats, scores: Floats, classes: npt.NDArray[np.int64], threshold: float) -> list[int]:
    kept: list[int] = []
    for index in sorted(range(len(scores)), key=lambda position: (-scores[position], position)):
        if all(classes[index] != classes[other] or iou(boxes[index], boxes[other]) <= threshold for other in kept):
            kept.append(index)
    return kept


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("threshold", [0.0, 0.3, 0.5, 0.75, 1.0])
def test_suppression_is_that_of_a_plain_loop(seed: int, threshold: float) -> None:
    boxes, scores, classes = crowd(seed)
    expected = plain(boxes, scores, classes, threshold)
    assert non_maximum_suppression(boxes, scores, classes, threshold).tolist() == expected
    assert non_maximum_suppression(boxes, scores, classes, threshold, 7).tolist() == expected[:7]
    alike = np.zeros_like(classes)
    assert non_maximum_suppression(boxes, scores, None, threshold).tolist() == plain(boxes, scores, alike, threshold)


@pytest.mark.parametrize("seed", range(4))
def test_suppression_is_that_of_torchvision(torchvision: ModuleType, seed: int) -> None:
    import torch

    boxes, _, classes = crowd(seed, 400)
    scores = (
        np.random.default_rng(seed).permutation(400).astype(np.float32)
    )  # torchvision leaves the order of ties open
    kept = torchvision.ops.batched_nms(*(torch.from_numpy(part) for part in (boxes, scores, classes)), 0.5)
    assert non_maximum_suppression(boxes, scores, classes, 0.5).tolist() == kept.tolist()
    assert 40 < len(kept) < 400


def test_classes_never_meet_even_at_the_far_end_of_a_large_picture() -> None:
    boxes = np.array([[59_990.25, 0, 60_000, 9.5], [59_990.25, 0, 60_000, 9.5]], np.float32)
    scores = np.array([0.5, 0.9], np.float32)
    assert non_maximum_suppression(boxes, scores, np.array([0, 2999]), 0.5).tolist() == [1, 0]
    assert non_maximum_suppression(boxes, scores, np.array([7, 7]), 0.5).tolist() == [1]


def test_nothing_gives_nothing() -> None:
    empty = np.zeros((0, 4), np.float32)
    assert non_maximum_suppression(empty, empty[:, 0], np.zeros(0, int), 0.5).tolist() == []
    assert overlaps(empty, np.ones((3, 4))).shape == (0, 3)


def test_overlaps() -> None:
    boxes = np.array([[0, 0, 10, 10], [5, 0, 15, 10], [20, 20, 30, 30], [4, 4, 4, 9], [9, 9, 3, 3]], np.float32)
    found = overlaps(boxes, boxes)
    assert found[:3, :3] == pytest.approx(np.array([[1, 1 / 3, 0], [1 / 3, 1, 0], [0, 0, 1]]))
    assert not found[3:].any(), "without area there is no overlap, not even with itself"
    assert areas(boxes).tolist() == [100, 100, 100, 0, 0]
    assert intersections(boxes[:1], boxes[1:2]).tolist() == [[50]]


def test_clipped() -> None:
    boxes = np.array([[-5, -5, 700, 200], [650, 10, 660, 20]], np.float32)
    assert clipped(boxes, (640, 480)).tolist() == [[0, 0, 640, 200], [640, 10, 640, 20]]


@pytest.mark.parametrize("mode", ["letterbox", "stretch", "shorter_side"])
@pytest.mark.parametrize("size", [(640, 427), (427, 640), (4000, 3000), (5472, 3648), (31, 29), (1000, 7), (416, 416)])
def test_there_and_back_within_a_thousandth_of_a_pixel(mode: str, size: tuple[int, int]) -> None:
    placement = place(size, Preprocess(416, 320, resize=mode))
    random = np.random.default_rng(1)
    boxes = random.uniform(0, 1, (200, 4)) * (size * 2)
    there = to_input(boxes, placement)
    assert np.abs(to_picture(there, placement) - boxes).max() < 1e-9
    assert np.abs(to_picture(there.astype(np.float32), placement) - boxes).max() < 1e-3


def test_the_letterbox_maps_the_picture_onto_its_patch() -> None:
    placement = place((4000, 3000), Preprocess(416, 416, resize="letterbox"))
    assert placement.offset == (0, 52)
    corners = to_input(np.array([[0, 0, 4000, 3000]]), placement)
    assert corners.tolist() == [[0, 52, 416, 364]]
