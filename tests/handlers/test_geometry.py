"""Rounding is torchvision's: its own functions are the reference where torchvision is installed."""

from __future__ import annotations

from types import ModuleType

import pytest

from handlers.geometry import place
from slipway.contract import Preprocess
from slipway.errors import ContractInvalid

SIZES = [(w, h) for w in (1, 7, 63, 224, 255, 256, 257, 341, 640, 999) for h in (1, 8, 31, 224, 256, 427, 1001)]


@pytest.mark.parametrize("contract", [Preprocess(224, 224, resize_to=256), Preprocess(97, 64, resize_to=101)])
def test_shorter_side_has_torchvisions_sizes_and_corners(contract: Preprocess, torchvision: ModuleType) -> None:
    from torchvision.transforms.functional import _compute_resized_output_size

    for width, height in SIZES:
        new_height, new_width = _compute_resized_output_size((height, width), [contract.resize_to])
        top = round((new_height - contract.height) / 2.0)
        left = round((new_width - contract.width) / 2.0)
        placement = place((width, height), contract)
        assert placement.resized == (new_width, new_height)
        assert placement.patch == (contract.width, contract.height)
        assert placement.box[0] == pytest.approx(left * width / new_width)
        assert placement.box[1] == pytest.approx(top * height / new_height)
        assert placement.box[2] <= width and placement.box[3] <= height


def test_letterbox_keeps_the_aspect_and_centres() -> None:
    contract = Preprocess(640, 640, resize="letterbox")
    wide, tall = place((1280, 720), contract), place((100, 400), contract)
    assert (wide.patch, wide.offset) == ((640, 360), (0, 140))
    assert (tall.patch, tall.offset) == ((160, 640), (240, 0))
    assert place((65535, 1), contract).patch == (640, 1)


def test_stretch_takes_everything() -> None:
    placement = place((31, 77), Preprocess(20, 10, resize="stretch"))
    assert (placement.box, placement.patch, placement.offset) == ((0, 0, 31, 77), (10, 20), (0, 0))


def test_resize_to_defaults_to_the_larger_side_and_must_hold_the_crop() -> None:
    assert place((640, 480), Preprocess(32, 48)).resized == (64, 48)
    with pytest.raises(ContractInvalid, match="resize_to"):
        place((640, 480), Preprocess(32, 48, resize_to=40))
