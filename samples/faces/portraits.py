"""Real faces from photographs inside the scikit-image wheel: 100 people of Labeled Faces in the Wild in 25x25 grey
pixels (Huang et al., UMass TR 07-49), an astronaut in colour (NASA, public domain) and a photographer.

Boxes are drawn by eye, from the brow or the hairline to the chin and between the ears.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import numpy.typing as npt
from PIL import Image

from samples.photos.originals import opened, original

Box = tuple[float, float, float, float]

#: How many portraits of Labeled Faces in the Wild there are; the wheel's other 100 patches show no faces.
PORTRAITS = 100
#: The face within such a portrait, as fractions of its side: they are cut alike, and a little to the left.
FACE: Box = (0.06, 0.0, 0.80, 1.0)
#: Whole photographs, and the face in each, pixels.
PHOTOGRAPHS: dict[str, Box] = {"astronaut.png": (180, 62, 268, 172), "camera.png": (200, 118, 255, 192)}
#: The astronaut's head and shoulders.
_HEAD = (110, 0, 340, 230)


def portrait(number: int) -> Image.Image:
    """25x25 pixels, mode RGB, all grey; ``number``: 0..99."""
    return Image.fromarray(_portraits()[number]).convert("RGB")


def astronaut() -> tuple[Image.Image, Box]:
    """Head and shoulders in colour, 230x230 pixels, and the face as fractions of its sides."""
    left, top, right, bottom = PHOTOGRAPHS["astronaut.png"]
    side = _HEAD[2] - _HEAD[0]
    box = ((left - _HEAD[0]) / side, (top - _HEAD[1]) / side, (right - _HEAD[0]) / side, (bottom - _HEAD[1]) / side)
    return opened("astronaut.png").crop(_HEAD), box


@lru_cache(maxsize=1)
def _portraits() -> npt.NDArray[np.uint8]:
    """uint8[100, 25, 25]."""
    patches = np.load(original("lfw_subset.npy"))[:PORTRAITS]
    grey: npt.NDArray[np.uint8] = np.round(patches * 255).astype(np.uint8)
    return grey
