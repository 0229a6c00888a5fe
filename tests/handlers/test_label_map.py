"""Maps of classes back on the picture's own pixels, against torch and against the definition."""

from __future__ import annotations

import time

import numpy as np
import pytest

from handlers import label_map as module
from handlers.geometry import place
from handlers.label_map import label_map
from slipway.contract import Preprocess

SIZES = ((300, 200), (57, 91), (640, 480), (96, 128))


def random_maps(classes: int = 7, height: int = 32, width: int = 24) -> np.ndarray:
    return np.random.default_rng(0).normal(size=(classes, height, width)).astype(np.float32)


def by_definition(maps: np.ndarray, size: tuple[int, int], contract: Preprocess, outside: int) -> np.ndarray:
    """One pixel after the other in float64: where its centre lies in the maps, and the highest class there."""
    placement, (height, width) = place(size, contract), maps.shape[1:]
    (left, top, right, bottom), (across, down) = placement.box, placement.offset
    labels = np.full(size[::-1], outside, np.uint8)
    for y in range(size[1]):
        for x in range(size[0]):
            if not (left <= x + 0.5 < right and top <= y + 0.5 < bottom):
                continue
            u = ((x + 0.5 - left) * placement.patch[0] / (right - left) + across) * width / contract.width - 0.5
            v = ((y + 0.5 - top) * placement.patch[1] / (bottom - top) + down) * height / contract.height - 0.5
            last = np.ceil((across + placement.patch[0]) * width / contract.width) - 1
            lowest = np.ceil((down + placement.patch[1]) * height / contract.height) - 1
            u = min(max(u, across * width // contract.width), last)
            v = min(max(v, down * height // contract.height), lowest)
            i, j = int(v), int(u)
            below, beside = min(i + 1, int(lowest)), min(j + 1, int(last))
            corners = maps[:, [i, i, below, below], [j, beside, j, beside]].astype(np.float64)
            weights = [
                (1 - (v - i)) * (1 - (u - j)),
                (1 - (v - i)) * (u - j),
                (v - i) * (1 - (u - j)),
                (v - i) * (u - j),
            ]
            labels[y, x] = int((corners @ weights).argmax())
    return labels


@pytest.mark.parametrize("size", SIZES)
def test_stretched_pictures_are_torchs_interpolation(size: tuple[int, int]) -> None:
    torch = pytest.importorskip("torch")
    maps = random_maps()
    contract = Preprocess(128, 96, resize="stretch")
    found = label_map(maps, place(size, contract), size, (96, 128), 255)
    wide = torch.nn.functional.interpolate(torch.from_numpy(maps)[None], size=size[::-1], mode="bilinear")[0]
    assert (found == wide.numpy().argmax(axis=0)).mean() > 0.9999


@pytest.mark.parametrize("resize", ["letterbox", "shorter_side", "stretch"])
@pytest.mark.parametrize("size", [(30, 20), (57, 91), (100, 31)])
def test_every_placement_is_inverted_as_defined(resize: str, size: tuple[int, int]) -> None:
    maps = random_maps(5, 16, 12)
    contract = Preprocess(64, 48, resize=resize, resize_to=70)
    found = label_map(maps, place(size, contract), size, (48, 64), 255)
    expected = by_definition(maps, size, contract, 255)
    assert found.shape == size[::-1] and found.dtype == np.uint8
    assert (found == expected).mean() > 0.999, "but for rounding where two classes are equal"
    assert ((found == 255) == (expected == 255)).all()
    assert (found == 255).any() == (resize == "shorter_side")


def test_the_filled_rest_of_a_letterbox_never_reaches_the_picture() -> None:
    contract = Preprocess(64, 64, resize="letterbox")
    size = (64, 32)  # rows 16..48 of the input
    maps = np.zeros((2, 64, 64), np.float32)
    maps[1] = 100.0
    maps[0, 16:48], maps[1, 16:48] = 1.0, 0.0
    assert not label_map(maps, place(size, contract), size, (64, 64), 255).any()


def test_a_mask_of_the_picture_comes_back(classes: int = 3) -> None:
    """What is drawn at half the size is found at full size, to the pixel."""
    labels = np.zeros((48, 64), np.uint8)
    labels[10:30, 20:50], labels[32:40, :8] = 1, 2
    maps = np.stack([(labels[::2, ::2] == number) * 1.0 for number in range(classes)]).astype(np.float32)
    contract = Preprocess(48, 64, resize="stretch")
    found = label_map(maps, place((64, 48), contract), (64, 48), (64, 48), 255)
    assert (found == labels).mean() > 0.99


def test_of_equal_classes_the_first_wins() -> None:
    contract = Preprocess(8, 8, resize="stretch")
    assert not label_map(np.zeros((4, 8, 8), np.float32), place((31, 17), contract), (31, 17), (8, 8), 255).any()


@pytest.mark.parametrize("classes", [11, 150])
def test_twenty_megapixels_take_bounded_time_even_of_noise(classes: int) -> None:
    size = (5472, 3648)
    contract = Preprocess(128, 128, resize="letterbox")
    started = time.thread_time()
    found = label_map(random_maps(classes, 64, 64), place(size, contract), size, (128, 128), 255)
    assert time.thread_time() - started < 5.0, "about 0.7 s of a free core"
    assert found.shape == size[::-1] and len(np.unique(found)) == classes


def test_coarser_steps_change_only_borders(monkeypatch: pytest.MonkeyPatch) -> None:
    size = (400, 300)
    contract = Preprocess(64, 64, resize="shorter_side")
    rng = np.random.default_rng(1)
    maps = rng.normal(size=(3, 6, 6)).astype(np.float32)
    exact = label_map(maps, place(size, contract), size, (64, 64), 255)
    monkeypatch.setattr(module, "_MOST", 60_000)
    coarse = label_map(maps, place(size, contract), size, (64, 64), 255)
    assert coarse.shape == exact.shape
    assert 0.97 < (coarse == exact).mean() < 1
