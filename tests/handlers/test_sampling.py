"""Resampling without antialiasing against torch's own, and against values worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from handlers.sampling import sample
from tests.handlers.pictures import picture


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@pytest.mark.parametrize("patch", [(224, 224), (97, 64), (901, 601), (451, 300), (1, 1)])
def test_equals_interpolate(interpolation: str, patch: tuple[int, int]) -> None:
    torch = pytest.importorskip("torch", reason="torch.nn.functional.interpolate is the reference")
    source = np.array(picture())
    planes = torch.from_numpy(source).permute(2, 0, 1)[None].float()
    exact = torch.nn.functional.interpolate(planes, size=patch[::-1], mode=interpolation, align_corners=False)
    expected = exact[0].permute(1, 2, 0).numpy().clip(0, 255)
    result = sample(source, (0, 0, source.shape[1], source.shape[0]), patch, interpolation)
    assert result.dtype == np.uint8
    assert np.abs(result - expected).max() <= 0.502


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
def test_whole_pixels_are_copied(interpolation: str) -> None:
    source = np.array(picture())
    part = sample(source, (10, 20, 42, 52), (32, 32), interpolation)
    assert np.array_equal(part, source[20:52, 10:42])


def test_halfway_is_the_mean() -> None:
    source = np.array([[[0], [100]]], np.uint8)
    assert sample(source, (0.5, 0, 1.5, 1), (1, 1), "bilinear").tolist() == [[[50]]]
