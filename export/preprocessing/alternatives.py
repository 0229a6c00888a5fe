"""Other ways to prepare a picture than the declared one: what trainings do, in the order of how likely it is.

Most are other values of the contract's own keys. Some are no contract's: those tell a person why no value will do.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields, replace
from functools import lru_cache, partial
from itertools import product

import numpy as np
import numpy.typing as npt
from PIL import Image

from export.preprocessing.pictures import training_picture
from handlers.preprocess import Preprocessor
from slipway.contract import Preprocess
from slipway.errors import ContractInvalid

Pixels = npt.NDArray[np.uint8]
Make = Callable[[Image.Image], Image.Image]

#: Sides that pictures are resized to before the crop, as multiples of the crop: torchvision's recipes (232, 256, 288
#: for 224; 342 for 299), timm's crop_pct 0.9 and 0.95, and no crop.
_RATIOS = (256 / 224, 1.0, 232 / 224, 1 / 0.9, 1 / 0.95, 288 / 224, 342 / 299, 236 / 224, 246 / 224, 1.25, 1.5, 2.0)
#: Fills of a letterbox: YOLO's grey, black, mid-grey, white, and ImageNet's mean.
_FILLS = (114, 0, 128, 127, 255, 124)
_FILTERS = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}


@dataclass(frozen=True)
class Alternative:
    """``text``: what the training does, in words that name keys; ``prepare``: an encoded picture -> uint8[H, W, 3]."""

    text: str
    prepare: Callable[[bytes], Pixels]


def alternatives(declared: Preprocess) -> Iterator[Alternative]:
    """The declared one first (without a text), then changes of one key, of several, and what no contract can say."""
    seen = set()
    for other in (declared, *_single(declared), *_several(declared)):
        if other not in seen:
            seen.add(other)
            yield Alternative(_changes(declared, other), partial(_by_contract, other))
    for text, picture in _impossible(declared):
        yield Alternative(text, partial(_by_picture, picture, declared))


def resize_sides(declared: Preprocess) -> Iterator[Alternative]:
    """Every side that the shorter one may have been resized to before the crop, up to twice the crop."""
    least = max(declared.height, declared.width)
    for side in range(least, 2 * least + 1):
        other = replace(declared, resize="shorter_side", resize_to=side)
        yield Alternative(_changes(declared, other), partial(_by_contract, other))


def _single(declared: Preprocess) -> Iterator[Preprocess]:
    yield replace(declared, antialias=not declared.antialias)
    yield replace(declared, reduced_decode=False)
    for interpolation in ("bilinear", "bicubic", "nearest"):
        yield replace(declared, interpolation=interpolation)
    for side in _sides(declared):
        yield replace(declared, resize="shorter_side", resize_to=side)
    yield replace(declared, resize="stretch")
    for fill in _FILLS:
        yield replace(declared, resize="letterbox", fill=fill)
    for colour in ("rgb", "grey"):
        yield replace(declared, colour=colour)


def _several(declared: Preprocess) -> Iterator[Preprocess]:
    geometries = [replace(declared, resize="shorter_side", resize_to=side) for side in _sides(declared)]
    geometries += [replace(declared, resize="stretch")]
    geometries += [replace(declared, resize="letterbox", fill=fill) for fill in _FILLS]
    how = product(geometries, ("bilinear", "bicubic", "nearest"), (True, False), ("rgb", "grey"))
    for geometry, interpolation, antialias, colour in how:
        yield replace(geometry, interpolation=interpolation, antialias=antialias, colour=colour, reduced_decode=False)


def _sides(declared: Preprocess) -> list[int]:
    least = max(declared.height, declared.width)
    return list(dict.fromkeys(max(least, side(least * ratio)) for ratio in _RATIOS for side in (round, int)))


def _changes(declared: Preprocess, other: Preprocess) -> str:
    """The keys that differ, as ``input.<key>``, with both values."""
    found = []
    for item in fields(declared):
        ours, theirs = getattr(declared, item.name), getattr(other, item.name)
        irrelevant = (item.name == "resize_to" and other.resize != "shorter_side") or (
            item.name == "fill" and other.resize != "letterbox"
        )
        if ours != theirs and not irrelevant:
            note = " (no antialiasing)" if item.name == "antialias" and not theirs else ""
            found.append(f"input.{item.name}: {_said(theirs)}{note}, not {_said(ours)}")
        elif item.name == "fill" and other.resize == "letterbox" != declared.resize:
            found.append(f"input.fill: {theirs}")
    return "; ".join(found)


def _said(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _by_contract(contract: Preprocess, encoded: bytes) -> Pixels:
    try:
        return Preprocessor(contract).from_image(_picture(encoded)).pixels
    except ContractInvalid:  # a crop that does not fit into such a side
        return np.zeros((contract.height, contract.width, 3), np.uint8)


def _by_picture(make: Make, declared: Preprocess, encoded: bytes) -> Pixels:
    picture = make(_picture(encoded))
    if declared.colour == "grey":
        picture = picture.convert("L").convert("RGB")
    pixels: Pixels = np.asarray(picture)
    return pixels[..., ::-1] if declared.colour == "bgr" else pixels


@lru_cache(maxsize=8)
def _picture(encoded: bytes) -> Image.Image:
    """Decoded once for a hundred alternatives, of which none changes it."""
    return training_picture(encoded)[0]


def _impossible(declared: Preprocess) -> Iterator[tuple[str, Make]]:
    """Ways that no ``input.resize`` stands for, and what to tell of them."""
    size = (declared.width, declared.height)
    shown = f"{size[0]}x{size[1]}"
    how = _FILTERS.get(declared.interpolation, Image.Resampling.BILINEAR)
    none = "and no input.resize does that"
    yield f"the training crops the centre {shown} without resizing, {none}", partial(_centre, size=size)
    for side in _sides(declared):
        yield (
            f"the training stretches to {side}x{side} before it crops {shown}, {none}",
            partial(_stretched_then_cropped, side=side, size=size, how=how),
        )
        yield (
            f"the training crops before it resizes ({side}x{side}, then to {shown}), {none}",
            partial(_cropped_then_stretched, side=side, size=size, how=how),
        )
    for fill in _FILLS:
        yield (
            f"the training puts the picture into the upper left corner and fills the rest with {fill}, {none}",
            partial(_cornered, fill=fill, size=size, how=how),
        )


def _stretched_then_cropped(
    picture: Image.Image, side: int, size: tuple[int, int], how: Image.Resampling
) -> Image.Image:
    return _centre(picture.resize((side, side), how), size)


def _cropped_then_stretched(
    picture: Image.Image, side: int, size: tuple[int, int], how: Image.Resampling
) -> Image.Image:
    return _centre(picture, (side, side)).resize(size, how)


def _centre(picture: Image.Image, size: tuple[int, int]) -> Image.Image:
    """torchvision's CenterCrop: smaller pictures get a black border, corners round half to even."""
    canvas = (max(size[0], picture.width), max(size[1], picture.height))
    if canvas != picture.size:
        padded = Image.new("RGB", canvas)
        padded.paste(picture, ((canvas[0] - picture.width) // 2, (canvas[1] - picture.height) // 2))
        picture = padded
    left, top = round((picture.width - size[0]) / 2.0), round((picture.height - size[1]) / 2.0)
    return picture.crop((left, top, left + size[0], top + size[1]))


def _cornered(picture: Image.Image, size: tuple[int, int], fill: int, how: Image.Resampling) -> Image.Image:
    scale = min(size[0] / picture.width, size[1] / picture.height)
    fitted = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
    canvas = Image.new("RGB", size, (fill, fill, fill))
    canvas.paste(picture.resize(fitted, how))
    return canvas
