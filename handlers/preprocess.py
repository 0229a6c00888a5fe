"""Encoded bytes -> the network's input, ``uint8[H, W, 3]``, by one contract.

Antialiased resizing and cropping are one Pillow call (``resize(box=...)``): only the pixels of the crop are computed.
Over 14 real photographs of odd kinds (tests/handlers/test_preprocess.py holds the figures):

=====================================================  ==============  ==============================
against torchvision 0.28 Resize + CenterCrop           largest         mean, of any picture and size
=====================================================  ==============  ==============================
antialiased, PIL images, 256 -> 224                    1 grey level    0.012 grey levels
antialiased, PIL images, other sizes                   2, in 1e-4      0.012 grey levels
``antialias=False``, float tensors, all sizes          1 grey level    0.010 grey levels
=====================================================  ==============  ==============================

What is left comes from Pillow's 32-bit crop box. ``nearest`` may take the neighbour where a sample falls exactly
between two pixels.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt
from PIL import Image

from handlers.geometry import Placement, place, shorter_side_target
from handlers.picture import Picture
from handlers.sampling import sample
from handlers.stages import stage
from slipway.contract import Preprocess

Pixels = npt.NDArray[np.uint8]
Box = tuple[float, float, float, float]

_FILTERS = {
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "nearest": Image.Resampling.NEAREST,
}
#: A JPEG is never decoded at a reduced scale below this many times the resized picture: the antialiasing filter still
#: has enough to average.
_REDUCED_MARGIN = 2


@dataclass(frozen=True, eq=False)
class Prepared:
    """``pixels``: uint8[H, W, 3], the network's input. ``placement``: which part of the picture lies where in it.
    ``size``: (width, height) of the upright picture, pixels."""

    pixels: Pixels
    placement: Placement
    size: tuple[int, int]


class Preprocessor:
    """The pre-processing of one contract, callable; holds no state between images, so threads may share it."""

    def __init__(self, contract: Preprocess) -> None:
        """Raises ContractInvalid when ``resize_to`` is smaller than the crop."""
        if contract.resize == "shorter_side":
            shorter_side_target(contract)
        self.contract = contract
        self._pillow_resamples = contract.antialias or contract.interpolation == "nearest"

    def __call__(self, encoded: bytes) -> Pixels:
        """``encoded``: one JPEG, PNG, WebP, BMP or GIF file; returns uint8[H, W, 3], contiguous, in the contract's
        colour order. Raises an ImageError."""
        return self.prepared(Picture.of(encoded, self.contract)).pixels

    def prepared(self, picture: Picture) -> Prepared:
        """The same, with where the picture went. Raises an ImageError."""
        placement = place(picture.size, self.contract)
        if not self.contract.reduced_decode:
            return self._prepared(picture.image(), placement, placement.box, picture.size)
        opened = picture.opened()
        with stage("decode"):
            image = opened.decode(_at_least(placement.resized))
        return self._prepared(image, placement, opened.located(placement.box), picture.size)

    def from_image(self, image: Image.Image) -> Prepared:
        """A decoded picture in mode RGB, as from the file that it was decoded from."""
        placement = place(image.size, self.contract)
        return self._prepared(image, placement, placement.box, image.size)

    def placed(self, image: Image.Image, placement: Placement) -> Prepared:
        """A part of a decoded picture in mode RGB where ``placement`` says: a tile of a large one, for example."""
        return self._prepared(image, placement, placement.box, image.size)

    def _prepared(self, image: Image.Image, placement: Placement, box: Box, size: tuple[int, int]) -> Prepared:
        with stage("resize"):
            return Prepared(self._input(image, placement, box), placement, size)

    def _input(self, image: Image.Image, placement: Placement, box: Box) -> Pixels:
        if self.contract.colour == "grey":
            image = image.convert("L")
        patch = self._resample(image, box, placement.patch)
        return np.ascontiguousarray(_compose(patch, placement, self.contract))

    def _resample(self, image: Image.Image, box: Box, patch: tuple[int, int]) -> Pixels:
        """uint8[patch[1], patch[0], 1 or 3] of ``box`` of the picture."""
        interpolation = self.contract.interpolation
        if self._pillow_resamples:
            return _planes(np.asarray(image.resize(patch, _FILTERS[interpolation], box)))
        return sample(_planes(np.asarray(image)), box, patch, interpolation)


def _planes(pixels: Pixels) -> Pixels:
    """A grey picture has no third axis in numpy."""
    return pixels if pixels.ndim == 3 else pixels[:, :, None]


def _at_least(resized: tuple[int, int]) -> tuple[int, int]:
    return _REDUCED_MARGIN * resized[0], _REDUCED_MARGIN * resized[1]


def _compose(patch: Pixels, placement: Placement, contract: Preprocess) -> Pixels:
    """``patch`` uint8[h, w, 1 or 3] in its place in the input, channels in the contract's order."""
    if contract.colour == "bgr":
        patch = patch[:, :, ::-1]
    if patch.shape[:2] == (contract.height, contract.width) and patch.shape[2] == 3:
        return patch
    full = np.full((contract.height, contract.width, 3), contract.fill, np.uint8)
    left, top = placement.offset
    full[top : top + patch.shape[0], left : left + patch.shape[1]] = patch
    return full


@lru_cache(maxsize=64)
def _preprocessor(contract: Preprocess) -> Preprocessor:
    return Preprocessor(contract)


def preprocess(encoded: bytes, contract: Preprocess) -> Pixels:
    """One encoded image -> uint8[H, W, 3]; see :class:`Preprocessor`. Raises an ImageError."""
    return _preprocessor(contract)(encoded)
