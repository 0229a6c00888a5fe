"""Turns faces upright and to one size, so that networks which describe a face see its eyes and mouth where they were
when the networks were trained.

``aligned`` maps five landmarks onto the ArcFace template (Deng et al., arXiv 1801.07698; the numbers are those of
insightface's face_align.py) by the similarity with the least squared distance: Umeyama, IEEE TPAMI 13(4), 1991. In the
plane, without reflection, his solution is a quotient of complex numbers. ``boxed`` is facenet-pytorch's extract_face.
Pillow does the resampling in integers: the same pixels in every engine.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image

Points = npt.NDArray[np.floating]

#: Side of the template, and in its pixels: left eye, right eye, nose, left and right corner of the mouth, as seen.
TEMPLATE_SIDE = 112
TEMPLATE = np.array(
    [(38.2946, 51.6963), (73.5318, 51.5014), (56.0252, 71.7366), (41.5493, 92.3655), (70.7299, 92.2041)]
)


@dataclass(frozen=True)
class Similarity:
    """``target = turn * source + shift`` for points x + yi."""

    turn: complex
    shift: complex

    @classmethod
    def between(cls, source: Points, target: Points) -> Similarity | None:
        """The least-squares one for float[n, 2] each; None where the source's points are all the same."""
        one, two = (np.asarray(points, np.float64) @ (1, 1j) for points in (source, target))
        spread = one - one.mean()
        length = float(np.sum(np.abs(spread) ** 2))
        if length < 1e-9 * len(one):
            return None
        turn = complex(np.sum(np.conj(spread) * (two - two.mean())) / length)
        return cls(turn, complex(two.mean() - turn * one.mean())) if abs(turn) > 1e-9 else None

    def points(self, source: Points) -> npt.NDArray[np.float64]:
        """float64[n, 2]."""
        moved = self.turn * (np.asarray(source, np.float64) @ (1, 1j)) + self.shift
        return np.stack([moved.real, moved.imag], axis=1)


def to_template(landmarks: Points, side: int, margin: float = 0.0) -> Similarity | None:
    """From the picture's pixels to a crop of side x side pixels. ``landmarks``: float[5, 2]; ``margin``: what is added
    around the template on every side, as a fraction of its side. None for landmarks in one point."""
    scale = side / (TEMPLATE_SIDE * (1 + 2 * margin))
    return Similarity.between(landmarks, (TEMPLATE + margin * TEMPLATE_SIDE) * scale)


def aligned(image: Image.Image, landmarks: Points, side: int, margin: float = 0.0) -> Image.Image | None:
    """The face in a picture of side x side pixels, mode RGB, black where the picture ends; None as ``to_template``."""
    found = to_template(landmarks, side, margin)
    return None if found is None else _warped(image, found, side)


def boxed(image: Image.Image, box: Points, side: int, margin: float = 0.0) -> Image.Image:
    """What lies in the box, enlarged on every side by ``margin`` of its sides and cut off where the picture ends,
    squeezed into side x side pixels."""
    grown = np.asarray(box, np.float64) + margin * np.tile(box[2:] - box[:2], 2) * (-1, -1, 1, 1)
    left, top = (min(max(int(grown[axis]), 0), image.size[axis] - 1) for axis in (0, 1))
    right, bottom = (max(min(int(grown[2 + axis]), image.size[axis]), (left, top)[axis] + 1) for axis in (0, 1))
    return image.crop((left, top, right, bottom)).resize((side, side), Image.Resampling.BILINEAR)


def _warped(image: Image.Image, forward: Similarity, side: int) -> Image.Image:
    """Bilinear, as in training pipelines, after averaging whole pixels where that alone would skip some."""
    back, origin = 1 / forward.turn, -forward.shift / forward.turn
    factor = max(1, int(abs(back)))
    corner = 0j
    if factor > 1:
        reach = [origin + back * (x + 1j * y) for x in (0, side) for y in (0, side)]
        part = _around(reach, image.size, factor)
        if part is None:
            return Image.new("RGB", (side, side))
        image, corner = image.reduce(factor, part), complex(*part[:2])
    # landmarks are numbers of pixels; Pillow counts places, and a pixel's middle is at one half
    half, step = 0.5 + 0.5j, back / factor
    start = (origin + half - corner) / factor - step * half
    matrix = (step.real, -step.imag, start.real, step.imag, step.real, start.imag)
    return image.transform((side, side), Image.Transform.AFFINE, matrix, Image.Resampling.BILINEAR)


def _around(reach: list[complex], size: tuple[int, int], spare: int) -> tuple[int, int, int, int] | None:
    """The pixels of a picture around some places; None where these lie beside it."""
    across, down = [point.real for point in reach], [point.imag for point in reach]
    left, top = (max(0, int(min(values)) - spare) for values in (across, down))
    right, bottom = (min(side, int(max(values)) + 2 * spare) for values, side in zip((across, down), size, strict=True))
    return (left, top, right, bottom) if left < right and top < bottom else None
