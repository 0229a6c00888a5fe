"""Object detection: COCO's mean average precision, matched once by pycocotools and added up for any weighting.

pycocotools matches detections with true boxes image by image; only the adding up (COCOeval.accumulate, in its words
"accumulate per image evaluation results") depends on how much an image counts. That part is repeated here with
weights, because pycocotools knows none; with weights of one it gives its numbers to the last digits.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from export.metrics.base import Floats

#: As COCO: the best so many detections of an image count, and precision is read at these recalls.
_MOST_DETECTIONS = 100
_RECALLS = np.linspace(0, 1, 101)
_EPSILON = np.spacing(1.0)


@dataclass(frozen=True)
class Boxes:
    """What is on one image, or was found there. ``corners``: float[k, 4], x1, y1, x2, y2 in pixels; ``classes``:
    int[k]; ``scores``: float[k], of detections only; ``crowd``: bool[k], true boxes that stand for many objects."""

    corners: npt.NDArray[np.floating]
    classes: npt.NDArray[np.integer]
    scores: npt.NDArray[np.floating] | None = None
    crowd: npt.NDArray[np.bool_] | None = None


def average_precision(
    truth: Sequence[Boxes], detected: Sequence[Boxes], thresholds: Sequence[float] | None = None
) -> AveragePrecision:
    """COCO's mAP over all classes that are anywhere in the truth; AP50 with ``thresholds=[0.5]``.

    One entry per image in both. Raises ValueError for detections without scores, and for a truth without any box.
    """
    if not any(len(each.classes) for each in truth):
        raise ValueError("there is no true box on any image")
    if any(found.scores is None for found in detected):
        raise ValueError("detections need scores")
    evaluation = _matched(truth, detected, thresholds)
    images, classes = len(truth), len(evaluation.params.catIds)
    parts = [evaluation.evalImgs[number * images : (number + 1) * images] for number in range(classes)]
    return AveragePrecision(images, tuple(_of_class(part, len(evaluation.params.iouThrs)) for part in parts))


@dataclass(frozen=True)
class _ClassMatches:
    """One class: D detections of all images, best first. ``image``: int[D]; ``right``, ``wrong``: bool[T, D] at T IoU
    thresholds, neither where a detection is ignored; ``objects``: float[n], true boxes per image."""

    image: npt.NDArray[np.int64]
    right: npt.NDArray[np.bool_]
    wrong: npt.NDArray[np.bool_]
    objects: Floats


@dataclass(frozen=True)
class AveragePrecision:
    """A Metric: mean over T thresholds and the classes that have an object of positive weight."""

    images: int
    classes: tuple[_ClassMatches, ...]
    better: Literal["higher", "lower"] = "higher"

    def values(self, weights: Floats, unanswered: Floats) -> Floats:
        """As export.metrics.base.Metric.values."""
        objects = (weights + unanswered) @ self._objects
        return np.array([self._value(*rows) for rows in zip(weights, objects, strict=True)])

    def _value(self, weights: Floats, objects: Floats) -> float:
        """``weights``: float64[n]; ``objects``: float64[K], of each class."""
        there = objects > 0
        if not np.any(there):
            return 0.0
        counted = weights[self._image]
        right = self._within(np.cumsum(self._right * counted, axis=1))
        wrong = self._within(np.cumsum(self._wrong * counted, axis=1))
        recall = right / np.where(there, objects, 1.0)[self._class]
        precision = self._envelope(right / (right + wrong + _EPSILON))
        return float(self._read(recall, precision)[:, there].mean())

    def _within(self, sums: Floats) -> Floats:
        """Running sums over all classes -> running sums of each class."""
        before = np.concatenate([np.zeros((len(sums), 1)), sums], axis=1)[:, self._starts]
        own: Floats = sums - before[:, self._class]
        return own

    def _envelope(self, precision: Floats) -> Floats:
        """The best precision at this recall or any higher one, within each class."""
        # earlier classes are lifted above later ones, so that a running maximum from the end never crosses a border
        lift = 2.0 * (len(self.classes) - self._class)
        highest: Floats = np.maximum.accumulate((precision + lift)[:, ::-1], axis=1)[:, ::-1] - lift
        return highest

    def _read(self, recall: Floats, precision: Floats) -> Floats:
        """float64[T, K]: precision at COCO's recalls, 0 beyond the highest that was reached, averaged."""
        thresholds, total = recall.shape
        count = len(self.classes)
        row = np.arange(thresholds)[:, None, None]
        first, last = self._starts[None, :, None], np.append(self._starts[1:], total)[None, :, None]
        lift = 2.0 * (count * np.arange(thresholds)[:, None] + self._class)
        asked = _RECALLS + 2.0 * (count * row + np.arange(count)[None, :, None])
        place = np.searchsorted((recall + lift).ravel(), asked.ravel()).reshape(asked.shape) - row * total
        place = np.clip(place, first, last)
        padded = np.concatenate([recall, np.full((thresholds, 1), np.inf)], axis=1)
        # the lifts cost digits: where a recall is within rounding of the one asked for, the neighbour may be meant
        place = place + ((padded[row, place] < _RECALLS) & (place < last))
        place = place - ((place > first) & (padded[row, np.maximum(place - 1, 0)] >= _RECALLS))
        values = np.concatenate([precision, np.zeros((thresholds, 1))], axis=1)
        read: Floats = np.where(place < last, values[row, place], 0.0).mean(axis=2)
        return read

    @cached_property
    def _objects(self) -> Floats:
        """float64[n, K]."""
        return np.stack([each.objects for each in self.classes], axis=1)

    @cached_property
    def _image(self) -> npt.NDArray[np.int64]:
        return np.concatenate([each.image for each in self.classes])

    @cached_property
    def _right(self) -> npt.NDArray[np.bool_]:
        return np.concatenate([each.right for each in self.classes], axis=1)

    @cached_property
    def _wrong(self) -> npt.NDArray[np.bool_]:
        return np.concatenate([each.wrong for each in self.classes], axis=1)

    @cached_property
    def _class(self) -> npt.NDArray[np.int64]:
        """int64[D]: the class that each detection is of."""
        return np.repeat(np.arange(len(self.classes)), [len(each.image) for each in self.classes])

    @cached_property
    def _starts(self) -> npt.NDArray[np.int64]:
        """int64[K]: where each class begins among the detections."""
        lengths = [len(each.image) for each in self.classes]
        return np.cumsum([0, *lengths[:-1]], dtype=np.int64)


