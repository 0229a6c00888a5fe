"""From a detector's raw output to candidates: what most families of networks answer, read by one description."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from handlers.boxes import Boxes
from handlers.detection_settings import DetectionSettings
from handlers.task import finite

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Candidates:
    """``boxes``: float[n, 4], x1, y1, x2, y2; ``scores``: float32[n] in 0..1; ``classes``: int[n]."""

    boxes: Boxes
    scores: Floats
    classes: npt.NDArray[np.integer]

    def take(self, chosen: npt.NDArray[np.integer] | npt.NDArray[np.bool_]) -> Candidates:
        """Those at indices, or where true."""
        return Candidates(self.boxes[chosen], self.scores[chosen], self.classes[chosen])

    def first(self, count: int) -> Candidates:
        """The first so many."""
        return Candidates(self.boxes[:count], self.scores[:count], self.classes[:count])

    def of(self, classes: tuple[int, ...] | None) -> Candidates:
        """Those of some classes; all for None."""
        return self if classes is None else self.take(np.isin(self.classes, classes))


def joined(views: Sequence[Candidates]) -> tuple[Candidates, npt.NDArray[np.int64]]:
    """All candidates of several views, and int64[n]: which view each is from."""
    numbers = np.repeat(np.arange(len(views), dtype=np.int64), [len(view.scores) for view in views])
    boxes, scores, classes = (
        np.concatenate([getattr(view, name) for view in views]) for name in ("boxes", "scores", "classes")
    )
    return Candidates(boxes, scores, classes), numbers


class Reading:
    """Reads the output of one network as its settings describe it."""

    def __init__(self, settings: DetectionSettings, labels: int, size: tuple[int, int]) -> None:
        """``size``: (width, height) of the network's input, pixels."""
        self._settings = settings
        self._values = 4 + settings.objectness + labels
        self._unit = np.array(size * 2, np.float32) if settings.units == "fraction" else np.float32(1)

    def checked(self, outputs: npt.NDArray[np.floating], images: int) -> Floats:
        """float32[N, places, values], a view. Raises NetworkFailed for another shape and for NaN."""
        last = self._settings.anchors_last
        fits = outputs.ndim == 3 and len(outputs) == images and outputs.shape[1 if last else 2] == self._values
        shape = [images, self._values, "places"] if last else [images, "places", self._values]
        rows = finite(outputs, f"float{shape}: a box and a score per label for every place", fits)
        return rows.transpose(0, 2, 1) if last else rows

    def candidates(self, rows: Floats, threshold: float) -> Candidates:
        """Of one image, float32[places, values]: at most ``settings.candidates`` places, best first where there are
        more, each with its best class, with a score of at least ``threshold``. Boxes in pixels of the input; equal
        scores keep the order of the places, equal classes that of the labels."""
        raw = rows[:, 4 + self._settings.objectness :]
        scores = self._activated(raw.max(axis=1))
        if self._settings.objectness:
            scores = scores * self._activated(rows[:, 4])
        likely = np.flatnonzero(scores >= threshold)
        if len(likely) > self._settings.candidates:
            likely = likely[np.argsort(-scores[likely], kind="stable")[: self._settings.candidates]]
        return Candidates(self._corners(rows[likely, :4]), scores[likely], raw[likely].argmax(axis=1))

    def _activated(self, values: Floats) -> Floats:
        if self._settings.activation == "none":
            return values
        # exp of non-positive numbers only: no overflow at either end
        powers = np.exp(-np.abs(values))
        found: Floats = np.where(values >= 0, np.float32(1), powers) / (1 + powers)
        return found

    def _corners(self, boxes: Floats) -> Floats:
        scaled = boxes * self._unit
        if self._settings.layout == "xyxy":
            return scaled
        half = scaled[:, 2:] / 2
        corners: Floats = np.concatenate([scaled[:, :2] - half, scaled[:, :2] + half], axis=1)
        return corners
