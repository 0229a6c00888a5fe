"""The images that INT8 ranges are measured on: real ones, through the contract that serves."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from export.images import image_files
from handlers.preprocess import preprocess
from slipway.errors import ImageError, SamplesInvalid

if TYPE_CHECKING:
    from export.gates.base import Reference
    from slipway.spec import ModelSpec


def calibration_pixels(spec: ModelSpec, reference: Reference, root: Path) -> NDArray[np.uint8]:
    """uint8[n, H, W, 3]: ``calibration.count`` images at most, spread evenly over the directory in order of names.

    Without ``calibration.images`` they are the held-out ones: ranges are all that is learnt from them, but a
    directory of its own keeps the test untouched. Raises SamplesInvalid for a missing directory or an unreadable image.
    """
    if reference.inputs is not None:
        most = min(len(reference.inputs), spec.calibration.count)
        return np.stack(
            [reference.inputs[i] for i in np.linspace(0, len(reference.inputs) - 1, most).round().astype(int)]
        )
    if spec.calibration.images is None:
        named = [(image.name, image.encoded) for image in reference.held_out.images]
    else:
        named = [(path.name, path.read_bytes()) for path in image_files(root / spec.calibration.images, "calibration")]
    chosen = np.linspace(0, len(named) - 1, min(len(named), spec.calibration.count)).round().astype(int)
    pictures = []
    for index in chosen:
        name, encoded = named[index]
        try:
            pictures.append(preprocess(encoded, spec.one_input.preprocess()))
        except ImageError as problem:
            raise SamplesInvalid(f"calibration image {name} cannot be used", observed=str(problem)) from problem
    return np.stack(pictures)
