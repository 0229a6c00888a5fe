"""The sizes at which a picture is searched for faces of every size, and the picture at these sizes."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image

from handlers.area import Summed
from handlers.faces_settings import CELL, FacesSettings


@dataclass(frozen=True, eq=False)
class Scene:
    """One picture in which faces are looked for. ``reduced``: how many of its pixels along a side became one, before
    anything else; boxes are in the pixels that are left, ``sums`` are theirs."""

    sums: Summed
    reduced: int

    @classmethod
    def of(cls, image: Image.Image, most_pixels: int) -> Scene:
        """``image``: mode RGB. One of more than ``most_pixels`` is reduced by a whole number until it fits."""
        reduced = math.ceil(math.sqrt(image.width * image.height / most_pixels))
        smaller = image.reduce(reduced) if reduced > 1 else image
        return cls(Summed(np.asarray(smaller)), reduced)

    def scales(self, min_face_size: int, settings: FacesSettings) -> list[float]:
        """Largest first, as long as the shorter side holds one window. ``min_face_size``: pixels of the original.

        The first makes the smallest face as large as the window; it is lower where the level would have more than
        ``pyramid_pixels``, and never above 1, because an enlarged picture shows nothing new."""
        width, height = self.sums.size
        scale = min(1.0, CELL * self.reduced / min_face_size, math.sqrt(settings.pyramid_pixels / (width * height)))
        found = []
        side = min(width, height) * scale
        while side >= CELL:
            found.append(scale)
            scale, side = scale * settings.factor, side * settings.factor
        return found

    def size_at(self, scale: float) -> tuple[int, int]:
        """(width, height) of a level, rounded as in facenet-pytorch's detect_face."""
        width, height = self.sums.size
        return int(width * scale + 1), int(height * scale + 1)

    def level(self, size: tuple[int, int]) -> npt.NDArray[np.uint8]:
        """uint8[h, w, 3]; ``size``: (width, height)."""
        return self.sums.resized(size)
