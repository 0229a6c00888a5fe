"""Faces: who looks out of a picture, as boxes, confidences and five landmarks, and crops for what describes a face.

Boxes and landmarks are in pixels of the ORIGINAL picture after EXIF rotation; boxes are clipped to it, landmarks are
where the network puts them, which may be beyond its edge. Faces are found by handlers.mtcnn; age, gender, emotion, who
it is, ... are attributes on items (handlers.attributes), whose networks see the crops that are made here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import numpy.typing as npt
from PIL import Image

from handlers.alignment import aligned, boxed
from handlers.boxes import areas, clipped
from handlers.calls import Networks
from handlers.faces_settings import FacesOptions, FacesSettings
from handlers.fields import COUNT, Field, Record
from handlers.mtcnn import SIDES, Found, Mtcnn
from handlers.picture import Picture
from handlers.task import Answer
from slipway.contract import Contract
from slipway.errors import ContractInvalid, ImageError

Floats = npt.NDArray[np.float32]
#: Of crops that no attribute asks for; the ArcFace template's.
_SIDE = 112
#: Pixels of the pictures that are searched together: what keeps memory bounded for a request of large ones.
_AT_ONCE = 24_000_000


@dataclass(frozen=True, eq=False)
class FacesResult:
    """Best first. ``boxes``: float32[n, 4], x1, y1, x2, y2; ``scores``: float32[n], 0..1; ``landmarks``: float32[n, 5,
    2], x and y of the eye on the left and on the right AS SEEN, the nose, and the mouth's corners in the same order."""

    boxes: Floats
    scores: Floats
    landmarks: Floats

    def record(self) -> Record:
        """As handlers.task.Result."""
        return {"boxes": self.boxes, "scores": self.scores, "landmarks": self.landmarks}


class Faces:
    """The task handler that a contract names as ``handlers.faces:Faces``; its parts: ``pnet``, ``rnet``, ``onet``."""

    fields = (
        Field("boxes", "float32", (4,), each=True),
        Field("scores", "float32", each=True),
        Field("landmarks", "float32", (5, 2), each=True),
        COUNT,
    )

    def __init__(self, contract: Contract) -> None:
        """Raises ContractInvalid for settings that are not valid and for other networks."""
        self.settings = FacesSettings.of(contract)
        _check_parts(contract)
        self._detector = Mtcnn(self.settings)
        self._sides = _crop_sides(contract)

    def options(self, parameters: Mapping[str, Any]) -> FacesOptions:
        """``score_threshold`` 0..1, ``max_faces`` 1..the contract's, ``min_face_size`` 12.. pixels: the contract's
        unless given. Raises RequestInvalid."""
        return FacesOptions.of(parameters, self.settings)

    def width(self, options: FacesOptions) -> int:
        """As handlers.task.Task."""
        return options.max_faces

    def run(self, pictures: Sequence[Picture], options: Sequence[FacesOptions], networks: Networks) -> list[Answer]:
        """As handlers.task.Task.run: small pictures together. Raises NetworkFailed."""
        answers: list[Answer | None] = [None] * len(pictures)
        for group in _groups(pictures):
            self._answer(group, pictures, options, networks, answers)
        return cast("list[Answer]", answers)

    def _answer(
        self,
        rows: Sequence[int],
        pictures: Sequence[Picture],
        options: Sequence[FacesOptions],
        networks: Networks,
        answers: list[Answer | None],
    ) -> None:
        images: dict[int, Image.Image] = {}
        for row in rows:
            try:
                images[row] = pictures[row].image()
            except ImageError as error:
                answers[row] = error
        found = self._detector.find(list(images.values()), [options[row] for row in images], networks)
        for row, faces in zip(images, found, strict=True):
            answers[row] = _result(faces, images[row].size)

    def crops(self, image: Image.Image, result: FacesResult, margin: float) -> list[Image.Image]:
        """Each face turned upright (or its box, as the contract says), mode RGB, enlarged on every side by ``margin``
        of the sides. As large as the largest attribute with this margin takes it, so that most need no resizing."""
        side = self._sides.get(margin, _SIDE)
        return [
            self._crop(image, box, landmarks, side, margin)
            for box, landmarks in zip(result.boxes, result.landmarks, strict=True)
        ]

    def _crop(self, image: Image.Image, box: Floats, landmarks: Floats, side: int, margin: float) -> Image.Image:
        upright = aligned(image, landmarks, side, margin) if self.settings.crops == "landmarks" else None
        return boxed(image, box, side, margin) if upright is None else upright


def _groups(pictures: Sequence[Picture]) -> Iterator[list[int]]:
    """Rows in order, together as long as they have no more than ``_AT_ONCE`` pixels."""
    group: list[int] = []
    pixels = 0
    for row, picture in enumerate(pictures):
        own = picture.size[0] * picture.size[1]
        if group and pixels + own > _AT_ONCE:
            yield group
            group, pixels = [], 0
        group.append(row)
        pixels += own
    if group:
        yield group


def _result(found: Found, size: tuple[int, int]) -> FacesResult:
    boxes = clipped(found.boxes, size).astype(np.float32)
    there = areas(boxes) > 0
    return FacesResult(boxes[there], found.scores[there], found.landmarks[there])


def _crop_sides(contract: Contract) -> dict[float, int]:
    """The largest side that an attribute on items takes, by margin."""
    sides: dict[float, int] = {}
    for item in contract.attributes:
        if item.on == "items":
            wanted = max(item.contract.preprocess.height, item.contract.preprocess.width)
            sides[item.margin] = max(wanted, sides.get(item.margin, 0))
    return sides


def _check_parts(contract: Contract) -> None:
    expected = {"pnet": (0, 0), **{name: (side, side) for name, side in SIDES.items()}}
    observed = {part.name: (part.height, part.width) for part in contract.parts}
    if observed != expected:
        raise ContractInvalid(
            f"{contract.model}: the networks are not those that faces are found with",
            observed=", ".join(f"{name} {height}x{width}" for name, (height, width) in observed.items()) or "none",
            expected="pnet of several sizes, rnet 24x24, onet 48x48",
            fix="name them so under networks, with these sizes",
        )
