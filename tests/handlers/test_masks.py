"""Label maps as PNG and as COCO's run lengths, there and back."""

from __future__ import annotations

import json

import numpy as np
import pytest

from handlers.masks import from_png, from_rle, png, rle

NAMES = ("sky", "road", "car", "nowhere")


def some(shape: tuple[int, int] = (13, 17)) -> np.ndarray:
    return np.random.default_rng(2).integers(0, 3, shape).astype(np.uint8)


@pytest.mark.parametrize("shape", [(13, 17), (1, 1), (1, 40), (40, 1)])
def test_both_come_back(shape: tuple[int, int]) -> None:
    labels = some(shape)
    assert np.array_equal(from_png(png(labels)), labels)
    assert np.array_equal(from_rle(rle(labels, NAMES), NAMES), labels)


def test_run_lengths_are_cocos() -> None:
    """pycocotools reads the counts as masks of the same pixels."""
    coco = pytest.importorskip("pycocotools.mask")
    labels = some((31, 20))
    for item in json.loads(rle(labels, NAMES)):
        compressed = coco.frPyObjects({"size": item["size"], "counts": item["counts"]}, *item["size"])
        assert np.array_equal(coco.decode(compressed) == 1, labels == NAMES.index(item["label"]))
        assert sum(item["counts"]) == labels.size


def test_classes_that_do_not_occur_are_left_out_and_void_is_nobodys() -> None:
    labels = np.array([[0, 255], [255, 2]], np.uint8)
    assert [item["label"] for item in json.loads(rle(labels, NAMES))] == ["sky", "car"]
    assert np.array_equal(from_rle(rle(labels, NAMES), NAMES), labels)


def test_png_levels_are_class_numbers_for_any_reader() -> None:
    labels = np.array([[0, 1, 254]], np.uint8)
    assert png(labels)[:4] == b"\x89PNG"
    assert from_png(png(labels)).tolist() == [[0, 1, 254]]
