"""The digits as image files: scikit-learn's 1797 scans of 8x8, drawn as dark ink on white paper, 64x64 and smooth.

Source: the test part of "Optical Recognition of Handwritten Digits" (E. Alpaydin, C. Kaynak, UCI repository), as
bundled with scikit-learn. Training and serving see the same bytes: what :func:`encoded` makes, files hold.
"""

from __future__ import annotations

import functools
import io
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
from PIL import Image

from slipway.contract import Preprocess
from slipway.errors import SampleUnavailable

Split = Literal["train", "test", "calibration"]
Format = Literal["png", "jpg", "both"]

LABELS = tuple("0123456789")
#: How a digit reaches its network; config/models/digits.yaml says the same, and a test compares them.
PREPROCESS = Preprocess(height=32, width=32, resize="shorter_side", resize_to=32, colour="grey")

_INK = 16  # scikit-learn counts the dark pixels of a 4x4 block: 0 is paper, 16 is ink
_SIDE = 64
#: Half is held out: fewer than 598 images cannot show that no more than half a point is lost
#: (export.statistics.proportions), and INT8 turns one or two answers. The other half, augmented, is enough to learn.
_HELD_OUT_EVERY = 2
_CALIBRATION_IMAGES = 64


def indices(split: Split) -> list[int]:
    """Positions in scikit-learn's order. Every second image OF EACH DIGIT is held out: 901 images, never trained on.

    ``calibration``: 64 of the images that are trained on, evenly spread, for the ranges of INT8. The data set does not
    say who wrote what, so both halves may hold images of the same writer.
    """
    if split == "calibration":
        trained_on = indices("train")
        spread = np.linspace(0, len(trained_on) - 1, _CALIBRATION_IMAGES).round().astype(int)
        return [trained_on[position] for position in spread]
    labels = _data()[1]
    chosen: list[int] = []
    for digit in range(len(LABELS)):
        held = [int(index) for index in np.flatnonzero(labels == digit)]
        chosen += [index for n, index in enumerate(held) if (n % _HELD_OUT_EVERY == 0) == (split == "test")]
    return sorted(chosen)


def label(index: int) -> int:
    """The digit that the image shows."""
    return int(_data()[1][index])


def encoded(index: int, format: Format = "png") -> tuple[bytes, str]:
    """The image file's bytes and suffix: grey PNG, or grey JPEG of quality 95; ``both`` alternates by ``index``."""
    scan = _data()[0][index]
    grey = np.rint(255.0 - scan * (255.0 / _INK)).astype(np.uint8)
    image = Image.fromarray(grey).resize((_SIDE, _SIDE), Image.Resampling.BICUBIC)
    as_jpeg = format == "jpg" or (format == "both" and index % 2 == 1)
    stream = io.BytesIO()
    if as_jpeg:
        image.save(stream, "JPEG", quality=95)
    else:
        image.save(stream, "PNG")
    return stream.getvalue(), "jpg" if as_jpeg else "png"


def write_images(split: Split, out_dir: Path, format: Format = "png") -> list[Path]:
    """Writes a split as ``<label>_<index>.png|jpg`` and returns the paths, in the order of the index."""
    out_dir.mkdir(parents=True, exist_ok=True)
    paths = []
    for index in indices(split):
        content, suffix = encoded(index, format)
        path = out_dir / f"{label(index)}_{index:04d}.{suffix}"
        path.write_bytes(content)
        paths.append(path)
    return paths


@functools.lru_cache(maxsize=1)
def _data() -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]]:
    """Scans ``float64[1797, 8, 8]`` in 0..16, and labels ``int64[1797]``."""
    try:
        from sklearn.datasets import load_digits
    except ImportError as problem:
        raise SampleUnavailable(
            "the digits need scikit-learn, which holds their images",
            observed=problem,
            fix="install the project's pinned requirements: make setup",
        ) from problem
    bunch = load_digits()
    return np.asarray(bunch.images, np.float64), np.asarray(bunch.target, np.int64)
