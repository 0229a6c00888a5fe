"""Conversions that no encoder of Pillow can write into a file; the rest is in test_decode."""

from __future__ import annotations

import numpy as np
from PIL import Image

from handlers.colour import to_rgb
from tests.handlers.pictures import picture


def test_rgb_is_returned_as_it_is() -> None:
    image = picture()
    assert to_rgb(image) is image


def test_opaque_alpha_changes_nothing() -> None:
    image = picture()
    assert np.array_equal(np.asarray(to_rgb(image.convert("RGBA"))), np.asarray(image))


def test_16_bit_grey_with_a_transparent_level() -> None:
    image = Image.fromarray(np.array([[256, 65535, 512]], np.uint16))
    image.info["transparency"] = 512
    assert np.asarray(to_rgb(image))[0].tolist() == [[1, 1, 1], [255, 255, 255], [255, 255, 255]]
    wide = Image.fromarray(np.array([[256, 65535]], np.int32))
    assert wide.mode == "I"
    assert np.asarray(to_rgb(wide))[0, :, 0].tolist() == [1, 255]


def test_every_mode_becomes_rgb() -> None:
    for mode in ("1", "L", "P", "LA", "PA", "RGBA", "RGBX", "CMYK", "YCbCr", "I", "I;16"):
        image = Image.new(mode, (4, 4)) if mode.startswith("I") else picture().convert(mode)
        assert to_rgb(image).mode == "RGB", mode
