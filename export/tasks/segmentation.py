"""Label maps: mean intersection over union with the true ones and with the trained model's."""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from export.gates.matching import compare_label_maps
from export.metrics.base import Metric
from export.metrics.segmentation import mean_iou
from export.tasks.base import Agreement, Truth
from handlers.fields import Record
from slipway.errors import SamplesInvalid


class SegmentationJudge:
    """As export.tasks.base.Judge. ``labels``: of the contract; a pixel's value is the number of its label."""

    metric_name = "mIoU"

    def __init__(self, labels: Sequence[str]) -> None:
        self._classes = len(labels)

    def metric(self, truth: Sequence[Truth], records: Sequence[Record]) -> Metric:
        """Over all pixels of all images; pixels of value 255 in the truth do not count."""
        if not all(isinstance(item.get("mask"), bytes) for item in truth):
            raise SamplesInvalid("truth.json has images without a mask", expected='{"mask": "masks/<name>.png"}')
        try:
            return mean_iou([_map(item["mask"]) for item in truth], _maps(records), self._classes)
        except ValueError as problem:
            raise SamplesInvalid("a true mask does not fit its image or the labels", observed=problem) from problem

    def agreement(self, trained: Sequence[Record], exported: Sequence[Record]) -> Agreement:
        """The share of equal pixels."""
        compared = compare_label_maps(_maps(trained), _maps(exported))
        return Agreement(compared.pixels, compared.to_dict(), compared.cause)

    def certainty(self, record: Record) -> float:
        """How many labels the map has, up to a share of one: a picture of background alone shows little."""
        return float(np.count_nonzero(_map(record["mask"]))) / max(1, _map(record["mask"]).size)


def _maps(records: Sequence[Record]) -> list[NDArray[np.int64]]:
    return [_map(record["mask"]) for record in records]


def _map(png: bytes) -> NDArray[np.int64]:
    with Image.open(io.BytesIO(png)) as opened:
        return np.asarray(opened).astype(np.int64)
