"""Detection: a network's boxes and class scores -> the objects on the picture, best first, in the picture's pixels.

Boxes are corners in pixels of the ORIGINAL picture after EXIF rotation, clipped to it. Large pictures are looked at in
tiles as well, where the contract says so (handlers.tiling).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

import numpy as np
import numpy.typing as npt
from PIL import Image

from handlers.boxes import areas, clipped, non_maximum_suppression, to_picture
from handlers.calls import ONLY, Call, Networks
from handlers.candidates import Candidates, Reading, joined
from handlers.detection_settings import DetectionOptions, DetectionSettings
from handlers.fields import COUNT, Field, Record
from handlers.picture import Picture
from handlers.preprocess import Prepared
from handlers.stages import stage
from handlers.task import Answer, SingleNetwork
from handlers.tiling import cut, pieces, tiles
from slipway.contract import Contract
from slipway.errors import ImageError

#: So many batches of tiles are handed to the engine at once: it may run them side by side, and memory stays bounded.
_BATCHES_AT_ONCE = 4


@dataclass(frozen=True, eq=False)
class DetectionResult:
    """k objects, best first. ``boxes``: float32[k, 4], x1, y1, x2, y2 in pixels of the upright picture; ``scores``:
    float32[k] in 0..1; ``labels``: k names."""

    boxes: npt.NDArray[np.float32]
    scores: npt.NDArray[np.float32]
    labels: tuple[str, ...]

    def record(self) -> Record:
        """As handlers.task.Result."""
        return {"boxes": self.boxes, "scores": self.scores, "labels": self.labels}


@dataclass(frozen=True, eq=False)
class _Seen:
    """One view of a picture, the whole of it or a tile: ``prepared.placement`` says where in the picture it lies."""

    row: int
    prepared: Prepared


class Detection(SingleNetwork):
    """The task handler that a contract names as ``handlers.detection:Detection``."""

    fields = (
        Field("boxes", "float32", (4,), each=True),
        Field("scores", "float32", each=True),
        Field("labels", "string", each=True),
        COUNT,
    )

    def __init__(self, contract: Contract) -> None:
        """Raises ContractInvalid for settings that there are not."""
        super().__init__(contract)
        self.settings = DetectionSettings.of(contract)
        self._labels = contract.labels
        self._input = (contract.preprocess.width, contract.preprocess.height)
        self._reading = Reading(self.settings, len(contract.labels), self._input)

    def options(self, parameters: Mapping[str, Any]) -> DetectionOptions:
        """``score_threshold``, ``iou_threshold``, ``max_detections`` (no more than the contract's), ``classes``
        (labels, or their text with commas) and ``tile``; the contract's unless given. Raises RequestInvalid."""
        return DetectionOptions.of(parameters, self.settings, self._labels)

    def width(self, options: DetectionOptions) -> int:
        """As handlers.task.Task."""
        return options.max_detections

    def run(self, pictures: Sequence[Picture], options: Sequence[Any], networks: Networks) -> list[Answer]:
        """As handlers.task.Task.run; views of all pictures go through the network together, in full batches."""
        answers: list[Answer | None] = [None] * len(pictures)
        found: list[list[Candidates]] = [[] for _ in pictures]
        placements: list[list[Any]] = [[] for _ in pictures]
        size = self.contract.network.max_batch_size * _BATCHES_AT_ONCE
        for views in _chunks(self._views(pictures, options, answers), size):
            outputs = _called(views, networks)
            with stage("results"):
                for view, seen in zip(views, self._read(outputs, views, options), strict=True):
                    found[view.row].append(seen)
                    placements[view.row].append(view.prepared.placement)
        for row, picture in enumerate(pictures):
            if answers[row] is None:
                with stage("results"):
                    answers[row] = self._merged(found[row], placements[row], picture.size, options[row])
        return cast("list[Answer]", answers)

    def results(
        self, outputs: npt.NDArray[np.float32], prepared: Sequence[Prepared], options: Sequence[DetectionOptions]
    ) -> list[DetectionResult]:
        """One result per row of ``outputs``, each the only view of its picture. Raises NetworkFailed."""
        views = [_Seen(row, item) for row, item in enumerate(prepared)]
        read = self._read(outputs, views, options)
        return [
            self._result(seen, item.size, option) for seen, item, option in zip(read, prepared, options, strict=True)
        ]

    def crops(self, image: Image.Image, result: DetectionResult, margin: float) -> list[Image.Image]:
        """What lies in each box of the upright picture, enlarged on every side by ``margin`` of its sides."""
        grown = margin * np.tile(result.boxes[:, 2:] - result.boxes[:, :2], 2) * (-1, -1, 1, 1)
        boxes = clipped(result.boxes + grown, image.size)
        return [image.crop(_pixels(box, image.size)) for box in boxes]

    def _views(
        self, pictures: Sequence[Picture], options: Sequence[DetectionOptions], answers: list[Answer | None]
    ) -> Iterator[_Seen]:
        """Every good picture's views in order; a bad picture has its answer at once."""
        for row, picture in enumerate(pictures):
            try:
                for prepared in self._prepared(picture, options[row]):
                    yield _Seen(row, prepared)
            except ImageError as error:
                answers[row] = error

    def _prepared(self, picture: Picture, options: DetectionOptions) -> Iterator[Prepared]:
        tiling = self.settings.tile
        if not tiling.wanted(picture.size, self._input, options.tile):
            yield self.prepare(picture)
            return
        image = picture.image()
        if tiling.whole:
            yield self._preprocess.from_image(image)
        for placement in tiles(picture.size, self._input, tiling):
            prepared = self._preprocess.placed(*cut(image, placement))
            yield Prepared(prepared.pixels, placement, picture.size)

    def _read(
        self, outputs: npt.NDArray[np.float32], views: Sequence[_Seen], options: Sequence[DetectionOptions]
    ) -> list[Candidates]:
        """What is left of every view after suppression, in pixels of its picture."""
        rows = self._reading.checked(outputs, len(views))
        return [self._of_view(row, view.prepared, options[view.row]) for row, view in zip(rows, views, strict=True)]

    def _of_view(self, output: npt.NDArray[np.float32], prepared: Prepared, options: DetectionOptions) -> Candidates:
        found = self._reading.candidates(output, options.score_threshold)
        boxes = to_picture(found.boxes, prepared.placement)
        # a network may answer anything; what lies beyond the picture and its own size around it says nothing more
        limit = np.array(prepared.size * 2, np.float64)
        found = Candidates(np.clip(boxes, -limit, 2 * limit), found.scores, found.classes)
        found = found.take(areas(clipped(found.boxes, prepared.size)) > 0)
        if not self.settings.tile.wanted(prepared.size, self._input, options.tile):
            return self._suppressed(found, options)
        # how many the request wants is a matter of the merged ones: a piece that is dropped later takes nobody's place
        options = replace(options, max_detections=self.settings.max_detections)
        kept = self._suppressed(found, options)
        if options.classes is None:
            return kept
        # a piece of an object is known by the whole one, which may be of a class that was not asked for: until then
        # the others stay
        others = tuple(index for index in range(len(self._labels)) if index not in options.classes)
        return joined([kept, self._suppressed(found, replace(options, classes=others))])[0]

    def _suppressed(self, found: Candidates, options: DetectionOptions) -> Candidates:
        with stage("nms"):
            if self.settings.class_agnostic:
                kept = non_maximum_suppression(found.boxes, found.scores, None, options.iou_threshold)
                return found.take(kept).of(options.classes).first(options.max_detections)
            wanted = found.of(options.classes)
            kept = non_maximum_suppression(
                wanted.boxes, wanted.scores, wanted.classes, options.iou_threshold, options.max_detections
            )
            return wanted.take(kept)

    def _merged(
        self, views: Sequence[Candidates], placements: Sequence[Any], size: tuple[int, int], options: DetectionOptions
    ) -> DetectionResult:
        if len(views) == 1:
            return self._result(views[0], size, options)
        found, numbers = joined(views)
        with stage("merge"):
            piece = pieces(found.boxes, found.classes, numbers, list(placements), size)
        return self._result(self._suppressed(found.take(~piece), options), size, options)

    def _result(self, found: Candidates, size: tuple[int, int], options: DetectionOptions) -> DetectionResult:
        best = found.of(options.classes).first(options.max_detections)
        boxes = clipped(best.boxes, size).astype(np.float32)
        return DetectionResult(boxes, best.scores, tuple(self._labels[index] for index in best.classes))


def _called(views: Sequence[_Seen], networks: Networks) -> npt.NDArray[np.float32]:
    with stage("network"):
        return networks.run([Call(ONLY, np.stack([view.prepared.pixels for view in views]))])[0]


def _chunks(views: Iterator[_Seen], size: int) -> Iterator[list[_Seen]]:
    chunk: list[_Seen] = []
    for view in views:
        chunk.append(view)
        if len(chunk) == size:
            yield chunk
            chunk = []
    if chunk:
        yield chunk


def _pixels(box: npt.NDArray[np.floating], size: tuple[int, int]) -> tuple[int, int, int, int]:
    """Whole pixels around a box, at least one of them."""
    left, top = (min(int(box[axis]), size[axis] - 1) for axis in (0, 1))
    right, bottom = (max(int(np.ceil(box[axis])), start + 1) for axis, start in ((2, left), (3, top)))
    return left, top, right, bottom
