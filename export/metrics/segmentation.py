"""Semantic segmentation: mean intersection over union, from what each image adds to every class."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from export.metrics.base import Floats, SumMetric

ClassMap = npt.NDArray[np.integer]


def mean_iou(truth: Sequence[ClassMap], predicted: Sequence[ClassMap], classes: int, ignore: int = 255) -> SumMetric:
    """Mean over the classes of the intersection over union of all images together, as Pascal VOC and Cityscapes do.

    ``truth``, ``predicted``: a map of class numbers int[H, W] per image, of one size per image; pixels whose truth is
    ``ignore`` do not count. A class that is nowhere, in neither, does not enter the mean. Raises ValueError for maps
    that do not fit each other.
    """
    rows = [_areas(*pair, classes, ignore) for pair in zip(truth, predicted, strict=True)]
    intersections, unions, truths = (np.stack(column) for column in zip(*rows, strict=True))
    sums = np.concatenate([intersections, unions], axis=1)
    return SumMetric(sums, np.concatenate([0 * truths, truths], axis=1), _mean_ratio)


def _areas(truth: ClassMap, predicted: ClassMap, classes: int, ignore: int) -> tuple[Floats, Floats, Floats]:
    """Pixels of intersection, union and truth: float64[classes] each."""
    if truth.shape != predicted.shape:
        raise ValueError(f"a map of {predicted.shape} was predicted where the truth has {truth.shape}")
    counted = truth != ignore
    true, found = truth[counted].astype(np.int64), predicted[counted].astype(np.int64)
    if true.size and not (min(true.min(), found.min()) >= 0 and max(true.max(), found.max()) < classes):
        raise ValueError(f"a map holds a class outside 0..{classes - 1}")
    intersection = np.bincount(true[true == found], minlength=classes).astype(np.float64)
    truths = np.bincount(true, minlength=classes).astype(np.float64)
    return intersection, truths + np.bincount(found, minlength=classes) - intersection, truths


def _mean_ratio(sums: Floats) -> Floats:
    """float64[B, 2 classes] -> float64[B]."""
    intersections, unions = np.split(sums, 2, axis=1)
    there = unions > 0
    ratios = np.divide(intersections, unions, out=np.zeros_like(unions), where=there)
    mean: Floats = ratios.sum(axis=1) / np.maximum(there.sum(axis=1), 1)
    return mean
