"""How a picture is shown to the text detector: borders around strips, without a frame of the strip's own resolution."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from handlers.text.view import _edge, shown, view
from tests.handlers.pictures import picture


def seen(image: Image.Image, **limits: int) -> npt.NDArray[np.uint8]:
    return shown(image, view(image.size, 736, 2016, 2.0), **limits)


def framed(image: Image.Image) -> npt.NDArray[np.uint8]:
    """By the book: the borders at the picture's own resolution, then one resize."""
    found = view(image.size, 736, 2016, 2.0)
    across, down = found.border
    frame = Image.new("RGB", (image.width + 2 * across, image.height + 2 * down), _edge(image))
    frame.paste(image, found.border)
    return np.asarray(frame.resize(found.input, Image.Resampling.BILINEAR))


@pytest.mark.parametrize(
    "size", [(451, 300), (300, 451), (3000, 40), (9000, 1), (700, 80), (2016, 30), (40, 3000), (1, 2000), (31, 256)]
)
def test_pixels_are_those_of_a_frame_that_is_resized(size: tuple[int, int]) -> None:
    noise = np.random.default_rng(3).integers(0, 255, (size[1], size[0], 3), dtype=np.uint8)
    for image in (picture().resize(size), Image.fromarray(noise)):
        assert np.array_equal(seen(image), framed(image))


@pytest.mark.parametrize("size", [(40, 3000), (1, 2000), (31, 256)])
def test_a_tall_strip_whose_frame_is_too_large_differs_by_roundings(size: tuple[int, int]) -> None:
    image = picture().resize(size)
    off = np.abs(seen(image, max_pixels=size[0] * size[1]).astype(int) - framed(image))
    assert off.max() <= 1


@pytest.mark.parametrize("size", [(65535, 1), (1, 65535), (65535, 700), (700, 65535)])
def test_the_longest_strips_cost_no_more_than_a_large_picture(
    size: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[int] = []
    new = Image.new

    def counted(mode: str, shape: tuple[int, int], *rest: object) -> Image.Image:
        made.append(shape[0] * shape[1])
        assert made[-1] <= 20_000_000, shape
        return new(mode, shape, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr("handlers.text.view.Image.new", counted)
    wide, high = view(size, 736, 2016, 2.0).input
    assert seen(new("RGB", size, "white")).shape == (high, wide, 3)
    assert made