def _of_class(results: Sequence[dict[str, Any] | None], thresholds: int) -> _ClassMatches:
    """From COCOeval's answers for every image, None where an image has neither."""
    empty: dict[str, Any] = {
        "dtScores": [],
        "dtMatches": np.zeros((thresholds, 0)),
        "dtIgnore": np.zeros((thresholds, 0), bool),
        "gtIgnore": np.zeros(0),
    }
    full = [result or empty for result in results]
    scores = np.concatenate([np.asarray(each["dtScores"], np.float64) for each in full])
    # mergesort, as COCOeval: detections of equal score keep the order of their images
    order = np.argsort(-scores, kind="mergesort")
    matched = np.concatenate([each["dtMatches"] for each in full], axis=1)[:, order] != 0
    ignored = np.concatenate([each["dtIgnore"] for each in full], axis=1)[:, order].astype(bool)
    image = np.repeat(np.arange(len(full)), [len(each["dtScores"]) for each in full])[order]
    objects = np.array([np.count_nonzero(each["gtIgnore"] == 0) for each in full], np.float64)
    return _ClassMatches(image, matched & ~ignored, ~matched & ~ignored, objects)


def _matched(truth: Sequence[Boxes], detected: Sequence[Boxes], thresholds: Sequence[float] | None) -> Any:
    """A COCOeval after ``evaluate``: boxes of any size, the best 100 of an image and class."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    images = [{"id": number} for number in range(len(truth))]
    categories = [{"id": int(name)} for name in np.unique(np.concatenate([each.classes for each in truth]))]
    with contextlib.redirect_stdout(io.StringIO()):
        true, found = COCO(), COCO()
        for coco, boxes in ((true, truth), (found, detected)):
            coco.dataset = {"images": images, "categories": categories, "annotations": _annotations(boxes)}
            coco.createIndex()
        evaluation = COCOeval(true, found, "bbox")
        evaluation.params.maxDets = [_MOST_DETECTIONS]
        evaluation.params.areaRng = [[0, 1e10]]
        evaluation.params.areaRngLbl = ["all"]
        if thresholds is not None:
            evaluation.params.iouThrs = np.asarray(thresholds, np.float64)
        evaluation.evaluate()
    return evaluation


def _annotations(images: Sequence[Boxes]) -> list[dict[str, Any]]:
    """COCO's own form; ids start at 1, because COCOeval takes a match with id 0 for no match."""
    rows: list[dict[str, Any]] = []
    for number, boxes in enumerate(images):
        for index, (x1, y1, x2, y2) in enumerate(boxes.corners.astype(float)):
            row: dict[str, Any] = {"id": len(rows) + 1, "image_id": number, "category_id": int(boxes.classes[index])}
            row |= {"bbox": [x1, y1, x2 - x1, y2 - y1], "area": (x2 - x1) * (y2 - y1)}
            row["iscrowd"] = 0 if boxes.crowd is None else int(boxes.crowd[index])
            rows.append(row if boxes.scores is None else {**row, "score": float(boxes.scores[index])})
    return rows
