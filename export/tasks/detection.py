"""Detections and faces: mean average precision against true boxes, set matching with the trained model's."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from export.gates.matching import Detections, DetectionTolerance, compare_detections
from export.metrics.base import Metric
from export.metrics.detection import Boxes, average_precision
from export.tasks.base import Agreement, Truth
from handlers.fields import Record
from slipway.errors import SamplesInvalid

#: The label of a finding that has none: a face.
_NAMELESS = "face"


class DetectionJudge:
    """As export.tasks.base.Judge. ``labels``: of the contract, none for faces."""

    metric_name = "mAP@50"

    def __init__(self, labels: Sequence[str]) -> None:
        self._index = {label: number for number, label in enumerate(labels or (_NAMELESS,))}

    def metric(self, truth: Sequence[Truth], records: Sequence[Record]) -> Metric:
        """COCO's average precision at an overlap of one half, over all classes."""
        true = [self._true(item) for item in truth]
        found = [
            Boxes(item.boxes, item.classes, item.scores) for item in (self._detections(record) for record in records)
        ]
        try:
            return average_precision(true, found, [0.5])
        except ValueError as problem:
            raise SamplesInvalid("truth.json does not hold what a detector is judged by", observed=problem) from problem

    def agreement(self, trained: Sequence[Record], exported: Sequence[Record]) -> Agreement:
        """Pairs of one class that overlap; those whose scores lie at the cut count for nothing."""
        wanted, found = [self._detections(item) for item in trained], [self._detections(item) for item in exported]
        lowest = min((float(item.scores.min()) for item in (*wanted, *found) if len(item)), default=None)
        compared = compare_detections(wanted, found, DetectionTolerance(score_threshold=lowest))
        return Agreement(compared.agreement, compared.to_dict(), compared.cause)

    def certainty(self, record: Record) -> float:
        """The least score of what was found; -1 where nothing was."""
        scores = np.asarray(record["scores"])
        return float(scores.min()) if len(scores) else -1.0

    def _detections(self, record: Record) -> Detections:
        scores = np.asarray(record["scores"], np.float64)
        names = record.get("labels", [_NAMELESS] * len(scores))
        classes = np.array([self._index[str(name)] for name in names], np.int64)
        return Detections(np.asarray(record["boxes"], np.float64).reshape(-1, 4), scores, classes)

    def _true(self, truth: Truth) -> Boxes:
        boxes = truth.get("boxes", [])
        names = truth.get("labels", [_NAMELESS] * len(boxes)) if len(self._index) > 1 else [_NAMELESS] * len(boxes)
        known = self._index if len(self._index) > 1 else {_NAMELESS: 0}
        try:
            classes = np.array([known[str(name)] for name in names], np.int64)
            corners = np.asarray(boxes, np.float64).reshape(len(names), 4)
        except (KeyError, ValueError) as problem:
            raise SamplesInvalid(
                "truth.json names boxes or labels that do not fit the specification",
                observed=str(problem),
                expected=f"boxes [[x1, y1, x2, y2], ...] and as many labels of {', '.join(list(known)[:10])}",
            ) from problem
        return Boxes(corners, classes)
