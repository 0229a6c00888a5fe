"""Averaging whole pixels is torch's interpolate(mode="area"), rounded."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from handlers.area import Summed
from samples.photos.originals import opened

PIXELS = np.asarray(opened("chelsea.png"))


def by_torch(pixels: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    images = torch.from_numpy(pixels.copy()).permute(2, 0, 1)[None].double()
    return torch.nn.functional.interpolate(images, size=size[::-1], mode="area")[0].permute(1, 2, 0).numpy()


@pytest.mark.parametrize(
    "size", [(271, 181), (192, 127), (100, 90), (24, 24), (12, 17), (1, 1), (451, 300), (500, 640)]
)
def test_whole_picture(size: tuple[int, int]) -> None:
    found = Summed(PIXELS).resized(size)
    assert found.shape == (size[1], size[0], 3)
    assert np.abs(found - by_torch(PIXELS, size)).max() <= 0.5001


def test_crops_of_every_size_and_shape_together() -> None:
    random = np.random.default_rng(0)
    corners = random.integers(0, (440, 290), (60, 2))
    far = np.minimum(corners + random.integers(1, 300, (60, 2)), (451, 300))
    parts = np.concatenate([corners, far], axis=1)
    for side in (24, 48):
        for crop, (x1, y1, x2, y2) in zip(Summed(PIXELS).crops(parts, side), parts, strict=True):
            assert np.abs(crop - by_torch(PIXELS[y1:y2, x1:x2], (side, side))).max() <= 0.5001


def test_no_crops() -> None:
    assert Summed(PIXELS).crops(np.zeros((0, 4), np.int64), 24).shape == (0, 24, 24, 3)


def test_sums_beyond_32_bits_do_no_harm() -> None:
    white = np.full((4200, 4200, 3), 255, np.uint8)  # sums to more than 2 ** 32
    assert (Summed(white).resized((7, 9)) == 255).all()
    assert (Summed(white).crops(np.array([[4000, 4100, 4200, 4200]]), 24) == 255).all()
