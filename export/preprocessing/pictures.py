"""Pictures for the comparison: what the contract makes of each, and what the training's transform makes of it.

The training sees a file as Pillow does: ``ImageOps.exif_transpose(Image.open(file)).convert("RGB")``. Slipway decodes
otherwise where a person would be shown otherwise (handlers.colour): transparency is laid over white, where Pillow shows
the colours underneath, and 16 bits become 8 by their high byte, where Pillow clips them to white. Such a picture goes
into the transform as Slipway decodes it, so that geometry and normalisation are still compared, and how far the two
decodings lie apart is told beside it.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps

from export.images import HeldOut, image_files
from export.preprocessing.named import Transform
from handlers.decode import decode
from handlers.preprocess import preprocess
from slipway.contract import Normalise, Preprocess

Item = TypeVar("Item")
Levels = npt.NDArray[np.float32]

#: Where the sample of odd photographs lies, below the project.
ODD_PHOTOGRAPHS = "var/samples/photos/images"


@dataclass(frozen=True)
class Named:
    """An encoded picture and its name."""

    name: str
    encoded: bytes


@dataclass(frozen=True)
class Compared:
    """One picture both ways. ``contract``: uint8[H, W, 3]; ``training``: float32[H, W, 3], normalised; ``encoded``: the
    file; ``decoding``: largest difference, in grey levels, between Pillow's plain decoding and Slipway's, where they
    differ by Slipway's rules, else None."""

    name: str
    contract: npt.NDArray[np.uint8]
    training: Levels
    encoded: bytes
    decoding: float | None

    def differences(self, normalise: Normalise) -> Levels:
        """float32[H, W, 3], not negative: grey levels, by the contract's normalisation undone."""
        apart: Levels = np.abs(levels(self.training, normalise) - self.contract)
        return apart


class TransformFailed(Exception):
    """The training's transform cannot do its work; the text says with which picture and how."""


def odd_pictures(directory: str | None, root: Path, held_out: HeldOut, at_most: int) -> tuple[str, list[Named]]:
    """Where the pictures are from, and ``at_most`` of them, evenly spread: the directory of the specification, else the
    sample's odd photographs where they have been made, else the held-out images. Raises SamplesInvalid."""
    if directory is None and not (root / ODD_PHOTOGRAPHS).is_dir():
        return "the held-out images", [Named(image.name, image.encoded) for image in spread(held_out.images, at_most)]
    files = spread(image_files(root / (directory or ODD_PHOTOGRAPHS)), at_most)
    return directory or ODD_PHOTOGRAPHS, [Named(path.name, path.read_bytes()) for path in files]


def spread(items: Sequence[Item], at_most: int) -> list[Item]:
    """``at_most`` items, the first and the last among them, evenly spread."""
    chosen = np.linspace(0, len(items) - 1, min(len(items), at_most)).round().astype(int)
    return [items[index] for index in chosen]


def compared(picture: Named, contract: Preprocess, transform: Transform) -> Compared:
    """One picture both ways. Raises an ImageError for what the contract refuses, and TransformFailed."""
    pixels = preprocess(picture.encoded, contract)
    given, decoding = training_picture(picture.encoded)
    training = transformed(transform, given, picture.name, contract)
    return Compared(picture.name, pixels, training, picture.encoded, decoding)


def transformed(transform: Transform, picture: Image.Image, name: str, contract: Preprocess) -> Levels:
    """float32[H, W, 3], normalised. Raises TransformFailed where it fails, or gives another shape or NaN."""
    try:
        output = transform(picture)
    except Exception as problem:  # the user's code: whatever it raises is the finding
        raise TransformFailed(f"the transform fails with {name}: {type(problem).__name__}: {problem}") from problem
    expected = (3, contract.height, contract.width)
    if output.shape != expected:
        raise TransformFailed(
            f"the transform makes {list(output.shape)} of {name}, where the contract has {list(expected)}: "
            "input.height and width, or the transform, are not those of the training"
        )
    if not np.isfinite(output).all():
        raise TransformFailed(f"the transform makes NaN or infinite values of {name}")
    return np.ascontiguousarray(output.transpose(1, 2, 0))


def training_picture(encoded: bytes) -> tuple[Image.Image, float | None]:
    """The picture in RGB that a transform is given, and ``Compared.decoding``; see the module's text."""
    opened = Image.open(io.BytesIO(encoded))
    by_rule = opened.mode.startswith("I") or opened.has_transparency_data
    plain = ImageOps.exif_transpose(opened).convert("RGB")
    if not by_rule:
        return plain, None
    ours = decode(encoded)
    apart = float(np.max(np.abs(np.asarray(ours, np.int16) - np.asarray(plain, np.int16))))
    return (ours, apart) if apart else (plain, None)


def levels(training: Levels, normalise: Normalise) -> Levels:
    """Normalised float32[..., 3] -> grey levels."""
    std, mean = np.array(normalise.std, np.float32), np.array(normalise.mean, np.float32)
    scaled: Levels = (training * std + mean) * np.float32(normalise.scale)
    return scaled
