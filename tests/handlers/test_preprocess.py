"""The network's input against torchvision's transforms, and every option of the contract."""

from __future__ import annotations

from dataclasses import replace
from types import ModuleType

import numpy as np
import pytest
from PIL import Image

from handlers.decode import decode
from handlers.preprocess import Preprocessor, preprocess
from slipway.contract import Preprocess
from slipway.errors import ContractInvalid, ImageEmpty
from tests.handlers.pictures import ODD, encode, picture, read

IMAGENET = Preprocess(224, 224, resize_to=256)
CONTRACTS = [IMAGENET, Preprocess(64, 64, resize_to=64), Preprocess(160, 96, resize_to=177)]


def difference(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    return np.abs(first.astype(int) - second.astype(int))


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
def test_equals_torchvision_antialiased(interpolation: str, torchvision: ModuleType) -> None:
    """The figures in the docstring of handlers.preprocess."""
    from torchvision.transforms import v2

    for name in ODD:
        image = decode(read(name))
        for contract in CONTRACTS:
            mode = v2.InterpolationMode(interpolation)
            transform = v2.Compose(
                [
                    v2.Resize(contract.resize_to, interpolation=mode, antialias=True),
                    v2.CenterCrop((contract.height, contract.width)),
                ]
            )
            got = preprocess(read(name), replace(contract, interpolation=interpolation))
            off = difference(got, np.asarray(transform(image)))
            assert off.max() <= (1 if contract is IMAGENET else 2), (name, contract)
            assert off.mean() <= 0.012, (name, contract)
            assert (off > 1).mean() <= 1e-4, (name, contract)


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
def test_equals_torchvision_on_tensors_without_antialiasing(interpolation: str, torchvision: ModuleType) -> None:
    """On floats: torch's own uint8 kernel without antialiasing truncates (0.5 off on average, 6 at worst)."""
    import torch
    from torchvision.transforms import v2

    for name in ODD:
        tensor = torch.from_numpy(np.array(decode(read(name)))).permute(2, 0, 1).float()
        for contract in CONTRACTS:
            mode = v2.InterpolationMode(interpolation)
            resized = v2.functional.resize(tensor, [contract.resize_to], mode, antialias=False)
            cropped = v2.functional.center_crop(resized, [contract.height, contract.width])
            expected = cropped.clamp(0, 255).round().permute(1, 2, 0).numpy()
            got = preprocess(read(name), replace(contract, interpolation=interpolation, antialias=False))
            off = difference(got, expected)
            assert off.max() <= 1 and off.mean() <= 0.01, (name, contract)


@pytest.mark.parametrize("name", ODD)
@pytest.mark.parametrize("resize", ["shorter_side", "letterbox", "stretch"])
@pytest.mark.parametrize("colour", ["rgb", "bgr", "grey"])
def test_result_is_contiguous_uint8_of_the_declared_size(name: str, resize: str, colour: str) -> None:
    pixels = preprocess(read(name), Preprocess(48, 80, resize=resize, colour=colour))
    assert (pixels.shape, pixels.dtype, pixels.flags.c_contiguous) == ((48, 80, 3), np.dtype(np.uint8), True)


def test_bgr_is_rgb_backwards_and_grey_is_luma() -> None:
    rgb = preprocess(read("coffee.png"), IMAGENET)
    assert np.array_equal(preprocess(read("coffee.png"), replace(IMAGENET, colour="bgr")), rgb[:, :, ::-1])
    grey = preprocess(read("coffee.png"), replace(IMAGENET, colour="grey"))
    luma = rgb @ np.array([0.299, 0.587, 0.114])
    assert np.abs(grey - luma[..., None]).max() <= 1.5
    page = preprocess(read("page.png"), replace(IMAGENET, colour="grey"))
    assert np.array_equal(page, preprocess(read("page.png"), IMAGENET))


@pytest.mark.parametrize("colour", ["rgb", "grey"])
def test_letterbox_fills_around_the_resized_picture(colour: str) -> None:
    contract = Preprocess(100, 100, resize="letterbox", colour=colour, fill=114)
    pixels = preprocess(encode(picture("china.jpg").resize((200, 100)), "PNG"), contract)
    assert (pixels[:25] == 114).all() and (pixels[75:] == 114).all()
    inner = picture("china.jpg").resize((200, 100)).convert("L" if colour == "grey" else "RGB")
    expected = np.asarray(inner.resize((100, 50), Image.Resampling.BILINEAR))
    assert np.array_equal(pixels[25:75, :, 0], expected if colour == "grey" else expected[..., 0])


def test_stretch_is_pillows_resize() -> None:
    expected = np.asarray(picture("rocket.jpg").resize((80, 48), Image.Resampling.BILINEAR))
    assert np.array_equal(preprocess(read("rocket.jpg"), Preprocess(48, 80, resize="stretch")), expected)


def test_a_picture_of_the_right_size_is_untouched() -> None:
    image = picture().resize((64, 64))
    for antialias in (True, False):
        got = preprocess(encode(image, "PNG"), Preprocess(64, 64, resize_to=64, antialias=antialias))
        assert np.array_equal(got, np.asarray(image))


def test_nearest_takes_source_pixels_only() -> None:
    image = picture().quantize(5).convert("RGB")
    got = preprocess(encode(image, "PNG"), replace(IMAGENET, interpolation="nearest"))
    colours = {tuple(colour) for colour in np.asarray(image).reshape(-1, 3).tolist()}
    assert {tuple(colour) for colour in got.reshape(-1, 3).tolist()} <= colours


def test_exif_rotation_comes_before_the_crop() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = preprocess(encode(picture(), "PNG", exif=exif), IMAGENET)
    upright = preprocess(encode(picture().transpose(Image.Transpose.ROTATE_270), "PNG"), IMAGENET)
    assert np.array_equal(turned, upright)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("size", [(1923, 1085), (1200, 1201), (600, 400)])
def test_reduced_decode_stays_close(size: tuple[int, int], orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    encoded = encode(picture("retina.jpg").resize(size), "JPEG", quality=95, exif=exif)
    contract = Preprocess(128, 128, resize_to=144)
    full, reduced = preprocess(encoded, contract), preprocess(encoded, replace(contract, reduced_decode=True))
    off = difference(full, reduced)
    assert off.mean() < 1.0 and off.max() <= 16


def test_extreme_shapes_cost_little() -> None:
    for size in ((65_535, 1), (1, 65_535)):
        encoded = encode(Image.new("RGB", size, (1, 2, 3)), "PNG")
        for resize in ("shorter_side", "letterbox", "stretch"):
            assert preprocess(encoded, replace(IMAGENET, resize=resize, resize_to=0)).shape == (224, 224, 3)


def test_errors() -> None:
    with pytest.raises(ImageEmpty):
        preprocess(b"", IMAGENET)
    with pytest.raises(ContractInvalid):
        Preprocessor(replace(IMAGENET, resize_to=100))
